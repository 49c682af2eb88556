"""A stream of items through one function, in chunks, on all cores, in order."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

from rewards.core import ExitCode, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 500  # items that travel together
ALONE = 4 * CHUNK  # items up to which no process is worth its start


def in_chunks(items: Iterable[Item], work: Callable[[list[Item]], Result]) -> Iterator[Result]:
    """The work's result for each chunk of items, in order: a process a core, but none for few items.

    The processes are forked, so `work` and what it holds need no pickling; call this before a GPU is touched.
    """
    parts = _parts(items)
    first = list(islice(parts, ALONE // CHUNK))
    jobs = len(os.sched_getaffinity(0))
    if jobs < 2 or len(first) < ALONE // CHUNK:
        yield from map(work, first)
        yield from map(work, parts)
        return
    global _work
    _work = work
    # fork: a tokenizer and its template come along; nothing here has started a thread that holds a lock
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _begin)
    try:
        waiting: deque[Any] = deque()
        for part in chain(first, parts):
            with _uninterrupted():
                waiting.append(pool.submit(_run, part))
            if len(waiting) > 2 * jobs:  # no more: memory must not grow with the stream
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            f"one of {jobs} processes that work on the rows was killed, most likely for want of memory: free some, and "
            "run the same command again",
            ExitCode.FAILED,
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits: the first task starts the processes, and half-started ones would be left behind."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work: Callable[[list[Any]], Any]


def _begin() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    gc.freeze()  # what the parent has loaded is never garbage
    gc.disable()  # little of the work is in cycles (some of ast.literal_eval's): they are swept once a chunk
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _run(part: list[Any]) -> Any:
    result = _work(part)
    gc.collect()
    return result


def _parts(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while part := list(islice(iterator, CHUNK)):
        yield part
