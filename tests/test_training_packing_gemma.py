"""Gemma 3 on packed rows: windows in five layers of six, a rope for each kind of layer, tied and scaled embeddings."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from toolkit.training.loss import add_loss_head, loss_problem  # noqa: E402
from toolkit.training.packing import PackedCollator, packing_problem, use_packed_attention  # noqa: E402
from toolkit.training.rows import IGNORED  # noqa: E402

VOCABULARY, WINDOW = 211, 8
LENGTHS = (5, 30, 1, 17, 8, 9)  # longer than the window, as long, and shorter


@pytest.fixture
def gemma() -> Any:
    torch.manual_seed(0)
    config = transformers.Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=7,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=24,  # unlike head_dim, so that the scale of one can't pass for the other's
        sliding_window=WINDOW,
        max_position_embeddings=64,
        initializer_range=0.2,  # scores of random weights as they are usually drawn hardly differ
    )
    made = transformers.Gemma3ForCausalLM(config)
    add_loss_head(made)
    return made


def rows() -> list[dict[str, Any]]:
    """Random sequences; the first third of each is its prompt."""
    random = torch.Generator().manual_seed(0)
    made = []
    for length in LENGTHS:
        ids = torch.randint(0, VOCABULARY, (length,), generator=random).tolist()
        made.append({"input_ids": ids, "labels": [IGNORED] * (length // 3) + ids[length // 3 :]})
    return made


def plain_loss(made: Any) -> Any:
    """transformers' own: each row alone, summed over the labelled tokens."""
    total = torch.zeros(())
    for row in rows():
        labels = torch.tensor([row["labels"]])
        if n := int((labels[:, 1:] != IGNORED).sum()):
            total = total + made(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss * n
    return total


def packed_loss(made: Any) -> Any:
    batch = PackedCollator(pad_token_id=0, longest=max(LENGTHS), multiple=16)(rows())
    return made(loss_labels=batch.pop("labels"), **batch).loss


def test_packed_loss_and_gradients_are_those_of_rows_alone(gemma: Any) -> None:
    kinds = gemma.config.layer_types
    assert kinds == ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    assert packing_problem(gemma) is None
    assert loss_problem(gemma) is None
    expected = plain_loss(gemma)
    expected.backward()
    gradients = {name: weights.grad.clone() for name, weights in gemma.named_parameters()}
    gemma.zero_grad()
    use_packed_attention(gemma)
    found = packed_loss(gemma)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-4)
    for name, weights in gemma.named_parameters():
        torch.testing.assert_close(weights.grad, gradients[name], atol=1e-3, rtol=1e-3, msg=name)


def test_the_windows_and_the_scale_are_what_the_losses_agree_on(gemma: Any) -> None:
    """Neither is there by chance: a packed attention that dropped one would lose another loss."""
    expected = plain_loss(gemma).item()
    use_packed_attention(gemma)
    for layer in gemma.model.layers:
        if layer.self_attn.is_sliding:
            layer.self_attn.sliding_window = None
    assert packed_loss(gemma).item() != pytest.approx(expected, abs=1e-2)
    for layer in gemma.model.layers:
        if layer.self_attn.is_sliding:
            layer.self_attn.sliding_window = WINDOW
    assert packed_loss(gemma).item() == pytest.approx(expected, rel=1e-5, abs=1e-4)
    for layer in gemma.model.layers:
        layer.self_attn.scaling *= 1.5
    assert packed_loss(gemma).item() != pytest.approx(expected, abs=1e-2)
