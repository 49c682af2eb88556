"""The engines on real SmolLM2-135M weights: they must agree with each other, token for token."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.engines import vllm, vllm_placing
from eval.engines.base import Completion, Generator, ModelSpec, Request, Sampling
from eval.engines.registry import load_engine
from eval.engines.vllm_child import CHILD_ENV
from eval.parity import TOLERANCES
from eval.prompts import load_tokenizer, render_prompt, stop_token_ids
from rewards.core import Message, UserError
from tests.ports import free_port

pytestmark = pytest.mark.slow

QUESTIONS = ("What is the capital of France?", "List three fruits.", "Who wrote Hamlet?", "Count from one to ten.")


def requests_for(directory: Path) -> tuple[list[Request], Sampling]:
    tokenizer = load_tokenizer(directory)
    requests = []
    for number, question in enumerate(QUESTIONS):
        turn: Message = {"role": "user", "content": question}
        requests.append(Request(f"q{number}", tuple(render_prompt(tokenizer, [turn])), (turn,)))
    return requests, Sampling(max_tokens=24, stop_token_ids=stop_token_ids(tokenizer, directory))


def answers(engine: str, model: ModelSpec, tmp_path: Path, **options: object) -> dict[str, Completion]:
    pytest.importorskip("torch")
    requests, sampling = requests_for(model.path)
    if engine == "vllm":
        pytest.importorskip("vllm")
        options = {"log_file": tmp_path / "vllm.log", "max_model_len": 512, **options}
    # float32: what is a tie in bfloat16 may fall either way
    generator = load_engine(engine, model, {"dtype": "float32", **options})
    try:
        return {each.request_id: each for each in generator.generate(requests, sampling)}
    finally:
        generator.close()


@pytest.fixture(scope="module")
def adapter(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with random weights, large enough to change what the model says. Made in a process of its own."""
    pytest.importorskip("peft")
    directory = tmp_path_factory.mktemp("adapter")
    code = f"""
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained({str(smollm2_dir)!r}, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=24, lora_alpha=48, target_modules=["q_proj", "v_proj", "down_proj"]))
for name, weights in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(weights, std=0.02)
model.save_pretrained({str(directory)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return directory


def test_a_short_answer_stops_by_itself(smollm2_dir: Path, tmp_path: Path) -> None:
    found = answers("transformers", ModelSpec(smollm2_dir, None, "smol"), tmp_path)
    assert found["q0"].text == "The capital of France is Paris."
    assert found["q0"].finish_reason == "stop"
    assert found["q3"].finish_reason == "length"
    assert found["q3"].tokens == 24


def test_a_batch_answers_as_its_rows_alone(smollm2_dir: Path, tmp_path: Path) -> None:
    model = ModelSpec(smollm2_dir, None, "smol")
    assert answers("transformers", model, tmp_path) == answers("transformers", model, tmp_path, batch_size=1)


def test_loading_says_nothing_in_a_pipe(smollm2_dir: Path) -> None:
    """Neither the bar of transformers nor torch's warnings of torchao: stderr is the toolkit's own lines."""
    code = f"""
