from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eval.summary import read_summary
from rewards.core import UserError
from tests.commands import Toolkit
from toolkit.config import Recipe, check_recipe
from toolkit.data import read_examples
from toolkit.models import resolve_model
from toolkit.planning.machine import Device
from toolkit.rundir import Run, open_run
from toolkit.stages import ensure, last_adapter, model_of, refuse_what_cannot_run, stages_of
from toolkit.training import preflight
from toolkit.training.backends import start_of
from toolkit.training.worker import _leave_out_vllm

ROOT = Path(__file__).resolve().parents[1]
CPU = Device("cpu", "a processor, 2 cores", 25e9, 20e9)


@pytest.fixture
def make(tmp_path: Path, task_file: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Open a run of the one-word task under a scripted engine. A preflight would miss its model's tokenizer."""
    monkeypatch.setattr(preflight, "preflight", lambda *_: None)

    def opened(**changes: Any) -> Run:
        return open_run(recipe(tmp_path / "run", task_file, fake_model, **changes))

    return opened


def recipe(output: Path, task: Path, model: Path, /, **changes: Any) -> Recipe:
    raw: dict[str, Any] = {
        "task": str(task),
        "output": str(output),
        "model": {"reference": str(model), "backend": "transformers"},
        "data": {"sft": 8, "grpo": 16, "validation": 4, "test": 60},
        "sft": {},
        "grpo": {},
        "eval": {"engine": "scripted"},
    }
    return check_recipe({**raw, **changes}, "here")


needs_trainers = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("trl", "peft", "datasets", "unsloth")), reason="needs the extra: train"
)


def quiet(line: str) -> None:
    pass


def refusal(run: Run, stage: str) -> UserError:
    with pytest.raises(UserError) as caught:
        ensure(run, stage, quiet)
    assert not run.is_done(stage)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, ["data", "eval-base", "sft", "merge-sft", "eval-sft", "grpo", "merge", "eval-tuned", "compare"]),
        ({"grpo": None}, ["data", "eval-base", "sft", "merge", "eval-tuned", "compare"]),
        ({"sft": None}, ["data", "eval-base", "grpo", "merge", "eval-tuned", "compare"]),
        (
            {"grpo": {"prompts": 2, "generations": 2, "batch_size": 4, "scan": (0.1, 0.9)}},
            ["data", "eval-base", "sft", "merge-sft", "eval-sft", "scan", "grpo", "merge", "eval-tuned", "compare"],
        ),
    ],
    ids=["both", "sft", "grpo", "scan"],
)
def test_the_stages_of_a_recipe(sections: dict[str, Any], expected: list[str]) -> None:
    chosen = recipe(Path("run"), Path("t.py"), Path("m"), **sections)
    assert stages_of(chosen) == expected
    assert last_adapter(Run(Path("run"), chosen)) == Path("run") / ("grpo" if "grpo" in expected else "sft") / "adapter"


def test_a_recipe_that_trains_nothing() -> None:
    with pytest.raises(UserError, match="the recipe trains nothing: give it a section sft or grpo"):
        stages_of(recipe(Path("run"), Path("t.py"), Path("m"), sft=None, grpo=None))


def test_the_data_of_a_run(make: Callable[..., Run]) -> None:
    run = make(data={"sft": 8, "grpo": 16, "validation": 4, "test": 6}, seed=3)
    said: list[str] = []
    ensure(run, "data", said.append)
    built = {name: read_examples(run.dir / "data" / f"{name}.jsonl") for name in ("sft", "grpo", "validation", "test")}
    assert {name: len(examples) for name, examples in built.items()} == run.recipe.data.model_dump()
    # One stream: GRPO goes on where SFT stopped, so that no prompt is seen twice.
    assert [example.id for example in built["sft"] + built["grpo"]] == [f"train-3-{i}" for i in range(24)]
    assert [example.id for example in built["test"]] == [f"test-3-{i}" for i in range(6)]
    facts = run.facts("data")
    assert (facts["task"], facts["version"], facts["sft"], facts["test"]) == ("word", "1", 8, 6)
    assert len(set(facts["hashes"].values())) == 4
    assert said[0] == "data: …"
    assert "sft 8" in said[1]


