"""Chat templates by name, as in the note's get_chat_template: ChatML, Llama 3.1, Gemma, Qwen 3."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from eval.files import read_json, write_json
from eval.prompts import end_of_turn, stop_token_ids
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


def say_end_tokens(folder: Path, tokenizer: Any) -> None:
    """Let the files of a saved model name the tokens that end its answers: what generates without the toolkit reads
    them there. generation_config.json names them all, config.json the tokenizer's.

    A file that does already stays as it is, and with it the model's fingerprint. Raises UserError as stop_token_ids.
    """
    own = [token for token in (tokenizer.eos_token_id,) if token is not None]
    wanted = {"generation_config.json": list(stop_token_ids(tokenizer, folder)), "config.json": own}
    for name, ids in wanted.items():
        config = read_json(folder / name, "save the model again")
        named = config.get("eos_token_id")
        if not set(ids) <= set(named if isinstance(named, list) else [named]):
            write_json(folder / name, {**config, "eos_token_id": ids if len(ids) > 1 else ids[0]})


_MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
)
