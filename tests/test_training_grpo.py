"""GRPO's log-probabilities from packed rows, and the choice of groups that teach something."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")

from toolkit.training.cpu import TorchLogProbs  # noqa: E402
from toolkit.training.grpo import engine_arguments  # noqa: E402
from toolkit.training.grpo_trainer import FastGrpoTrainer, live_groups_first  # noqa: E402
from toolkit.training.packing import register_packed_attention  # noqa: E402

PROMPTS, WIDTH = (3, 5, 2), 4  # tokens of each prompt; of the longest completion
COMPLETIONS = (4, 1, 3)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A random Llama under TRL's fused head, whose kernel is ours where there is no GPU."""
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", TorchLogProbs)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    made = transformers.LlamaForCausalLM(config)
    utils.add_fused_lm_head(made, outputs=("log_probs", "entropy"))
    register_packed_attention()
    return made


def rollouts() -> tuple[Any, Any]:
    """ids and mask as TRL lays them out: prompts padded on the left, completions on the right."""
    random = torch.Generator().manual_seed(0)
    longest = max(PROMPTS)
    ids = torch.randint(1, 50, (3, longest + WIDTH), generator=random)
    mask = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        mask[row, longest - prompt : longest + completion] = 1
    return ids, mask


def logps(model: Any, packed: bool, ids: Any, mask: Any, batch: int | None = None) -> tuple[Any, Any]:
    trainer: Any = FastGrpoTrainer.__new__(FastGrpoTrainer)
    trainer.packed, trainer.longest = packed, 16
    trainer.accelerator = SimpleNamespace(
        autocast=nullcontext, unwrap_model=lambda wrapped: wrapped, is_main_process=True
    )
    found, entropies, _ = trainer._get_per_token_logps_and_entropies(
        model, ids, mask, WIDTH, batch_size=batch, compute_entropy=True
    )
    return found, entropies


def shifted(mask: Any) -> Any:
    """TRL passes no position ids: its rows count padding. Left-padded rows then differ by their rotary angles only,
    which attention takes relative to each other, so the results must agree."""
    return mask[:, -WIDTH:].float()


@pytest.mark.parametrize("batch", [None, 2])
def test_packed_log_probabilities_and_gradients_are_trls(model: Any, batch: int | None) -> None:
    ids, mask = rollouts()
    results = []
    for packed in (False, True):
        model.zero_grad()
        found, entropies = logps(model, packed, ids, mask, batch)
        assert found.shape == (3, WIDTH)
        (found * shifted(mask)).sum().backward()
        grads = {name: weights.grad.clone() for name, weights in model.named_parameters()}
        results.append((found * shifted(mask), entropies * shifted(mask), grads))
    for one, other in zip(results[0][:2], results[1][:2], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    for name, gradient in results[0][2].items():
        torch.testing.assert_close(gradient, results[1][2][name], atol=1e-5, rtol=1e-4, msg=name)


def test_the_models_own_attention_is_back_after_a_packed_pass(model: Any) -> None:
    before = model.config._attn_implementation
    logps(model, True, *rollouts())
    assert model.config._attn_implementation == before
    assert model.generate(torch.tensor([[1, 2]]), max_new_tokens=2, do_sample=False).shape == (1, 4)


def test_a_row_without_completion_tokens_costs_nothing_and_changes_nothing(model: Any) -> None:
    ids, mask = rollouts()
    whole, _ = logps(model, True, ids, mask)
    dead = mask.clone()
    dead[1, -WIDTH:] = 0
    without, _ = logps(model, True, ids, dead)
    assert (without[1] == 0).all()
    torch.testing.assert_close(without[[0, 2]], whole[[0, 2]])
    nothing, _ = logps(model, True, ids, torch.cat([mask[:, :-WIDTH], 0 * mask[:, -WIDTH:]], 1))
    nothing.sum().backward()  # a step whose groups are all dead still goes backward
    assert all((weights.grad == 0).all() for weights in model.parameters())


def test_groups_with_different_rewards_come_first_and_stay_whole() -> None:
    rounding = 7e-5  # what equal rewards of 0.1 leave
    advantages = torch.tensor([0.0, 0.0, 1.0, -1.0, rounding, -rounding, 0.5, -0.5])
    rows, alive = live_groups_first(advantages, group=2, wanted=4)
    assert rows.tolist() == [2, 3, 6, 7]
    assert alive.tolist() == [True] * 4
    rows, alive = live_groups_first(advantages, group=2, wanted=6)
    assert rows.tolist() == [2, 3, 6, 7, 0, 1]
    assert alive.tolist() == [True] * 4 + [False] * 2


def test_the_engine_gets_room_for_a_whole_step() -> None:
    assert engine_arguments("auto", {"max_num_seqs": 512})["max_num_seqs"] == 512
    assert engine_arguments("auto", {"max_num_seqs": 64})["max_num_seqs"] == 256
    assert engine_arguments("auto", {"max_num_seqs": 512})["compilation_config"]["max_cudagraph_capture_size"] == 512
    assert engine_arguments("auto", {})["dtype"] == "bfloat16"
    assert engine_arguments("float32", {})["dtype"] == "float32"
