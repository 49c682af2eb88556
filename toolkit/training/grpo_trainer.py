"""TRL's GRPOTrainer over packed rows, and with more prompts than it trains on, so that no group is dead.

Import it after the backend: unsloth patches TRL.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from trl import GRPOTrainer

from rewards.core import UserError
from toolkit.training.packing import NAME, attention_of
from toolkit.training.processes import world
from toolkit.training.rows import IGNORED


class FastGrpoTrainer(GRPOTrainer):
    """packed: log-probabilities from rows without padding. extra_prompts: how many more prompts each step samples.

    Generation, rewards, advantages, checkpoints and logs are TRL's.
    """

    def __init__(self, *args: Any, packed: bool, longest: int, extra_prompts: int, **kwargs: Any) -> None:
        self.packed, self.longest, self.extra_prompts = packed, longest, extra_prompts
        super().__init__(*args, **kwargs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **rest: Any,
    ) -> Any:
        """As TRL's: [B, logits_to_keep] log-probabilities (and entropies) of the completions' tokens, 0 elsewhere.

        Rows without a completion token are left out: their groups are dead. The head sees completions only.
        """
        if not self.packed:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **rest
            )
        size = batch_size or input_ids.shape[0]
        parts = [
            self._packed_logps(model, ids, mask, logits_to_keep, compute_entropy)
            for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True)
        ]
        logps = torch.cat([logps for logps, _ in parts])
        return logps, torch.cat([entropies for _, entropies in parts]) if compute_entropy else None, None

    def _packed_logps(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, width: int, entropy: bool
    ) -> tuple[torch.Tensor, Any]:
        scored = torch.zeros_like(mask, dtype=torch.bool)
        scored[:, -width:] = mask[:, -width:].bool()
        kept = mask.bool() & scored.any(1, keepdim=True)
        if world() > 1 and not scored.any():
            kept[0] = mask[0].bool()  # every process has to run the model: the others wait for its gradients
        batch, places = packed_rollouts(ids, kept, scored)
        zeros = torch.zeros(ids.shape[0], width, device=ids.device)
        if batch["input_ids"].shape[1] == 0:
            nothing = sum(weights.sum() * 0 for weights in model.parameters() if weights.requires_grad)
            return zeros + nothing, zeros
        base = self.accelerator.unwrap_model(model)
        with self.accelerator.autocast(), attention_of(base, NAME):  # generation without vLLM needs its own
            # The kernel covers no more than this says; where the preflight was told to accept it, rollouts are longer.
            longest = max(self.longest, ids.shape[1])
            found = model(**batch, max_length_q=longest, fused_lm_head=True)
        target = scored[:, -width:]
        # Entry t of the head's output is of token t + 1.
        logps = zeros.masked_scatter(target, found.log_probs[0, places - 1].float())
        entropies = zeros.masked_scatter(target, found.entropy[0, places - 1].float()) if entropy else None
        return logps, entropies

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's, over more prompts than are needed: of their groups, those in which the rewards differ are kept."""
        if not self.model.training:
            return dict(super()._generate_and_score_completions(inputs))
        wanted = len(inputs)
        output = super()._generate_and_score_completions([*inputs, *self._extra(inputs)])
        kept, alive = live_groups_first(output["advantages"], self.num_generations, wanted)
        shares = self.accelerator.gather(alive.float())  # of all processes, like all that TRL logs
        self._metrics["train"]["live_groups"].append(float(shares.mean()))
        count = output["advantages"].shape[0]
        output = {name: _rows(value, kept, count) for name, value in output.items()}
        # The step's tokens, dead groups' too, as TRL counts them: the loss is divided by what it is without packing.
        output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
        # A dead group's gradient is nothing; with a KL penalty it still has that, and bnpo divides by the mask itself.
        if self.beta == 0 and self.loss_type != "bnpo":
            output["completion_mask"] = output["completion_mask"] * alive.unsqueeze(1)
        return output

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's. Where dead groups fill a pass, no token is left to take a mean over: TRL's 0 for it isn't logged."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        before = {name: len(values) for name, values in metrics.items()}
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if not self.accelerator.gather(inputs["completion_mask"].sum()).any():
            for name in list(metrics):
                del metrics[name][before.get(name, 0) :]
                if not metrics[name]:  # TRL would log a mean of none
                    del metrics[name]
        return loss

    def _extra(self, inputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Prompts beside those of the sampler; which ones depends on the seed and the step alone, as resuming needs."""
        if not self.extra_prompts:
            return
        if self.accelerator.num_processes > 1:
            raise UserError("grpo.oversample above 1 works in one process only; set it to 1")
        generator = random.Random(f"{self.args.seed}-{self.state.global_step}")
        taken = {row["example_id"] for row in inputs}
        free = [place for place, name in enumerate(self.train_dataset["example_id"]) if name not in taken]
        for place in generator.sample(free, min(self.extra_prompts, len(free))):
            yield from [self.train_dataset[place]] * self.num_generations


def packed_rollouts(
    ids: torch.Tensor, kept: torch.Tensor, scored: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Rows [B, L] to one packed row of the kept tokens, labelled where scored; and where the scored ones are in it."""
    lengths = kept.sum(1)
    borders = torch.zeros(len(lengths) + 1, dtype=torch.int32, device=ids.device)
    borders[1:] = lengths.cumsum(0)
    flat = ids[kept]
    labelled = scored[kept]
    positions = (kept.cumsum(1) - 1)[kept]
    batch = {
        "input_ids": flat.unsqueeze(0),
        "labels": flat.masked_fill(~labelled, IGNORED).unsqueeze(0),
        "position_ids": positions.unsqueeze(0),
        "cu_seq_lens_q": borders,
    }
    return batch, labelled.nonzero().squeeze(-1)


def live_groups_first(advantages: torch.Tensor, group: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of `wanted` rows, whole groups, those with different rewards first; and for each, whether its group is.

    Equal rewards leave advantages of rounding errors divided by TRL's 1e-4; the least of real ones is about 0.1.
    """
    alive = (advantages.view(-1, group).abs() > 1e-2).any(1)
    order = torch.argsort(alive.logical_not().to(torch.int8), stable=True)[: wanted // group]
    rows = (order[:, None] * group + torch.arange(group, device=order.device)).reshape(-1)
    return rows, alive[order].repeat_interleave(group)


def _rows(value: Any, kept: torch.Tensor, count: int) -> Any:
    return value[kept] if isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] == count else value
