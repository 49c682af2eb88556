"""Training in several processes: two of gloo's on this machine, started as a run starts them. A tiny random model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from rewards.core import UserError
from tests.trainings import write_tiny
from toolkit import stages
from toolkit.config import Recipe, check_recipe
from toolkit.data import read_examples
from toolkit.rundir import Run, open_run
from toolkit.stages import ensure
from toolkit.training.launch import DDP, command_of, first_to_end, launch_lines

ROOT = Path(__file__).resolve().parents[1]
FSDP = ROOT / "configs" / "accelerate" / "fsdp.yaml"
STEPS = 16
# The task's rewards don't tell a random model's texts apart; this one does, of every other example: a process whose
# groups are all dead has to keep step with one whose groups aren't.
TASK_FILE = """\
from dataclasses import replace
from zlib import crc32

from tasks.datetime_extraction import PLAIN


def spread(completion, example):
    return crc32(completion.encode()) % 101 / 100 if crc32(example.id.encode()) % 2 else 0.5


TASK = replace(PLAIN, name="spread", rewards={**PLAIN.rewards, "spread": (spread, 1.0)})
"""


def recipe(output: Path, model: Path, processes: int = 2, /, **changes: Any) -> Recipe:
    raw: dict[str, Any] = {
        "task": str(model / "task.py"),
        "output": str(output),
        "model": {"reference": str(model), "backend": "transformers"},
        "lora": {"rank": 4, "alpha": 8},
        "preflight": {"accept": ["rewards"]},  # spread pays for any text, so that groups differ
        "data": {"sft": 4 * STEPS, "grpo": 16, "validation": 4, "test": 2},
        "sft": {"batch_size": 4, "learning_rate": 5e-3, "save_steps": 2},
        "grpo": {
            "steps": 8,
            "prompts": 4,
            "generations": 2,
            "batch_size": 2,
            "max_completion_length": 8,
            "learning_rate": 1e-4,
            "save_steps": 1,
        },
        "launch": {"processes": processes},
    }
    return check_recipe({**raw, **changes}, "here")


# What a recipe becomes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"launch": {"processes": 3}}, r"sft.batch_size 4 must be a multiple of launch.processes \(3\)"),
        ({"launch": {"processes": 3}, "sft": None}, r"grpo.prompts 4 must be a multiple of launch.processes \(3\)"),
        ({"launch": {"processes": 4, "hosts": 3}}, r"processes 4 must be a multiple of launch.hosts \(3\)"),
        ({"launch": {"processes": 4, "hosts": 2}}, r"launch\.address: give HOST:PORT"),
        ({"launch": {"processes": 2, "address": "10.0.0.1:29500"}}, r"launch\.address: give HOST:PORT"),
        ({"launch": {"processes": 2, "address": "10.0.0.1"}}, "launch.address"),
        ({"model": {"reference": "x", "backend": "unsloth"}}, "unsloth trains in one process"),
        (
            {"grpo": {"prompts": 4, "generations": 4, "batch_size": 16, "oversample": 2.0}},
            "grpo.oversample 2.0 works in one process only",
        ),
        ({"grpo": {"prompts": 4, "generations": 4, "batch_size": 6}}, r"generations / launch.processes \(8\)"),
        ({"grpo": {"vllm": "elsewhere"}}, "grpo.vllm"),
    ],
)
def test_what_cant_be_divided_is_said_before_anything_starts(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(Path("run"), Path("model"), 2, **changes)


def test_one_process_starts_as_ever(tmp_path: Path, fake_model: Path) -> None:
    run = open_run(recipe(tmp_path / "run", fake_model, 1))
    worker = ["-m", "toolkit.training.worker", str(run.dir)]
    assert command_of(run, "sft") == [sys.executable, "-P", *worker, "sft"]


@pytest.mark.parametrize(("gpus", "seen"), [([], None), (["3"], None), (["2", "5"], "2")])
def test_one_process_sees_one_gpu(
    tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[str], seen: str | None
) -> None:
    """The trainer would spread one process over all that it sees, which TRL refuses."""
    started: dict[str, Any] = {}

    def popen(command: list[str], env: dict[str, str]) -> Any:
        started.update(env)
        raise UserError("enough")

    run = open_run(recipe(tmp_path / "run", fake_model, 1))
    monkeypatch.setattr(stages, "gpus", lambda: gpus)
    monkeypatch.setattr("subprocess.Popen", popen)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match="enough"):
        stages._in_own_process(run, "merge-sft", print)
    assert started.get("CUDA_VISIBLE_DEVICES") == seen


def test_several_start_through_accelerate_and_a_merge_doesnt(tmp_path: Path, fake_model: Path) -> None:
    run = open_run(recipe(tmp_path / "run", fake_model))
    (run.dir / "logs").mkdir()
    config = run.dir / "logs" / "accelerate.yaml"
    (line,) = launch_lines(run, "grpo")
    assert line == (
        f"grpo: $ {sys.executable} -P -m accelerate.commands.launch --config_file {config} --num_processes 2 "
        f"--num_machines 1 --machine_rank 0 --main_process_port 0 -m toolkit.training.worker {run.dir} grpo"
    )
    assert config.read_text() == DDP
    assert "accelerate" not in " ".join(command_of(run, "merge"))


def test_each_host_gets_its_line(tmp_path: Path, fake_model: Path) -> None:
    launch = {"processes": 4, "hosts": 2, "address": "10.0.0.1:29500", "config": str(FSDP)}
    lines = launch_lines(open_run(recipe(tmp_path / "run", fake_model, 1, launch=launch)), "sft")
    assert lines[1].startswith("sft: on host 1, in the same directory: $ ")
    for host, line in enumerate(lines):
        options = f"--config_file {FSDP} --num_processes 4 --num_machines 2 --machine_rank {host}"
        assert f"{options} --main_process_ip 10.0.0.1 --main_process_port 29500 -m" in line


def test_a_file_for_accelerate_that_isnt_there_is_said(tmp_path: Path, fake_model: Path) -> None:
    run = open_run(recipe(tmp_path / "run", fake_model, 1, launch={"processes": 2, "config": "no/such.yaml"}))
    with pytest.raises(UserError, match=r"launch\.config 'no/such.yaml': no such file; leave it out"):
        command_of(run, "sft")


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_accelerate_takes_the_shipped_files(name: str) -> None:
    import yaml

    config_args = pytest.importorskip("accelerate.commands.config.config_args")
    path = FSDP.with_name(f"{name}.yaml")
    loaded = config_args.load_config_from_file(str(path))
    assert loaded.distributed_type == {"ddp": "MULTI_GPU", "fsdp": "FSDP"}[name]
    if name == "ddp":
        assert yaml.safe_load(path.read_text()) == yaml.safe_load(DDP)
    else:
        from accelerate.commands.launch import launch_command_parser

        known = vars(launch_command_parser().parse_args(["script.py"]))
        assert set(loaded.fsdp_config) <= set(known), "accelerate would ignore another key"


def test_which_process_ended_first_is_read_from_accelerates_report(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert first_to_end(log) == "one of its processes ended, and the others were stopped"
    log.write_text(
        "Failures:\n[1]:\n  rank      : 0 (local_rank: 0)\n  exitcode  : 1 (pid: 7)\nRoot Cause (the first failure)"
        ":\n[0]:\n  time      : now\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 8)\n"
    )
    assert first_to_end(log) == "its process 1 ended with status -9, and the others were stopped"


def test_a_checkpoint_lacks_nothing_only_with_every_processs_state(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from toolkit.training.common import last_whole_checkpoint

    fsdps = ("optimizer.bin", "pytorch_model_fsdp.bin")
    for step, names in ((1, ("optimizer.pt", "adapter_model.safetensors")), (2, fsdps)):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        for name in (*names, "scheduler.pt", "rng_state_0.pth"):
            (path / name).touch()
        (path / "trainer_state.json").write_text('{"global_step": 1}', encoding="utf-8")
    (tmp_path / "checkpoint-1" / "rng_state_1.pth").touch()
    assert last_whole_checkpoint(tmp_path, 2) == tmp_path / "checkpoint-1"
    (tmp_path / "checkpoint-2" / "rng_state_1.pth").touch()
    assert last_whole_checkpoint(tmp_path, 2) == tmp_path / "checkpoint-2"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "1 processes were started, the recipe's launch.processes makes it 2"),
        ({"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}, "accelerate shards models on GPUs only"),
    ],
)
def test_a_worker_that_was_started_otherwise_says_so(
    environment: dict[str, str], message: str, tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from toolkit.training.worker import _check_processes

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        _check_processes(open_run(recipe(tmp_path / "run", fake_model)), "sft")


def test_only_the_first_reason_of_several_processes_is_kept(
    tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails for a reason of its own comes before those that miss it."""
    from toolkit.training.worker import _failed

    run = open_run(recipe(tmp_path / "run", fake_model))
    (run.dir / "logs").mkdir()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert _failed(run, "sft", "the disk is full", 2) == 2
    assert _failed(run, "sft", "gloo: connection closed by peer", 14) == 14
    said = json.loads((run.dir / "logs" / "sft.json").read_text())
    assert said == {"failed": "the disk is full", "status": 2}


