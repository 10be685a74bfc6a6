"""`fetch` against a server of our own, well- and ill-behaved."""

import hashlib
import io
import os
import stat
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lightning_lp.data.sources import archives, download
from lightning_lp.data.sources.download import DATASETS, Dataset, DownloadError, default_cache_dir, fetch
from lightning_lp.errors import UserError

NAME = "tiny"
RATINGS = b"userId,movieId,rating,timestamp\n" + b"".join(b"%d,%d,4.0,9\n" % (i, i) for i in range(50))
MOVIES = b"movieId,title,genres\n" + b"\n".join(b"%d,Film %d,Drama" % (i, i) for i in range(50))
FILES = {f"{NAME}/ratings.csv": RATINGS, f"{NAME}/movies.csv": MOVIES}
Answer = Callable[[BaseHTTPRequestHandler], None]


def pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def send(body: bytes, status: int = 200, promised: int | None = None, pause: float = 0.0) -> Answer:
    """An answer that promises `promised` bytes and sends `body`, byte by byte if it pauses between."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if promised is None else promised))
        handler.end_headers()
        for start in range(0, len(body), 1 if pause else max(1, len(body))):
            handler.wfile.write(body[start : start + (1 if pause else len(body))])
            if pause and handler.server.over.wait(pause):
                return

    return answer


def stall(handler: BaseHTTPRequestHandler) -> None:
    """Send half of the archive, then nothing until the test is over."""
    send(GOOD[: len(GOOD) // 2], promised=len(GOOD))(handler)
    handler.server.over.wait(5)


def trickle_header(handler: BaseHTTPRequestHandler) -> None:
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b"H")


GOOD = pack(FILES)
GOOD_MD5 = send(f"MD5 ({NAME}.zip) = {hashlib.md5(GOOD).hexdigest().upper()}\n".encode())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        try:
            self.server.answers.get(self.path, send(b"not found", 404))(self)
        except ConnectionError:  # the client gave up, as it should
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.over = threading.Event()
        self.requests: list[str] = []
        self.answers: dict[str, Answer] = {f"/{NAME}.zip": send(GOOD), f"/{NAME}.zip.md5": GOOD_MD5}
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setitem(DATASETS, NAME, Dataset(NAME, ratings=50, movies=50))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()
    for thread in threading.enumerate():
        if thread.name.startswith("download "):
            thread.join(5)
            assert not thread.is_alive()


def left_in(folder: Path) -> list[str]:
    """What is in the cache, but for the empty lock file: removing that would break the lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != f".{NAME}.lock")


def test_good_archive_is_installed_and_then_found_without_a_request(server: Server, tmp_path: Path):
    cache = tmp_path / "not" / "yet"
    folder = fetch(NAME, cache, base_url=server.url)
    assert folder == cache / NAME
    assert left_in(cache) == [NAME]
    assert (folder / "ratings.csv").read_bytes() == RATINGS
    assert (folder / "movies.csv").read_bytes() == MOVIES
    assert sorted(server.requests) == [f"/{NAME}.zip", f"/{NAME}.zip.md5"]
    assert fetch(NAME, cache, base_url=server.url) == folder
    assert len(server.requests) == 2


def test_an_archive_with_a_folder_and_modes_as_zip_makes_them(server: Server, tmp_path: Path, monkeypatch):
    buffer, mode = io.BytesIO(), {True: stat.S_IFDIR | 0o755, False: stat.S_IFREG | 0o644}
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {f"{NAME}/": b"", **FILES}.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode[name.endswith("/")] << 16
            archive.writestr(member, content)
    monkeypatch.setitem(DATASETS, NAME, Dataset(NAME, 50, 50, md5=False))
    server.answers[f"/{NAME}.zip"] = send(buffer.getvalue())
    folder = fetch(NAME, tmp_path, base_url=server.url)
    assert sorted(path.name for path in folder.iterdir()) == ["movies.csv", "ratings.csv"]


