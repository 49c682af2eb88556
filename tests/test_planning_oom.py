"""A stage that runs out of memory goes on in smaller passes, in a new process, and comes to the same result."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from benchmarks.tiny import SPREAD_TASK
from rewards.core import ExitCode, UserError
from tests.trainings import recipe, write_tiny
from toolkit import stages
from toolkit.config import GrpoConfig, SftConfig
from toolkit.planning.fits import after_oom_kill, forward_passes, grpo_batch, lower, sft_budget
from toolkit.planning.machine import device
from toolkit.planning.store import Chosen, choose, chosen
from toolkit.rundir import Run, open_run
from toolkit.stages import ensure
from toolkit.training import preflight
from toolkit.training.launch import was_killed

HERE = "a card"


def budget(run_dir: Path, value: int, batch: int = 8, length: int = 100) -> Chosen:
    return sft_budget(run_dir, SftConfig(batch_size=batch, forward_tokens=value), [length] * 20, HERE, 5_000)


@pytest.mark.parametrize(("batch", "passes"), [(8, [1, 2, 4, 8]), (9, [1, 3, 9]), (7, [1, 7]), (12, [1, 2, 4, 12])])
def test_each_time_a_pass_has_at_most_half_the_sequences_until_it_has_one(
    tmp_path: Path, batch: int, passes: list[int]
) -> None:
    seen = []
    for _ in passes:
        used = budget(tmp_path, 5_000, batch)
        seen.append(forward_passes(batch, [100] * 20, used.value))
        if used.smaller is not None:
            assert f"forward_tokens {used.value}" in lower(tmp_path, "sft", used)
    assert seen == passes
    with pytest.raises(UserError, match="out of memory with a single sequence in a forward pass"):
        lower(tmp_path, "sft", used)


def test_completions_of_a_pass_are_halved_while_they_divide_a_steps(tmp_path: Path) -> None:
    config = GrpoConfig(prompts=3, generations=4, batch_size=12)
    seen = [grpo_batch(tmp_path, config, 1, HERE)]
    while seen[-1].smaller is not None:
        lower(tmp_path, "grpo", seen[-1])
        seen.append(grpo_batch(tmp_path, config, 1, HERE))
    assert [each.value for each in seen] == [12, 6, 3, 1]


def test_a_stored_value_holds_on_its_device_and_the_recipes_own_goes_first_unless_it_was_too_much(
    tmp_path: Path,
) -> None:
    auto, config = SftConfig(batch_size=8), SftConfig(batch_size=8, forward_tokens=800)
    choose(tmp_path, "sft", Chosen(440, "probe", "fastest", HERE))
    assert sft_budget(tmp_path, auto, [100], HERE, 5_000).value == 440
    assert sft_budget(tmp_path, auto, [100], "another card", 5_000).value == 5_000
    assert sft_budget(tmp_path, config, [100], HERE, 5_000).value == 800
    lower(tmp_path, "sft", sft_budget(tmp_path, config, [100], HERE, 5_000))
    assert sft_budget(tmp_path, config, [100], HERE, 5_000).value == 221
    assert chosen(tmp_path, "sft", HERE) == Chosen(221, "out of memory", "800 ran out of memory", HERE, 221)


@pytest.mark.parametrize("entry", [{"value": 1, "device": HERE, "new": 3}, {"value": 1}, [1]])
def test_a_stored_value_of_another_form_is_one_line(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"sft": entry}), encoding="utf-8")
    with pytest.raises(UserError, match=r"plan\.json: key 'sft' is of another form .*; remove it, and the values"):
        chosen(tmp_path, "sft", HERE)


def test_a_kill_by_the_kernel_is_one_more_way_to_run_out_of_memory(tmp_path: Path) -> None:
    assert "the kernel killed its process" in after_oom_kill(tmp_path, "sft")["failed"]
    choose(tmp_path, "sft", Chosen(880, "memory", "", device().name, 440))
    if device().kind == "cpu":
        assert "with 440" in after_oom_kill(tmp_path, "sft")["again"]
        stored = chosen(tmp_path, "sft", device().name)
        assert stored is not None
        assert stored.value == 440


def run_that_dies(tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch, signal: int) -> Run:
    """One whose training ends by the signal at once, each time while the kernel kills something for memory."""
    run = open_run(recipe(tmp_path / "run", fake_model))
    choose(run.dir, "sft", Chosen(4096, "memory", "", device().name, 2048))
    kills = itertools.count()
    monkeypatch.setattr(preflight, "preflight", lambda *_: None)
    monkeypatch.setattr(stages, "oom_kills", lambda: next(kills))
    monkeypatch.setattr(stages, "command_of", lambda *_: ["sh", "-c", f"kill -{signal} $$"])
    return run


@pytest.mark.skipif(device().kind == "gpu", reason="of a processor's memory")
def test_a_second_kill_before_the_first_pass_ends_the_stage(
    tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next smaller value is known once the model has loaded; what is killed before that would start for ever."""
    run = run_that_dies(tmp_path, fake_model, monkeypatch, signal=9)
    said: list[str] = []
    with pytest.raises(UserError, match="sft: the kernel killed its process because memory ran out") as caught:
        stages._in_own_process(run, "sft", said.append)
    assert caught.value.exit_code == ExitCode.FAILED
    (line,) = said
    assert "4096: going on from the last checkpoint with 2048" in line


