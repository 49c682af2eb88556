"""Rendering without Jinja, for templates that only put fixed text around each turn: most do, and Jinja is slow.

Some of them (Gemma, Llama) first take the white space off a turn's ends.

What is fixed is read off a rendered conversation of sentinels, and believed only after it has reproduced a set of
awkward conversations letter by letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rewards.core import Message

Apply = Callable[[list[Sequence[Message]], bool], list[str]]
"""(conversations, add_generation_prompt) -> texts, by the template itself."""


@dataclass(frozen=True, slots=True)
class Linear:
    """The fixed text: before the first user turn (with and without a system message), and between and after turns.

    trims: whether the template takes white space off the ends of what is said.
    """

    before_system: str
    after_system: str
    before_user: str
    to_assistant: str
    to_user: str
    end: str
    trims: bool = False

    def said(self, message: Message) -> str:
        """What of a message's content the template writes."""
        return message["content"].strip() if self.trims else message["content"]

    def whole(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The text of a checked conversation, and [start, end) of each assistant turn, its end mark included."""
        parts, rest = [self.before_user], messages
        if messages[0]["role"] == "system":
            parts, rest = [self.before_system, self.said(messages[0]), self.after_system], messages[1:]
        place = sum(map(len, parts))
        spans: list[tuple[int, int]] = []
        for asked, answered in zip(map(self.said, rest[::2]), map(self.said, rest[1::2]), strict=True):
            if spans:
                parts.append(self.to_user)
                place += len(self.to_user)
            start = place + len(asked) + len(self.to_assistant)
            place = start + len(answered)
            spans.append((start, place + len(self.end)))
            parts += (asked, self.to_assistant, answered)
        return "".join((*parts, self.end)), spans


def linear_template(apply: Apply) -> Linear | None:
    """The template as a Linear, or None when it is more than that."""
    if (found := _read_off(apply)) is None:
        return None
    tried = (found, replace(found, trims=True))
    return next((each for each in tried if all(_agrees(each, apply, chat) for chat in awkward())), None)


def _read_off(apply: Apply) -> Linear | None:
    names = ("@s@", "@u@", "@a@", "@v@", "@b@")
    chat = _chat(*names)
    with_system, without = apply([chat, chat[1:3]], False)
    parts: list[str] = []
    for name in names:
        before, found, with_system = with_system.partition(name)
        parts.append(before)
        if not found:
            return None
    head, found, _ = without.partition("@u@")
    return Linear(parts[0], parts[1], head, parts[2], parts[3], with_system) if found else None


def _agrees(linear: Linear, apply: Apply, chat: Sequence[Message]) -> bool:
    text, spans = linear.whole(chat)
    first = len(chat) - 2 * len(spans)
    prompts = apply([chat[: first + 2 * turn + 1] for turn in range(len(spans))], True)
    wholes = apply([chat[: first + 2 * turn + 2] for turn in range(len(spans))], False)
    return wholes[-1] == text and all(
        text[:start] == prompt and text[:end] == whole
        for (start, end), prompt, whole in zip(spans, prompts, wholes, strict=True)
    )


def awkward() -> list[Sequence[Message]]:
    """Conversations that a template or a tokenizer may treat in a way of its own."""
    texts = (
        "plain",
        "<think>\nthought\n</think>\n\nanswer",
        "a  b\n\n c\t«д» {{ x }} {% if %} {# #}",
        "<reasoning>r</reasoning><answer>1</answer>",
        "<|tool_call|> </s> <eos> [INST] system user assistant",
        "é\u200b🙂 1 234,5 \\n 'q' \"q\"",
        "\n  white space around\t\n\n",
    )
    turns = [text for text in texts for _ in range(2)]
    chats: list[Sequence[Message]] = [_chat(None, text, other) for text in texts for other in texts]
    chats += [_chat(text, text, "plain") for text in texts]
    return [*chats, _chat(None, *turns), _chat("system", *reversed(turns))]


def _chat(system: str | None, *turns: str) -> list[Message]:
    head: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    return head + [
        Message(role=("user", "assistant")[place % 2], content=content) for place, content in enumerate(turns)
    ]