def test_what_is_done_isnt_done_again(make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    ensure(run, "data", quiet)
    (run.dir / "data" / "sft.jsonl").write_text("as the first time left it", encoding="utf-8")
    run.finish("sft", 1.0)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a trainer was started"))
    said: list[str] = []
    ensure(run, "data", said.append)
    ensure(run, "sft", said.append)
    assert said == ["data: done before", "sft: done before"]
    assert (run.dir / "data" / "sft.jsonl").read_text(encoding="utf-8") == "as the first time left it"


def test_a_stage_that_fails_isnt_done(make: Callable[..., Run], task_file: Path) -> None:
    run = make()
    text = task_file.read_text(encoding="utf-8")
    task_file.write_text(text.replace('"test": 100', '"test": 3'), encoding="utf-8")
    assert "test has 3 examples, and data.test wants 60" in str(refusal(run, "data"))
    task_file.write_text(text, encoding="utf-8")
    ensure(run, "data", quiet)
    assert len(read_examples(run.dir / "data" / "test.jsonl")) == 60


def test_too_few_training_examples_are_found_before_the_training(make: Callable[..., Run]) -> None:
    error = refusal(make(data={"sft": 90, "grpo": 20, "test": 4}), "data")
    assert str(error).startswith(
        "task 'word': train has 100 examples; data.sft takes the first 90, so 10 are left for data.grpo (20 wanted); "
        "ask for fewer, or give the task more; `toolkit task check "
    )
    error = refusal(make(data={"sft": 101, "grpo": 20, "test": 4}), "data")
    assert "train has 100 examples, and data.sft wants 101; ask for fewer" in str(error)


def test_an_unknown_reward_is_found_before_the_training(make: Callable[..., Run]) -> None:
    error = refusal(make(rewards={"exakt": 1.0}), "data")
    assert str(error) == "rewards.exakt: task 'word' has no such reward; it has exact"


def test_evaluations_and_comparison(make: Callable[..., Run]) -> None:
    run = make()
    for stage in ("data", "eval-base", "eval-sft", "eval-tuned", "compare"):
        ensure(run, stage, quiet)
    exact = {name: read_summary(run.dir / "eval" / name).overall.exact.value for name in ("base", "sft", "tuned")}
    assert exact == {"base": 0.0, "sft": 0.0, "tuned": 1.0}
    assert run.facts("eval-tuned")["exact"] == 1.0
    facts = run.facts("compare")
    assert (facts["verdict"], facts["exit_code"]) == ("better", 0)
    written = json.loads((run.dir / "comparison.json").read_text(encoding="utf-8"))
    assert (written["verdict"], written["base"], written["candidate"]) == ("better", "base", "tuned")


@needs_trainers
def test_what_the_trainer_could_not_do_is_said_once(
    make: Callable[..., Run], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = make(model={"reference": str(tmp_path / "gone" / "too"), "backend": "transformers"})
    ensure(run, "data", quiet)
    error = refusal(run, "sft")
    assert error.exit_code == 2
    assert str(error).startswith(f"sft: model '{tmp_path}/gone/too' not found; a model is a hub id")
    log = run.dir / "logs" / "sft.log"
    assert str(error).endswith(f"(its log: {log})")
    assert "not found" in log.read_text(encoding="utf-8")
    assert capfd.readouterr() == ("", ""), "the message is for the caller to print"


@pytest.mark.parametrize(("backend", "missing"), [("unsloth", "unsloth"), ("transformers", "peft")])
@needs_trainers
def test_a_missing_package_comes_with_the_line_that_installs_it(
    make: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, missing: str
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    run = make(model={"reference": str(tmp_path / "gone" / "too"), "backend": backend})
    error = refusal(run, "sft")
    assert error.exit_code == 2
    wanted = f"sft: training with backend {backend!r} needs {missing}: pip install 'reasoning-toolkit[train]'"
    assert str(error).startswith(wanted)


def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let the training process be a shell script; "$4" is the run's directory, "$5" the stage."""
    path = tmp_path / "python.sh"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize(
    ("script", "status", "code"), [("kill -9 $$", -9, 14), ("exit 1", 1, 14), ("exit 2", 2, 2), ("exit 0", 0, 14)]
)
def test_a_trainer_that_dies_without_a_word(
    make: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, status: int, code: int
) -> None:
    run = make()
    (run.dir / "logs").mkdir()
    (run.dir / "logs" / "sft.json").write_text('{"steps": 1}', encoding="utf-8")  # of an earlier try: no proof
    fake_python(tmp_path, monkeypatch, script)
    error = refusal(run, "sft")
    assert error.exit_code == code
    assert str(error) == (
        f"sft: its process ended with status {status}; run the same command again to go on from the last checkpoint "
        f"(its log: {run.dir}/logs/sft.log)"
    )


def test_what_a_trainer_leaves_is_kept(
    make: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    fake_python(tmp_path, monkeypatch, 'printf \'{"steps": 7, "loss": 0.123456}\' > "$4/logs/$5.json"')
    said: list[str] = []
    ensure(run, "sft", said.append)
    assert run.facts("sft")["steps"] == 7
    assert said[-1].endswith(", steps 7, loss 0.1235")


PARENT = """
import sys
from pathlib import Path
from toolkit import stages
from toolkit.config import load_recipe
from toolkit.rundir import Run
from toolkit.training import preflight
sys.executable = sys.argv[2]
preflight.preflight = lambda *_: None
run = Run(Path(sys.argv[1]), load_recipe(Path(sys.argv[1]) / "recipe.yaml"))
stages.ensure(run, "sft", print)
"""
# A worker whose stage only waits.
WORKER = """
import os, sys, time
from toolkit.training import worker
from types import ModuleType
slow = sys.modules["slow"] = ModuleType("slow")
def wait(run, terminal):
    (run.dir / "pid").write_text(str(os.getpid()))
    time.sleep(60)
slow.wait = wait
worker.STAGES["sft"] = "slow:wait"
worker._check_packages = lambda backend: None
sys.exit(worker.main(*sys.argv[-2:]))
"""


def test_a_trainer_ends_with_the_process_that_started_it(make: Callable[..., Run], tmp_path: Path) -> None:
    """Else a killed run would leave a trainer behind that the next one fights with over the same checkpoints."""
    run = make()
    script = tmp_path / "python.sh"
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -P {tmp_path}/worker.py "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    command = [sys.executable, "-c", PARENT, str(run.dir), str(script)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as parent:
        worker = int(wait_for(lambda: (run.dir / "pid").is_file() and (run.dir / "pid").read_text()))
        parent.send_signal(signal.SIGKILL)
    try:
        wait_for(lambda: not alive(worker))
    finally:
        if alive(worker):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize(
    ("stage", "vllm", "found"), [("sft", True, False), ("grpo", False, False), ("grpo", True, True)]
)
def test_vllm_is_left_out_where_nothing_generates_with_it(
    make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, stage: str, vllm: bool, found: bool
) -> None:
    """TRL and unsloth import it wherever it is installed, and it takes seconds."""
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    _leave_out_vllm(make(grpo={"vllm": vllm}), stage)
    assert (sys.modules["vllm"] is not None) is found


def wait_for(found: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    pytest.fail(f"nothing came in {seconds} s")


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # reaped, before the file was opened or after
        return False


# A model that is an adapter, and what this machine can't do.


@pytest.fixture
def adapter(tmp_path: Path, fake_model: Path) -> Path:
    directory = tmp_path / "adapter"
    directory.mkdir()
    config = {"base_model_name_or_path": str(fake_model), "r": 8, "lora_alpha": 16, "target_modules": ["v", "q"]}
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "adapter_model.safetensors").write_bytes(b"weights")
    return directory


def test_the_baseline_of_an_adapter_is_what_training_begins_with(
    make: Callable[..., Run], adapter: Path, fake_model: Path
) -> None:
    lora = {"rank": 8, "alpha": 16, "target_modules": ["q", "v"]}
    run = make(model={"reference": str(adapter), "backend": "transformers"}, lora=lora, sft=None)
    resolved = resolve_model(str(adapter))
    started, base = start_of(run.recipe, run.dir, "grpo", resolved), model_of(run, "base")
    assert (base.path, base.adapter) == (started.path, started.adapter) == (fake_model, adapter)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["model.tuning=full"], "model.tuning full trains a whole model, and {adapter} is an adapter; merge it first"),
        (
            ["lora.rank=8", "lora.target_modules=[q,v,o]"],
            "the adapter {adapter} as it is, and the recipe says otherwise; "
            "add --set lora.alpha=16 --set lora.target_modules=[q,v]",
        ),
    ],
)
def test_a_training_that_is_not_the_adapters_ends_before_the_first_stage(
    config: Path, adapter: Path, tmp_path: Path, toolkit: Toolkit, changes: list[str], said: str
) -> None:
    sets = [part for change in (f"model.reference={adapter}", *changes) for part in ("--set", change)]
    done = toolkit("run", config, *sets)
    assert done.code == 2
    assert said.format(adapter=adapter) in done.err
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("grpo.vllm=true", "no GPU here: grpo.vllm generates with vLLM inside the trainer"),
        ("model.tuning=qlora", "no GPU here: model.tuning qlora trains on 4-bit weights"),
        ("sft.compile=true", "no GPU here: sft.compile pays on one only (--set sft.compile=auto)"),
    ],
)
def test_what_needs_a_gpu_ends_before_the_first_stage(
    config: Path, tmp_path: Path, toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch, change: str, said: str
) -> None:
    monkeypatch.setattr("toolkit.stages.device", lambda: CPU)
    done = toolkit("run", config, "--set", change)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "run" / "data").exists()


def test_only_the_stages_to_do_are_refused(make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """An SFT may be trained here, and its GRPO on another machine."""
    monkeypatch.setattr("toolkit.stages.device", lambda: CPU)
    run = make(grpo={"vllm": True})
    refuse_what_cannot_run(run, ["data", "sft"])
    with pytest.raises(UserError, match=r"grpo\.vllm"):
        refuse_what_cannot_run(run, ["data", "sft", "grpo"])
    run.finish("grpo", 1.0)
    refuse_what_cannot_run(run, ["data", "sft", "grpo", "merge"])