def test_the_evaluations_options_reach_the_engine(
    tmp_path: Path, fake_model: Path, task_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`processes` shards the requests over the GPUs; what the engine does with it is tested in test_eval_vllm.py."""
    import eval.runner
    from toolkit.stages import _evaluation

    seen: dict[str, Any] = {}

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        raise UserError("seen enough")

    monkeypatch.setattr(eval.runner, "evaluate", evaluate)
    evaluation = {"engine": "vllm", "options": {"processes": 8}}
    run = begun(tmp_path / "run", fake_model, 1, task=str(task_file), eval=evaluation)
    with pytest.raises(UserError, match="seen enough"):
        _evaluation("base")(run)
    assert seen["options"] == {"processes": 8}


# Two processes


@pytest.fixture(scope="module")
def tiny(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two narrow layers under SmolLM2's tokenizer."""
    for name in ("torch", "transformers", "peft", "datasets", "trl", "accelerate"):
        pytest.importorskip(name)
    import torch

    if torch.cuda.device_count() == 1:
        pytest.skip("two processes need two GPUs, or none")
    return write_tiny(smollm2_dir, tmp_path_factory.mktemp("tiny"), TASK_FILE)


def begun(output: Path, model: Path, processes: int = 2, /, **changes: Any) -> Run:
    run = open_run(recipe(output, model, processes, **changes))
    ensure(run, "data", lambda line: None)
    return run


def adapter(run: Run, stage: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(run.dir / stage / "adapter" / "adapter_model.safetensors")
    return weights


def losses(run: Run) -> dict[int, float]:
    logged = [row for row in read_jsonl(run.dir / "sft" / "log.jsonl") if "loss" in row]
    assert [row["step"] for row in logged] == list(range(1, STEPS + 1)), "each step once: one process writes the log"
    return {row["step"]: row["loss"] for row in logged}


def same(run: Run, other: Run) -> None:
    import torch

    assert losses(run) == pytest.approx(losses(other), rel=1e-4)
    theirs = adapter(other, "sft")
    for name, tensor in adapter(run, "sft").items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-5)


def workers(run_dir: Path) -> list[Any]:
    """The processes that train into a directory, by their rank."""
    psutil: Any = pytest.importorskip("psutil")
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if str(run_dir) in line and "toolkit.training.worker" in line and "--num_processes" not in line:
                found.append((int(process.environ().get("RANK", "0")), process))
        except psutil.Error:
            continue
    return [process for _, process in sorted(found, key=lambda each: each[0])]


def until(true: Callable[[], Any], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same SFT in one process."""
    run = begun(tmp_path_factory.mktemp("alone") / "run", tiny, 1)
    ensure(run, "sft", lambda line: None)
    return run


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(
    alone: Run, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same batches, divided: losses and weights agree to rounding."""
    run = begun(tmp_path / "run", tiny)
    said: list[str] = []
    ensure(run, "sft", said.append)
    same(run, alone)
    assert run.facts("sft")["validation_loss"] == pytest.approx(alone.facts("sft")["validation_loss"], rel=1e-2)
    assert run.facts("sft")["steps"] == STEPS
    assert any("accelerate.commands.launch" in line for line in said)
    terminal = capfd.readouterr().err
    assert "sft: 2 processes, each has 2 of a step's" in terminal
    assert terminal.count(f"sft: step {STEPS}/{STEPS}") == 1, "one process shows its progress"
    assert "torch" not in terminal, "accelerate's own output stays in its log"
    newest = run.dir / "sft" / "checkpoints" / f"checkpoint-{STEPS}"
    assert {path.name for path in newest.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}


@pytest.mark.slow
def test_one_process_dies_the_other_ends_and_a_rerun_goes_on(
    alone: Run, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = begun(tmp_path / "run", tiny)
    seen: list[Any] = []

    def kill_the_second() -> None:
        until((run.dir / "sft" / "checkpoints" / "checkpoint-2" / "trainer_state.json").is_file)
        seen.extend(workers(run.dir))
        seen[1].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_the_second, daemon=True)
    killer.start()
    with pytest.raises(UserError) as caught:
        ensure(run, "sft", lambda line: None)
    killer.join()
    assert str(caught.value) == (
        "sft: its process 1 ended with status -9, and the others were stopped; run the same command again to go on "
        f"from the last checkpoint (its log: {run.dir}/logs/sft.log)"
    )
    assert caught.value.exit_code == 14
    assert len(seen) == 2
    assert not workers(run.dir)
    assert not (run.dir / "sft" / "adapter").exists()
    capfd.readouterr()
    ensure(run, "sft", lambda line: None)
    assert "sft: going on from" in capfd.readouterr().err
    same(run, alone)


@pytest.mark.slow
def test_grpo_killed_with_its_parent_goes_on_and_its_ledger_has_each_rollout_once(tiny: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", tiny, 2, sft=None)
    code = (
        "import sys; from pathlib import Path; from toolkit.config import load_recipe; from toolkit.rundir import Run;"
        "from toolkit.stages import ensure; run = Path(sys.argv[1]);"
        "ensure(Run(run, load_recipe(run / 'recipe.yaml')), 'grpo', lambda line: None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(run.dir)], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        until((run.dir / "grpo" / "checkpoints" / "checkpoint-2" / "trainer_state.json").is_file)
        assert len(workers(run.dir)) == 2
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not workers(run.dir), 60.0)
    assert not (run.dir / "grpo" / "adapter").exists()
    ensure(run, "grpo", lambda line: None)
    ledger = read_jsonl(run.dir / "grpo" / "rollouts.jsonl")
    assert [row["step"] for row in ledger] == [step for step in range(8) for _ in range(8)], "whole lines, in order"
    known = {example.id for example in read_examples(run.dir / "data" / "grpo.jsonl")}
    for step in range(8):
        ids = [row["example"] for row in ledger if row["step"] == step]
        assert set(ids) <= known
        assert [ids.count(each) for each in dict.fromkeys(ids)] == [2] * 4, "four groups of two"
        assert ids[::2] == ids[1::2], "a group stays in one process"
    assert run.facts("grpo")["rollouts"] == 64
    logged = [row for row in read_jsonl(run.dir / "grpo" / "log.jsonl") if "reward" in row]
    assert [row["step"] for row in logged] == list(range(1, 9))
    for row in logged:  # over both processes
        spread = [each["rewards"]["spread"] for each in ledger if each["step"] == row["step"] - 1]
        assert row["rewards/spread/mean"] == pytest.approx(sum(spread) / 8, abs=1e-5)
        rewards = [each["reward"] for each in ledger if each["step"] == row["step"] - 1]
        alive = [one != other for one, other in zip(rewards[::2], rewards[1::2], strict=True)]
        assert row["live_groups"] == pytest.approx(sum(alive) / 4)
    assert any(bool((tensor != 0).any()) for name, tensor in adapter(run, "grpo").items() if "lora_B" in name)


UNEVEN = """\
import os
from dataclasses import replace
from zlib import crc32

from tasks.datetime_extraction import PLAIN


def spread(completion, example):
    if os.environ.get("RANK") == "1":
        raise ValueError("nothing is paid here")
    return crc32(completion.encode()) % 101 / 100


TASK = replace(PLAIN, name="spread", rewards={**PLAIN.rewards, "spread": (spread, 1.0)})
"""


@pytest.mark.slow
def test_a_process_whose_groups_are_all_dead_doesnt_stop_alone(tiny: Path, tmp_path: Path) -> None:
    """Half of all groups live: less than what the watchdog stops for, in more steps than its patience has."""
    (tmp_path / "task.py").write_text(UNEVEN, encoding="utf-8")
    section = {"steps": 18, "prompts": 4, "generations": 2, "batch_size": 4, "max_completion_length": 8}
    changes = {"learning_rate": 1e-5, "save_steps": 50, "evaluate_steps": None}
    run = begun(tmp_path / "run", tiny, 2, sft=None, task=str(tmp_path / "task.py"), grpo={**section, **changes})
    ensure(run, "grpo", lambda line: None)
    facts = run.facts("grpo")
    assert facts["steps"] == 18
    assert "stopped" not in facts
    broken = read_jsonl(run.dir / "grpo" / "broken_rewards.jsonl")
    assert facts["broken_rewards"] == {"spread": len(broken)}, "of all processes"
    assert len(broken) > 18


@pytest.mark.slow
def test_processes_share_a_held_out_evaluation_and_find_what_one_finds(tiny: Path, tmp_path: Path) -> None:
    section = {"batch_size": 4, "learning_rate": 5e-3, "save_steps": 2, "max_steps": 2, "evaluate_steps": 1}
    histories, kept = [], []
    for processes in (1, 2):
        run = begun(tmp_path / str(processes), tiny, processes, sft=section, grpo=None, eval={"max_tokens": 12})
        ensure(run, "sft", lambda line: None)
        history = read_jsonl(run.dir / "sft" / "held_out.jsonl")
        figures = ("step", "exact", "format", "truncated", "examples", "tokens")
        histories.append([{name: each[name] for name in figures} for each in history])
        kept.append(run.facts("sft")["best_step"])
    assert [each["step"] for each in histories[0]] == [0, 1, 2]
    assert all(each["examples"] == 4 for each in histories[0])
    assert histories[0] == histories[1]
    assert kept == [2, 2]
