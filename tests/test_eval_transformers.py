"""The transformers engine on tiny random models: where a completion ends."""

from __future__ import annotations

from typing import Any

import pytest

from eval.engines.base import Completion, Request, Sampling
from eval.engines.transformers import Transformers

CONTEXT = 64
NO_END = 999  # no token of these models
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 50}


class Numbers:
    pad_token_id = 0

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        return " ".join(map(str, ids))


def tiny(kind: str) -> Any:
    """GPT-2 has a table of positions and fails beyond its end; Llama goes on; Gemma 3 keeps its sizes a level down."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=50, n_positions=CONTEXT, n_embd=16, n_layer=1, n_head=1)
        return transformers.GPT2LMHeadModel(config).eval()
    if kind == "llama":
        config = transformers.LlamaConfig(**SIZES, intermediate_size=16, max_position_embeddings=CONTEXT)
        return transformers.LlamaForCausalLM(config).eval()
    text = {**SIZES, "intermediate_size": 16, "num_key_value_heads": 1, "head_dim": 16}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.Gemma3Config(text_config={**text, "max_position_embeddings": CONTEXT}, vision_config=vision)
    return transformers.Gemma3ForConditionalGeneration(config).eval()


def answers(engine: Transformers, sizes: list[int], most: int) -> list[Completion]:
    requests = [Request(str(size), tuple(1 + i % 40 for i in range(size)), ()) for size in sizes]
    found = {each.request_id: each for each in engine.generate(requests, Sampling(most, stop_token_ids=(NO_END,)))}
    return [found[str(size)] for size in sizes]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma3"])
def test_a_completion_ends_where_the_context_does(kind: str) -> None:
    """As vLLM's do; and a long prompt in the batch cuts no other completion."""
    engine = Transformers(tiny(kind), Numbers(), 4)  # type: ignore[arg-type]
    found = answers(engine, [3, 50, 50 + 1, 63, 64, 80], 40)
    assert [each.finish_reason for each in found[4:]] == ["error", "error"]
    assert found[4].text == "the prompt has 64 tokens, the model takes 64"
    assert [(each.finish_reason, each.tokens) for each in found[:4]] == [
        ("length", 40),
        ("length", 14),
        ("length", 13),
        ("length", 1),
    ]
    assert answers(engine, [3], 40) == found[:1]
