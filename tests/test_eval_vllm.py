"""The vllm engine without vLLM: a stand-in package of that name in the child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from eval import gpus, runner
from eval.engines import registry, vllm, vllm_memory, vllm_placing
from eval.engines.base import Completion, ModelSpec, Request, Sampling, Scored, sample_seed
from eval.engines.vllm_child import Child, start_child
from eval.several import evaluate_several
from rewards.core import Example, Message, UserError
from tasks.base import Task

ROOT = Path(__file__).resolve().parents[1]

USER: Message = {"role": "user", "content": "x"}
REQUESTS = [Request(f"r{i}", (5, 6, 7 + i), (USER,)) for i in range(3)]
SAMPLING = Sampling(max_tokens=4, temperature=0.7, top_p=0.9, n=2, seed=3, stop_token_ids=(2,))
GREEDY = Sampling(4, stop_token_ids=(2,))
EXAMPLES = [Example(f"test-{i}", ({"role": "user", "content": "x" * i},), ("a",), group="g") for i in range(3)]
TASK = Task("t", "1", lambda split, n, seed: iter(EXAMPLES), {}, lambda completion, example: 1.0)

# A vllm that "generates" the seed and the last prompt token, or an adapter's number; it finishes in reverse order, two
# a step, refuses prompts with a 99, and says that token t has the log probability -t and that even ones are likeliest.
STAND_IN = """
import atexit, json, os, sys, time
from types import SimpleNamespace as NS
atexit.register(lambda: print("interpreter cleared away", file=sys.stderr))
print("chatter on stdout")
def is_pipe(fd):
    try: return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe")
    except OSError: return False
def TokensPrompt(prompt_token_ids): return prompt_token_ids
def wait_for(path):
    for _ in range(200):
        if os.path.exists(path): return
        time.sleep(0.05)
    raise TimeoutError("nobody else was asked")
class SamplingParams:
    def __init__(self, **kw): self.__dict__.update(kw)
class Engine:
    def __init__(self): self.queue, self.engine_core = [], self
    def shutdown(self): print("engine shut down", file=sys.stderr, flush=True)
    def add_request(self, request_id, prompt, params, lora_request=None):
        if 99 in prompt: raise ValueError("prompt too long\\nand more")
        if MODE == "first waits" and os.environ["CUDA_VISIBLE_DEVICES"] == "0": wait_for(MODEL + "/second answers")
        self.queue.append((request_id, prompt, params, lora_request))
    def has_unfinished_requests(self): return bool(self.queue)
    def step(self):
        if MODE == "leaves a process": os._exit(9)
        if MODE == "die": sys.stderr.write("RuntimeError: no memory\\n"); sys.stderr.flush(); os._exit(9)
        if MODE == "babble": [os.write(fd, b"?\\n") for fd in range(3, 20) if is_pipe(fd)]
        if MODE == "raise": raise RuntimeError("engine broke\\nlong story")
        if MODE == "first waits" and os.environ["CUDA_VISIBLE_DEVICES"] == "1": open(MODEL + "/second answers", "w")
        if MODE == "second dies" and os.environ["CUDA_VISIBLE_DEVICES"] == "1": os._exit(9)
        return [self.one() for _ in range(min(2, len(self.queue)))]
    def one(self):
        number, prompt, params, lora = self.queue.pop()
        ids = [params.__dict__.get("seed") or 0, prompt[-1], 2]
        if lora is not None: ids = [1000 * lora.number, len(lora.path), 2]
        said = [{t: NS(logprob=-float(t), rank=1 + t % 2)} for t in prompt]
        return NS(finished=True, request_id=number, outputs=[NS(token_ids=ids, finish_reason="stop")],
                  prompt_token_ids=prompt, prompt_logprobs=[None, *said[1:]])
class LLM:
    def __init__(self, **kw):
        global MODE, MODEL
        MODEL = kw["model"]
        MODE = open(os.path.join(MODEL, "mode")).read()
        if MODE == "no start": raise ValueError("bad weights")
        if MODE == "leaves a process" and (pid := os.fork()) == 0: time.sleep(600)
        if MODE == "leaves a process": open(os.path.join(kw["model"], "left"), "w").write(str(pid))
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_BATCH_INVARIANT",
                 "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_RPC_BASE_PATH")
        with open(os.path.join(kw["model"], "started"), "a") as file:
            kw["torchao"] = __import__("importlib.util").util.find_spec("torchao") is not None
            file.write(json.dumps({**kw, "environment": {n: os.environ.get(n) for n in names}}) + "\\n")
        self.llm_engine = Engine()
    def collective_rpc(self, method): return [{"measured_kv_cache_bytes": 5_000_000}[method]]
