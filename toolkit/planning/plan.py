"""What a plan holds, and how it is shown. A plan says what will happen; it starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.planning.machine import Device
from toolkit.planning.memory import ERROR, GB, Parts, gigabytes
from toolkit.planning.store import Chosen, Rate


@dataclass(frozen=True, slots=True)
class Memory:
    """An estimate in GB against what is free. verdict: fits; tight (by the error of the estimate); too large."""

    parts: dict[str, float]
    needed: float
    free: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Of one process. sequences: of an optimizer step; tokens: the same, on average; passes: forward passes a step."""

    sequences: int
    tokens: int
    passes: int
    sequences_a_pass: int
    tokens_a_pass: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision and its reason."""

    value: str
    why: str


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage. total: what it works through, in unit. seconds: None where no rate is known; rate says whose it is.

    choices: packing, attention, loss, compile, … by name. chosen: the value of an `auto`, and of what stands for it.
    """

    name: str
    done: bool
    steps: int
    total: int
    unit: str
    memory: Memory | None = None
    batch: Batch | None = None
    choices: dict[str, Choice] = field(default_factory=dict)
    chosen: dict[str, Chosen] = field(default_factory=dict)
    seconds: float | None = None
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a recipe on this machine. rows: where their lengths come from. problems: why it can't run."""

    recipe: str
    device: Device
    model: str
    rows: str
    stages: tuple[StagePlan, ...]
    problems: tuple[str, ...]

    @property
    def can_run(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems


def memory_of(parts: Parts, free: float) -> Memory:
    """The estimate, in bytes, against the free bytes."""
    needed = sum(parts.values())
    verdict = "fits" if needed <= free else "tight" if needed <= ERROR * free else "too large"
    return Memory(gigabytes(parts), round(needed / GB, 2), round(free / GB, 2), verdict)


def timed(rate: Rate | None, total: int) -> float | None:
    """Seconds for so much at a rate."""
    return None if rate is None else round(total / rate.value, 1)


def lines(plan: Plan) -> Iterator[str]:
    """The plan for a person."""
    here = plan.device
    memory = f"{here.free / GB:.1f} of {here.total / GB:.1f} GB free"
    yield f"{plan.recipe} on {here.name} ({memory}): {'can run here' if plan.can_run else 'CAN NOT RUN HERE'}"
    yield f"model: {plan.model}"
    yield f"rows: {plan.rows}"
    for stage in plan.stages:
        yield ""
        yield f"{stage.name}{' (done)' if stage.done else ''}"
        for name, text in _stage(stage):
            yield f"  {name:<10} {text}"
    if plan.problems:
        yield ""
    for problem in plan.problems:
        yield f"PROBLEM {problem}"


def _stage(stage: StagePlan) -> Iterator[tuple[str, str]]:
    unit = stage.unit
    yield "steps", f"{stage.steps:,}; {stage.total:,} {unit}" if stage.steps else f"{stage.total:,} {unit}"
    if (batch := stage.batch) is not None:
        one = f"{batch.sequences_a_pass} sequences, about {batch.tokens_a_pass:,} tokens"
        passes = f"{batch.passes} forward pass{'es' * (batch.passes > 1)}"
        yield "a step", f"{batch.sequences} sequences, {batch.tokens:,} tokens, in {passes} of {one}"
    if (memory := stage.memory) is not None:
        parts = ", ".join(f"{name} {value:.2f}" for name, value in memory.parts.items())
        yield "memory", f"{memory.needed:.1f} GB of {memory.free:.1f} free: {memory.verdict} ({parts})"
    for name, choice in stage.choices.items():
        yield name, f"{choice.value}: {choice.why}"
    for name, value in stage.chosen.items():
        yield "chosen", f"{name} {value.value}: {value.why} [{value.source}]"
    if stage.rate is None:
        yield "time", "unknown: no such stage has run on this machine" + " (--probe measures)" * (stage.name == "sft")
    else:
        rate = f"{stage.rate.value:,.4g} {stage.rate.unit}, {stage.rate.source}"
        yield "time", f"about {_clock(stage.seconds or 0)} ({rate})"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
