"""From a file to tokenized rows on disk, once: the result is cached by the content of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from eval.files import cached_directory, read_json, write_json
from eval.prompts import load_tokenizer, stop_token_ids, template_hash
from rewards.core import UserError
from tasks.tables.rows import Bad
from tasks.tables.source import Source
from toolkit.config import ConversationsConfig
from toolkit.conversations.reading import source_of
from toolkit.conversations.rendering import Renderer
from toolkit.conversations.report import Tally
from toolkit.conversations.work import Worker, arrow_batch
from toolkit.models import cache_folder
from toolkit.parallel import in_chunks
from toolkit.templates import use_template
from toolkit.training.rows import rendered_by

VERSION = "8"  # part of the cache key: raise it when the rows come out otherwise
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
    adapter: Path | None = None,
) -> Prepared:
    """Rows of every good conversation, from the cache where it has them.

    adapter: on the model, where training goes on with one; the tokenizer is then the adapter's, as in training.
    quarantine: where to copy the bad rows, whether preparing ends well or not. Raises UserError when too many rows are
    bad, when one is too long and config.too_long is `error`, and when the template and the tokenizer don't fit.
    """
    source = source_of(config)
    tokenizer = tokenizer_for(adapter or model_dir, chat_template)
    key = _key(config, source, max_length, rendered_by(tokenizer, model_dir))
    target = cache_folder("conversations") / key
    if not (target / REPORT).is_file():
        renderer = Renderer(tokenizer, stop_token_ids(tokenizer, model_dir))
        worker = Worker(config.columns.names(), renderer, config.validation, max_length, config.too_long == "drop")
        with cached_directory(target, REPORT) as scratch:
            try:
                report = _write(source, worker, Tally(source.name, config.max_bad_share), scratch)
            finally:
                _copy(scratch / QUARANTINE, quarantine)
            facts = {"template": template_hash(tokenizer), "sha256": source.sha256}
            write_json(scratch / REPORT, {**report, **facts_of(source), **facts})
    _copy(target / QUARANTINE, quarantine)
    return Prepared(target, read_json(target / REPORT, f"remove {target}"))


def facts_of(source: Source) -> dict[str, Any]:
    """What a report says of its source."""
    return {"kind": source.kind, "encodings": source.encodings}


def open_quarantine(path: Path) -> TextIO:
    """A file for `write_bad`. Half a surrogate pair, which broken files hold, is written as JSON's escape of it."""
    return path.open("w", encoding="utf-8", errors="backslashreplace")


def write_bad(file: TextIO, bad: Sequence[Bad]) -> None:
    """Write bad rows, one JSON object a line, the letters as they are."""
    file.writelines(json.dumps(each.to_json(), ensure_ascii=False) + "\n" for each in bad)


def _copy(file: Path, target: Path | None) -> None:
    if target is not None and file.is_file():
        shutil.copyfile(file, target)


def _key(config: ConversationsConfig, source: Source, max_length: int, renderer: Sequence[Any]) -> str:
    """24 hex digits over the content, the options, and what the rows are rendered by."""
    parts = [VERSION, source.sha256, config.model_dump(mode="json"), max_length, *renderer]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _write(source: Source, worker: Worker, tally: Tally, folder: Path) -> dict[str, Any]:
    """One pass over the source: fill the folder, give the report. Memory holds some chunks, and 48 bytes a row."""
    import pyarrow as pa

    schema = arrow_batch([]).schema
    with (
        open_quarantine(folder / QUARANTINE) as quarantine,
        pa.OSFile(str(folder / "train.arrow"), "wb") as train,
        pa.OSFile(str(folder / "validation.arrow"), "wb") as validation,
        pa.ipc.new_stream(train, schema) as to_train,
        pa.ipc.new_stream(validation, schema) as to_validation,
    ):
        for chunk in in_chunks(source.rows(), worker):
            write_bad(quarantine, chunk.bad)
            quarantine.flush()
            for writer, batch in ((to_train, chunk.train), (to_validation, chunk.validation)):
                if batch is not None:
                    writer.write_batch(batch)
            tally.add(chunk.counts, chunk.bad, chunk.twins, chunk.near)
    tally.check()
    if tally.counts.sequences == tally.counts.validation:
        raise UserError(f"{source.name}: no conversation is left to train on: {_why_none(tally, worker)}")
    return tally.to_json()


def _why_none(tally: Tally, worker: Worker) -> str:
    counts = tally.counts
    reasons = []
    if counts.too_long:
        reasons.append(
            f"{counts.too_long} of {counts.too_long + counts.sequences} sequences are longer than model.max_length "
            f"({worker.max_length}), the longest takes about {max(counts.lengths)} tokens; raise it"
        )
    if counts.validation:
        reasons.append(f"{counts.validation} are held out for validation; lower data.validation ({worker.validation})")
    return "; ".join(reasons) or "the template leaves nothing of them"