"""


class Numbers:
    """Ids as text."""

    def decode(self, token_ids: list[int], **kwargs: Any) -> str:
        return " ".join(map(str, token_ids))


class Rendering(Numbers):
    """A prompt is as long as its question."""

    chat_template = "t"
    eos_token_id, bos_token_id, pad_token_id = 2, 1, 0

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return {}

    def apply_chat_template(self, conversation: list[list[Message]], **kwargs: Any) -> list[list[int]]:
        return [[5, 40 + len(turns[0]["content"])] for turns in conversation]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory whose file `mode` tells the stand-in vllm how to behave."""
    package = tmp_path / "lib" / "vllm"
    (package / "lora").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN, encoding="utf-8")
    (package / "sampling_params.py").write_text("class RequestOutputKind: FINAL_ONLY = 2\n", encoding="utf-8")
    (package / "lora" / "__init__.py").write_text("", encoding="utf-8")
    (package / "engine").mkdir()
    (package / "engine" / "__init__.py").write_text("", encoding="utf-8")
    arguments = "class EngineArgs: lora_target_modules = None\n"
    (package / "engine" / "arg_utils.py").write_text(arguments, encoding="utf-8")
    request = "class LoRARequest:\n    def __init__(self, name, number, path): self.number, self.path = number, path\n"
    (package / "lora" / "request.py").write_text(request, encoding="utf-8")
    platforms = "class current_platform:\n    @staticmethod\n    def is_cpu(): return True\n"
    (package / "platforms.py").write_text(platforms, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.setattr(vllm, "load_tokenizer", lambda directory: Numbers())
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "mode").write_text("work", encoding="utf-8")
    return model


def options(model: Path, **more: Any) -> dict[str, Any]:
    return {"log_file": model / "engine.log", **more}


def started(model: Path) -> list[dict[str, Any]]:
    """What each child's LLM was given, and the variables that it saw."""
    return read_jsonl(model / "started")


def adapter_in(directory: Path, rank: int = 8) -> Path:
    directory.mkdir()
    (directory / "adapter_config.json").write_text(json.dumps({"r": rank}), encoding="utf-8")
    return directory


def test_every_sample_has_its_own_seed(stand_in: Path) -> None:
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    found = list(engine.generate(REQUESTS, SAMPLING))
    again = list(engine.generate(REQUESTS[:1], SAMPLING))
    engine.close()
    engine.close()
    expected = {
        Completion(request.id, index, f"{sample_seed(SAMPLING, request.id, index)} {7 + place}", "stop", 3)
        for place, request in enumerate(REQUESTS)
        for index in range(2)
    }
    assert set(found) == expected
    assert found[0].request_id == "r2", "in the order in which they finish"
    assert len(again) == 2
    (child,) = engine.engine.children
    assert child.process.returncode == 0
    assert "chatter on stdout" in child.log_file.read_text(encoding="utf-8")


def test_a_refused_prompt_is_one_error_not_the_end(stand_in: Path) -> None:
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    found = {each.request_id: each for each in engine.generate([*REQUESTS, Request("long", (99,), (USER,))], GREEDY)}
    engine.close()
    assert found["long"] == Completion("long", 0, "prompt too long", "error", 0)
    assert {each.finish_reason for key, each in found.items() if key != "long"} == {"stop"}


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("no start", "ValueError: bad weights"),
        ("die", "ended with status 9: RuntimeError: no memory"),
        ("raise", "RuntimeError: engine broke"),
        ("babble", "it answered '?"),
    ],
)
def test_a_failure_is_one_line_with_the_log(stand_in: Path, mode: str, reason: str) -> None:
    (stand_in / "mode").write_text(mode, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        list(vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in)).generate(REQUESTS, SAMPLING))
    assert reason in str(caught.value)
    assert str(stand_in / "engine.log") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 14


