"""Is what was exported the model that was trained? Both answer the same prompts, and the numbers are compared.

The reference is base + adapter in float32, as training left them. For each prompt it writes a greedy completion; the
exported model then scores the same tokens. A model that isn't the same differs by whole nats a token; rounding to
bfloat16 costs about a hundredth. `toolkit parity` (eval.parity) compares engines with each other over many more
prompts: hand it the same two models, as (reference, exported), where its verdict is wanted instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.engines.base import ModelSpec
from eval.prompts import load_tokenizer, render_prompt, stop_token_ids, template_hash, tokenizer_dir
from rewards.core import Message, UserError

NOT_THE_SAME = 13
NEW_TOKENS = 48
# Mean absolute difference of the log-probability of a token, in nats.
ALLOWED = {"adapter": 1e-3, "merged": 0.05, "gguf": 0.1}


@dataclass(frozen=True, slots=True)
class Verification:
    """tokens compared; mean and largest difference of log-probabilities in nats; share where greedy picks the same."""

    kind: str
    prompts: int
    tokens: int
    mean: float
    largest: float
    greedy_agreement: float
    template: str

    @property
    def same(self) -> bool:
        """Whether the mean is within what the format's rounding explains; NaN isn't."""
        return self.mean <= ALLOWED[self.kind]

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {**asdict(self), "same": self.same, "allowed": ALLOWED[self.kind]}


def verify_export(
    kind: str, reference: ModelSpec, exported: ModelSpec, conversations: Sequence[tuple[Message, ...]]
) -> Verification:
    """Compare an exported model with the trained one.

    Raises UserError, exit code 13, when the prompts aren't the same token ids, or when the models differ.
    """
    prompts, template = same_prompts(reference, exported, conversations)
    stops = stop_token_ids(load_tokenizer(tokenizer_dir(reference)), reference.path)
    model = _load(reference)
    answers = [_greedy(model, prompt, stops) for prompt in prompts]
    wanted = [_scores(model, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    del model
    other = _load(exported)
    found = [_scores(other, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    pairs = [pair for ours, theirs in zip(wanted, found, strict=True) for pair in zip(ours, theirs, strict=True)]
    gaps = [abs(ours[0] - theirs[0]) for ours, theirs in pairs]
    agreed = sum(ours[1] == theirs[1] for ours, theirs in pairs) / len(pairs)
    done = Verification(kind, len(prompts), len(pairs), sum(gaps) / len(gaps), max(gaps), agreed, template)
    if not done.same:
        raise UserError(
            f"the exported model isn't the trained one: over {done.tokens} tokens its log-probabilities differ "
            f"by {done.mean:.3g} nats on average (allowed: {ALLOWED[kind]}), greedy picks agree on {agreed:.1%}",
            NOT_THE_SAME,
        )
    return done


def same_prompts(
    reference: ModelSpec, exported: ModelSpec, conversations: Sequence[tuple[Message, ...]]
) -> tuple[list[list[int]], str]:
    """The prompts as ids, and the template's hash. Raises UserError where the two tokenizers or templates differ."""
    ours, theirs = (load_tokenizer(tokenizer_dir(each)) for each in (reference, exported))
    prompts = [render_prompt(ours, messages) for messages in conversations]
    for messages, prompt in zip(conversations, prompts, strict=True):
        if render_prompt(theirs, messages) != prompt:
            raise UserError(
                f"the exported tokenizer or chat template gives other token ids for {messages[-1]['content'][:60]!r}",
                NOT_THE_SAME,
            )
    return prompts, template_hash(ours)


def _load(spec: ModelSpec) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    # In float32 whatever the file holds: what is compared is the weights, not the arithmetic.
    model = AutoModelForCausalLM.from_pretrained(str(spec.path), dtype=torch.float32, use_safetensors=True)
    if spec.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(spec.adapter))
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _greedy(model: Any, prompt: list[int], stops: Sequence[int]) -> list[int]:
    import torch
    from transformers import GenerationConfig

    ids = torch.tensor([prompt], device=model.device)
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        repetition_penalty=1.0,
        eos_token_id=list(stops),
        pad_token_id=stops[0],
    )
    with torch.inference_mode():
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    answer: list[int] = output[0, len(prompt) :].tolist()
    return answer


def _scores(model: Any, prompt: list[int], answer: list[int]) -> list[tuple[float, int]]:
    """(log-probability of the token, the greedy pick) at each place of the answer."""
    import torch

    ids = torch.tensor([prompt + answer], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    chosen = torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])[:, 0]
    return list(zip(chosen.tolist(), logits.argmax(-1).tolist(), strict=True))
