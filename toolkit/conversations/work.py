"""Rows to training rows, a chunk at a time, in as many processes as there are cores."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from rewards.core import UserError
from tasks.tables.rows import Bad, Row
from tasks.tables.shapes import Shape
from toolkit.conversations.reading import Conversation, to_conversation
from toolkit.conversations.rendering import Rendered, Renderer
from toolkit.conversations.report import Counts
from toolkit.conversations.twins import fingerprints
from toolkit.training.rows import IGNORED
from toolkit.training.rows import Row as TrainingRow

CHUNK = 500  # rows that travel together
ALONE = 4 * CHUNK  # rows up to which no process is worth its start


@dataclass(slots=True)
class Chunk:
    """What became of some rows. twins: (prompt, answer, row) of each conversation, near: its features. train,
    validation: Arrow batches.
    """

    counts: Counts = field(default_factory=Counts)
    bad: list[Bad] = field(default_factory=list)
    twins: list[tuple[int, int, int]] = field(default_factory=list)
    near: Any = None
    train: Any = None
    validation: Any = None


@dataclass(slots=True)
class Worker:
    """Turns rows into a Chunk. renderer None: rows are read, checked and counted only."""

    columns: Mapping[str, str]
    renderer: Renderer | None
    validation: float
    max_length: int
    keep_too_long: bool
    shapes: dict[tuple[str, ...], Shape] = field(default_factory=dict)

    def __call__(self, rows: list[Row | Bad]) -> Chunk:
        """Raises UserError for a row that is too long, unless such rows are to be dropped."""
        chunk = Chunk()
        good: list[Conversation] = []
        for row in rows:
            each = row if isinstance(row, Bad) else to_conversation(row, self.columns, self.shapes)
            if isinstance(each, Bad):
                chunk.bad.append(each)
            else:
                good.append(each)
        prints, chunk.near = fingerprints([each.messages for each in good])
        chunk.twins = [(*pair, each.row) for pair, each in zip(prints, good, strict=True)]
        held = {id(each) for (prompt, _), each in zip(prints, good, strict=True) if self.held_out(prompt)}
        if self.renderer is not None and good:
            self._tokenize(self.renderer, good, held, chunk)
        refused = {(bad.file, bad.number) for bad in chunk.bad}
        _count(chunk, [each for each in good if (each.file, each.row) not in refused], len(rows))
        return chunk

    def held_out(self, prompt: int) -> bool:
        """By the prompt's fingerprint: twins land on one side, and more rows move none of the others."""
        return prompt % 10_000 < round(10_000 * self.validation)

    def _tokenize(self, renderer: Renderer, good: list[Conversation], held: set[int], chunk: Chunk) -> None:
        train: list[TrainingRow] = []
        validation: list[TrainingRow] = []
        for each in renderer.rows(good):
            if isinstance(each, Bad):
                chunk.bad.append(each)
            elif self._fits(each, chunk.counts):
                (validation if id(each.source) in held else train).append(each.row)
        chunk.bad.sort(key=lambda bad: bad.number)
        chunk.counts.validation = len(validation)
        chunk.train, chunk.validation = arrow_batch(train), arrow_batch(validation)

    def _fits(self, each: Rendered, counts: Counts) -> bool:
        ids = each.row["input_ids"]
        counts.lengths[bucket(len(ids))] += 1
        if len(ids) > self.max_length:
            if not self.keep_too_long:
                raise UserError(
                    f"{each.source.file}, row {each.source.row}: takes {len(ids)} tokens, model.max_length is "
                    f"{self.max_length}; raise it, or leave such rows out: --set data.too_long=drop"
                )
            counts.too_long += 1
            return False
        counts.sequences += 1
        counts.tokens += len(ids)
        counts.supervised += len(ids) - each.row["labels"].count(IGNORED)
        return True


def _count(chunk: Chunk, good: list[Conversation], rows: int) -> None:
    counts = chunk.counts
    counts.rows, counts.bad, counts.conversations = rows, len(chunk.bad), len(good)
    for each in good:
        counts.turns += len(each.messages)
        system = each.messages[0]["role"] == "system"
        counts.with_system += system
        counts.several_turns += len(each.messages) - system > 2


def arrow_batch(rows: list[TrainingRow]) -> Any:
    """Training rows as an Arrow record batch of two int32 lists."""
    import pyarrow as pa

    kind = pa.list_(pa.int32())
    columns = [pa.array([row[name] for row in rows], kind) for name in ("input_ids", "labels")]
    return pa.record_batch(columns, names=["input_ids", "labels"])


def bucket(length: int) -> int:
    """Lengths are counted in steps of 4 tokens, of an eighth of their size above 63."""
    step = max(4, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


def chunks(rows: Iterable[Row | Bad], worker: Callable[[list[Row | Bad]], Chunk], jobs: int | None) -> Iterator[Chunk]:
    """Every row through the worker, in order. jobs None: a process a core, but none for a small source."""
    parts = _parts(rows)
    first = list(islice(parts, ALONE // CHUNK))
    jobs = jobs or len(os.sched_getaffinity(0))
    if jobs < 2 or len(first) < ALONE // CHUNK:
        yield from map(worker, first)
        yield from map(worker, parts)
        return
    global _worker
    _worker = worker
    # fork: the tokenizer and its template come along; nothing here has started a thread that holds a lock
    with multiprocessing.get_context("fork").Pool(jobs, _begin) as pool:
        waiting: deque[Any] = deque()
        for part in chain(first, parts):
            waiting.append(pool.apply_async(_run, (part,)))
            if len(waiting) > 2 * jobs:  # no more: memory must not grow with the file
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()


_worker: Callable[[list[Row | Bad]], Chunk]


def _begin() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    gc.freeze()  # what the parent has loaded is never garbage
    gc.disable()  # rows make little in cycles (ast.literal_eval some): it is swept once a chunk
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _run(rows: list[Row | Bad]) -> Chunk:
    chunk = _worker(rows)
    gc.collect()
    return chunk


def _parts(rows: Iterable[Row | Bad]) -> Iterator[list[Row | Bad]]:
    iterator = iter(rows)
    while part := list(islice(iterator, CHUNK)):
        yield part