def test_the_child_ends_when_its_answers_are_dropped(stand_in: Path) -> None:
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    answers = engine.generate(REQUESTS, SAMPLING)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert engine.engine.children[0].process.poll() is not None


def test_a_child_shuts_vllm_down_and_leaves_at_once(stand_in: Path) -> None:
    """Clearing away what vLLM loaded takes the interpreter seconds."""
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    assert len(list(engine.generate(REQUESTS, SAMPLING))) == 6
    engine.close()
    assert engine.engine.children[0].process.returncode == 0
    log = (stand_in / "engine.log").read_text(encoding="utf-8")
    assert "engine shut down" in log
    assert "interpreter cleared away" not in log


@pytest.mark.parametrize("ending", ["close", "kill"])
def test_a_child_leaves_no_sockets(stand_in: Path, ending: str) -> None:
    """vLLM, with a scheduler in a process of its own, leaves seven in the temporary directory each time."""
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in)).engine
    sockets = Path(started(stand_in)[0]["environment"]["VLLM_RPC_BASE_PATH"])
    (sockets / "one").touch()
    getattr(engine, ending)()
    assert not sockets.exists()


@pytest.mark.parametrize("ending", ["its failure", "close"])
def test_what_the_child_forked_keeps_nobody_waiting_and_ends_with_it(stand_in: Path, ending: str) -> None:
    """vLLM's engine core is a fork of the child: it would hold the pipe of answers open, and then the GPU's memory."""
    (stand_in / "mode").write_text("leaves a process", encoding="utf-8")
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    left = int((stand_in / "left").read_text(encoding="utf-8"))
    os.kill(left, 0)
    if ending == "close":
        os.kill(engine.engine.children[0].process.pid, signal.SIGKILL)
        engine.close()
    else:
        with pytest.raises(UserError, match="ended with status 9"):
            list(engine.generate(REQUESTS, SAMPLING))
    until = time.monotonic() + 30
    with suppress(FileNotFoundError, ProcessLookupError):  # it is gone, and reaped
        while " Z " not in Path(f"/proc/{left}/stat").read_text(encoding="utf-8"):
            assert time.monotonic() < until, "the fork lives on"
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ("{}", False),
        ('{"quantization_config": {"quant_method": "torchao"}}', True),
        ('{"quantization_config": {}}', False),
    ],
)
def test_torchao_is_kept_for_what_is_quantized_with_it(stand_in: Path, config: str, kept: bool) -> None:
    (stand_in / "config.json").write_text(config, encoding="utf-8")
    (stand_in.parent / "lib" / "torchao.py").write_text("", encoding="utf-8")
    vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in)).close()
    assert started(stand_in)[0]["torchao"] is kept


