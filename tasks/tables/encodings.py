"""What a text file is written in: a byte-order mark says it, else UTF-8 if it decodes, else Windows-1251."""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path

from rewards.core import UserError

FALLBACK = "cp1251"  # what Russian spreadsheets save when they don't save UTF-8
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the bytes tells: the SHA-256, and the encoding."""

    sha256: str
    encoding: str


def scan(path: Path, encoding: str | None = None) -> Scan:
    """Read the file once, a block at a time. `encoding` given: only the hash is computed, and a mark looked for.

    Raises UserError for a file that can't be read, for what is no encoding of text, and for UTF-16 that doesn't say in
    which order its bytes are.
    """
    given = None if encoding is None else _codec(encoding)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            block = file.read(_BLOCK)
            marked = next((name for mark, name in _MARKS if block.startswith(mark)), None)
            found = marked if given is None else _by_mark(path, given, marked)
            decoder = codecs.getincrementaldecoder("utf-8")()
            while block:
                digest.update(block)
                found = found or _refused(decoder, block)
                block = file.read(_BLOCK)
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    return Scan(digest.hexdigest(), found or "utf-8")


def _codec(encoding: str) -> str:
    """Python's name of an encoding. Raises UserError for none, and for one that isn't of text (hex, idna)."""
    try:
        b"a,b\n".decode(encoding, errors_for(codecs.lookup(encoding).name))
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise UserError(f"unknown encoding {encoding!r} of text; for instance: utf-8, cp1251, utf-16") from error


def _by_mark(path: Path, given: str, marked: str | None) -> str:
    """The encoding given; where the file has its mark, the one that takes the mark off."""
    if marked is not None and given.startswith(marked.removesuffix("-sig")):
        return marked
    if given in ("utf-16", "utf-32"):
        raise UserError(f"{path}: has no byte-order mark, so data.encoding must say {given}-le or {given}-be")
    return given


def _refused(decoder: codecs.IncrementalDecoder, block: bytes) -> str | None:
    """None while the bytes are UTF-8. Else what the file must be: UTF-8 with a few broken rows, or the fallback."""
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        text = block.decode("utf-8", "replace")
        broken = text.count("\ufffd")
        others = sum(character > "\x7f" for character in text) - broken
        return "utf-8" if broken <= others else FALLBACK  # Windows-1251 forms next to no UTF-8 letters by chance
    return None


def errors_for(encoding: str) -> str:
    """How a reader decodes: what is broken becomes a mark in its row, never an exception over the file."""
    return "replace" if encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")) else "surrogateescape"


def unreadable(text: str) -> str | None:
    """Why `text` can't be used: bytes of another encoding (kept as surrogates by the reader), or a NUL."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"holds something that isn't Unicode text (at character {error.start + 1}), as of another encoding"
    return "holds a NUL character" if "\0" in text else None
