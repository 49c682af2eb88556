"""The held-out metric during training: when it is taken, what it leaves alone, which step is kept, the alarm."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from eval.engines.base import Sampling
from rewards.core import UserError
from tests import trainings
from tests.trainings import sft, write_tiny
from toolkit.config import GrpoConfig, SftConfig, check_recipe
from toolkit.rundir import Run

for name in ("torch", "transformers", "peft", "datasets", "trl"):
    pytest.importorskip(name)

from toolkit.training.heldout import HISTORY, HeldOut, best_of, steps_between, vllm_answers  # noqa: E402
from toolkit.training.watchdog import HACK_STOP, HACK_WARN, Watchdog, hacking  # noqa: E402

# The metric is even spread over texts: a random model's answers change it from step to step.
TASK = """\
from dataclasses import replace
from zlib import crc32

from tasks.datetime_extraction import PLAIN


def spread(completion, example):
    return crc32(completion.encode()) % 101 / 100


TASK = replace(PLAIN, name="spread", rewards={"spread": (spread, 1.0)}, metric=spread)
"""


def entries(*figures: tuple[float, float | None]) -> list[dict[str, Any]]:
    """(exact, training reward) of the steps 10, 20, …"""
    return [
        {"step": 10 * place, "exact": exact, "train_reward": reward} for place, (exact, reward) in enumerate(figures, 1)
    ]


def test_the_best_is_the_highest_and_of_equals_the_latest() -> None:
    history = [{"step": 0, "exact": 1.0}, *entries((0.2, None), (0.5, None), (0.5, None), (0.4, None))]
    best = best_of(history, lambda step: True)
    assert best is not None
    assert best["step"] == 30, "the untrained model is no candidate"
    kept = best_of(history, lambda step: step != 30)
    assert kept is not None
    assert kept["step"] == 20
    assert best_of(history[:1], lambda step: True) is None


def test_auto_costs_at_most_a_tenth_and_takes_at_most_ten() -> None:
    many = GrpoConfig(steps=150, prompts=64, generations=16)
    assert steps_between(many, 64) == 15
    few = GrpoConfig(steps=100, prompts=8, generations=8)
    assert steps_between(few, 64) == 10
    assert steps_between(GrpoConfig(steps=8, prompts=4, generations=4), 32) is None, "it would cost more than it tells"
    assert steps_between(GrpoConfig(evaluate_steps=3), 64) == 3
    assert steps_between(GrpoConfig(evaluate_steps=None), 64) is None
    assert steps_between(SftConfig(), 64) is None


def test_a_run_that_goes_on_has_the_rewards_since_its_last_exam(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_text('{"step": 2, "exact": 0.5, "train_reward": 0.1}\n', encoding="utf-8")
    rows = [{"step": step, "reward": step / 10} for step in range(1, 5)] + [{"step": 4, "train_loss": 0.0}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    exam: Any = None
    held = HeldOut(exam, 2, tmp_path / HISTORY, "grpo", io.StringIO())
    held.read_history()
    assert held.rewards == [0.2, 0.3, 0.4], "a step is logged after its exam"


# the alarm

RISING = [(0.6, 0.3), (0.5, 0.5), (0.5, 0.6), (0.4, 0.7), (0.3, 0.8)]


@pytest.mark.parametrize(
    ("figures", "lasting"),
    [
        (RISING, 4),
        (RISING[:3], 2),
        ([(0.6, 0.3), (0.5, 0.5), (0.58, 0.6), (0.4, 0.7)], 1),  # it recovered in between
        ([(0.6, 0.3), (0.57, 0.5), (0.56, 0.6)], 0),  # less than what chance does
        ([(0.6, 0.3), (0.3, 0.2), (0.2, 0.1)], 0),  # the reward fell as well: no hacking
        ([(0.3, 0.3), (0.5, 0.5), (0.6, 0.6)], 0),
        ([(0.6, None), (0.1, None)], 0),  # an SFT has no reward
        ([], 0),
    ],
)
def test_hacking_is_more_reward_for_less_that_is_right(figures: list[tuple[float, float]], lasting: int) -> None:
    found = hacking(entries(*figures))
    assert (0 if found is None else found[1]) == lasting


def test_the_alarm_warns_once_then_stops(tmp_path: Path) -> None:
    terminal = io.StringIO()
    dog = Watchdog("grpo", tmp_path, terminal)
    control = SimpleNamespace(should_training_stop=False)
    history = entries(*RISING)
    for known in range(1, len(history) + 1):
        assert not control.should_training_stop
        dog.held_out(history[:known], SimpleNamespace(global_step=10 * known), control)
    assert control.should_training_stop
    assert dog.stopped is not None
    assert dog.stopped.id == "reward-hacking"
    said = terminal.getvalue().splitlines()
    assert [line.split(":")[1].split(",")[0].strip() for line in said] == ["warning", "stopped at step 50"]
    assert f"step {10 * (1 + HACK_WARN)}:" in said[0]
    assert len(RISING) - 1 == HACK_STOP
    for line in said:
        assert "Cause: " in line
        assert "Fix: " in line
    page = (Path(__file__).resolve().parents[1] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert "### `reward-hacking`\n" in page


def test_a_resumed_training_knows_that_the_alarm_had_ended_it(tmp_path: Path) -> None:
    dog = Watchdog("grpo", tmp_path, io.StringIO())
    history = entries(*RISING)
    ended = dog.recall_held_out(history, 50)
    assert ended is not None
    assert ended.id == "reward-hacking"
    assert dog.recall_held_out(history, 40) is None, "the checkpoint is older: the exam is taken again"
    assert dog.recall_held_out(history[:-1], 40) is None, "warned of, not ended"
    assert dog.recall_held_out([], 0) is None


# vLLM


class Engine:
    """TRL's VLLMGeneration as far as it is used: it notes under which settings it was asked."""

    def __init__(self) -> None:
        self.temperature, self.top_p, self.repetition_penalty = 1.0, 0.9, 1.1
        self.max_completion_length, self.synced = 8, 0
        self.generation_kwargs: dict[str, Any] = {}
        self.asked: tuple[dict[str, Any], int] = ({}, 0)

    def sync_weights(self) -> None:
        self.synced += 1

    def generate(self, prompts: list[list[int]], images: None, num_generations: int) -> tuple[Any, ...]:
        self.asked = ({key: value for key, value in vars(self).items() if key != "asked"}, num_generations)
        return prompts, [[*prompt, 2] for prompt in prompts], None, None


