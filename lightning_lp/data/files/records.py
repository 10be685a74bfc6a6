"""A delimited text file as Python's ``csv`` reads it: its bytes, its rows and their line numbers.

Slow, but strict and exact about lines: ``delimited.py`` turns to it for the header and for what went wrong.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from lightning_lp.data.files.compressed import read_unpacked
from lightning_lp.errors import UserError

_BACKSLASH = ', or put a backslash before each in all of the file (\\")'
_UNIT_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Dialect:
    r"""How a file is written.

    Attributes:
        separator: what stands between two fields, one character or more.
        header: names of the columns of a file that has no header row. Default: line 1 names them.
        encodings: tried in this order.
        quoted: whether double quotes may enclose a field.
        escaped: whether a quote in such a field is written ``\"``, as MySQL does, and not ``""``.
    """

    separator: str = ","
    header: tuple[str, ...] | None = None
    encodings: tuple[str, ...] = ("utf-8",)
    quoted: bool = True
    escaped: bool = False

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
    """Read a file's bytes, unpacked.

    Raises:
        UserError: the file is missing, unreadable, damaged or not text in one of the dialect's encodings.
    """
    data = read_unpacked(path)
    if not data.isascii():
        data = _as_utf8(path, data, dialect.encodings)
    if b"\0" in data:
        line = _line_at(data, data.index(b"\0"))
        raise UserError(f"{path} line {line}: NUL byte found, text wanted: get the file again.")
    if len(dialect.separator) > 1:
        data = data.replace(dialect.separator.encode(), dialect.delimiter.encode())
    source = Source(path, dialect, data)
    return _unescaped(source) if dialect.escaped else source


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


def _unescaped(source: Source) -> Source:
    """The source with the quotes and backslashes that a backslash escapes in quoted fields as the standard has them."""
    ends = re.escape(source.dialect.delimiter.encode() + b"\r\n")
    fields = re.compile(rb'(?:(?<=[%s])|\A)"(?:[^"\\]|\\.|"")*+"(?=[%s]|\Z)' % (ends, ends), re.DOTALL)

    def doubled(field: re.Match[bytes]) -> bytes:
        return re.sub(rb'\\(["\\])', lambda escape: escape[1].replace(b'"', b'""'), field[0])

    return Source(source.path, replace(source.dialect, escaped=True), fields.sub(doubled, source.data))


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
                f"close it, and double each quote within it{_BACKSLASH * dialect.escaped}."
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


def strict_source(source: Source, width: int) -> Source:
    """The source itself if it reads strictly; or with its backslashes as escapes, if it has any before a quote.

    Raises:
        UserError: a row has another number of fields than the header, or a quote is not closed.
    """
    try:
        check_records(source, width)
    except UserError:
        if b'\\"' not in source.data:
            raise
        source = _unescaped(source)
        check_records(source, width)
    return source
