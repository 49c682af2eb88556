"""Looks at every log entry of a training and says what is going wrong while it still can be helped.

A trouble is warned of once; where it lasts, the training ends there and the stage keeps its weights. A loss that
is no number ends it at once and fails the stage, with the batches at fault in bad_batches.json.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from transformers import TrainerCallback

from eval.files import write_json
from eval.shown import percent
from toolkit.training.processes import gathered

WINDOW = 5  # log entries that a mean is taken over
PATIENCE = 2 * WINDOW  # entries that a warned trouble may last
CLIPPED = 0.5  # share of completions cut at max_completion_length
DEAD = 0.8  # share of groups whose rewards are all the same
KL = 1.0  # nats a token, against the warm start
ENTROPY = 0.1  # of what it was in the first entries
LOSS = 2.0  # of its own lowest mean
HACK_FALL = 0.05  # of the held-out exact below its best, while the training reward is above what it was then
HACK_WARN, HACK_STOP = 2, 4  # evaluations in a row


@dataclass(frozen=True, slots=True)
class Trouble:
    """id: its heading in docs/troubleshooting.md."""

    id: str
    what: str
    cause: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}. Cause: {self.cause}. Fix: {self.fix}."


@dataclass(slots=True)
class Watch:
    """The judgement, without a trainer: feed it log entries.

    By the entries' keys: recent values, at most WINDOW; the first mean of so many; the lowest one.
    """

    stage: str
    recent: dict[str, deque[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    lowest: dict[str, float] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    warned: dict[str, Trouble] = field(default_factory=dict)
    entries: int = 0

    def look(self, entry: Mapping[str, Any]) -> tuple[list[Trouble], Trouble | None]:
        """(troubles to warn of now, the trouble that should end the training or None)."""
        self.entries += 1
        for key, value in entry.items():
            if isinstance(value, int | float):
                self._remember(key, float(value))
        if (broken := self._not_finite(entry)) is not None:
            return [], broken
        fresh: list[Trouble] = []
        for trouble, here in self._troubles():
            if not here:
                self.since.pop(trouble.id, None)
                continue
            first = self.since.setdefault(trouble.id, self.entries)
            if trouble.id not in self.warned:
                self.warned[trouble.id] = trouble
                fresh.append(trouble)
            elif self.entries - first >= PATIENCE:
                return fresh, trouble
        return fresh, None

    def _remember(self, key: str, value: float) -> None:
        recent = self.recent.setdefault(key, deque(maxlen=WINDOW))
        recent.append(value)
        if (mean := self._mean(key)) is not None:
            self.first.setdefault(key, mean)
            self.lowest[key] = min(self.lowest.get(key, mean), mean)

    def _not_finite(self, entry: Mapping[str, Any]) -> Trouble | None:
        for key in ("loss", "grad_norm", "kl"):
            value = entry.get(key)
            if isinstance(value, float) and not math.isfinite(value):
                return Trouble(
                    "not-finite",
                    f"{key} is {value}",
                    "a learning rate too high for the number format, or a batch without a labelled token",
                    f"lower {self.stage}.learning_rate, or set model.dtype to float32; see bad_batches.json",
                )
        return None

    def _mean(self, key: str) -> float | None:
        """Of the newest WINDOW entries; None while there are fewer."""
        recent = self.recent.get(key, ())
        return fmean(recent) if len(recent) == WINDOW else None

    def _troubles(self) -> list[tuple[Trouble, bool]]:
        clipped, dead, kl = map(self._mean, ("completions/clipped_ratio", "frac_reward_zero_std", "kl"))
        if (live := self._mean("live_groups")) is not None:  # of those trained on; the other counts spare ones too
            dead = 1 - live
        entropy, entropy_then = self._mean("entropy"), self.first.get("entropy")
        loss, lowest = self._mean("loss"), self.lowest.get("loss")
        return [
            (
                Trouble(
                    "clipped",
                    f"{percent(clipped or 0, 0)} of the completions are cut at their longest",
                    "grpo.max_completion_length is too short, or the model never writes its end token",
                    "raise it; or look at rollouts.jsonl: endless completions want a longer warm start",
                ),
                clipped is not None and clipped > CLIPPED,
            ),
            (
                Trouble(
                    "dead-groups",
                    f"in {percent(dead or 0, 0)} of the groups all completions earn the same: they teach nothing",
                    "the prompts are too easy or too hard for the model",
                    "more grpo.generations, a higher grpo.temperature, a longer or shorter warm start",
                ),
                dead is not None and dead > DEAD,
            ),
            (
                Trouble(
                    "entropy-collapse",
                    f"entropy fell from {entropy_then or 0:.3g} to {entropy or 0:.3g}",
                    "the policy has settled on one answer a prompt and explores no more",
                    "lower grpo.learning_rate, raise grpo.temperature or grpo.beta, or stop earlier",
                ),
                None not in (entropy, entropy_then) and (entropy or 0) < ENTROPY * (entropy_then or 0),
            ),
            (
                Trouble(
                    "kl",
                    f"the policy is {kl or 0:.2f} nats a token away from the warm start",
                    "the updates are too big",
                    "lower grpo.learning_rate or raise grpo.beta",
                ),
                kl is not None and kl > KL,
            ),
            (
                Trouble(
                    "loss-rises",
                    f"the loss is {loss or 0:.3g}, it was {lowest or 0:.3g}",
                    "a learning rate too high",
                    f"lower {self.stage}.learning_rate or raise {self.stage}.warmup",
                ),
                self.stage == "sft" and None not in (loss, lowest) and (loss or 0) > LOSS * (lowest or 0) + 0.1,
            ),
        ]


def hacking(history: Sequence[Mapping[str, Any]]) -> tuple[Trouble, int] | None:
    """Whether the newest held-out evaluations are worse than the best while the training reward is higher than then.

    history: entries of toolkit.training.heldout. Gives the trouble and for how many evaluations in a row it has lasted.
    """
    known = [each for each in history if each.get("train_reward") is not None]
    best = max(range(len(known)), key=lambda at: (known[at]["exact"], at), default=0)
    lasting = 0
    for each in reversed(known[best + 1 :]):
        if each["exact"] > known[best]["exact"] - HACK_FALL or each["train_reward"] <= known[best]["train_reward"]:
            break
        lasting += 1
    if not lasting:
        return None
    then, now = known[best], known[-1]
    rise = f"from {then['train_reward']:.3g} to {now['train_reward']:.3g}"
    fall = f"from {percent(then['exact'])} (step {then['step']}) to {percent(now['exact'])}"
    trouble = Trouble(
        "reward-hacking",
        f"the training reward rose {rise} while the held-out exact fell {fall}",
        "the model has found what the rewards pay for beside right answers, or learns its prompts by heart",
        "the best step is kept; read rollouts.jsonl for what earns, then mend the reward, or give more prompts",
    )
    return trouble, lasting


class Watchdog(TrainerCallback):
    """Watch behind the trainer's callback protocol; also keeps the batches since the last log entry."""

    def __init__(self, stage: str, stage_dir: Path, terminal: TextIO, speaks: bool = True, fp16: bool = False) -> None:
        """speaks: of several processes, which stop together by the first one's verdict, one says it. fp16: torch's
        scaler finds its scale by steps whose gradients overflow, and skips them.
        """
        self.watch, self.stage_dir, self.terminal, self.speaks = Watch(stage), stage_dir, terminal, speaks
        self.unwatched = {"grad_norm"} if fp16 else set()
        self.stopped: Trouble | None = None
        self.batches: deque[Any] = deque(maxlen=64)

    def keep_batches(self, trainer: Any) -> None:
        """See every batch that the trainer computes a loss of."""
        compute: Callable[..., Any] = trainer.compute_loss

        def compute_loss(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if model.training:
                self.batches.append(inputs)
            return compute(model, inputs, *args, **kwargs)

        trainer.compute_loss = compute_loss

    def recall(self, entries: Sequence[Mapping[str, Any]]) -> Trouble | None:
        """Look at the entries that a run which goes on has behind it. Gives what had ended the training with them."""
        stop = None
        for entry in entries:
            _, stop = self._look(entry)
        return stop

    def recall_held_out(self, history: Sequence[Mapping[str, Any]], step: int) -> Trouble | None:
        """The same of the held-out evaluations that a run which goes on from the step has behind it."""
        found = hacking(history)
        return found[0] if found and found[1] >= HACK_STOP and history[-1]["step"] == step else None

    def _look(self, entry: Mapping[str, Any]) -> tuple[list[Trouble], Trouble | None]:
        return self.watch.look({key: value for key, value in entry.items() if key not in self.unwatched})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called by the trainer with each log entry, in every process."""
        warnings, stop = gathered([self._look(logs or {})])[0]  # one that stops alone leaves the others waiting for it
        for trouble in warnings:
            self._say(f"warning, step {state.global_step}: {trouble}")
        if stop is not None and self.stopped is None:
            if stop.id == "not-finite":
                control.should_save = False  # the newest checkpoint is from before
            if stop.id == "not-finite" and self.speaks:
                write_json(self.stage_dir / "bad_batches.json", {"batches": [_plain(batch) for batch in self.batches]})
            self._stop(stop, state, control)
        self.batches.clear()

    def held_out(self, history: Sequence[Mapping[str, Any]], state: Any, control: Any) -> None:
        """Told of the held-out evaluations so far, after each."""
        if (found := hacking(history)) is None or self.stopped is not None:
            return
        trouble, lasting = found
        if lasting >= HACK_STOP:
            self._stop(trouble, state, control)
        elif lasting == HACK_WARN:
            self._say(f"warning, step {state.global_step}: {trouble}")

    def _stop(self, trouble: Trouble, state: Any, control: Any) -> None:
        self.stopped = trouble
        control.should_training_stop = True
        self._say(f"stopped at step {state.global_step}: {trouble}")

    def _say(self, line: str) -> None:
        if not self.speaks:
            return
        print(f"{self.watch.stage}: {line}", file=self.terminal, flush=True)
        with (self.stage_dir / "watchdog.log").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _plain(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors as lists; what JSON can't hold as text."""
    listed = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in batch.items()}
    plain: dict[str, Any] = json.loads(json.dumps(listed, default=str))
    return plain
