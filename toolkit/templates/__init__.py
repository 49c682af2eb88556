"""Chat templates by name, as in the note's get_chat_template: ChatML, Llama 3.1, Gemma, Qwen 3."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from eval.prompts import end_of_turn
from rewards.core import UserError

_HERE = Path(__file__).parent


def template_names() -> list[str]:
    """The names that `template_text` knows."""
    return sorted(path.stem for path in _HERE.glob("*.jinja"))


def template_text(reference: str) -> str:
    """The template of that name, or in that file. Raises UserError when it is neither."""
    path = _HERE / f"{reference}.jinja" if reference in template_names() else Path(reference).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(template_names())
        raise UserError(f"chat template {reference!r}: neither a name ({names}) nor a file that can be read") from error
    return text.rstrip("\n")


def use_template(tokenizer: Any, reference: str | None) -> None:
    """Put a template on a tokenizer, in place; None keeps its own. The token that ends its turns becomes the end token.

    A base model's own end token closes whole documents: reinforcement learning, which goes by the tokenizer's, would
    run on past every answer. Raises UserError when the tokenizer lacks the special tokens that the template's turns are
    made of: it would spell them in letters, and no generation would end.
    """
    if reference is not None:
        text = template_text(reference)
        marks = [mark for mark in _MARKS if mark in text]
        missing = [mark for mark in marks if tokenizer.convert_tokens_to_ids(mark) in (None, tokenizer.unk_token_id)]
        if missing:
            raise UserError(
                f"chat template {reference!r} writes {', '.join(missing)}, which the model's tokenizer doesn't know as "
                f"tokens; take another one: {', '.join(template_names())}"
            )
        tokenizer.chat_template = text
    with suppress(UserError):  # a template that doesn't work: whoever renders with it says so, the preflight first
        if tokenizer.chat_template and (end := end_of_turn(tokenizer)) is not None:
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)


_MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
)
