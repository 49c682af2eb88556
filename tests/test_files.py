"""Directories that are whole or absent, and who may read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eval.files import whole_directory


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
