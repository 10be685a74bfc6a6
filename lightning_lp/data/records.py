"""A delimited text file as Python's ``csv`` reads it: its bytes, its rows and their line numbers.

Slow, but strict and exact about lines: ``delimited.py`` turns to it for the header and for what went wrong.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from lightning_lp.errors import UserError

_UNIT_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        separator: what stands between two fields, one character or more.
        header: names of the columns of a file that has no header row. Default: line 1 names them.
        encodings: tried in this order.
        quoted: whether double quotes may enclose a field.
    """

    separator: str = ","
    header: tuple[str, ...] | None = None
    encodings: tuple[str, ...] = ("utf-8",)
    quoted: bool = True

    @property
    def delimiter(self) -> str:
        """The separator as one character: neither Arrow nor ``csv`` knows longer ones."""
        return self.separator if len(self.separator) == 1 else _UNIT_SEPARATOR


CSV = Dialect()


@dataclass(frozen=True)
class Source:
    """A file's content as UTF-8, its separator one character."""

    path: Path
    dialect: Dialect
    data: bytes

    @cached_property
    def quoted(self) -> bool:
        """Whether there is a double quote that means one, below line 1."""
        line_end = re.search(rb"[\r\n]", self.data)
        below = line_end.start() if line_end else 0
        return self.dialect.quoted and self.data.find(b'"', below) >= 0

    @cached_property
    def hexadecimal(self) -> bool:
        """Whether there may be a number such as 0x10."""
        return any(
            x in self.data and b"0" + x in self.data for x in (b"x", b"X")
        )  # one byte is found ten times as fast


def open_source(path: Path, dialect: Dialect) -> Source:
    """Read a file's bytes.

    Raises:
        UserError: the file is missing, unreadable or not text in one of the dialect's encodings.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} not found: name another file, or put it there.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, but a file is wanted.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): change its permissions.") from None
    if not data.isascii():
        data = _as_utf8(path, data, dialect.encodings)
    if b"\0" in data:
        line = _line_at(data, data.index(b"\0"))
        raise UserError(f"{path} line {line}: NUL byte found, text wanted: get the file again.")
    if len(dialect.separator) > 1:
        data = data.replace(dialect.separator.encode(), dialect.delimiter.encode())
    return Source(path, dialect, data)


def _as_utf8(path: Path, data: bytes, encodings: tuple[str, ...]) -> bytes:
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            position = error.start
        else:
            return data if encoding == "utf-8" else text.encode()
    raise UserError(
        f"{path} line {_line_at(data, position)}: byte 0x{data[position]:02x} is not UTF-8: "
        "save the file as UTF-8 text."
    )


def _line_at(data: bytes, position: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", data[:position])) + 1


def read_records(source: Source) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and fields of each row that is not blank, the header's too, read strictly."""
    text = io.TextIOWrapper(io.BytesIO(source.data), encoding="utf-8-sig", newline="")
    dialect = source.dialect
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=dialect.delimiter, quoting=quoting, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise UserError(
                f"{source.path} line {line}: a field that begins with a double quote does not end with one: "
                "close it, and double each quote within it."
            ) from None
        if fields:
            yield line, reader.line_num, fields


def check_records(source: Source, width: int) -> None:
    """Refuse the first row that has another number of fields than the header, or an unclosed quote."""
    separator = source.dialect.separator
    for line, _, fields in read_records(source):
        if len(fields) == width:
            continue
        count = len(fields)
        remedy = f"no field may hold {separator!r}"
        if count < width:
            remedy = "add what is missing"
        elif source.dialect.quoted:
            remedy = f"put the title, or whatever field holds a {separator!r}, in double quotes"
        raise UserError(f"{source.path} line {line}: {width} fields wanted, {count} found: {remedy}.")
