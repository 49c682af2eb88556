"""Files and directories that are whole or absent, and who may read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eval.compare import read_comparison
from eval.files import cached_directory, whole_directory, write_atomically
from rewards.core import UserError
from toolkit.data import write_lines


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_who_may_read_a_model_s_directory_may_read_its_weights(tmp_path: Path, mask: int, mode: int) -> None:
    """A server runs as another user than the training; safetensors 0.8 gives its files to their owner alone."""
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    with umask(mask), whole_directory(tmp_path / "model") as folder:
        save_file({"weight": torch.zeros(2)}, str(folder / "model.safetensors"))
        (folder / "config.json").write_text("{}", encoding="utf-8")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert modes == {"model.safetensors": mode, "config.json": mode}


@pytest.mark.parametrize(
    "write", [write_atomically, lambda path, text: write_lines(path, [text])], ids=["write_atomically", "write_lines"]
)
def test_a_file_is_whole_on_the_disk_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, str], object]
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    path = tmp_path / "file.txt"
    write(path, "one\n")
    assert len(synced) == 1, "a machine that goes down would leave an empty file under the name"
    with pytest.raises(UnicodeEncodeError):
        write(path, "half of a pair: \ud800\n")
    assert path.read_text(encoding="utf-8") == "one\n"
    assert list(tmp_path.iterdir()) == [path], "no scratch file is left"


def test_of_two_that_fill_a_cache_the_first_stays_for_everyone_to_read(tmp_path: Path) -> None:
    target = tmp_path / "rows"
    with umask(0o022), cached_directory(target, "report") as slow:
        (slow / "report").write_text("second", encoding="utf-8")
        with cached_directory(target, "report") as fast:
            (fast / "report").write_text("first", encoding="utf-8")
    assert (target / "report").read_text(encoding="utf-8") == "first"
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [target]


def test_a_cached_directory_that_is_not_whole_is_said(tmp_path: Path) -> None:
    target = tmp_path / "rows"
    target.mkdir()
    (target / "other").touch()
    with pytest.raises(UserError, match="rows: holds no report; remove"), cached_directory(target, "report"):
        pass
    assert list(tmp_path.iterdir()) == [target]


def test_an_object_that_lacks_a_key_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text('{"verdict": "equal", "p": null}', encoding="utf-8")
    with pytest.raises(UserError, match=r"comparison\.json: lacks overall, reasons; run the recipe again"):
        read_comparison(tmp_path)


@pytest.mark.parametrize("place", ["nodir/x.html", "file/x.html"])
def test_a_place_that_cant_be_written_is_named_as_it_was_asked_for(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"x\.html") as caught:
        write_atomically(tmp_path / place, "text")
    assert caught.value.filename == str(tmp_path / place)
    assert ".tmp" not in str(caught.value)