def test_vllm_answers_greedily_with_todays_weights_and_is_left_as_it_was() -> None:
    engine = Engine()
    before = dict(vars(engine))
    trainer = SimpleNamespace(vllm_generation=engine, state=SimpleNamespace(global_step=7), _last_loaded_step=3)
    assert vllm_answers(trainer, [[5], [6, 7]], Sampling(20, stop_token_ids=(2,))) == [[5, 2], [6, 7, 2]]
    settings, generations = engine.asked
    assert generations == 1
    assert (settings["temperature"], settings["top_p"], settings["repetition_penalty"]) == (0.0, 1.0, 1.0)
    assert (settings["max_completion_length"], settings["generation_kwargs"]) == (20, {"stop_token_ids": [2]})
    assert settings["synced"] == 1
    assert trainer._last_loaded_step == 7
    assert {key: vars(engine)[key] for key in before if key not in ("synced", "asked")} == {
        key: value for key, value in before.items() if key not in ("synced", "asked")
    }


# real trainings


@pytest.fixture(scope="module")
def tiny(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(smollm2_dir, tmp_path_factory.mktemp("tiny"), TASK)


SECTIONS: dict[str, Any] = {
    "data": {"sft": 24, "grpo": 8, "validation": 4, "test": 2},
    "sft": {"batch_size": 4, "learning_rate": 3e-2, "save_steps": 1, "evaluate_steps": 1, "evaluate_examples": 3},
    "grpo": None,
    "eval": {"max_tokens": 6},
}


def begun(output: Path, tiny: Path, /, **changes: Any) -> Run:
    return trainings.begun(output, tiny, **{**SECTIONS, **changes})


def weights(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(path / "adapter_model.safetensors")
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(bool((one[name] == other[name]).all()) for name in one)


SCORES = (0.1, 0.2, 0.9, 0.3, 0.4, 0.1, 0.2)  # before the first step, then of each step: the third tensor is best


def scripted(monkeypatch: pytest.MonkeyPatch, scores: tuple[float, ...] = SCORES) -> None:
    """Let the real exam be taken, and its result be another: the best step is then known."""
    from toolkit.training.heldout import Exam

    take = Exam.take

    def scripted_take(self: Exam) -> dict[str, Any]:
        return {**take(self), "exact": scores[self.trainer.state.global_step]}

    monkeypatch.setattr(Exam, "take", scripted_take)


@pytest.mark.slow
def test_the_best_step_is_kept_and_its_checkpoint_outlives_the_limit(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch)
    run = begun(tmp_path / "run", tiny)
    figures, said = sft(run)
    history = read_jsonl(run.dir / "sft" / HISTORY)
    assert [each["step"] for each in history] == [0, 1, 2, 3, 4, 5, 6]
    assert all(each["examples"] == 3 for each in history)
    assert (figures["best_step"], figures["held_out_exact"], figures["steps"]) == (2, 0.9, 6)
    kept = {path.name for path in (run.dir / "sft" / "checkpoints").glob("checkpoint-*")}
    assert kept == {"checkpoint-2", "checkpoint-6"}
    best, last = (weights(run.dir / "sft" / "checkpoints" / f"checkpoint-{step}") for step in (2, 6))
    adapter = weights(run.dir / "sft" / "adapter")
    assert same(adapter, best)
    assert not same(adapter, last)
    assert "sft: keeps step 2, held-out 90.0% exact (the last was 6)" in said


@pytest.mark.slow
@pytest.mark.parametrize("packing", [True, False])
def test_an_evaluation_changes_nothing_that_is_trained(tiny: Path, tmp_path: Path, packing: bool) -> None:
    """Nor does it score otherwise than the evaluation of the finished model does."""
    from eval.engines.base import ModelSpec
    from eval.runner import evaluate
    from toolkit.data import read_examples
    from toolkit.stages import task_of

    section = {"batch_size": 4, "learning_rate": 3e-2, "save_steps": 1, "packing": packing}
    quiet = begun(tmp_path / "quiet", tiny, sft=section)
    watched = begun(tmp_path / "watched", tiny, sft={**section, "evaluate_steps": 1})
    sft(quiet)
    figures, _ = sft(watched)
    losses = [
        [row["loss"] for row in read_jsonl(run.dir / "sft" / "log.jsonl") if "loss" in row] for run in (quiet, watched)
    ]
    assert losses[0] == losses[1]
    last = "checkpoints/checkpoint-6"
    assert same(weights(quiet.dir / "sft" / last), weights(watched.dir / "sft" / last))
    summary = evaluate(
        task_of(watched.recipe),
        read_examples(watched.dir / "data" / "validation.jsonl"),
        split="validation",
        seed=0,
        model=ModelSpec(tiny, watched.dir / "sft" / "adapter", "kept"),
        engine="transformers",
        sampling=Sampling(6),
        out_dir=tmp_path / "evaluation",
        options={"dtype": "float32"},
    )
    history = {each["step"]: each for each in read_jsonl(watched.dir / "sft" / HISTORY)}
    entry = history[figures["best_step"]]
    assert entry["exact"] == pytest.approx(summary.overall.exact.value)
    assert entry["truncated"] == pytest.approx(summary.overall.truncated.value)
    assert entry["tokens"] == pytest.approx(summary.overall.tokens, abs=0.05)


@pytest.mark.slow
def test_a_killed_training_goes_on_with_its_history_and_its_best(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolkit.training import callbacks

    scripted(monkeypatch)
    run = begun(tmp_path / "run", tiny)
    with monkeypatch.context() as patch:

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 4:
                raise KeyboardInterrupt

        patch.setattr(callbacks.LiveProgress, "on_step_begin", on_step_begin)
        with pytest.raises(KeyboardInterrupt):
            sft(run)
    (run.dir / "sft" / "checkpoints" / "checkpoint-4" / "trainer_state.json").unlink()  # half written
    with (run.dir / "sft" / HISTORY).open("a", encoding="utf-8") as file:
        file.write('{"step": 5, "ex')
    figures, said = sft(run)
    assert "going on from" in said
    assert "checkpoint-2" in said
    assert [each["step"] for each in read_jsonl(run.dir / "sft" / HISTORY)] == [0, 1, 2, 3, 4, 5, 6]
    assert figures["best_step"] == 2
    assert same(weights(run.dir / "sft" / "adapter"), weights(run.dir / "sft" / "checkpoints" / "checkpoint-2"))


@pytest.mark.slow
def test_a_training_that_begins_again_asks_its_own_model_first(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the first checkpoint the recipe may change: the answers at step 0 may be another model's."""
    scripted(monkeypatch)
    run = begun(tmp_path / "run", tiny, sft={**SECTIONS["sft"], "max_steps": 1})
    (run.dir / "sft").mkdir()
    (run.dir / "sft" / HISTORY).write_text('{"step": 0, "exact": 0.9}\n', encoding="utf-8")
    sft(run)
    assert [(each["step"], each["exact"]) for each in read_jsonl(run.dir / "sft" / HISTORY)] == [(0, 0.1), (1, 0.2)]


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_grpo_is_stopped_by_the_alarm_and_keeps_the_best(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beta: float
) -> None:
    from toolkit.training.grpo import run_grpo

    scripted(monkeypatch, (0.2, 0.2, 0.6, 0.5, 0.5, 0.4, 0.3, 0.3, 0.3, 0.3))
    remember = HeldOut.on_log

    def rising(self: HeldOut, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        step = logs["step"] if state is None else state.global_step  # a run that goes on reads its log
        remember(self, args, state, control, {"reward": 0.1 * step} if "reward" in (logs or {}) else logs)

    monkeypatch.setattr(HeldOut, "on_log", rising)
    section = {
        "steps": 9,
        "prompts": 2,
        "generations": 2,
        "batch_size": 4,
        "max_completion_length": 6,
        "save_steps": 1,
        "evaluate_steps": 1,
        "evaluate_examples": 2,
        "beta": beta,  # above 0 the checkpoints hold a second adapter
    }
    run = begun(tmp_path / "run", tiny, sft=None, grpo=section)
    terminal = io.StringIO()
    figures = run_grpo(run, terminal)
    said = terminal.getvalue()
    assert "warning, step 4: the training reward rose" in said
    assert "stopped at step 6" in said
    assert figures["stopped"].startswith("reward-hacking: ")
    assert (figures["steps"], figures["best_step"]) == (6, 2)
    assert same(weights(run.dir / "grpo" / "adapter"), weights(run.dir / "grpo" / "checkpoints" / "checkpoint-2"))
    assert len(read_jsonl(run.dir / "grpo" / "rollouts.jsonl")) == 6 * 4
    shutil.rmtree(run.dir / "grpo" / "adapter")  # as one that was killed before its stage was done
    terminal = io.StringIO()
    again = run_grpo(run, terminal)
    assert (again["stopped"], again["steps"], again["best_step"]) == (figures["stopped"], 6, 2)
    assert "stopped at step" not in terminal.getvalue(), "it is said once"
    assert same(weights(run.dir / "grpo" / "adapter"), weights(run.dir / "grpo" / "checkpoints" / "checkpoint-2"))
    assert len(read_jsonl(run.dir / "grpo" / "rollouts.jsonl")) == 6 * 4


@pytest.mark.slow
def test_a_metric_that_raises_ends_no_training(tiny: Path, tmp_path: Path) -> None:
    text = TASK.replace("metric=spread", "metric=lambda completion, example: 1 / 0")
    (tmp_path / "broken.py").write_text(text, encoding="utf-8")
    run = begun(tmp_path / "run", tiny, task=str(tmp_path / "broken.py"))
    figures, _ = sft(run)
    assert figures["held_out_exact"] == 0


def test_conversations_alone_have_nothing_to_evaluate_by(tmp_path: Path) -> None:
    raw = {
        "output": str(tmp_path / "run"),
        "model": {"reference": "x"},
        "data": {"path": "a.csv"},
        "sft": {"evaluate_steps": 1},
    }
    with pytest.raises(UserError, match=r"sft\.evaluate_steps: conversations alone have no metric"):
        check_recipe(raw, "here")
