"""Cross-entropy that never holds all logits: labelled positions only, a chunk at a time, gradients on the way."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from transformers.modeling_outputs import CausalLMOutputWithPast

from toolkit.planning.memory import CPU_LOGITS, GPU_LOGITS
from toolkit.training.rows import IGNORED

HEAD_ARGUMENTS = ("labels", "logits_to_keep", "num_logits_to_keep")


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of hidden [N, H] through the head [V, H] against targets [N].

    The gradients are made in the forward pass, while a chunk's logits are there: nothing is computed twice, and no
    tensor of [N, V] exists. The weight's gradient is summed in float32 over the chunks.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Gives a float32 scalar."""
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        head = weight.to(dtype)
        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        size = max(64, (GPU_LOGITS if hidden.is_cuda else CPU_LOGITS) // weight.shape[0])
        for start in range(0, hidden.shape[0], size):
            chunk = hidden[start : start + size].to(dtype)
            loss, grad_logits = _loss_and_gradient(chunk @ head.t(), targets[start : start + size])
            total += loss
            if grad_hidden is not None:
                grad_hidden[start : start + size] = grad_logits @ head
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits.t(), chunk)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        """The stored gradients, scaled."""
        grad_hidden, grad_weight = ctx.saved_tensors
        (scale,) = grads
        if grad_hidden is not None:
            grad_hidden = grad_hidden * scale.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = (grad_weight * scale).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None


def _loss_and_gradient(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _compiled()(logits, targets) if logits.is_cuda else _in_place(logits, targets)


def _in_place(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For processors: as few passes over memory as plain torch allows."""
    scores = logits.float()
    normalizer = scores.logsumexp(-1, keepdim=True)
    rows = torch.arange(len(targets), device=targets.device)
    loss = (normalizer.squeeze(-1) - scores[rows, targets]).sum()
    gradient = scores.sub_(normalizer).exp_()
    gradient[rows, targets] -= 1
    return loss, gradient.to(logits.dtype)


def _fusible(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same without writes by index, which compile into one kernel that reads the logits twice."""
    scores = logits.float()
    normalizer = scores.logsumexp(-1, keepdim=True)
    at_target = torch.arange(scores.shape[-1], device=scores.device) == targets.unsqueeze(-1)
    loss = (normalizer.squeeze(-1) - scores.gather(-1, targets.unsqueeze(-1)).squeeze(-1)).sum()
    return loss, ((scores - normalizer).exp() - at_target.float()).to(logits.dtype)


@functools.cache
def _compiled() -> Any:
    return torch.compile(_fusible, dynamic=True)


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """total += left @ right in float32: rounding each chunk's product to 16 bits would bias the sum."""
    if total.is_cuda and left.dtype in (torch.bfloat16, torch.float16):
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(left.float(), right.float())


def loss_problem(model: Any) -> str | None:
    """Why the model's head isn't a plain matrix product, so that the trainer's own loss has to do; or None."""
    config = model.config.get_text_config()
    caps = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    changing = (*caps, "logit_scale", "output_multiplier", "logits_scaling", "lm_head_multiplier")
    found = [name for name in changing if getattr(config, name, None) not in (None, 1.0)]
    if getattr(config, "output_router_logits", False):
        found.append("output_router_logits")
    if found:
        return f"its configuration has {', '.join(found)}"
    head = model.get_output_embeddings()
    return "its head has a bias" if head is None or getattr(head, "bias", None) is not None else None


def add_loss_head(model: Any) -> None:
    """Let `model(..., loss_labels=labels)` give .loss, the summed cross-entropy of the next token, and no logits.

    labels [B, T] as in the data set, unshifted; IGNORED ones cost nothing. loss_places: predicting_places(labels),
    where they are at hand: finding them on a GPU makes the host wait. Patches the forward of a causal language model
    (not of a PEFT wrapper around it), so that autocast and distributed wrappers stay outside.
    """
    original = model.forward

    @functools.wraps(type(model).forward)
    def forward(
        self: Any,
        *args: Any,
        loss_labels: torch.Tensor | None = None,
        loss_places: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if loss_labels is None:
            return original(*args, **kwargs)
        places = predicting_places(loss_labels) if loss_places is None else loss_places
        targets = loss_labels.reshape(-1)[places + 1]
        # unsloth's wrapper passes on every argument of a causal model, set or not; the backbone takes some of them.
        given = {name: value for name, value in kwargs.items() if value is not None and name not in HEAD_ARGUMENTS}
        hidden = self.base_model(*args, **{**given, "use_cache": False})[0]
        kept = hidden.reshape(-1, hidden.shape[-1]).index_select(0, places)
        return CausalLMOutputWithPast(
            loss=ChunkedCrossEntropy.apply(kept, self.get_output_embeddings().weight, targets)
        )

    model.forward = types.MethodType(forward, model)


def predicting_places(labels: torch.Tensor) -> torch.Tensor:
    """Indices into [B x T] of the positions whose next token, in the same row, is labelled."""
    next_is_labelled = torch.zeros_like(labels, dtype=torch.bool)
    next_is_labelled[:, :-1] = labels[:, 1:] != IGNORED
    return next_is_labelled.reshape(-1).nonzero().squeeze(-1)
