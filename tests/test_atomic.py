import pytest

from lightning_lp.atomic import replacing


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(IsADirectoryError), replacing(path) as partial:
        partial.write_text(str(tmp_path.read_text()))
    assert path.read_text() == "first"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]
