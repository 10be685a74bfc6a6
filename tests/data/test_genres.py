import pytest

from lightning_lp.data.genres import read_genres

WAR = "Drama|War"


@pytest.mark.parametrize(
    ("cells", "separator", "genres"),
    [
        (["Drama|War", " Drama | War |", "", "  ", "\\N"], "|", [WAR, WAR, "", "", ""]),
        (["Drama, War", "Drama,War", "Drama"], ",", [WAR, WAR, "Drama"]),
        (["Drama - War", "Sci-Fi"], " - ", [WAR, "Sci-Fi"]),
        (["(no genres listed)", "Drama"], "|", ["(no genres listed)", "Drama"]),
        (["['Drama', 'War']", "[]", "", '["Drama", "War"]'], "|", [WAR, "", "", WAR]),
        (["[{'id': 5, 'name': 'Drama'}, {'id': 6, 'name': 'War'}]"], "|", [WAR]),
        (['[{"name": "Drama", "id": null}]', '{"id": 6, "name": "War"}'], "|", ["Drama", "War"]),
        (['{"Drama": 9, "War": 2}', "('Drama', 'War')"], "|", [WAR, WAR]),
        (
            ["['Drama' 'War']", "['Children\\'s' \n 'War']", '["Kids\' stuff"]'],
            "|",
            [WAR, "Children's|War", "Kids' stuff"],
        ),
        (["['A|B', 'C']", "['A']"], "|", ["A\u00a6B|C", "A"]),
        (["A|B,C"], ",", ["A\u00a6B|C"]),
        (["[1, 2.5]"], "|", ["1|2.5"]),
    ],
)
def test_genres(cells, separator, genres):
    assert read_genres(cells, separator) == (genres, [])


def test_nothing_is_run_and_what_is_no_list_stays_text(tmp_path):
    path = tmp_path / "run"
    cell = f"[open({str(path)!r}, 'w')]"
    assert read_genres([cell])[0] == [cell]
    assert not path.exists()
    for cell in (
        "[REC]|Horror",
        "[" * 5000 + "]" * 5000,
        "['a', None]",
        "[['a']]",
        "('a')",
        "(5)",
        "[{'id': 5}]",
        "]",
        "[",
        "['\\d'",
    ):
        assert read_genres(["Drama", cell])[0] == ["Drama", cell]
        assert read_genres([cell])[0] == [cell]


@pytest.mark.parametrize(("separator", "guess"), [("|", ","), ("|", ";"), ("|", "/"), (",", ";")])
def test_another_separator_is_named(separator, guess):
    cells = [f"Drama{guess} War", f"War{guess} Crime", "Drama", "War", ""]
    genres, notes = read_genres(cells, separator)
    assert genres == cells
    assert len(notes) == 1
    assert f"2 of 4 hold {guess!r} ('Drama{guess} War')" in notes[0]
    assert f"--data.genres_separator {guess!r}" in notes[0]
    assert read_genres(cells, guess)[1] == []


def test_lists_in_some_cells_are_named():
    (note,) = read_genres(["['Drama']", "['War'", "['Drama', 'War']", "Drama"])[1]
    assert "3 of 4 different cells look like lists" in note


def test_a_genre_for_nearly_every_movie_is_named():
    (note,) = read_genres([f"tag{number} tag{number + 1}" for number in range(12)])[1]
    assert "12 different ones for 12 movies" in note
    assert "--data.genres_separator" in note
    assert read_genres([f"tag{number}" for number in range(9)])[1] == []  # too few to tell
    assert read_genres([f"tag{number}|tag{number + 1}" for number in range(12)])[1] == []
    assert read_genres([f"tag{number % 4}" for number in range(12)])[1] == []


def test_no_word_about_plain_genres():
    cells = ["Action|Sci-Fi", "Drama", "Drama|War", "Comedy", "Sports/Fitness", "Crime", "War", "Mystery"]
    assert read_genres(cells) == (cells, [])
    assert read_genres(["", " "]) == (["", ""], [])
