"""From a file to tokenized rows on disk, once: the result is cached by the content of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from eval.files import read_json, write_json
from eval.prompts import load_tokenizer, stop_token_ids, template_hash
from rewards.core import UserError
from tasks.tables.rows import Bad
from tasks.tables.source import Source
from toolkit.config import ConversationsConfig
from toolkit.conversations.reading import Conversation, read_conversations, source_of
from toolkit.conversations.rendering import Rendered, Renderer
from toolkit.conversations.report import Tally
from toolkit.models import cache_dir
from toolkit.templates import use_template
from toolkit.training.rows import IGNORED

VERSION = "1"  # part of the cache key: raise it when the rows come out otherwise
BATCH = 500  # conversations that are rendered and tokenized together
REPORT = "report.json"
QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder with train.arrow, validation.arrow, quarantine.jsonl and report.json."""

    dir: Path
    report: dict[str, Any]


def tokenizer_for(model_dir: Path, chat_template: str | None) -> Any:
    """The model's tokenizer under the template that a recipe names."""
    tokenizer = load_tokenizer(model_dir)
    use_template(tokenizer, chat_template)
    return tokenizer


def prepare(
    config: ConversationsConfig,
    model_dir: Path,
    chat_template: str | None,
    max_length: int,
    quarantine: Path | None = None,
) -> Prepared:
    """Rows of every good conversation, from the cache where it has them.

    quarantine: where to copy the bad rows, whether preparing ends well or not. Raises UserError when too many rows are
    bad, when one is too long and config.too_long is `error`, and when the template and the tokenizer don't fit.
    """
    source = source_of(config)
    tokenizer = tokenizer_for(model_dir, chat_template)
    root = cache_dir() / "conversations"
    target = root / _key(config, source, tokenizer, max_length)
    if not (target / REPORT).is_file():
        root.mkdir(parents=True, exist_ok=True)
        renderer = Renderer(tokenizer, stop_token_ids(tokenizer, model_dir))
        scratch = Path(tempfile.mkdtemp(dir=root, prefix=".preparing-"))
        try:
            report = _Writer(config, source, renderer, max_length, scratch).write()
            facts = {"template": template_hash(tokenizer), "kind": source.kind, "sha256": source.sha256}
            write_json(scratch / REPORT, {**report, **facts})
            if not target.exists():  # another process may have been faster; its result is as good
                scratch.replace(target)
        finally:
            _copy(scratch / QUARANTINE, quarantine)
            shutil.rmtree(scratch, ignore_errors=True)
    _copy(target / QUARANTINE, quarantine)
    return Prepared(target, read_json(target / REPORT, f"remove {target}"))


def _copy(file: Path, target: Path | None) -> None:
    if target is not None and file.is_file():
        shutil.copyfile(file, target)


def _key(config: ConversationsConfig, source: Source, tokenizer: Any, max_length: int) -> str:
    """24 hex digits over the content, the options, the template and the tokenizer."""
    options = config.model_dump(mode="json")
    parts = [VERSION, source.sha256, options, max_length, tokenizer.chat_template, tokenizer.backend_tokenizer.to_str()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


class _Writer:
    """One pass over a source. Memory holds a batch, and 24 bytes for each row."""

    def __init__(
        self, config: ConversationsConfig, source: Source, renderer: Renderer, max_length: int, folder: Path
    ) -> None:
        self.config, self.source, self.renderer = config, source, renderer
        self.max_length, self.folder = max_length, folder
        self.tally = Tally(source.name, config.max_bad_share)

    def write(self) -> dict[str, Any]:
        """Fill the folder; give the report."""
        import pyarrow as pa

        kind = pa.list_(pa.int32())
        schema = pa.schema({"input_ids": kind, "labels": kind})
        with (
            (self.folder / QUARANTINE).open("w", encoding="utf-8") as self.quarantine,
            pa.OSFile(str(self.folder / "train.arrow"), "wb") as train,
            pa.OSFile(str(self.folder / "validation.arrow"), "wb") as validation,
            pa.ipc.new_stream(train, schema) as to_train,
            pa.ipc.new_stream(validation, schema) as to_validation,
        ):
            for batch in _batches(self._good()):
                rows = self._rendered([each for each, _ in batch])
                held = {id(each) for each, prompt in batch if self._held_out(prompt)}
                for writer, wanted in ((to_train, False), (to_validation, True)):
                    chosen = [each.row for each in rows if (id(each.source) in held) is wanted]
                    self.tally.counts.validation += len(chosen) * wanted
                    columns = [pa.array([row[name] for row in chosen], kind) for name in ("input_ids", "labels")]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
        self.tally.check()
        counts = self.tally.counts
        if not counts.sequences:
            raise UserError(f"{self.source.name}: no conversation is left to train on")
        return self.tally.to_json()

    def _good(self) -> Iterator[tuple[Conversation, int]]:
        for each in read_conversations(self.source, self.config.columns.names()):
            if isinstance(each, Bad):
                self._bad(each)
            else:
                yield each, self.tally.good(each)

    def _bad(self, each: Bad) -> None:
        self.quarantine.write(json.dumps(each.to_json(), ensure_ascii=True) + "\n")
        self.tally.bad(each)

    def _held_out(self, prompt: int) -> bool:
        """By the prompt's fingerprint: twins land on one side, and more rows move none of the others."""
        return prompt % 10_000 < round(10_000 * self.config.validation)

    def _rendered(self, batch: list[Conversation]) -> list[Rendered]:
        rows = []
        for each in self.renderer.rows(batch):
            if isinstance(each, Bad):
                self.tally.counts.rows -= 1  # `good` counted it already
                self.tally.counts.conversations -= 1
                self._bad(each)
            elif self._fits(each):
                rows.append(each)
        return rows

    def _fits(self, each: Rendered) -> bool:
        counts, ids = self.tally.counts, each.row["input_ids"]
        if len(ids) > self.max_length:
            if self.config.too_long == "error":
                raise UserError(
                    f"{each.source.file}, row {each.source.row}: takes {len(ids)} tokens, model.max_length is "
                    f"{self.max_length}; raise it, or leave such rows out: --set data.too_long=drop"
                )
            counts.too_long += 1
            return False
        counts.sequences += 1
        counts.tokens += len(ids)
        counts.supervised += len(ids) - each.row["labels"].count(IGNORED)
        counts.lengths[_bucket(len(ids))] += 1
        return True


def _bucket(length: int) -> int:
    """Lengths are counted in steps of 4 tokens, of an eighth of their size above 63."""
    step = max(4, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


def _batches(items: Iterable[tuple[Conversation, int]]) -> Iterator[list[tuple[Conversation, int]]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