def test_an_adapter_sets_the_rank(stand_in: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    model = ModelSpec(stand_in, adapter, "m")
    with pytest.raises(UserError, match="not a PEFT adapter"):
        vllm.load(model, options(stand_in))
    for odd in ("[]", '{"r": "8"}', '{"r": 8, "rank_pattern": [9]}'):
        (adapter / "adapter_config.json").write_text(odd, encoding="utf-8")
        with pytest.raises(UserError, match="not a PEFT adapter"):
            vllm.load(model, options(stand_in))
    (adapter / "adapter_config.json").write_text('{"r": 20, "rank_pattern": null}', encoding="utf-8")
    assert vllm.max_lora_rank(adapter) == 32
    (adapter / "adapter_config.json").write_text('{"r": 20, "rank_pattern": {"q_proj": 40}}', encoding="utf-8")
    engine = vllm.load(model, options(stand_in, dtype="float32"))
    (found,) = engine.generate(REQUESTS[:1], GREEDY)
    engine.close()
    assert found.text == f"1000 {len(str(adapter))}"
    (seen,) = started(stand_in)
    assert (seen["max_lora_rank"], seen["enable_lora"], seen["dtype"]) == (64, True, "float32")


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config.json there"):
        vllm.load(ModelSpec(tmp_path, None, "m"), {})


def test_base_and_adapters_share_an_engine(stand_in: Path, tmp_path: Path) -> None:
    first, second = adapter_in(tmp_path / "first", 8), adapter_in(tmp_path / "second", 30)
    models = [ModelSpec(stand_in, adapter, "m") for adapter in (None, first, second)]
    engine = vllm.load_shared(models, options(stand_in))
    texts = []
    for model in models:
        generator = engine.serve(model)
        texts += [each.text for each in generator.generate(REQUESTS[:1], GREEDY)]
        generator.close()  # leaves the engine to the others
    engine.close()
    assert texts == ["0 7", f"1000 {len(str(first))}", f"2000 {len(str(second))}"]
    (seen,) = started(stand_in)
    assert (seen["max_loras"], seen["max_lora_rank"]) == (2, 32)
    with pytest.raises(UserError, match="one base and its adapters"):
        vllm.load_shared([models[0], ModelSpec(tmp_path, None, "other")], options(stand_in))


def test_only_the_adapters_modules_are_prepared(stand_in: Path, tmp_path: Path) -> None:
    for name, modules in (("one", ["q_proj", "v_proj"]), ("other", ["v_proj", "down_proj"]), ("pattern", "all-linear")):
        config = {"r": 8, "target_modules": modules}
        (adapter_in(tmp_path / name) / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    one, other, pattern = (ModelSpec(stand_in, tmp_path / name, name) for name in ("one", "other", "pattern"))
    for models in ([one, other], [one, pattern]):
        vllm.load_shared(models, options(stand_in)).close()
    (tmp_path / "lib" / "vllm" / "engine" / "arg_utils.py").write_text("class EngineArgs: pass\n", encoding="utf-8")
    vllm.load_shared([one, other], options(stand_in)).close()  # an older vLLM
    found = [each.get("lora_target_modules") for each in started(stand_in)]
    assert found == [["down_proj", "q_proj", "v_proj"], None, None]


def test_scoring_gives_what_follows_the_start(stand_in: Path) -> None:
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    assert engine.score([((5, 6, 7, 8), 2), ((4, 4), 1)]) == [
        Scored((-7.0, -8.0), (False, True)),
        Scored((-4.0,), (True,)),
    ]
    with pytest.raises(UserError, match="prompt too long"):
        engine.score([((1, 99), 1)])


def test_processes_share_the_requests_and_the_cores(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_placing, "gpus", lambda: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5, 6, 7, 8})
    requests = [Request(f"r{i}", (5, 6 + i), (USER,)) for i in range(7)]
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, processes=2))
    found = list(engine.generate(requests, GREEDY))
    engine.close()
    assert {(each.request_id, each.text) for each in found} == {(f"r{i}", f"0 {6 + i}") for i in range(7)}
    assert {tuple(each["environment"].values())[1:3] for each in started(stand_in)} == {("2", "4,5"), ("3", "6,7,8")}
    assert [child.log_file.name for child in engine.engine.children] == ["engine.log", "engine-1.log"]
    with pytest.raises(UserError, match="processes is 6, this machine has 5 CPU cores"):
        vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, processes=6))


def test_processes_share_gpus_and_their_memory(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_placing, "gpus", lambda: ["0", "GPU-x"])
    model = ModelSpec(stand_in, None, "m")
    engine = vllm.load(model, options(stand_in, processes=3, gpu_memory_utilization=0.8))
    engine.close()
    on = {"0": [], "GPU-x": []}  # type: dict[str, list[dict[str, Any]]]
    for each in started(stand_in):
        on[each["environment"]["CUDA_VISIBLE_DEVICES"]].append(each)
    assert [each["gpu_memory_utilization"] for each in (*on["0"], *on["GPU-x"])] == [0.4] * 3
    first, second = on["0"]
    assert first["worker_extension_cls"] == vllm_memory.EXTENSION, "it says what it has measured"
    assert second["kv_cache_memory_bytes"] == 5_000_000, "as much as the first, which has measured what is free"
    assert not {"worker_extension_cls", "kv_cache_memory_bytes"} & set(on["GPU-x"][0])
    with pytest.raises(UserError, match="can't both be above 1"):
        vllm.load(model, options(stand_in, processes=2, tensor_parallel_size=2))


def test_no_process_waits_until_another_has_taken_its_rows(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_placing, "gpus", lambda: ["0", "1"])
    (stand_in / "mode").write_text("first waits", encoding="utf-8")
    requests = [Request(f"r{i}", (5,) * 20_000, (USER,)) for i in range(10)]  # 200 kB a process: no pipe holds that
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, processes=2))
    assert len(list(engine.generate(requests, GREEDY))) == 10
    engine.close()


