from lightning_lp.data.ids import IdMap
from lightning_lp.data.lookup import look_up, look_up_one
from lightning_lp.escape import cell, from_cell


def test_ids_are_found_as_a_file_of_ours_has_them():
    ids = IdMap.from_values(["'=kept", "-x", "=1+1", "@ann", "o'neil"])
    texts = [*map(cell, ids.ids), *ids.ids, "'o'neil", "'", "''=kept"]
    assert look_up(ids, texts).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, -1, -1, -1]
    assert [look_up_one(ids, text) for text in texts] == look_up(ids, texts).tolist()


def test_an_apostrophe_of_its_own_stays():
    for text in ("'", "''", "'5", "'-5", "'ann", "@ann", "", "5"):
        assert from_cell(text) == text
    for text in ("=x", "@ann", "-x", "+y"):
        assert from_cell(cell(text)) == text
