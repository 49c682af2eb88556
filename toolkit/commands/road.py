"""`toolkit` alone: the road from data to a served model, a command a step."""

from __future__ import annotations

from collections.abc import Iterable

ROAD = (
    ("task check TASK", "is the task fit to train on? No model needed"),
    ("data inspect my.csv", "conversations of your own: what is in them, what is wrong with them"),
    ("doctor CONFIG", "can this machine run the recipe?"),
    ("plan CONFIG", "what will it take: memory, batches, steps, time?"),
    ("preflight CONFIG", "what would waste the training?"),
    ("run CONFIG", "data, sft, grpo, eval, compare, report at once; interrupted, it goes on"),
    ("sft CONFIG", "the warm start"),
    ("scan CONFIG", "is there anything for GRPO to learn from?"),
    ("grpo CONFIG", "learn from the rewards"),
    ("eval, compare", "score held-out examples; is the one better than the other?"),
    ("report RUN, ui RUN", "all of it on one page; a live page with a box to ask both models"),
    ("gate", "hold the quality in CI"),
    ("predict, serve, export", "use the model"),
)


def road(verbs: Iterable[str]) -> str:
    """The text. verbs: every verb there is; those that no step names come last."""
    width = max(len(step) for step, _ in ROAD)
    named = {word.strip(",") for step, _ in ROAD for word in step.split()}
    others = ", ".join(verb for verb in verbs if verb not in named)
    return "\n".join(
        [
            "Train a small model to reason about one task, and prove that it is better than its base.",
            "",
            *(f"  toolkit {step:{width}}  {what}" for step, what in ROAD),
            "",
            f"Also: {others}.",
            "Begin with: toolkit run configs/demo.yaml (no GPU needed). All options: toolkit VERB --help.",
        ]
    )
