"""Plain transformers: slower than vLLM, runs wherever torch does, and is the reference that vLLM is compared with."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from itertools import groupby
from typing import Any

from eval.engines.base import (
    Completion,
    FinishReason,
    ModelSpec,
    Request,
    Sampling,
    Scored,
    engine_options,
    sample_seed,
)
from eval.prompts import Tokenizer, decode, load_tokenizer, tokenizer_dir, whole
from rewards.core import UserError

DEFAULTS: dict[str, Any] = {"dtype": "auto", "batch_size": 32, "device": None}


@dataclass(slots=True)
class Transformers:
    """A loaded model and its tokenizer. batch_size: sequences generated together."""

    model: Any
    tokenizer: Tokenizer
    batch_size: int

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Batches of prompts of like length, longest first: out of memory shows at once and padding stays small.

        A completion ends where the model's context does, as vLLM's; a prompt that fills it is an error. A batch is
        seeded as a whole, by its first sample: unlike the other engines, sampled (not greedy) texts depend on
        batch_size and on which requests are asked together.
        """
        rows = [(request, index) for request in requests for index in range(sampling.n)]
        fitting = [row for row in rows if self.room(row[0], sampling) > 0]
        for request, index in rows:
            if self.room(request, sampling) <= 0:
                reason = f"the prompt has {len(request.prompt_ids)} tokens, the model takes {self._context()}"
                yield Completion(request.id, index, reason, "error", 0)
        fitting.sort(key=lambda row: len(row[0].prompt_ids), reverse=True)
        for start in range(0, len(fitting), self.batch_size):
            yield from self._batch(fitting[start : start + self.batch_size], sampling)

    def room(self, request: Request, sampling: Sampling) -> int:
        """How many tokens a completion may have: max_tokens, or what the prompt leaves of the context."""
        limit = self._context()
        return sampling.max_tokens if limit is None else min(sampling.max_tokens, limit - len(request.prompt_ids))

    def _context(self) -> int | None:
        """How many tokens the model takes, prompt and completion together; None where its config sets no limit."""
        limit: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit

    def _batch(self, rows: Sequence[tuple[Request, int]], sampling: Sampling) -> Iterator[Completion]:
        for (request, index), ids in zip(rows, self.generate_ids(rows, sampling), strict=True):
            reason: FinishReason = "stop" if ids and ids[-1] in sampling.stop_token_ids else "length"
            text = decode(self.tokenizer, ids, sampling.stop_token_ids)
            yield Completion(request.id, index, text, reason, len(ids))

    def generate_ids(self, rows: Sequence[tuple[Request, int]], sampling: Sampling) -> list[list[int]]:
        """What (request, sample index) generate, each row up to its end token, that included, or as far as it has room.

        They are one batch, in which each row's positions are its own tokens'. Of a model that counts the padding too,
        rows with other room are another batch. Every row must have room.
        """
        if not _padding_counts(self._inner()):
            return self._generate(rows, sampling)
        alike = groupby(rows, lambda row: self.room(row[0], sampling))
        return [ids for _, some in alike for ids in self._generate(list(some), sampling)]

    def _inner(self) -> Any:
        """The model itself, without PEFT's wrapper: what generates."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def _generate(self, rows: Sequence[tuple[Request, int]], sampling: Sampling) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig

        stops = list(sampling.stop_token_ids)
        rooms = [self.room(request, sampling) for request, _ in rows]
        width = max(len(request.prompt_ids) for request, _ in rows)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else stops[0]
        ids = torch.full((len(rows), width), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (request, _) in enumerate(rows):
            # left padding: every row's next token is at the same position
            ids[row, width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
            mask[row, width - len(request.prompt_ids) :] = 1
        greedy = sampling.temperature == 0
        # everything is written out: a model's generation_config.json may bring its own top_k or repetition penalty
        config = GenerationConfig(
            max_new_tokens=max(rooms),
            do_sample=not greedy,
            use_cache=True,
            repetition_penalty=1.0,
            eos_token_id=stops,
            pad_token_id=pad,
            **({} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}),
        )
        if (seed := sample_seed(sampling, rows[0][0].id, rows[0][1])) is not None:
            torch.manual_seed(seed)
        device = self.model.device
        full = _full(torch.tensor(rooms, device=device), width)
        # no_grad, not inference_mode: the model may be one in training, and what it caches is used there
        with torch.no_grad(), _kept_within(self._inner(), self._context()):
            output = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=config,
                stopping_criteria=[full],
            )
        kept = []
        for room, generated in zip(rooms, output[:, width:].tolist(), strict=True):
            end = next((at for at, token in enumerate(generated) if token in stops), len(generated))
            kept.append(generated[: min(end + 1, room)])
        return kept

    def score(self, sequences: Sequence[tuple[Sequence[int], int]]) -> list[Scored]:
        """See `eval.engines.base.Scorer`. One sequence at a time: no padding, the plainest computation there is."""
        import torch

        scored = []
        for ids, start in sequences:
            tokens = torch.tensor([list(ids)], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(tokens).logits[0, start - 1 : -1].float()
            logprobs = logits.log_softmax(-1).gather(1, tokens[0, start:, None])[:, 0]
            best = logits.argmax(-1) == tokens[0, start:]
            scored.append(Scored(tuple(logprobs.tolist()), tuple(best.tolist())))
        return scored

    def close(self) -> None:
        """Drop the model and give its GPU memory back."""
        import torch

        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _padding_counts(model: Any) -> bool:
    """Whether a row's left padding takes room in the model's context, whatever positions its tokens have.

    So it is where forward takes no positions, and for GPT-Neo, whose mask is a table of the context's size.
    """
    return "position_ids" not in signature(model.forward).parameters or model.config.model_type == "gpt_neo"


def _full(rooms: Any, width: int) -> Callable[..., Any]:
    """The stopping criterion that a row has no room left; it goes on, to be cut, while others have."""
    return lambda input_ids, scores, **_: rooms <= input_ids.shape[1] - width


@contextmanager
def _kept_within(model: Any, context: int | None) -> Iterator[None]:
    """Rows that are full stay at the context's last position while others go on: GPT-2 has a table that ends there."""
    if context is None:
        yield
        return

    def clamp(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        positions = kwargs.get("position_ids")
        return args, kwargs if positions is None else {**kwargs, "position_ids": positions.clamp(max=context - 1)}

    hook = model.register_forward_pre_hook(clamp, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def load(model: ModelSpec, options: Mapping[str, Any]) -> Transformers:
    """Options: dtype ("auto", "float32", "bfloat16"), batch_size (32), device (None: cuda where there is one).

    Raises UserError for a directory without a model, or with a damaged one; for an option that isn't one.
    """
    chosen = engine_options("transformers", DEFAULTS, options)
    if not (model.path / "config.json").is_file():
        raise UserError(f"{model.path}: no config.json there; give the directory of a full model")
    # Read when torch is first imported: threads that spin while they wait lose most of a busy machine's time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # warns of torchao's enums when that is imported
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the caller's own line says what is loaded, and in a pipe there is none
    device = chosen["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    with whole(model.path, SafetensorError):
        loaded = AutoModelForCausalLM.from_pretrained(str(model.path), dtype=chosen["dtype"])
    # values unset in a call are filled in from here: leave nothing to fill in
    loaded.generation_config = GenerationConfig()
    if model.adapter is not None:
        from peft import PeftModel

        # not merged: merging rounds the weights, and the merged model isn't quite the one that was trained
        with whole(model.adapter, SafetensorError):
            loaded = PeftModel.from_pretrained(loaded, str(model.adapter))
    tokenizer = load_tokenizer(tokenizer_dir(model))
    return Transformers(loaded.to(device).eval(), tokenizer, int(chosen["batch_size"]))
