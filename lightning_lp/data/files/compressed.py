"""The bytes of a file, unpacked if its first bytes, whatever its name, are those of gzip or zstd."""

from pathlib import Path

import pyarrow as pa

from lightning_lp.errors import UserError

_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"ARROW1": "a Feather file",
    b"ORC": "an ORC file",
}


def read_unpacked(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        UserError: it cannot be read, is damaged, or is packed in another way.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} not found: name another file, or put it there.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, but a file is wanted.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): change its permissions.") from None
    for magic, kind in _OTHERS.items():
        if data.startswith(magic) and b"\0" in data[:64]:
            raise UserError(f"{path} is {kind}: unpack it, or save it as .csv, .csv.gz, .csv.zst or .parquet.")
    codec = next((codec for magic, codec in _CODECS.items() if data.startswith(magic)), None)
    if codec is None:
        return data
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            unpacked: bytes = stream.read()
            return unpacked
    except (OSError, EOFError) as error:
        raise UserError(f"{path} is packed by {codec}, but damaged ({error}): get the file again.") from None
