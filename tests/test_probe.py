"""The probe's clock: what a first pass of a new size costs must not decide which size is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rewards.core import UserError
from toolkit.training import probe

FIRST_TIME = 0.6  # seconds that each of the first two passes of a new size takes more
RATE = {8: 20_000.0, 16: 40_000.0, 32: 80_000.0, 64: 120_000.0, 128: 200_000.0, 256: 250_000.0}
TOKENS = 200  # of a sequence


class Machine:
    """A clock that goes on by what passes cost."""

    def __init__(self) -> None:
        self.now, self.seen = 0.0, dict.fromkeys(RATE, 0)

    def clock(self) -> float:
        return self.now

    def run(self, trainer: Any, model: Any, rows: Any, places: Iterator[int], sequences: int) -> int:
        self.seen[sequences] += 1
        tokens = TOKENS * sequences
        self.now += tokens / RATE[sequences] + (FIRST_TIME if self.seen[sequences] <= 2 else 0)
        return tokens


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr(probe, "_pass", found.run)
    monkeypatch.setattr(probe, "time", SimpleNamespace(perf_counter=found.clock))
    return found


def trainer() -> Any:
    optimizer = SimpleNamespace(step=lambda: None, zero_grad=lambda: None)
    accelerator = SimpleNamespace(prepare=lambda *each: each)
    return SimpleNamespace(create_optimizer=lambda: None, model=None, optimizer=optimizer, accelerator=accelerator)


def test_a_larger_pass_that_is_faster_is_chosen_though_its_first_passes_are_slow(machine: Machine) -> None:
    found, ended = probe.measure(trainer(), range(1000), list(RATE), lambda each: None)
    assert ended == "all"
    assert [each.tokens_per_second for each in found] == pytest.approx(list(RATE.values()), rel=1e-3)
    assert probe.choice(found, 1000.0).sequences == 256


def test_slow_passes_are_timed_three_times_only(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATE, 8, 400.0)  # four seconds a pass, as on a processor
    probe.measure(trainer(), range(1000), [8], lambda each: None)
    assert machine.seen[8] == probe.FIRST + probe.PASSES


def test_downward_what_runs_out_of_memory_is_passed_over_and_slower_ones_end_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import OutOfMemoryError

    run = machine.run

    def tight(trainer: Any, model: Any, rows: Any, places: Iterator[int], sequences: int) -> int:
        if sequences > 128:
            raise OutOfMemoryError
        return run(trainer, model, rows, places, sequences)

    monkeypatch.setattr(probe, "_pass", tight)
    found, ended = probe.measure(trainer(), range(1000), list(RATE)[::-1], lambda each: None)
    assert ([each.sequences for each in found], ended) == ([128, 64], "slower")
    assert probe.choice(found, 1000.0).sequences == 128


def test_downward_a_smaller_pass_that_is_as_fast_is_chosen(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATE, 128, 249_000.0)
    found, _ = probe.measure(trainer(), range(1000), list(RATE)[::-1], lambda each: None)
    assert probe.choice(found, 1000.0).sequences == 128


@pytest.mark.parametrize("order", [1, -1])
def test_a_single_sequence_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    from torch import OutOfMemoryError

    def never(*each: Any) -> int:
        raise OutOfMemoryError

    monkeypatch.setattr(probe, "_pass", never)
    with pytest.raises(UserError, match="with a single sequence"):
        probe.measure(trainer(), range(1000), [1, 2, 4][::order], lambda each: None)
