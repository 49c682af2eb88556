"""Conversations as training rows: every assistant turn labelled, exactly as the model will be asked for it.

Answers that aren't to be learned (`Conversation.silent`) are left without labels.

A turn is labelled from where its prompt ends (the turns before it, rendered with the generation prompt) to its end
token. That needs no generation markers in the template and can't disagree with what evaluation renders. Some templates
rewrite earlier turns once others follow (Qwen 3 drops their thoughts); such a conversation becomes a row for each
assistant turn, since no single sequence holds what the model is asked for each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eval.prompts import NO_TEMPLATE
from rewards.core import Message, UserError
from tasks.tables.rows import Bad
from toolkit.conversations.linear import Linear, linear_template
from toolkit.conversations.marks import Marks
from toolkit.conversations.reading import Conversation
from toolkit.conversations.segments import Segments, segments_of
from toolkit.training.rows import IGNORED, Row

PROBES = 32  # prompts that are tokenized a second time, to see that a row begins with its prompt's ids


@dataclass(frozen=True, slots=True)
class Text:
    """One sequence before it is tokenized. spans: [start, end) characters of the answers in it that are learned."""

    source: Conversation
    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A training row and where it comes from. text and offsets are filled where they were asked for."""

    source: Conversation
    row: Row
    text: str = ""
    offsets: Sequence[tuple[int, int]] = ()


class Renderer:
    """Renders and tokenizes batches with one tokenizer."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int]) -> None:
        if not tokenizer.chat_template:
            raise UserError(f"{NO_TEMPLATE}, or name one in model.chat_template")
        self.tokenizer, self.stops = tokenizer, frozenset(stop_ids)
        self.backend = tokenizer.backend_tokenizer
        self.backend.no_truncation()
        self.backend.no_padding()
        self.probed = 0
        self.marks = Marks(self.backend, self.stops, self._plain())
        self.linear = self._linear()
        self.segments: Segments | None = (
            None if self.linear is None else segments_of(self.linear, self.backend, self.stops)
        )

    def rows(self, batch: Sequence[Conversation], offsets: bool = False) -> list[Rendered | Bad]:
        """Rows in the order of the batch: one a conversation, several where the template rewrites earlier turns.

        Before them, conversations that hold marks of the template: those would be borders of turns nobody took.
        """
        marked = {place: why for place, each in enumerate(batch) if (why := self.marks.problem(each.messages))}
        if marked:
            bad = [_bad(batch[place], why) for place, why in marked.items()]
            return [*bad, *self.rows([each for place, each in enumerate(batch) if place not in marked], offsets)]
        if self.segments is not None and not offsets and not any(each.silent for each in batch):
            rows = self.segments.rows([each.messages for each in batch])
            if rows is not None:
                return [Rendered(each, row) for each, row in zip(batch, rows, strict=True)]
            self.segments = None
        texts = self.texts(batch)
        good = [each for each in texts if isinstance(each, Text)]
        encodings = iter(self.backend.encode_batch([each.text for each in good], add_special_tokens=False))
        return [each if isinstance(each, Bad) else self._row(each, next(encodings), offsets) for each in texts]

    def _plain(self) -> str:
        """What the template writes around words that mean nothing."""
        from jinja2 import TemplateError

        try:
            said = [Message(role=role, content="\ue000") for role in ("user", "assistant") * 2]
            return "".join(self._apply([said, said[:3]], False) + self._apply([said[:3]], True))
        except TemplateError:
            return ""

    def _linear(self) -> Linear | None:
        from jinja2 import TemplateError

        try:
            return linear_template(self._apply)
        except TemplateError:  # it refuses system messages, say
            return None

    def texts(self, batch: Sequence[Conversation]) -> list[Text | Bad]:
        """The batch as text. One call renders all prompts and one all answers: a call is slow to start."""
        from jinja2 import TemplateError

        if self.linear is not None:
            wholes = [(each, self.linear.whole(each.messages)) for each in batch]
            return [Text(each, text, _learned(each, spans)) for each, (text, spans) in wholes]
        try:
            return list(self._texts(batch))
        except TemplateError as error:
            if len(batch) > 1:  # find the one that it refuses
                return [text for each in batch for text in self.texts([each])]
            return [_bad(batch[0], f"the chat template refuses it: {error}")]

    def _texts(self, batch: Sequence[Conversation]) -> Iterator[Text | Bad]:
        ends = [[i for i, turn in enumerate(each.messages) if turn["role"] == "assistant"] for each in batch]
        pairs = list(zip(batch, ends, strict=True))
        prompts = iter(self._apply([each.messages[:end] for each, all_ in pairs for end in all_], True))
        wholes = iter(self._apply([each.messages[: end + 1] for each, all_ in pairs for end in all_], False))
        for each, all_ in pairs:
            parts = [(next(prompts), next(wholes)) for _ in all_]
            if all(whole.startswith(prompt) for prompt, whole in parts):
                yield from _join(each, parts)
            else:
                yield _bad(each, "the chat template renders a finished turn unlike its prompt; take another template")

    def _apply(self, chats: Sequence[Sequence[Message]], add_generation_prompt: bool) -> list[str]:
        rendered: list[str] = self.tokenizer.apply_chat_template(
            [list(chat) for chat in chats], tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return rendered

    def _row(self, text: Text, encoding: Any, offsets: bool) -> Rendered | Bad:
        ids: list[int] = encoding.ids
        labels = [IGNORED] * len(ids)
        kept = 0
        for start, end in text.spans:
            first = encoding.char_to_token(start)
            if first is None or encoding.token_to_chars(first)[0] != start:
                return _bad(text.source, "the answer's first letters join the prompt's last ones in one token")
            after = len(ids) if end >= len(text.text) else encoding.char_to_token(end) or len(ids)
            last = next((place for place in range(after - 1, first - 1, -1) if ids[place] in self.stops), None)
            if last is None:
                reason = f"no end token (ids {sorted(self.stops)}) closes the assistant's turn; take another template"
                return _bad(text.source, reason)
            kept = last + 1
            labels[first:kept] = ids[first:kept]
            self._probe(text, start, ids[:first])
        # What the template writes after the last end token is never generated: it isn't trained on either.
        row: Row = {"input_ids": ids[:kept], "labels": labels[:kept]}
        return Rendered(text.source, row, text.text, encoding.offsets[:kept] if offsets else ())

    def _probe(self, text: Text, start: int, ids: list[int]) -> None:
        """Offsets alone can't tell: some tokenizers leave white space out of them."""
        if self.probed < PROBES:
            self.probed += 1
            if self.backend.encode(text.text[:start], add_special_tokens=False).ids != ids:
                raise UserError(
                    f"{text.source.file}, row {text.source.row}: the chat template's prompt takes other tokens once "
                    "an answer follows it; give another template (model.chat_template)"
                )


def _join(source: Conversation, parts: list[tuple[str, str]]) -> Iterator[Text]:
    final = parts[-1][1]
    if all(final.startswith(whole) for _, whole in parts):
        yield Text(source, final, _learned(source, [(len(prompt), len(whole)) for prompt, whole in parts]))
    else:
        for prompt, whole in _learned(source, parts):
            yield Text(source, whole, ((len(prompt), len(whole)),))


def _learned(source: Conversation, answers: Sequence[tuple[Any, Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple(answer for number, answer in enumerate(answers) if number not in source.silent)


def _bad(source: Conversation, reason: str) -> Bad:
    return Bad(source.file, source.row, reason)
