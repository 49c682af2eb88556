"""What training on a CPU without unsloth needs beside the libraries' own code."""

from __future__ import annotations

from typing import Any

import torch


class TorchLogProbs:
    """Log-probabilities of labels through the head, in plain torch: TRL 1.15's fused kernel without Triton.

    TRL's kernel is written in Triton, which has no CPU target. unsloth brings a replacement of its own; without unsloth
    this takes the kernel's place. The signature is that of trl.kernels.ChunkedLogProbFunction.
    """

    @staticmethod
    def apply(
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_size: int,
        final_logit_softcapping: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = (),
    ) -> tuple[torch.Tensor | None, ...]:
        """hidden [N, H], weight [V, H], targets [N] -> five values of shape [N], those not in `outputs` None.

        They are log_probs (always), entropy, log_sum_sq_probs, mean_logits, is_top1.
        """
        logits = torch.nn.functional.linear(hidden, weight, bias).float() * logit_scale
        if final_logit_softcapping is not None:
            logits = final_logit_softcapping * torch.tanh(logits / final_logit_softcapping)
        log_probs = torch.log_softmax(logits / temperature, dim=-1)
        at_target = log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        rest: dict[str, torch.Tensor] = {}
        if "entropy" in outputs:
            rest["entropy"] = -(log_probs.exp() * log_probs).sum(-1)
        with torch.no_grad():
            if "log_sum_sq_probs" in outputs:
                rest["log_sum_sq_probs"] = torch.logsumexp(2 * log_probs, dim=-1)
            if "mean_logits" in outputs:
                rest["mean_logits"] = (logits / temperature).mean(-1)
            if "is_top1" in outputs:
                rest["is_top1"] = log_probs.argmax(-1) == targets
        return (at_target, *(rest.get(name) for name in ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")))


def use_torch_log_probs_on_cpu() -> None:
    """Without a GPU, put TorchLogProbs in the place of TRL's Triton kernel. Call it before a trainer is built."""
    if torch.cuda.is_available():
        return
    from trl.trainer import utils

    trl_utils: Any = utils
    if not hasattr(trl_utils, "_ChunkedLogProbFunction"):
        raise RuntimeError("trl.trainer.utils has no _ChunkedLogProbFunction: another TRL than this was written for")
    trl_utils._ChunkedLogProbFunction = TorchLogProbs


def let_torch_load_to_numbered_cpu() -> None:
    """Let torch.load(…, map_location="cpu:0") mean the CPU.

    accelerate names the device of a process so, where several train without GPUs, and transformers hands it on to
    torch.load when it goes on from a checkpoint; torch 2.14 knows the CPU without a number only.
    """

    def found(storage: Any, location: str) -> Any:
        return storage if location.startswith("cpu:") else None

    torch.serialization.register_package(15, lambda storage: None, found)
