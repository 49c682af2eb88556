"""Packed rows: the same loss and gradients as rows of their own, and nothing passes from one sequence to the next."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from rewards.core import UserError  # noqa: E402
from toolkit.training.loss import ChunkedCrossEntropy, add_loss_head, loss_problem, predicting_places  # noqa: E402
from toolkit.training.packing import PackedCollator, packed_attention, packing_problem, use_packed_attention  # noqa: E402
from toolkit.training.rows import IGNORED  # noqa: E402

VOCABULARY = 97
LENGTHS = (5, 1, 12, 7, 3)


def model(**changes: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        **changes,
    )
    made = transformers.LlamaForCausalLM(config)
    add_loss_head(made)
    return made


def rows(seed: int = 0) -> list[dict[str, Any]]:
    """Sequences of a few tokens; the first half of each is its prompt, in one of them every token is labelled."""
    random = torch.Generator().manual_seed(seed)
    made = []
    for place, length in enumerate(LENGTHS):
        ids = torch.randint(0, VOCABULARY, (length,), generator=random).tolist()
        prompt = 0 if place == 3 else length // 2
        made.append({"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]})
    return made


def packed(chosen: list[dict[str, Any]], multiple: int = 16) -> dict[str, Any]:
    return PackedCollator(pad_token_id=0, longest=max(LENGTHS), multiple=multiple)(chosen)


def loss_of(made: Any, batch: dict[str, Any]) -> Any:
    batch = dict(batch)
    return made(loss_labels=batch.pop("labels"), **batch).loss


def test_positions_and_borders_restart_with_every_sequence_and_the_row_is_filled_up() -> None:
    batch = packed(rows(), multiple=16)
    assert batch["cu_seq_lens_q"].tolist() == [0, 5, 6, 18, 25, 28, 32]  # the last: four tokens of padding
    expected = [place for length in (*LENGTHS, 4) for place in range(length)]
    assert batch["position_ids"].tolist() == [expected]
    assert batch["labels"][0, 28:].tolist() == [IGNORED] * 4


def test_no_sequences_first_token_is_predicted_from_the_one_before() -> None:
    batch = packed(rows())
    starts = batch["cu_seq_lens_q"][:-1].long()
    assert (batch["labels"][0, starts] == IGNORED).all()
    assert not set(batch["loss_places"].tolist()) & {int(start) - 1 for start in starts}
    assert batch["loss_places"].tolist() == predicting_places(batch["labels"]).tolist()


def test_packed_loss_and_gradients_are_those_of_rows_alone() -> None:
    made = model()
    # The reference is transformers' own loss over each row by itself, weighted by its labelled tokens.
    total, count = torch.zeros(()), 0
    for row in rows():
        labels = torch.tensor([row["labels"]])
        n = int((labels[:, 1:] != IGNORED).sum())
        if n:
            total = total + made(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss * n
            count += n
    (total / count).backward()
    expected = {name: weights.grad.clone() for name, weights in made.named_parameters()}
    made.zero_grad()
    use_packed_attention(made)
    loss = loss_of(made, packed(rows())) / count
    loss.backward()
    assert loss.item() == pytest.approx((total / count).item(), abs=1e-5)
    for name, weights in made.named_parameters():
        torch.testing.assert_close(weights.grad, expected[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("window", [None, 4])
def test_another_sequence_changes_no_logits(window: int | None) -> None:
    made = model()
    for layer in made.model.layers:
        layer.self_attn.sliding_window = window
    use_packed_attention(made)
    first = rows()
    second = [*first[:2], {**first[2], "input_ids": first[2]["input_ids"][::-1]}, *first[3:]]
    logits = []
    for chosen in (first, second):
        batch = packed(chosen)
        kept = ("input_ids", "position_ids", "cu_seq_lens_q", "max_length_q")
        with torch.no_grad():
            logits.append(made(**{name: batch[name] for name in kept}, use_cache=False).logits[0])
    changed = slice(6, 18)
    assert (logits[0][changed] != logits[1][changed]).any()
    for same in (slice(0, 6), slice(18, None)):
        assert torch.equal(logits[0][same], logits[1][same])


def test_a_sliding_window_is_kept_within_a_sequence() -> None:
    from toolkit.training.packing import packed_attention

    torch.manual_seed(0)
    query = torch.randn(1, 4, 12, 8)
    key, value = torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    borders = torch.tensor([0, 12], dtype=torch.int32)
    kept = {"scaling": 0.3, "cu_seq_lens_q": borders, "max_length_q": 12}
    windowed, _ = packed_attention(None, query, key, value, None, sliding_window=3, **kept)
    assert windowed.shape == (1, 12, 4, 8)
    distance = torch.arange(12)[:, None] - torch.arange(12)[None, :]
    scores = (query @ key.repeat_interleave(2, 1).transpose(2, 3) * 0.3).masked_fill(
        (distance < 0) | (distance >= 3), -torch.inf
    )
    expected = scores.softmax(-1) @ value.repeat_interleave(2, 1)
    torch.testing.assert_close(windowed, expected.transpose(1, 2))


def test_packed_attention_refuses_a_row_without_borders() -> None:
    made = model()
    use_packed_attention(made)
    with pytest.raises(RuntimeError, match="packed rows only"):
        made(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunked_cross_entropy_is_cross_entropy(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.training.loss.CPU_LOGITS", chunk * 500)
    torch.manual_seed(1)
    hidden, weight = torch.randn(200, 16, requires_grad=True), torch.randn(500, 16, requires_grad=True)
    targets = torch.randint(0, 500, (200,))
    expected = torch.nn.functional.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    wanted = torch.autograd.grad(expected * 0.5, (hidden, weight))
    loss = ChunkedCrossEntropy.apply(hidden, weight, targets)
    found = torch.autograd.grad(loss * 0.5, (hidden, weight))
    torch.testing.assert_close(loss, expected)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_frozen_head_gets_no_gradient_and_no_labels_cost_nothing() -> None:
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(9, 8)
    ChunkedCrossEntropy.apply(hidden, weight, torch.tensor([1, 2, 3, 4])).backward()
    assert hidden.grad is not None
    assert weight.grad is None
    none = ChunkedCrossEntropy.apply(hidden[:0], weight, torch.zeros(0, dtype=torch.long))
    assert none.item() == 0


def test_the_gpus_form_of_the_loss_agrees_with_the_processors() -> None:
    from toolkit.training.loss import _fusible, _in_place

    logits, targets = torch.randn(6, 40), torch.randint(0, 40, (6,))
    for one, other in zip(_fusible(logits, targets), _in_place(logits.clone(), targets), strict=True):
        torch.testing.assert_close(one, other)


def test_models_that_need_another_attention_or_head_say_so() -> None:
    assert packing_problem(model()) is None
    assert loss_problem(model()) is None
    assert "dropout" in str(packing_problem(model(attention_dropout=0.1)))
    capped = model()
    capped.config.final_logit_softcapping = 30.0
    assert "final_logit_softcapping" in str(loss_problem(capped))
    capped.config.attn_logit_softcapping = 50.0
    assert "attn_logit_softcapping" in str(packing_problem(capped))
    hybrid = model()
    hybrid.config.layer_types = ["full_attention", "linear_attention"]
    assert "linear_attention" in str(packing_problem(hybrid))
    sinking = model()
    sinking.model.layers[0].self_attn.sinks = torch.nn.Parameter(torch.zeros(4))
    assert "sinks" in str(packing_problem(sinking))
    recurrent = model()
    recurrent.config.block_types = ["recurrent", "attention"]
    assert "recurrent" in str(packing_problem(recurrent))
    soft = model()
    soft.config.logits_soft_cap = 30.0
    assert "logits_soft_cap" in str(loss_problem(soft))


@pytest.mark.parametrize(
    ("capability", "sizes", "says"),
    [
        ((9, 0), {}, None),
        ((7, 5), {}, "Ampere"),
        ((9, 0), {"global_head_dim": 512}, "global_head_dim 512"),
        ((9, 0), {"head_dim": 20}, "head_dim 20"),
        ((9, 0), {"qk_head_dim": 192, "v_head_dim": 128}, "different sizes"),
        ((9, 0), {"qk_head_dim": 128, "v_head_dim": 128}, None),
    ],
)
def test_what_the_gpus_kernel_cant_do_is_asked_before(
    capability: tuple[int, int], sizes: dict[str, int], says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    asked = model()
    for name, size in sizes.items():
        setattr(asked.config, name, size)
    problem = packing_problem(asked)
    assert problem is None if says is None else says in str(problem)


@pytest.mark.parametrize("more", [{"attention_mask": torch.ones(1, 1, 3, 3)}, {"s_aux": torch.zeros(2)}])
def test_what_packed_attention_would_leave_out_is_refused(more: dict[str, Any]) -> None:
    rows = {"query": torch.zeros(1, 2, 3, 8), "key": torch.zeros(1, 2, 3, 8), "value": torch.zeros(1, 2, 3, 8)}
    given = {"attention_mask": None, **rows, **more, "cu_seq_lens_q": torch.tensor([0, 3])}
    with pytest.raises(UserError, match="set packing to false"):
        packed_attention(torch.nn.Module(), **given)
