"""Rows to training rows, a chunk at a time (`toolkit.parallel`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Chunk:
    """What became of some rows. twins: (prompt, answer, row, file) of each conversation, near: its features.
    train, validation: Arrow batches.
    """

    counts: Counts = field(default_factory=Counts)
    bad: list[Bad] = field(default_factory=list)
    twins: list[tuple[int, int, int, str]] = field(default_factory=list)
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
    drop_too_long: bool
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
        chunk.twins = [(*pair, each.row, each.file) for pair, each in zip(prints, good, strict=True)]
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
        chunk.bad.sort(key=lambda bad: (bad.file, bad.number))
        chunk.counts.validation = len(validation)
        chunk.train, chunk.validation = arrow_batch(train), arrow_batch(validation)

    def _fits(self, each: Rendered, counts: Counts) -> bool:
        ids = each.row["input_ids"]
        counts.lengths[bucket(len(ids))] += 1
        if len(ids) > self.max_length:
            if not self.drop_too_long:
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
        counts.silent += len(each.silent)
        counts.noted.update(each.noted)
        counts.first_noted += dict.fromkeys(each.noted, f"{each.file}, row {each.row}")


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
