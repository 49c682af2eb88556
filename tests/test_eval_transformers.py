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
    """GPT-2's table of positions ends with the context, GPT-Neo's mask too, padding included; Llama goes on.

    Gemma 3 keeps its sizes a level down.
    """
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=50, n_positions=CONTEXT, n_embd=16, n_layer=1, n_head=1)
        return transformers.GPT2LMHeadModel(config).eval()
    if kind == "gpt_neo":
        layers = {"num_layers": 2, "num_heads": 1, "attention_types": [[["global", "local"], 1]]}
        config = transformers.GPTNeoConfig(vocab_size=50, max_position_embeddings=CONTEXT, hidden_size=16, **layers)
        return transformers.GPTNeoForCausalLM(config).eval()
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


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neo", "llama", "gemma3"])
def test_a_completion_ends_where_the_context_does(kind: str) -> None:
    """As vLLM's do; and a long prompt in the batch neither cuts nor changes another completion."""
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
    for size, together in zip([3, 50, 51, 63], found, strict=False):
        assert answers(engine, [size], 40) == [together]


def counted(engine: Transformers, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The batches that the model is asked for from now on: (rows, tokens generated)."""
    asked, generate = [], engine._inner().generate

    def spy(**arguments: Any) -> Any:
        output = generate(**arguments)
        asked.append((len(output), output.shape[1] - arguments["input_ids"].shape[1]))
        return output

    monkeypatch.setattr(engine._inner(), "generate", spy)
    return asked


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("most", [2, CONTEXT])
def test_batches_dont_depend_on_the_room(kind: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Transformers(tiny(kind), Numbers(), 8)  # type: ignore[arg-type]
    asked = counted(engine, monkeypatch)
    sizes = list(range(20, 40))
    found = answers(engine, sizes, most)
    assert [rows for rows, _ in asked] == [8, 8, 4]
    assert [each.tokens for each in found] == [min(most, CONTEXT - size) for size in sizes]


def test_a_batch_ends_with_the_last_row_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one with much room met its end token; the full one doesn't go on to use its neighbour's room."""
    engine = Transformers(tiny("gpt2"), Numbers(), 8)  # type: ignore[arg-type]
    (alone,) = answers(engine, [3], 5)
    requests = [Request(str(size), tuple(1 + i % 40 for i in range(size)), ()) for size in (3, 60)]
    asked = counted(engine, monkeypatch)
    end = int(alone.text.split()[0])
    found = {each.request_id: each for each in engine.generate(requests, Sampling(60, stop_token_ids=(end,)))}
    assert (found["3"].finish_reason, found["3"].tokens) == ("stop", 1)
    assert asked[0][1] <= 4


def test_an_adapters_rows_end_where_the_context_does(monkeypatch: pytest.MonkeyPatch) -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(tiny("gpt2"), peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True))
    engine = Transformers(model.eval(), Numbers(), 4)  # type: ignore[arg-type]
    asked = counted(engine, monkeypatch)
    assert [each.tokens for each in answers(engine, [3, 50, 63], 40)] == [40, 14, 1]
    assert len(asked) == 1
    assert not engine._inner()._forward_pre_hooks, "the model may go on training"


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_sampled_rows_are_drawn_as_if_all_went_on(kind: str) -> None:
    """A row that is full, and cut, leaves the random numbers of its neighbours as they are."""
    engine = Transformers(tiny(kind), Numbers(), 4)  # type: ignore[arg-type]
    requests = [Request(str(size), tuple(range(1, size + 1)), ()) for size in (3, 40)]
    short, long = (
        {each.request_id: each.text.split() for each in engine.generate(requests, Sampling(most, 1.0, seed=3))}
        for most in (20, 30)
    )
    assert long["3"][:20] == short["3"]
    assert (len(long["3"]), len(long["40"])) == (30, 24)
