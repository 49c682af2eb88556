"""What the processes of one training have to agree on. Alone, a process agrees with itself at no cost."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def rank() -> int:
    """This process's number over all hosts, from 0; torchrun and accelerate set it."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def gathered(rows: list[Any]) -> list[Any]:
    """The rows of all processes, in the order of their numbers. Every process has to call it as often."""
    if world() == 1:
        return rows
    from accelerate.utils import gather_object

    _state()
    found: list[Any] = gather_object(rows)
    return found


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world() > 1:
        _state().wait_for_everyone()


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Several processes one after the other, so that the second finds what the first left in a cache.

    A file's lock and no collective: it may be held before a GPU is touched.
    """
    if world() == 1:
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lost_peer(error: BaseException) -> bool:
    """Whether this is what a process gets to see when another one has ended."""
    signs = ("gloo", "nccl", "connection closed by peer", "connection reset", "torch.distributed")
    return world() > 1 and any(sign in f"{type(error).__name__} {error}".lower() for sign in signs)


def _state() -> Any:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
