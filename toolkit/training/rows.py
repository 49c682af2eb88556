"""Training rows: token ids and labels, rendered by the same functions that evaluation uses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

from eval.files import whole_file
from eval.prompts import stop_token_ids
from rewards.core import Example, Message, UserError
from rewards.response import render
from toolkit.data import file_hash, read_examples
from toolkit.models import cache_folder

IGNORED = -100  # the label that cross-entropy leaves out
BATCH = 500  # rows that are tokenized together
VERSION = 4  # part of the cache key: raise it when the rows come out otherwise


class Row(TypedDict):
    """One sequence: labels are the ids of the completion, IGNORED before it."""

    input_ids: list[int]
    labels: list[int]


def sft_rows(examples: Iterable[Example], tokenizer: Any, model_dir: Any, max_length: int, direct: bool) -> list[Row]:
    """A row for each example: prompt and gold response; only the response and the token that ends it are labelled.

    Raises UserError for one longer than max_length (cut examples would teach cut answers), and for a template that
    renders a finished conversation unlike its prompt or ends no turn: a model trained so never stops.
    """
    to_rows = _Tokenizing(tokenizer, stop_token_ids(tokenizer, model_dir), max_length, direct)
    iterator = iter(examples)
    return [row for batch in iter(lambda: list(islice(iterator, BATCH)), []) for row in to_rows(batch)]


@dataclass(slots=True)
class _Tokenizing:
    """Examples to rows. renderer: made at the first call, in the process that uses it."""

    tokenizer: Any
    stop_ids: Sequence[int]
    max_length: int
    direct: bool
    renderer: Any = None

    def __call__(self, batch: Sequence[Example]) -> list[Row]:
        from tasks.tables.rows import Bad
        from toolkit.conversations.reading import Conversation
        from toolkit.conversations.rendering import Renderer

        if self.renderer is None:
            self.renderer = Renderer(self.tokenizer, self.stop_ids)
        chats = [Conversation(each.id, place, chat_of(each, self.direct)) for place, each in enumerate(batch)]
        rows: list[Row] = []
        for found in self.renderer.rows(chats):
            if isinstance(found, Bad):
                raise UserError(f"example {found.file!r}: {found.reason}")
            if len(found.row["input_ids"]) > self.max_length:
                raise UserError(
                    f"example {found.source.file!r} takes {len(found.row['input_ids'])} tokens, model.max_length is "
                    f"{self.max_length}; raise it or shorten the prompt"
                )
            rows.append(found.row)
        return rows


def chat_of(example: Example, direct: bool) -> tuple[Message, ...]:
    """The prompt and the gold response, as turns; direct: with an empty reasoning block."""
    text = render(None if direct else example.reasoning, example.answers[0])
    return (*example.messages, {"role": "assistant", "content": text})


def cached_rows(examples: Path, tokenizer: Any, model_dir: Path, max_length: int, direct: bool) -> Any:
    """sft_rows of a file of examples as a memory-mapped data set, tokenized once for each content and tokenizer.

    Every core takes part, in processes that are forked: call it before the GPU is touched.
    """
    import pyarrow as pa
    from datasets import Dataset

    from toolkit.conversations.work import arrow_batch
    from toolkit.parallel import in_chunks

    parts = [VERSION, file_hash(examples), max_length, direct, *rendered_by(tokenizer, model_dir)]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
    target = cache_folder("rows") / f"{key}.arrow"
    if not target.is_file():
        to_rows = _Tokenizing(tokenizer, stop_token_ids(tokenizer, model_dir), max_length, direct)
        with (
            whole_file(target) as scratch,
            pa.OSFile(str(scratch), "wb") as file,
            pa.ipc.new_stream(file, arrow_batch([]).schema) as stream,
        ):
            for batch in in_chunks(read_examples(examples), lambda part: arrow_batch(to_rows(part))):
                stream.write_batch(batch)
    return Dataset.from_file(str(target)).with_format("numpy")  # a row of lists takes ten times as long


def rendered_by(tokenizer: Any, model_dir: Path) -> list[Any]:
    """What the ids and labels of a conversation depend on, for the keys of caches: the template and the special tokens,
    which it reads as variables, the tokenizer, and the tokens that end a turn.
    """
    own = [tokenizer.chat_template, tokenizer.special_tokens_map, tokenizer.backend_tokenizer.to_str()]
    return [*own, stop_token_ids(tokenizer, model_dir)]


def lengths_of(rows: Any) -> list[int]:
    """Tokens of each row of a data set, without reading the rows into Python."""
    import pyarrow.compute as pc

    lengths: list[int] = pc.list_value_length(rows.data.column("input_ids")).to_pylist()
    return lengths
