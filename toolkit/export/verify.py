"""Is what was exported the model that was trained? Both answer the same prompts, and the numbers are compared.

The reference is base + adapter in float32, as training left them. For each prompt it writes a greedy completion; the
exported model then scores the same tokens. A model that isn't the same differs by whole nats a token; rounding to
bfloat16 costs about a hundredth. `toolkit parity` (eval.parity) compares engines with each other over many more
prompts: hand it the same two models, as (reference, exported), where its verdict is wanted instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from eval.engines.base import ModelSpec
from eval.parity import REFERENCE, continued, gap_of, scorer
from eval.prompts import load_tokenizer, render_prompt, template_hash, tokenizer_dir
from eval.shown import percent
from rewards.core import ExitCode, Message, UserError

NEW_TOKENS = 48
# Mean absolute difference of the log-probability of a token, in nats.
ALLOWED = {"adapter": 1e-3, "merged": 0.05, "gguf": 0.05}


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
    template = same_prompts(reference, exported, conversations)
    # In float32 whatever the file holds: what is compared is the weights, not the arithmetic.
    with closing(scorer(REFERENCE, reference, {"dtype": "float32"})) as engine:
        probes = continued(engine, reference, conversations, NEW_TOKENS)
        wanted = engine.score(probes.sequences)
    with closing(scorer(REFERENCE, exported, {"dtype": "float32"})) as engine:
        found = engine.score(probes.sequences)
    gap = gap_of(wanted, found)
    best = [same for each in found for same in each.best]
    done = Verification(kind, len(probes.prompts), len(best), gap.mean, gap.largest, sum(best) / len(best), template)
    if not done.same:
        raise UserError(
            f"the exported model isn't the trained one: over {done.tokens} tokens its log-probabilities differ "
            f"by {done.mean:.3g} nats on average (allowed: {ALLOWED[kind]}), greedy picks agree on "
            f"{percent(done.greedy_agreement)}",
            ExitCode.INVALID,
        )
    return done


def same_prompts(reference: ModelSpec, exported: ModelSpec, conversations: Sequence[tuple[Message, ...]]) -> str:
    """The template's hash. Raises UserError where the two tokenizers or templates differ."""
    ours, theirs = (load_tokenizer(tokenizer_dir(each)) for each in (reference, exported))
    for messages in conversations:
        if render_prompt(theirs, messages) != render_prompt(ours, messages):
            raise UserError(
                f"the exported tokenizer or chat template gives other token ids for {messages[-1]['content'][:60]!r}",
                ExitCode.INVALID,
            )
    return template_hash(ours)
