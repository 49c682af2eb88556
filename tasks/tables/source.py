"""From what a person writes for a file to its rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rewards.core import UserError
from tasks.tables.columnar import hub_dataset, read_dataset, read_parquet, saved_dataset
from tasks.tables.delimited import read_delimited
from tasks.tables.encodings import scan
from tasks.tables.jsons import read_json, read_jsonl
from tasks.tables.rows import Bad, Row

TEXT = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
SUFFIXES = (*TEXT, ".parquet")
ALLOWED = f"a {', '.join(SUFFIXES)} file, a folder of them, a folder written by save_to_disk, or a hub id (org/name)"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that can be read as often as one likes. sha256: of the content. kind: for a person, `csv, cp1251`.
    encodings: of the text files, those that aren't UTF-8.
    """

    name: str
    kind: str
    sha256: str
    rows: Callable[[], Iterator[Row | Bad]]
    encodings: tuple[str, ...] = ()


def open_source(path: str, encoding: str | None = None, separator: str | None = None, split: str = "train") -> Source:
    """The source that `path` names. Reads a text file once, for its hash and encoding.

    Raises UserError for what is none of ALLOWED.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return _directory(place, encoding, separator, split)
    if place.is_file():
        return _file(place, encoding, separator)
    refuse_absent(path)
    dataset = hub_dataset(path, split)
    return Source(path, "hub dataset", _fingerprint(dataset), partial(read_dataset, dataset, path))


def refuse_absent(path: str) -> None:
    """Raise UserError for a path that nothing is at, unless it may be a hub id."""
    place = Path(path).expanduser()
    is_hub_id = _HUB_ID.fullmatch(path) and place.suffix not in SUFFIXES and not place.parent.is_dir()
    if not (place.exists() or is_hub_id):
        raise UserError(f"{path}: no such file; data is {ALLOWED}")


def _file(path: Path, encoding: str | None, separator: str | None) -> Source:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: unknown kind of file {path.suffix!r}; data is {ALLOWED}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty")
    scanned = scan(path, encoding if suffix in TEXT else "utf-8")
    if suffix == ".parquet":
        return Source(str(path), "parquet", scanned.sha256, partial(read_parquet, path))
    if suffix in (".csv", ".tsv"):
        rows = partial(read_delimited, path, scanned.encoding, separator)
    else:
        rows = partial(read_json if suffix == ".json" else read_jsonl, path, scanned.encoding)
    kind, decoded = f"{suffix[1:]}, {scanned.encoding}", partial(_decoded, path, scanned.encoding, rows)
    others = () if scanned.encoding.startswith("utf-8") else (scanned.encoding,)
    return Source(str(path), kind, scanned.sha256, decoded, others)


def _decoded(path: Path, encoding: str, rows: Callable[[], Iterator[Row | Bad]]) -> Iterator[Row | Bad]:
    """The rows. Raises UserError where an encoding (UTF-7, ISO 2022) has no way to go on behind broken bytes."""
    try:
        yield from rows()
    except UnicodeError as error:
        raise UserError(f"{path}: isn't {encoding} ({error}); give another data.encoding") from error


def _directory(path: Path, encoding: str | None, separator: str | None, split: str) -> Source:
    if _is_saved_dataset(path):
        dataset = saved_dataset(path, split)
        return Source(str(path), "saved dataset", _fingerprint(dataset), partial(read_dataset, dataset, str(path)))
    files = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{path}: no data in this folder; data is {ALLOWED}")
    parts = [_file(each, encoding, separator) for each in files]
    digest = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    kind = f"{len(parts)} files ({', '.join(sorted({part.kind for part in parts}))})"
    others = tuple(sorted({each for part in parts for each in part.encodings}))
    return Source(str(path), kind, digest, lambda: (row for part in parts for row in part.rows()), others)


def _is_saved_dataset(path: Path) -> bool:
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def content_hash(path: Path) -> str | None:
    """SHA-256 of a file, or over the data files of a folder and their names; None where there is neither."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        return None
    tables = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES]
    arrow = path.rglob("*.arrow") if _is_saved_dataset(path) else ()
    saved = [each for each in arrow if not each.name.startswith("cache-")]
    names = sorted({each.relative_to(path) for each in (*tables, *saved)})
    listed = "".join(f"{name}\n{content_hash(path / name)}\n" for name in names)
    return hashlib.sha256(listed.encode()).hexdigest()


def _fingerprint(dataset: object) -> str:
    return str(getattr(dataset, "_fingerprint", dataset))
