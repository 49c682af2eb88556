"""Tokenizers out of GGUF files: what transformers makes of one, mended, or one built anew where that is beyond mending.

Each family's way was checked against llama.cpp's token ids. A new one goes into `tokenizer_of`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

# What the numbers in tokenizer.ggml.token_type mean.
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
TURN_ENDS = ("<|im_end|>", "<end_of_turn>")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a space inside a token


def tokenizer_of(gguf: Path, config_eos: int | None) -> tuple[Any, list[str]]:
    """(fast tokenizer, a line for each thing that had to be repaired) of a GGUF file.

    config_eos: the end token that transformers read for the model's configuration.
    """
    from gguf import GGUFReader

    fields = GGUFReader(str(gguf)).fields
    found = {name: fields[f"tokenizer.ggml.{name}"].contents() for name in _KEPT if f"tokenizer.ggml.{name}" in fields}
    if fields["general.architecture"].contents().startswith("gemma") and found.get("model") == "llama":
        return _sentencepiece_bpe(found), ["tokenizer: merges rebuilt from the vocabulary's scores, <bos> in front"]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    return tokenizer, _repair(tokenizer, config_eos, found.get("pre", ""))


def end_tokens(tokenizer: Any) -> int | list[int]:
    """Ids that end a generation: the tokenizer's end token, and the end of a turn where a base model has one in store.

    A base model ends documents; once trained on conversations it ends turns, and engines read this list.
    """
    turn_ends = [tokenizer.convert_tokens_to_ids(token) for token in TURN_ENDS if token in tokenizer.get_vocab()]
    ids = sorted({tokenizer.eos_token_id, *turn_ends})
    return ids[0] if len(ids) == 1 else ids


_KEPT = (
    "model",
    "pre",
    "tokens",
    "scores",
    "token_type",
    "bos_token_id",
    "eos_token_id",
    "unknown_token_id",
    "padding_token_id",
)


def _sentencepiece_bpe(found: dict[str, Any]) -> Any:
    """SentencePiece's BPE, as Gemma has it. transformers takes such a file for a unigram model: other ids altogether.

    SentencePiece knows no merges: it joins whichever two neighbours make the token of the best score. Every split of a
    token into two tokens is therefore a merge, and merges rank by the score of what they make.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens, scores, kinds = found["tokens"], found["scores"], found["token_type"]
    names = {role: tokens[found[f"{key}_token_id"]] for role, key in _ROLES.items()}
    model = models.BPE(
        vocab={token: place for place, token in enumerate(tokens)},
        merges=merges_of({t: s for t, s, kind in zip(tokens, scores, kinds, strict=True) if kind == NORMAL}),
        unk_token=names["unk_token"],
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    # Runs of spaces and line breaks, HTML tags: taken whole before any merge. In this file they hold plain spaces.
    backend.add_tokens(
        [AddedToken(t, normalized=False) for t, kind in zip(tokens, kinds, strict=True) if kind == USER_DEFINED]
    )
    control = [t for t, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in control])
    bos = names["bos_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", f"{bos}:1", "$B:1"], special_tokens=[(bos, found["bos_token_id"])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **names)


_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def merges_of(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every way to make one token of two, those of the best token first."""
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    return [
        (token[:at], token[at:])
        for token in ranked
        for at in range(1, len(token))
        if token[:at] in scores and token[at:] in scores
    ]


def _repair(tokenizer: Any, config_eos: int | None, pre_tokenizer: str) -> list[str]:
    """Mend in place what a conversion from GGUF leaves wrong in a fast tokenizer; return a line for each repair."""
    from tokenizers import decoders, pre_tokenizers

    repairs = []
    turn_end = "<|im_end|>"
    if turn_end in tokenizer.get_vocab() and turn_end in (tokenizer.chat_template or ""):
        # A ChatML model ends each turn with this token; with another end token generation never stops.
        if tokenizer.eos_token != turn_end:
            repairs.append(f"end token {tokenizer.eos_token!r} -> {turn_end!r} (the chat template ends turns with it)")
            tokenizer.eos_token = turn_end
    elif config_eos is not None and tokenizer.eos_token_id != config_eos:
        token = tokenizer.convert_ids_to_tokens(config_eos)
        repairs.append(f"end token {tokenizer.eos_token!r} -> {token!r} (the config's)")
        tokenizer.eos_token = token
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        # Padding with the end token teaches (or masks away) the end of a turn.
        pad = next((t for t in ("<|endoftext|>", "<pad>", tokenizer.unk_token) if t in tokenizer.get_vocab()), None)
        repairs.append(f"pad token {tokenizer.pad_token!r} -> {pad!r}")
        tokenizer.pad_token = pad
    if pre_tokenizer == "smollm":
        # The original splits digits one by one, then by bytes. The converter drops the first step, which changes the
        # ids of digits after spaces; llama.cpp's ids agree with this order.
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        backend.decoder = decoders.ByteLevel()
        repairs.append("pre-tokenizer: single digits first, then byte level")
    return repairs
