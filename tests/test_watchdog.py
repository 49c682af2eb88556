"""The watchdog: each trouble is seen in the log entries that show it, and in no others."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from toolkit.training.watchdog import PATIENCE, WINDOW, Trouble, Watch, Watchdog  # noqa: E402

FINE = {
    "loss": 0.5,
    "grad_norm": 1.0,
    "kl": 0.01,
    "reward": 0.4,
    "entropy": 0.5,
    "frac_reward_zero_std": 0.3,
    "completions/clipped_ratio": 0.1,
}


def feed(watch: Watch, entries: list[dict[str, Any]]) -> tuple[list[str], Trouble | None, int]:
    """(ids of the warnings, the trouble that stopped, entries until then)."""
    warned: list[str] = []
    for number, entry in enumerate(entries, 1):
        fresh, stop = watch.look(entry)
        warned += [trouble.id for trouble in fresh]
        if stop is not None:
            return warned, stop, number
    return warned, None, len(entries)


def test_a_training_that_goes_well_is_left_alone() -> None:
    entries = [{**FINE, "loss": 1 / step, "reward": 0.3 + step / 400} for step in range(1, 200)]
    assert feed(Watch("grpo"), entries) == ([], None, 199)


@pytest.mark.parametrize(
    ("id_", "bad"),
    [
        ("clipped", {"completions/clipped_ratio": 0.7}),
        ("dead-groups", {"frac_reward_zero_std": 0.95}),
        ("entropy-collapse", {"entropy": 0.01}),
        ("kl", {"kl": 3.0}),
        ("loss-rises", {"loss": 2.0}),
    ],
)
def test_a_trouble_is_warned_of_once_and_ends_the_training_when_it_lasts(id_: str, bad: dict[str, float]) -> None:
    stage = "sft" if id_ == "loss-rises" else "grpo"
    warned, stop, entries = feed(Watch(stage), [FINE] * WINDOW + [{**FINE, **bad}] * 40)
    assert warned == [id_]
    assert stop is not None
    assert stop.id == id_
    assert WINDOW + PATIENCE < entries <= WINDOW + PATIENCE + WINDOW + 1
    assert "Cause: " in str(stop)
    assert "Fix: " in str(stop)


@pytest.mark.parametrize("id_", ["clipped", "dead-groups"])
def test_a_trouble_that_passes_ends_nothing(id_: str) -> None:
    bad = {**FINE, "completions/clipped_ratio": 0.9, "frac_reward_zero_std": 0.95}
    warned, stop, _ = feed(Watch("grpo"), ([FINE] * WINDOW * 2 + [bad] * WINDOW) * 10)
    assert id_ in warned
    assert stop is None


@pytest.mark.parametrize("key", ["loss", "grad_norm", "kl"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_ends_it_at_once(key: str, value: float) -> None:
    warned, stop, entries = feed(Watch("sft"), [FINE, {**FINE, key: value}, FINE])
    assert (warned, entries) == ([], 2)
    assert stop is not None
    assert stop.id == "not-finite"
    assert key in stop.what


ARGS = SimpleNamespace()


def test_the_callback_stops_the_trainer_and_keeps_the_batches(tmp_path: Path) -> None:
    terminal = io.StringIO()
    dog = Watchdog("sft", tmp_path, terminal)
    trainer = SimpleNamespace(compute_loss=lambda model, inputs: 1.0)
    dog.keep_batches(trainer)
    control = SimpleNamespace(should_training_stop=False, should_save=True)
    state = SimpleNamespace(global_step=1)
    for batch, loss in ((1, 0.5), (2, math.nan)):
        inputs = {"input_ids": torch.tensor([[batch]]), "labels": torch.tensor([[-100]])}
        assert trainer.compute_loss(SimpleNamespace(training=True), inputs) == 1.0
        dog.on_log(ARGS, state, control, {"loss": loss})
    assert control.should_training_stop
    assert not control.should_save
    assert dog.stopped is not None
    kept = json.loads((tmp_path / "bad_batches.json").read_text(encoding="utf-8"))
    assert kept == {"batches": [{"input_ids": [[2]], "labels": [[-100]]}]}
    assert "stopped at step 1: loss is nan" in terminal.getvalue()
    assert "loss is nan" in (tmp_path / "watchdog.log").read_text(encoding="utf-8")


def log_entries(dog: Watchdog, entries: list[dict[str, Any]], first: int = 1) -> int | None:
    """The step after which the training was told to stop."""
    control = SimpleNamespace(should_training_stop=False, should_save=True)
    for step, entry in enumerate(entries, first):
        dog.on_log(ARGS, SimpleNamespace(global_step=step), control, entry)
        if control.should_training_stop:
            return step
    return None


@pytest.mark.parametrize(
    ("stage", "entries"),
    [
        ("grpo", [{**FINE, "entropy": 1.0}] * 10 + [{**FINE, "entropy": 0.05}] * 30),
        ("sft", [{"loss": 0.3}] * 10 + [{"loss": 1.0}] * 30),
    ],
)
@pytest.mark.parametrize("killed", [3, 12, 16, 20])
def test_a_training_that_goes_on_is_stopped_where_an_unbroken_one_is(
    tmp_path: Path, stage: str, entries: list[dict[str, Any]], killed: int
) -> None:
    whole = Watchdog(stage, tmp_path, io.StringIO())
    stop = log_entries(whole, entries)
    assert stop is not None
    assert killed < stop < len(entries)
    terminal = io.StringIO()
    dog = Watchdog(stage, tmp_path, terminal)
    assert dog.recall(entries[:killed]) is None
    assert log_entries(dog, entries[killed:], first=killed + 1) == stop
    assert terminal.getvalue().count("warning") == int(killed < 14), "what was warned of is not said twice"
    over = Watchdog(stage, tmp_path, io.StringIO())
    assert over.recall(entries[:stop]) == whole.stopped


def test_an_overflow_of_fp16_is_no_divergence(tmp_path: Path) -> None:
    """torch's scaler finds its scale by overflows, and skips the steps that have one."""
    entries = [{**FINE, "grad_norm": norm} for norm in (math.inf, math.nan, 1.0, math.inf)]
    half, full = (Watchdog("sft", tmp_path, io.StringIO(), fp16=fp16) for fp16 in (True, False))
    assert half.recall(entries) is None
    assert log_entries(half, entries) is None
    assert log_entries(full, entries) == 1
    assert log_entries(half, [{**FINE, "loss": math.nan}]) == 1


def test_several_processes_take_the_first_ones_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.training import watchdog

    bad = {**FINE, "live_groups": 0.0}
    found: list[Any] = []
    for own, first in ((bad, FINE), (FINE, bad)):
        dog, other = Watchdog("grpo", tmp_path, io.StringIO()), Watch("grpo")
        monkeypatch.setattr(watchdog, "gathered", lambda rows, other=other, first=first: [other.look(first), *rows])
        found.append(log_entries(dog, [own] * 20))
    assert found == [None, WINDOW + PATIENCE]


def test_the_troubleshooting_page_has_every_trouble() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    ids = [trouble.id for trouble, _ in Watch("grpo")._troubles()] + ["not-finite"]
    assert all(f"### `{each}`\n" in page for each in ids)


def test_dead_groups_among_spare_prompts_are_what_spare_prompts_are_for() -> None:
    entries = [{**FINE, "frac_reward_zero_std": 0.95, "live_groups": 1.0}] * 60
    assert feed(Watch("grpo"), entries)[:2] == ([], None)
    dead = [{**FINE, "frac_reward_zero_std": 0.95, "live_groups": 0.05}] * 60
    assert feed(Watch("grpo"), dead)[0] == ["dead-groups"]
