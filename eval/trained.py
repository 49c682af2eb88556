"""What a model was trained to read: trained_for.json beside its weights, and whether evaluation renders the same.

A model that was trained on one chat template and is asked through another scores lower, and nothing else tells why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.engines.base import ModelSpec
from eval.files import read_json
from eval.prompts import Tokenizer, prompt_hash, render_conversation, template_hash
from rewards.core import Message, UserError

TRAINED_FOR = "trained_for.json"  # beside the weights of a model or an adapter

# Digits after spaces, both alphabets and line breaks: what a broken conversion of a tokenizer gets wrong first.
_PROBE: tuple[Message, ...] = (
    {"role": "user", "content": "2025-01-17 10:30\nПослезавтра в 12, don't be late"},
    {"role": "assistant", "content": "<reasoning>17+2=19</reasoning><answer>2025-01-19T12:00:00+03:00</answer>"},
)


def training_record(task: str | None, tokenizer: Any) -> dict[str, Any]:
    """What training writes to TRAINED_FOR: the task (or None), and hashes of the template and of a probe's token ids.

    The probe is a fixed conversation: its ids tell another tokenizer apart, where the template's text is the same.
    """
    return {"task": task, "template": template_hash(tokenizer), "prompt": probe_hash(tokenizer)}


def trained_task(directory: Path, what: str) -> str | None:
    """The task that a model or an adapter names; None where it names none. Raises UserError with `what` to do."""
    path = directory / TRAINED_FOR
    task = read_json(path, what).get("task") if path.is_file() else None
    if task is not None and not isinstance(task, str):
        raise UserError(f"{path}: key 'task' must be text, got {task!r}; {what}")
    return task


def probe_hash(tokenizer: Tokenizer) -> str | None:
    """12 hex digits of the SHA-256 of the ids of a fixed conversation; None where the template writes today's date."""
    if "strftime_now" in str(tokenizer.chat_template):
        return None
    return prompt_hash(render_conversation(tokenizer, _PROBE))


def check_trained_for(model: ModelSpec, tokenizer: Tokenizer) -> None:
    """Raises UserError when the model was trained on another template, or on other token ids, than `tokenizer` gives.

    A model without TRAINED_FOR, or with one that names no hashes, says nothing about it and passes.
    """
    path = (model.adapter or model.path) / TRAINED_FOR
    if not path.is_file():
        return
    record = read_json(path, "train again, or evaluate with --any-template")
    for key, what, found in (
        ("template", "chat template", template_hash(tokenizer)),
        ("prompt", "prompt (its template is the same, the tokenizer isn't)", probe_hash(tokenizer)),
    ):
        if record.get(key) not in (None, found):
            raise UserError(
                f"{model.name}: trained on another {what} than this evaluation renders ({record[key]} in {path}, "
                f"{found} here): give it the tokenizer files that training saved, or allow it with --any-template"
            )
