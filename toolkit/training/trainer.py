"""TRL's SFTTrainer with our loss and our packed rows. Import it after the backend: unsloth patches TRL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from trl import SFTTrainer

from toolkit.training.loss import add_loss_head
from toolkit.training.packing import base_of
from toolkit.training.rows import IGNORED


class FastSftTrainer(SFTTrainer):
    """Checkpoints, resuming, callbacks and schedules are TRL's; a step computes the loss and nothing else.

    TRL's own step also computes entropy and token accuracy, and waits for the GPU four times to log them.
    """

    def __init__(self, *args: Any, collator: Callable[..., Any] | None, **kwargs: Any) -> None:
        super().__init__(*args, data_collator=collator, **kwargs)
        add_loss_head(base_of(self.model))
        self.tokens_seen = 0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The mean over the labelled tokens of the step, or of the batch where it is alone."""
        if return_outputs:
            raise NotImplementedError("no logits are computed")
        labels = inputs["labels"]
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        summed: torch.Tensor = model(**rest, loss_labels=labels).loss
        count = (labels[:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = summed / torch.as_tensor(count).clamp(min=1)
        if self.model.training:
            self.tokens_seen += labels.numel()  # by this process
            self.state.num_input_tokens_seen += labels.numel()  # stored with the checkpoints: by the whole training
            if num_items_in_batch is not None and self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes  # the count is of all processes, gradients are averaged
        self._metrics["train" if self.model.training else "eval"]["num_tokens"] = [self.state.num_input_tokens_seen]
        return loss
