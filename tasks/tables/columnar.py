"""Parquet files and Hugging Face datasets, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewards.core import UserError, first_line
from tasks.tables.rows import Bad, Row

_BATCH = 1000


def read_parquet(path: Path) -> Iterator[Row | Bad]:
    """Rows of a Parquet file, numbered from 1. Raises UserError for a file that is none."""
    pyarrow = _library("pyarrow")
    from pyarrow import parquet

    try:
        batches = parquet.ParquetFile(path).iter_batches(batch_size=_BATCH)
        rows = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            yield Row(str(path), number, row)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: can't be read as Parquet: {first_line(error)}") from error


def saved_dataset(path: Path, split: str) -> Any:
    """The dataset that `save_to_disk` wrote; of several splits, the one named."""
    datasets = _library("datasets")
    try:
        return _choose(datasets.load_from_disk(str(path)), split, str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be loaded as a saved dataset: {first_line(error)}") from error


def hub_dataset(name: str, split: str) -> Any:
    """A dataset from the hub, by its id."""
    datasets = _library("datasets")
    try:
        return _choose(datasets.load_dataset(name), split, name)
    except Exception as error:  # the hub, the network and the dataset's own files fail in a dozen ways
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{name}: no such file, and no dataset of that id can be had from the hub: {first_line(error)}"
        ) from error


def read_dataset(dataset: Any, name: str) -> Iterator[Row | Bad]:
    """Rows of a loaded dataset, numbered from 1. It is memory-mapped: batches come and go."""
    number = 0
    for batch in dataset.with_format(None).iter(batch_size=_BATCH):
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield Row(name, number, dict(zip(batch, values, strict=True)))


def _choose(loaded: Any, split: str, name: str) -> Any:
    if not isinstance(loaded, dict):
        return loaded
    if split not in loaded:
        raise UserError(f"{name}: has no split {split!r}; it has {', '.join(loaded)} (data.split chooses one)")
    return loaded[split]


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"this format needs {name}: pip install 'reasoning-toolkit[train]'") from error