from pathlib import Path
from eval.engines.base import ModelSpec
from eval.engines.registry import load_engine
load_engine("transformers", ModelSpec(Path({str(smollm2_dir)!r}), None, "smol"), {{}})
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.fixture(scope="module")
def shared(smollm2_dir: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One vLLM engine for the base and the adapter."""
    pytest.importorskip("vllm")
    from eval.engines.vllm import load_shared

    models = [ModelSpec(smollm2_dir, None, "base"), ModelSpec(smollm2_dir, adapter, "tuned")]
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    engine = load_shared(models, {"dtype": "float32", "max_model_len": 512, "log_file": log})
    yield engine
    engine.close()


def test_base_and_adapter_of_one_engine_agree_with_transformers(
    smollm2_dir: Path, adapter: Path, tmp_path: Path, shared: Any
) -> None:
    requests, sampling = requests_for(smollm2_dir)
    said = {}
    for model in (ModelSpec(smollm2_dir, None, "base"), ModelSpec(smollm2_dir, adapter, "tuned")):
        said[model.name] = {each.request_id: each for each in shared.serve(model).generate(requests, sampling)}
        assert said[model.name] == answers("transformers", model, tmp_path)
    assert said["base"] != said["tuned"]


def test_a_seed_gives_the_same_texts_again_in_another_order(smollm2_dir: Path, shared: Any) -> None:
    requests, greedy = requests_for(smollm2_dir)
    sampling = Sampling(16, temperature=1.0, n=2, seed=1, stop_token_ids=greedy.stop_token_ids)
    base = shared.serve(ModelSpec(smollm2_dir, None, "base"))
    first, second = set(base.generate(requests, sampling)), set(base.generate(requests[::-1], sampling))
    assert first == second
    assert len({each.text for each in first if each.request_id == "q3"}) == 2


def test_vllms_log_probabilities_are_transformers(smollm2_dir: Path, adapter: Path, shared: Any) -> None:
    """What `toolkit parity` rests on, for the base and for LoRA; and an adapter that is left out shows."""
    requests, _ = requests_for(smollm2_dir)
    sequences = [((*request.prompt_ids, 198, 504, 2), len(request.prompt_ids)) for request in requests]
    found = {}
    for model in (ModelSpec(smollm2_dir, None, "base"), ModelSpec(smollm2_dir, adapter, "tuned")):
        reference = load_engine("transformers", model, {"dtype": "float32"})
        pairs = zip(reference.score(sequences), shared.serve(model).score(sequences), strict=True)  # type: ignore[attr-defined]
        reference.close()
        found[model.name] = [
            (one, other) for mine, theirs in pairs for one, other in zip(mine.logprobs, theirs.logprobs, strict=True)
        ]
        assert max(abs(one - other) for one, other in found[model.name]) < TOLERANCES["float32"].largest
    apart = [abs(one - other) for (one, _), (_, other) in zip(found["tuned"], found["base"], strict=True)]
    assert sum(apart) / len(apart) > 10 * TOLERANCES["float32"].mean


def test_two_processes_answer_as_one(smollm2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on one GPU: the second takes a KV cache of the size that the first tells."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPU cores")
    first, second = vllm_placing.places(2)
    monkeypatch.setattr(vllm, "places", lambda processes: [first, replace(second, like=0)])
    model = ModelSpec(smollm2_dir, None, "base")
    assert answers("vllm", model, tmp_path, processes=2) == answers("transformers", model, tmp_path)


def test_a_real_server_answers_our_token_ids(smollm2_dir: Path, tmp_path: Path) -> None:
    for package in ("vllm", "openai"):
        pytest.importorskip(package)
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(smollm2_dir)]
    command += ["--served-model-name", "smol", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "512", "--enforce-eager"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **CHILD_ENV}, start_new_session=True
        )
    try:
        options = {"base_url": f"http://127.0.0.1:{port}/v1", "retries": 0}
        engine = wait_for(process, lambda: load_engine("server", ModelSpec(smollm2_dir, None, "smol"), options))
        requests, sampling = requests_for(smollm2_dir)
        long = Request("long", tuple([5] * 600), ())
        found = {each.request_id: each for each in engine.generate([*requests, long], sampling)}
        engine.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert found.pop("long").finish_reason == "error"
    assert found == answers("transformers", ModelSpec(smollm2_dir, None, "smol"), tmp_path)


def wait_for(process: subprocess.Popen[bytes], connect: Callable[[], Generator]) -> Generator:
    """What `connect` gives once the server listens."""
    while True:
        try:
            return connect()
        except UserError:
            assert process.poll() is None, "the server ended"
            time.sleep(1)


def test_sampling_is_seeded(smollm2_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    requests, greedy = requests_for(smollm2_dir)
    sampling = Sampling(24, temperature=1.0, n=2, seed=1, stop_token_ids=greedy.stop_token_ids)
    generator = load_engine("transformers", ModelSpec(smollm2_dir, None, "smol"), {})
    first, second = (list(generator.generate(requests, sampling)) for _ in range(2))
    generator.close()
    assert first == second
    assert len({each.text for each in first if each.request_id == "q3"}) == 2
