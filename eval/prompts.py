"""Prompts as token ids. Training and evaluation render through these functions, so that both see the same prompt.

The chat template goes straight to ids. A rendered string that is tokenized again can gain a second BOS token, and the
model then meets a prompt that it never saw in training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from eval.engines.base import ModelSpec
from eval.files import read_json
from rewards.core import Message, UserError, with_type

GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes that are nothing but their tokenizer.json
NO_TEMPLATE = (
    "the tokenizer has no chat template: put a chat_template.jinja beside tokenizer.json, or set "
    "tokenizer.chat_template and save it. A base model has none: use an instruction-tuned one, or the model directory "
    "that training wrote"
)


class Tokenizer(Protocol):
    """What we use of a Hugging Face tokenizer."""

    chat_template: str | dict[str, str] | None
    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None

    def apply_chat_template(self, conversation: list[list[Message]], **kwargs: Any) -> list[list[int]]:
        """Render conversations."""
        ...

    def decode(self, token_ids: list[int], **kwargs: Any) -> str:
        """Ids to text."""
        ...

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Added tokens by id; each has `special`."""
        ...


def tokenizer_dir(model: ModelSpec) -> Path:
    """Where the model's tokenizer is: training saves it, with the template it used, beside the adapter."""
    if model.adapter is not None and (model.adapter / "tokenizer_config.json").is_file():
        return model.adapter
    return model.path


def load_tokenizer(model_dir: Path | str) -> Tokenizer:
    """The tokenizer of a local model directory. Raises UserError for none, or a damaged one. Imports transformers."""
    model_dir = Path(model_dir)
    if not (model_dir / "tokenizer_config.json").is_file() and not (model_dir / "tokenizer.json").is_file():
        raise UserError(f"{model_dir}: no tokenizer there (tokenizer.json or tokenizer_config.json); is it a model?")
    import transformers  # heavy: imported when a model is really used

    generic = _tokenizer_class(model_dir) in GENERIC  # AutoTokenizer would give the same, two seconds of imports later
    loader = transformers.PreTrainedTokenizerFast if generic else transformers.AutoTokenizer
    with whole(model_dir):
        return cast("Tokenizer", loader.from_pretrained(str(model_dir)))


@contextmanager
def whole(model_dir: Path, *more: type[Exception]) -> Iterator[None]:
    """What can't be loaded from there, as after half a download, is a UserError. more: other types that say so."""
    kinds: tuple[type[Exception], ...] = (OSError, ValueError, TypeError, LookupError, *more)
    try:
        yield
    except kinds as error:
        raise UserError(f"{model_dir}: can't be loaded ({with_type(error)}); fetch or save it again") from error


def _tokenizer_class(model_dir: Path) -> str | None:
    """What tokenizer_config.json names; None where it names nothing, or there is no tokenizer.json to go by."""
    config, table = model_dir / "tokenizer_config.json", model_dir / "tokenizer.json"
    if not config.is_file() or not table.is_file():
        return None
    try:
        name = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
    except (ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def render_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Token ids of the conversation, ending where the model's turn begins.

    Raises UserError without a chat template, or when the template refuses the conversation (an unknown role) or writes
    BOS twice.
    """
    return render_prompts(tokenizer, [messages])[0]


def render_prompts(tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
    """The render_prompt of each conversation, tokenized together: several times faster than one by one."""
    return _render(tokenizer, conversations, add_generation_prompt=True)


def render_conversation(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Token ids of a whole conversation, the model's last turn included, as supervised training sees it."""
    return _render(tokenizer, [messages], add_generation_prompt=False)[0]


def _render(
    tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]], *, add_generation_prompt: bool
) -> list[list[int]]:
    from jinja2 import TemplateError  # comes with transformers' templates

    if not tokenizer.chat_template:
        raise UserError(NO_TEMPLATE)
    try:
        found = tokenizer.apply_chat_template(
            [list(messages) for messages in conversations],
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=False,
        )
    except TemplateError as error:
        for messages in conversations if len(conversations) > 1 else ():
            _render(tokenizer, [messages], add_generation_prompt=add_generation_prompt)  # names the one at fault
        roles = [message["role"] for message in conversations[0]]
        raise UserError(f"the chat template refuses a conversation of roles {roles}: {error}") from error
    if any(len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id for ids in found):
        raise UserError("the chat template begins a prompt with two BOS tokens: take one of its bos_token out")
    return found


def decode(tokenizer: Tokenizer, ids: Sequence[int], stop_ids: Iterable[int]) -> str:
    """Generated ids to text, the end token trimmed and special tokens skipped.

    clean_up_tokenization_spaces would turn " ," into ","; some tokenizer files still ask for it, so it is off here.
    """
    kept = list(ids)
    stops = set(stop_ids)
    while kept and kept[-1] in stops:
        kept.pop()
    return tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def prompt_hash(ids: Sequence[int]) -> str:
    """12 hex digits of the SHA-256 of the ids: equal for equal prompts, on every machine."""
    return short_hash(" ".join(map(str, ids)))


def messages_hash(messages: Sequence[Message]) -> str:
    """The same for an engine without a tokenizer: of the conversation itself."""
    return short_hash(json.dumps([[turn["role"], turn["content"]] for turn in messages], ensure_ascii=False))


def template_hash(tokenizer: Tokenizer) -> str:
    """12 hex digits of the SHA-256 of the chat template. Raises UserError when there is none."""
    if not tokenizer.chat_template:
        raise UserError(NO_TEMPLATE)
    return short_hash(json.dumps(tokenizer.chat_template, sort_keys=True))


def short_hash(text: str) -> str:
    """12 hex digits of the SHA-256 of the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stop_token_ids(tokenizer: Tokenizer, model_dir: Path | str) -> tuple[int, ...]:
    """Every token that ends an answer, ascending: the eos of the tokenizer, of generation_config.json and config.json,
    and the special token with which the chat template closes the model's turn.

    The four disagree often enough (a converted tokenizer, a base model trained on a chat template), and a model whose
    end token nobody waits for writes until max_tokens. Raises UserError when there is no such token, or a damaged file.
    """
    found = {tokenizer.eos_token_id, end_of_turn(tokenizer)}
    for name in ("generation_config.json", "config.json"):
        path = Path(model_dir) / name
        if path.is_file():
            eos = read_json(path, "fetch or save the model again").get("eos_token_id")
            found.update(eos if isinstance(eos, list) else [eos])
    ids = tuple(sorted(token for token in found if token is not None))
    if not ids:
        raise UserError(f"{model_dir}: no end token in the tokenizer, generation_config.json or config.json")
    return ids


def end_of_turn(tokenizer: Tokenizer) -> int | None:
    """The special token with which the chat template closes the model's turn; None where it closes it with none."""
    question: Message = {"role": "user", "content": "1"}
    prompt = render_prompt(tokenizer, [question])
    whole = render_conversation(tokenizer, [question, {"role": "assistant", "content": "1"}])
    if whole[: len(prompt)] != prompt:
        return None
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return next((token for token in whole[len(prompt) :] if token in special), None)
