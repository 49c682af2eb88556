"""How a model will be trained: packed or not, compiled or not, in how many passes; and why not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from rewards.core import UserError  # noqa: E402
from toolkit.config import GrpoConfig, LoraConfig, ModelConfig, SftConfig  # noqa: E402
from toolkit.models import ResolvedModel  # noqa: E402
from toolkit.planning.fits import forward_passes  # noqa: E402
from toolkit.planning.memory import CPU_TOKENS  # noqa: E402
from toolkit.training.fast import FastPath, fast_path, grpo_path  # noqa: E402

BASE = ModelConfig(reference="here", backend="transformers")


def model(**changes: Any) -> Any:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, **changes
        )
    )


def path_of(made: Any, base: ModelConfig = BASE, /, **sft: Any) -> FastPath:
    return fast_path(made, base, SftConfig(**sft), [100] * 50, 1.0)


@pytest.mark.parametrize(
    ("batch", "length", "budget", "passes"),
    [(256, 280, 90_000, 1), (256, 280, 70_000, 2), (12, 100, 500, 3), (7, 100, 300, 7), (8, 1000, 10, 8)],
)
def test_a_step_is_split_into_as_few_equal_passes_as_keep_to_the_budget(
    batch: int, length: int, budget: int, passes: int
) -> None:
    assert forward_passes(batch, [length] * 10, budget) == passes


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a processor")
def test_a_processor_packs_and_does_not_compile() -> None:
    path = path_of(model(), batch_size=8)
    assert path.packed
    assert path.own_loss
    assert not path.compiled
    assert path.passes == 1
    assert f"about {CPU_TOKENS} tokens" in path.notes[-1]
    assert path_of(model(), batch_size=8, forward_tokens=450).passes == 2
    assert not path_of(model(), packing=False).packed


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a processor")
def test_a_switch_that_can_not_be_on_is_refused_with_its_reason() -> None:
    dropped = model(attention_dropout=0.5)
    assert not path_of(dropped).packed
    assert "padded, not packed: its attention has dropout" in path_of(dropped).notes[0]
    with pytest.raises(UserError, match=r"sft\.packing: 'here' can't train on packed rows: its attention has dropout"):
        path_of(dropped, packing=True)
    with pytest.raises(UserError, match=r"sft\.compile: compiling pays on a GPU only; set auto"):
        path_of(model(), compile=True)


def test_compiling_grpo_is_refused_where_it_would_not_compile() -> None:
    with pytest.raises(UserError, match=r"grpo\.compile: needs a GPU, grpo\.vllm and packed rows; set auto"):
        grpo_path(model(), "transformers", GrpoConfig(compile=True))
    for switch in (False, "auto"):
        path = grpo_path(model(), "transformers", GrpoConfig(compile=switch, steps=1000))
        assert not path.compiled


def test_a_gpu_packs_under_unsloth_too_which_compiles_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.planning.machine import Device
    from toolkit.training import fast

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (80e9, 80e9))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(fast, "device", lambda: Device("gpu", "a card", 80e9, 80e9))
    path = path_of(model(), ModelConfig(reference="here", backend="unsloth"), batch_size=8)
    assert path.packed
    assert path.own_loss
    assert not path.compiled
    assert path.why["compile"] == "unsloth compiles by itself"


@pytest.mark.parametrize("memory", [None, 0.4])
def test_unsloth_gets_an_engine_where_vllm_is_to_generate(
    memory: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in: unsloth's engine needs a GPU."""
    given: dict[str, Any] = {}

    def from_pretrained(name: str, **arguments: Any) -> tuple[Any, Any]:
        given.update(arguments)
        return "model", "tokenizer"

    unsloth: Any = ModuleType("unsloth")
    unsloth.FastLanguageModel = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setitem(sys.modules, "unsloth", unsloth)
    monkeypatch.delitem(sys.modules, "toolkit.training.unsloth_backend", raising=False)
    from toolkit.training.unsloth_backend import UnslothBackend

    resolved = ResolvedModel(Path("base"), adapter=Path("adapter"))
    UnslothBackend().load(ModelConfig(reference="here"), resolved, LoraConfig(rank=16), 0, memory)
    monkeypatch.delitem(sys.modules, "toolkit.training.unsloth_backend")
    assert given["load_in_4bit"] is False
    assert given["full_finetuning"] is False
    wanted = {} if memory is None else {"fast_inference": True, "max_lora_rank": 16, "gpu_memory_utilization": 0.4}
    assert {key: value for key, value in given.items() if key in ("fast_inference", *wanted)} == wanted


def test_unsloths_engine_is_refused_without_an_adapter() -> None:
    from toolkit.config import check_recipe

    raw = {
        "task": "datetime_extraction_plain",
        "output": "run",
        "model": {"reference": "x/y", "backend": "unsloth", "tuning": "full"},
        "data": {"sft": 1, "grpo": 8, "test": 1},
        "grpo": {"prompts": 2, "generations": 2, "batch_size": 4, "vllm": True},
    }
    with pytest.raises(UserError, match=r"grpo\.vllm: .* set model\.tuning to lora, or backend transformers"):
        check_recipe(raw, "here")
    check_recipe({**raw, "model": {"reference": "x/y"}}, "here")