def test_one_process_that_dies_ends_all_and_loses_nothing_finished(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_placing, "gpus", lambda: ["0", "1"])
    (stand_in / "mode").write_text("second dies", encoding="utf-8")
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, processes=2))
    found: list[Completion] = []
    with pytest.raises(UserError, match=r"ended with status 9.*engine-1\.log") as caught:
        found.extend(engine.generate(REQUESTS, GREEDY))
    assert caught.value.exit_code == 14
    assert {each.request_id for each in found} <= {"r0", "r2"}, "those of the first process"
    assert all(child.process.poll() is not None for child in engine.engine.children)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ["0", "1"]),
        ("1, GPU-ab", ["1", "GPU-ab"]),
        ("-1", []),
        ("", []),
        ("0,7,1", ["0"]),
        ("MIG-5,MIG-6", ["MIG-5", "MIG-6"]),
    ],
)
def test_gpus_are_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch, named: str | None, found: list[str]) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    listed = SimpleNamespace(stdout="0, GPU-abc\n1, GPU-xyz\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **more: listed)
    assert gpus.gpus() == found


def test_a_machine_without_a_gpu_has_none_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5})
    assert gpus.gpus() == []
    assert [place.environment["VLLM_CPU_OMP_THREADS_BIND"] for place in vllm_placing.places(2)] == ["4", "5"]


def test_batch_invariance_is_refused_where_there_is_none(stand_in: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch-invariant kernels need a GPU") as caught:
        vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, batch_invariant=True))
    assert caught.value.exit_code == 2
    path = tmp_path / "lib" / "vllm" / "platforms.py"
    path.write_text(path.read_text(encoding="utf-8").replace("True", "False"), encoding="utf-8")
    vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, batch_invariant=True)).close()
    assert started(stand_in)[0]["environment"]["VLLM_BATCH_INVARIANT"] == "1"


@pytest.mark.parametrize(
    ("gpus", "chosen", "own_process"),
    [
        ([], {}, "0"),
        (["0"], {}, "1"),
        (["0"], {"engine_core_process": False}, "0"),
        ([], {"engine_core_process": True}, "1"),
    ],
)
def test_vllms_scheduler_has_a_process_of_its_own_on_a_gpu(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[str], chosen: dict[str, Any], own_process: str
) -> None:
    monkeypatch.setattr(vllm, "gpus", lambda: gpus)
    vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, **chosen)).close()
    assert started(stand_in)[0]["environment"]["VLLM_ENABLE_V1_MULTIPROCESSING"] == own_process


def test_tuning_options_reach_vllm_and_ours_dont(stand_in: Path) -> None:
    chosen = {"max_num_seqs": 512, "max_num_batched_tokens": 8192, "cudagraph_capture_sizes": [1, 512]}
    vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in, **chosen)).close()
    (seen,) = started(stand_in)
    assert {key: seen[key] for key in chosen} == chosen
    assert not set(vllm.OWN) & set(seen)
    assert "max_model_len" not in seen, "what nobody set is vLLM's to choose"


def test_several_models_are_evaluated_by_one_engine(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "load_tokenizer", lambda directory: Rendering())
    monkeypatch.setattr(registry, "find_spec", lambda name: object())
    models = [ModelSpec(stand_in, None, "base"), ModelSpec(stand_in, adapter_in(tmp_path / "adapter"), "tuned")]
    how: dict[str, Any] = {"split": "test", "seed": 0, "sampling": Sampling(4), "engine": "vllm", "options": {}}
    found = evaluate_several(TASK, EXAMPLES, models, out_dir=tmp_path / "out", **how)
    assert list(found) == ["base", "tuned"]
    assert len(started(stand_in)) == 1
    said = {
        name: [row["completion"] for row in read_jsonl(tmp_path / "out" / name / "records.jsonl")] for name in found
    }
    assert said == {"base": ["0 40", "0 41", "0 42"], "tuned": [f"1000 {len(str(models[1].adapter))}"] * 3}
    evaluate_several(TASK, EXAMPLES, models, out_dir=tmp_path / "out", **how)
    assert len(started(stand_in)) == 1, "nothing is missing, so nothing starts"
    with pytest.raises(UserError, match="the same name"):
        evaluate_several(TASK, EXAMPLES, [models[0], models[0]], out_dir=tmp_path / "out", **how)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """The children, from when they were started."""
    children: list[Child] = []

    def start(*arguments: Any) -> Child:
        children.append(start_child(*arguments))
        return children[-1]

    monkeypatch.setattr(vllm, "start_child", start)
    monkeypatch.setattr(registry, "find_spec", lambda name: object())
    return children


