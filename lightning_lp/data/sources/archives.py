"""The public MovieLens archives: what each must hold, and how one is checked and unpacked."""

import hashlib
import re
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from lightning_lp.data.schema import MOVIES_FILE, RATINGS_FILE
from lightning_lp.errors import UserError

MAX_BYTES = 3 * 1024**3
"""No archive, packed or unpacked, may be larger: ml-32m takes 0.9 GiB."""
MAX_RATIO = 100
"""Unpacked size over packed size: MovieLens' text has about 5, a zip bomb 1,000 and more."""
MAX_MEMBERS = 100
"""Files and folders: ml-100k has 24."""
_CHUNK = 1 << 20


class DownloadError(UserError):
    """The data set could not be fetched: its text says why, and what to do without it."""


@dataclass(frozen=True)
class Dataset:
    """A public archive and what it must hold.

    Attributes:
        name: name of the archive without `.zip`, and of the one folder in it.
        ratings: number of ratings.
        movies: number of movies.
        md5: whether `NAME.zip.md5` is published beside the archive.
        ratings_file: name of the file of ratings; it has a header if it ends in `.csv`.
        movies_file: name of the file of movies; it has a header if it ends in `.csv`.
    """

    name: str
    ratings: int
    movies: int
    md5: bool = True
    ratings_file: str = RATINGS_FILE
    movies_file: str = MOVIES_FILE


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset("ml-latest-small", 100_836, 9_742, md5=False),
        Dataset("ml-100k", 100_000, 1_682, ratings_file="u.data", movies_file="u.item"),
        Dataset("ml-1m", 1_000_209, 3_883, ratings_file="ratings.dat", movies_file="movies.dat"),
        Dataset("ml-25m", 25_000_095, 62_423),
        Dataset("ml-32m", 32_000_204, 87_585),
    )
}


def unpack(dataset: Dataset, archive: Path, folder: Path) -> Path:
    """Check the archive, unpack it into the folder and return the data set's folder inside.

    Raises:
        DownloadError: the archive is damaged, dangerous or not the data set's.
    """
    _check_md5(archive)
    with archive.open("rb") as file:
        if file.read(64).lstrip().startswith(b"<"):
            raise DownloadError(f"{archive.name} is a web page, not a zip archive (a proxy's or a login page?)")
    try:
        with ZipFile(archive) as packed:
            _check_members(archive, packed.infolist())
            _write_members(archive, packed, folder)
    except (BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        raise DownloadError(f"{archive.name} is not a whole zip archive: {error}") from error
    for name, wanted in ((dataset.ratings_file, dataset.ratings), (dataset.movies_file, dataset.movies)):
        path = folder / dataset.name / name
        if not path.is_file():
            raise DownloadError(f"{archive.name} holds no {dataset.name}/{name}")
        if (found := _count_lines(path) - path.name.endswith(".csv")) != wanted:
            raise DownloadError(f"{dataset.name}/{name} has {found:,} rows where {wanted:,} were expected")
    return folder / dataset.name


def _check_md5(archive: Path) -> None:
    """Compare the archive with the .md5 beside it, if there is one."""
    beside = archive.with_name(f"{archive.name}.md5")
    if not beside.is_file():
        return
    text = beside.read_bytes()[:4096].decode("ascii", errors="replace")
    published = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if published is None:
        raise DownloadError(f"{beside.name} holds no MD5 sum but {text[:60]!r}")
    with archive.open("rb") as file:
        computed = hashlib.file_digest(file, "md5").hexdigest()
    if computed != published[0].lower():
        raise DownloadError(f"{archive.name} has the MD5 sum {computed} where {published[0].lower()} is published")


def _check_members(archive: Path, members: list[ZipInfo]) -> None:
    """Refuse an archive that would write outside its folder, or anything but files and folders."""
    if len(members) > MAX_MEMBERS:
        raise DownloadError(f"{archive.name} holds {len(members):,} files, too many to be MovieLens")
    for member in members:
        path, kind = PurePosixPath(member.filename), stat.S_IFMT(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or re.search(r"[\\:]", member.filename):
            raise DownloadError(f"{archive.name} would write outside its folder: {member.filename!r}")
        if kind not in (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG):
            raise DownloadError(f"{archive.name} holds {member.filename!r}, which is not a regular file")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise DownloadError(f"{archive.name} packs {member.filename!r} in an unknown way")


def _write_members(archive: Path, packed: ZipFile, folder: Path) -> None:
    """Unpack, counting the bytes that are written, whatever the archive says of them, and checking their sums."""
    size = archive.stat().st_size
    left = min(MAX_BYTES, MAX_RATIO * size)
    for member in packed.infolist():
        path = folder / member.filename
        try:
            (path if member.is_dir() else path.parent).mkdir(parents=True, exist_ok=True)
            target = None if member.is_dir() else path.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise DownloadError(f"{archive.name} holds {member.filename!r} twice") from error
        if target is None:
            continue
        with target, packed.open(member) as source:
            while chunk := source.read(_CHUNK):
                left -= target.write(chunk)
                if left < 0:
                    raise DownloadError(f"{archive.name} unpacks {size:,} bytes to too many to be MovieLens")


def _count_lines(path: Path) -> int:
    """Number of lines; the last counts with or without a newline."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    return lines + (last != b"\n")