@pytest.mark.skipif(device().kind == "gpu", reason="of a processor's memory")
def test_a_stage_that_ended_otherwise_was_not_killed_for_memory(
    tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts the kills of the whole machine: another process may have been meant."""
    run = run_that_dies(tmp_path, fake_model, monkeypatch, signal=11)
    with pytest.raises(UserError, match="its process ended with status -11"):
        stages._in_own_process(run, "sft", lambda line: None)
    kept = chosen(run.dir, "sft", device().name)
    assert kept is not None
    assert kept.value == 4096


@pytest.mark.parametrize(
    ("status", "first", "killed"),
    [(-9, None, True), (137, None, True), (1, None, False), (1, -9, True), (1, -11, False)],
)
def test_of_several_processes_the_first_to_end_tells(
    tmp_path: Path, status: int, first: int | None, killed: bool
) -> None:
    log = tmp_path / "launch.log"
    log.write_text(f"Root Cause (first observed failure):\n[0]:\n  rank : 1\n  exitcode : {first} (pid: 7)\n")
    assert was_killed(status, None if first is None else log) is killed
    assert was_killed(status, tmp_path / "none") is (status != 1)


# Whole stages, in processes of their own.

WORKER = """\
import sys
import torch
from toolkit.training import worker

limit, first = map(int, sys.argv[1:3])

def narrow():
    from toolkit.training import grpo_trainer, trainer

    def wrapped(original):
        def compute_loss(self, model, inputs, *args, **kwargs):
            size = inputs["labels"].numel() if "labels" in inputs else inputs["completion_ids"].shape[0]
            if self.model.training and self.state.global_step >= first and size > limit:
                raise torch.OutOfMemoryError(f"{size} is more than {limit}")
            return original(self, model, inputs, *args, **kwargs)
        return compute_loss

    for each in (trainer.FastSftTrainer, grpo_trainer.FastGrpoTrainer):
        each.compute_loss = wrapped(each.compute_loss)

original = worker._check_packages
worker._check_packages = lambda backend: (original(backend), narrow())
sys.exit(worker.main(*sys.argv[3:]))
"""


@pytest.fixture(scope="module")
def tiny(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(smollm2_dir, tmp_path_factory.mktemp("tiny"), SPREAD_TASK)


def opened(output: Path, tiny: Path, **changes: Any) -> Run:
    """spread pays for any text, so that groups differ: the preflight takes it for a reward that can be hacked."""
    section = {**recipe(output, tiny).model_dump()["grpo"], "learning_rate": 1e-2}
    return open_run(recipe(output, tiny, **{"preflight": {"accept": ["rewards"]}, "grpo": section, **changes}))


def trained(run: Run, stage: str, limit: int, first: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the terminal got of a stage whose passes may be of `limit` tokens (sft) or completions (grpo).

    first: steps that are done when the first larger pass fails.
    """
    script = run.dir / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    command = [sys.executable, str(script), str(limit), str(first)]
    monkeypatch.setattr(stages, "command_of", lambda run, stage, host=0: [*command, str(run.dir), stage])
    said: list[str] = []
    ensure(run, "data", said.append)
    ensure(run, stage, said.append)
    return said


def losses(run: Run, stage: str, key: str = "loss") -> list[float]:
    return [row[key] for row in read_jsonl(run.dir / stage / "log.jsonl") if key in row]


@pytest.mark.slow
def test_sft_goes_on_in_halved_passes_and_its_losses_are_those_of_a_run_with_room(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    free, short = (opened(tmp_path / name, tiny) for name in ("free", "short"))
    trained(free, "sft", 10**6, 0, monkeypatch)
    said = trained(short, "sft", 450, 2, monkeypatch)
    assert [line for line in said if "out of memory with sft.forward_tokens 4096: going on" in line]
    stored = json.loads((short.dir / "plan.json").read_text(encoding="utf-8"))["sft"]
    assert (stored["source"], stored["why"]) == ("out of memory", "4096 ran out of memory")
    assert stored["value"] < 450
    assert losses(short, "sft") == pytest.approx(losses(free, "sft"), rel=1e-4)
    assert len(losses(free, "sft")) == 4


@pytest.mark.slow
def test_grpo_goes_on_with_fewer_completions_a_pass_and_learns_the_same(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    free, short = (opened(tmp_path / name, tiny, sft=None) for name in ("free", "short"))
    trained(free, "grpo", 4, 0, monkeypatch)
    said = trained(short, "grpo", 1, 0, monkeypatch)
    again = [line for line in said if "out of memory with grpo.batch_size" in line]
    assert len(again) == 2
    assert "grpo.batch_size 4: going on from the last checkpoint with 2" in again[0]
    assert losses(short, "grpo") == pytest.approx(losses(free, "grpo"), rel=1e-3, abs=1e-6)
    assert losses(short, "grpo", "reward") == losses(free, "grpo", "reward")
    assert any(loss != 0 for loss in losses(free, "grpo"))


@pytest.mark.parametrize(
    ("text", "is_memory"),
    [
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("Triton Error [CUDA]: out of memory", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_memory_that_runs_out_beside_the_allocator_is_seen(text: str, is_memory: bool) -> None:
    pytest.importorskip("torch")
    from toolkit.training.oom import out_of_memory

    assert out_of_memory(RuntimeError(text)) is is_memory


def test_an_sft_stage_is_told_its_own_keys(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from toolkit.training.oom import smaller_on_oom

    def generate() -> None:
        raise torch.OutOfMemoryError("no room")

    used = Chosen(800, "memory", "", device().name, 400)
    run = SimpleNamespace(dir=tmp_path)
    with pytest.raises(UserError, match=r"lower eval\.max_tokens"), smaller_on_oom(run, "sft", used):  # type: ignore[arg-type]
        generate()