def evaluated(stand_in: Path, out: Path, n: int = 3, **how: Any) -> Any:
    model = ModelSpec(stand_in, None, "m")
    how = {"split": "test", "seed": 0, "engine": "vllm", "sampling": Sampling(4), **how}
    return runner.evaluate(TASK, EXAMPLES[:n], model=model, out_dir=out, **how)


def test_the_child_loads_while_the_prompts_are_rendered_unless_kept_answers_may_do(
    stand_in: Path, tmp_path: Path, begun: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def load_tokenizer(directory: Path) -> Any:
        seen.append(len(begun))
        return Rendering()

    monkeypatch.setattr(runner, "load_tokenizer", load_tokenizer)
    cache = tmp_path / "cache"
    assert evaluated(stand_in, tmp_path / "one", 2, cache=cache).completions == 2
    assert (seen, len(begun)) == ([1], 1), "the child was there before the tokenizer"
    assert evaluated(stand_in, tmp_path / "two", 2, cache=cache).cached == 2
    evaluated(stand_in, tmp_path / "one", 2)
    assert len(begun) == 1, "kept in the cache, or in the directory"
    assert evaluated(stand_in, tmp_path / "three", 3, cache=cache).cached == 2
    assert (seen[-1], len(begun)) == (1, 2), "only the prompts tell that one is missing"
    evaluated(stand_in, tmp_path / "four", 3, cache=cache, shuffle=1)
    assert (seen[-1], len(begun)) == (3, 3), "nothing is taken from the cache"
    assert [child.process.returncode for child in begun] == [0, 0, 0], "ended in order"


@pytest.mark.parametrize("error", [UserError("no template"), KeyboardInterrupt()])
def test_a_child_that_nobody_will_ask_ends(
    stand_in: Path, tmp_path: Path, begun: list[Child], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def load_tokenizer(directory: Path) -> Any:
        raise error

    monkeypatch.setattr(runner, "load_tokenizer", load_tokenizer)
    with pytest.raises(type(error)):
        evaluated(stand_in, tmp_path / "out")
    assert [child.process.poll() for child in begun] == [-signal.SIGKILL]
    with pytest.raises(UserError, match="has no option 'nonsense'"):
        evaluated(stand_in, tmp_path / "out", options={"nonsense": 1})
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(type(error)):
        evaluated(stand_in, tmp_path / "file")
    assert len(begun) == 1


@pytest.mark.parametrize("what", ["load", "load_shared"])
def test_an_error_while_it_loads_ends_the_child(
    stand_in: Path, begun: list[Child], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def interrupted(child: Child) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Child, "receive", interrupted)
    model = ModelSpec(stand_in, None, "m")
    with pytest.raises(KeyboardInterrupt):
        getattr(vllm, what)(model if what == "load" else [model], options(stand_in))
    assert [child.process.poll() for child in begun] == [-signal.SIGKILL]


PRETENDS_A_GPU = """
import sys, torch
from pathlib import Path
from eval.engines.vllm_worker import leave_out_torchao
def asked(*args, **kwargs): raise SystemExit("CUDA was initialized by an import")
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
for name in ("_lazy_init", "current_device", "get_device_capability", "get_device_properties", "get_device_name"):
    setattr(torch.cuda, name, asked)
leave_out_torchao(Path(sys.argv[1]))
from vllm import LLM
"""


@pytest.mark.slow
def test_importing_vllm_initializes_no_gpu(tmp_path: Path) -> None:
    """With CUDA initialized, vLLM can't fork its engine process and imports all twice: 20 s on an H100's host."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    line = [sys.executable, "-c", PRETENDS_A_GPU, str(tmp_path)]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr[-2000:]
