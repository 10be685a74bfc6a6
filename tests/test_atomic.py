import pytest

from lightning_lp.atomic import install, replacing
from tests.killing import fill_the_disk


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


def test_a_folder_takes_its_place_once_all_in_it_is_on_the_disk(tmp_path, monkeypatch):
    part, target = tmp_path / "part", tmp_path / "target"
    (part / "inner").mkdir(parents=True)
    (part / "inner" / "file.txt").write_text("all")
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch, writes=1)
        with pytest.raises(OSError, match="No space left"):
            install(part, target)
    assert not target.exists()
    install(part, target)
    assert (target / "inner" / "file.txt").read_text() == "all"
    assert not part.exists()