def test_no_md5_is_asked_for_where_none_is_published(server: Server, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(DATASETS, NAME, Dataset(NAME, 50, 50, md5=False))
    fetch(NAME, tmp_path, base_url=server.url)
    assert server.requests == [f"/{NAME}.zip"]


def test_files_without_header(server: Server, tmp_path: Path, monkeypatch):
    archive = pack({f"{NAME}/u.data": b"1\t1\t5\t9\n" * 3, f"{NAME}/u.item": b"1|\xe9\n2|a"})
    dataset = Dataset(NAME, 3, 2, md5=False, ratings_file="u.data", movies_file="u.item")
    monkeypatch.setitem(DATASETS, NAME, dataset)
    server.answers[f"/{NAME}.zip"] = send(archive)
    assert (fetch(NAME, tmp_path, base_url=server.url) / "u.data").is_file()


def symlink(to: str, *through: str) -> bytes:
    """A link, and files that would be written through it."""
    buffer, link = io.BytesIO(), zipfile.ZipInfo(f"{NAME}/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, to)
        for name in through:
            archive.writestr(name, "x")
    return buffer.getvalue()


def packed_twice(*names: str) -> bytes:
    """Files with these names, as ``zipfile`` warns of but writes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def telling_a_size_of(size: int, files: dict[str, bytes]) -> bytes:
    """An archive whose directory lies about the unpacked size of each file."""
    content, place = bytearray(pack(files)), 0
    while (place := content.find(b"PK\1\2", place)) >= 0:
        content[place + 24 : place + 28] = size.to_bytes(4, "little")
        place += 4
    return bytes(content)


def with_wrong_crc() -> bytes:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        crc = archive.infolist()[0].CRC.to_bytes(4, "little")
    return GOOD.replace(crc, b"\0\1\2\3")


BAD_ARCHIVES = {
    "web page": (b"  \n<!DOCTYPE html><html>Sign in</html>", "web page"),
    "not a zip": (b"hello" * 100, "not a whole zip"),
    "half a zip": (GOOD[: len(GOOD) // 2], "not a whole zip"),
    "empty": (b"", "not a whole zip"),
    "crc": (with_wrong_crc(), "not a whole zip archive: Bad CRC"),
    "many ratings": (pack({**FILES, f"{NAME}/ratings.csv": RATINGS + b"1,2,3.0,9\n"}), "51 rows where 50"),
    "few movies": (pack({**FILES, f"{NAME}/movies.csv": MOVIES[: MOVIES.rindex(b"\n")]}), "49 rows where 50"),
    "file missing": (pack({f"{NAME}/ratings.csv": RATINGS}), f"no {NAME}/movies.csv"),
    "parent": (pack({**FILES, "../../outside.txt": b"x"}), "outside its folder"),
    "absolute": (pack({**FILES, "/tmp/outside.txt": b"x"}), "outside its folder"),
    "backslash": (pack({**FILES, f"{NAME}\\..\\x": b"x"}), "outside its folder"),
    "link": (symlink("/etc/passwd"), "not a regular file"),
    "link to a folder": (symlink("../..", f"{NAME}/link/outside.txt"), "not a regular file"),
    "drive": (pack({**FILES, "C:/outside.txt": b"x"}), "outside its folder"),
    "twice": (packed_twice(f"{NAME}/a", f"{NAME}/a"), "holds 'tiny/a' twice"),
    "file and folder": (packed_twice(f"{NAME}/a", f"{NAME}/a/b"), "holds 'tiny/a/b' twice"),
    "folder and file": (packed_twice(f"{NAME}/a/b", f"{NAME}/a"), "holds 'tiny/a' twice"),
    "bomb": (pack({**FILES, f"{NAME}/zeros": bytes(1 << 20)}), "too many"),
    "bomb that lies": (telling_a_size_of(5, {f"{NAME}/zeros": bytes(1 << 20)}), "Bad CRC"),
    "many small files": (packed_twice(*(f"{NAME}/{i}" for i in range(200))), "holds 200 files, too many"),
    "many bombs": (pack({f"{NAME}/{i}": bytes(1 << 20) for i in range(20)}), "too many"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_bad_archive_is_refused_and_leaves_nothing(server: Server, tmp_path: Path, monkeypatch, case: str):
    body, words = BAD_ARCHIVES[case]
    cache = tmp_path / "cache"
    monkeypatch.setitem(DATASETS, NAME, Dataset(NAME, 50, 50, md5=False))
    server.answers[f"/{NAME}.zip"] = send(body)
    with pytest.raises(DownloadError, match=words) as error:
        fetch(NAME, cache, base_url=server.url)
    for remedy in (f"{NAME}.zip", str(cache), "--data.root DIR"):
        assert remedy in str(error.value)
    assert left_in(cache) == []
    assert list(tmp_path.iterdir()) == [cache]
    server.answers[f"/{NAME}.zip"] = send(GOOD)
    assert fetch(NAME, cache, base_url=server.url).is_dir()


def test_unpacking_stops_at_the_limit_whatever_the_archive_says(server: Server, tmp_path: Path, monkeypatch):
    """What is counted is what is written: no more than one read beyond the limit."""
    written = []

    class Counting(io.FileIO):
        def write(self, content: bytes) -> int:
            written.append(len(content))
            return super().write(content)

    usual = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: (Counting if mode == "xb" else usual)(path, mode))
    monkeypatch.setattr(archives, "MAX_BYTES", 5000)
    monkeypatch.setattr(archives, "_CHUNK", 1000)
    server.answers[f"/{NAME}.zip"] = send(pack({f"{NAME}/noise": os.urandom(100_000)}))
    monkeypatch.setitem(DATASETS, NAME, Dataset(NAME, 50, 50, md5=False))
    with pytest.raises(DownloadError, match="too many to be MovieLens"):
        fetch(NAME, tmp_path, base_url=server.url)
    assert sum(written) == 6000
    assert left_in(tmp_path) == []


BAD_ANSWERS: dict[str, tuple[str, Answer, str]] = {
    "404": (".zip", send(b"no", 404), "answered 404"),
    "503": (".zip", send(b"no", 503), "answered 503"),
    "cut off": (".zip", send(GOOD[: len(GOOD) // 2], promised=len(GOOD)), "could not be downloaded|cut off"),
    "stall": (".zip", stall, "timed out"),
    "hang-up": (".zip", lambda handler: None, "could not be downloaded"),
    "md5 missing": (".zip.md5", send(b"no", 404), "answered 404"),
    "md5 wrong": (".zip.md5", send(b"0" * 32 + b"  tiny.zip"), "has the MD5 sum"),
    "md5 is none": (".zip.md5", send(b"<html>"), "holds no MD5"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_bad_answer_is_refused_and_leaves_nothing(server: Server, tmp_path: Path, case: str):
    suffix, answer, words = BAD_ANSWERS[case]
    good = dict(server.answers)
    server.answers[f"/{NAME}{suffix}"] = answer
    with pytest.raises(DownloadError, match=words):
        fetch(NAME, tmp_path, base_url=server.url, timeout=0.3)
    assert left_in(tmp_path) == []
    server.answers = good
    assert fetch(NAME, tmp_path, base_url=server.url).is_dir()


@pytest.mark.parametrize("answer", [send(GOOD, pause=0.02), trickle_header, stall])
def test_deadline_bounds_a_trickle(server: Server, tmp_path: Path, answer: Answer):
    server.answers[f"/{NAME}.zip"] = answer
    start = time.monotonic()
    with pytest.raises(DownloadError, match="within the time"):
        fetch(NAME, tmp_path, base_url=server.url, timeout=5, deadline=0.4)
    assert time.monotonic() - start < 2
    assert left_in(tmp_path) == []
    server.answers[f"/{NAME}.zip"] = send(GOOD)
    assert fetch(NAME, tmp_path, base_url=server.url, deadline=5).is_dir()


def test_endless_body_is_stopped(server: Server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 100)
    with pytest.raises(DownloadError, match="larger than 100"):
        fetch(NAME, tmp_path, base_url=server.url)
    assert left_in(tmp_path) == []


def test_nobody_listens(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match="could not be downloaded"):
        fetch(NAME, tmp_path, base_url="http://127.0.0.1:9", timeout=1)
    assert left_in(tmp_path) == []


def test_archive_put_there_by_hand_needs_no_network(server: Server, tmp_path: Path):
    (tmp_path / f"{NAME}.zip").write_bytes(GOOD)
    assert fetch(NAME, tmp_path, base_url=server.url).is_dir()
    assert server.requests == []
    assert left_in(tmp_path) == [NAME, f"{NAME}.zip"]


def test_bad_archive_put_there_by_hand_is_left_alone(server: Server, tmp_path: Path):
    (tmp_path / f"{NAME}.zip").write_bytes(GOOD[:-30])
    with pytest.raises(DownloadError, match=r"tiny\.zip is not a whole zip"):
        fetch(NAME, tmp_path, base_url=server.url)
    assert left_in(tmp_path) == [f"{NAME}.zip"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_leaves_nothing(server: Server, tmp_path: Path, monkeypatch, interrupt):
    def replace(*args: object) -> None:
        raise interrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(interrupt):
        fetch(NAME, tmp_path, base_url=server.url)
    assert left_in(tmp_path) == []


def test_interrupt_during_the_transfer_leaves_nothing(server: Server, tmp_path: Path, monkeypatch):
    def interrupted(*args: object, **kwargs: object) -> None:
        time.sleep(0.1)
        raise KeyboardInterrupt

    server.answers[f"/{NAME}.zip.md5"] = send(GOOD, pause=0.01)
    monkeypatch.setattr(download, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(NAME, tmp_path, base_url=server.url)
    assert left_in(tmp_path) == []


def test_what_a_killed_process_left_is_cleared(server: Server, tmp_path: Path):
    (tmp_path / f".{NAME}.part" / "unpacked").mkdir(parents=True)
    fetch(NAME, tmp_path, base_url=server.url)
    assert left_in(tmp_path) == [NAME]


def test_several_at_once_download_once(server: Server, tmp_path: Path):
    server.answers[f"/{NAME}.zip"] = send(GOOD, pause=0.2 / len(GOOD))
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: fetch(NAME, tmp_path, base_url=server.url), range(4)))
    assert folders == [tmp_path / NAME] * 4
    assert server.requests.count(f"/{NAME}.zip") == 1


def test_waiting_for_another_process_ends_at_the_deadline(server: Server, tmp_path: Path):
    with (
        download.FileLock(tmp_path / f".{NAME}.lock"),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(DownloadError, match="another process"),
    ):
        pool.submit(fetch, NAME, tmp_path, base_url=server.url, deadline=0.2).result()
    assert server.requests == []


def test_cache_folder_that_cannot_be_made(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="LIGHTNING_LP_CACHE"):
        fetch(NAME, tmp_path / "file" / "cache", base_url=server.url)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_cache_folder_that_cannot_be_written(server: Server, tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(DownloadError, match="LIGHTNING_LP_CACHE"):
        fetch(NAME, tmp_path, base_url=server.url)
    tmp_path.chmod(0o700)


def test_unknown_name(tmp_path: Path):
    with pytest.raises(UserError, match="ml-latest-small"):
        fetch("ml-3m", tmp_path)


def test_default_cache_dir(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    for variable in ("LIGHTNING_LP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert default_cache_dir() == Path("/home/ada/.cache/lightning_lp")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/lightning_lp")
    monkeypatch.setenv("LIGHTNING_LP_CACHE", "~/mine")
    assert default_cache_dir() == Path("/home/ada/mine")
