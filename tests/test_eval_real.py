"""The engines on real SmolLM2-135M weights: they must agree with each other, token for token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eval.engines.base import Completion, ModelSpec, Request, Sampling
from eval.engines.registry import load_engine
from eval.prompts import load_tokenizer, render_prompt, stop_token_ids
from rewards.core import Message

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


def test_vllm_agrees_with_transformers(smollm2_dir: Path, tmp_path: Path) -> None:
    model = ModelSpec(smollm2_dir, None, "smol")
    assert answers("vllm", model, tmp_path) == answers("transformers", model, tmp_path)


def test_an_adapter_reaches_both_engines(smollm2_dir: Path, adapter: Path, tmp_path: Path) -> None:
    tuned = answers("vllm", ModelSpec(smollm2_dir, adapter, "tuned"), tmp_path)
    assert tuned == answers("transformers", ModelSpec(smollm2_dir, adapter, "tuned"), tmp_path)
    assert tuned != answers("transformers", ModelSpec(smollm2_dir, None, "base"), tmp_path)


def test_sampling_is_seeded(smollm2_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    requests, greedy = requests_for(smollm2_dir)
    sampling = Sampling(24, temperature=1.0, n=2, seed=1, stop_token_ids=greedy.stop_token_ids)
    generator = load_engine("transformers", ModelSpec(smollm2_dir, None, "smol"), {})
    first, second = (list(generator.generate(requests, sampling)) for _ in range(2))
    generator.close()
    assert first == second
    assert len({each.text for each in first if each.request_id == "q3"}) == 2
