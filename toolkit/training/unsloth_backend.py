"""unsloth: fused kernels on a GPU; on a CPU the stock stack with unsloth's loading and adapters."""

from __future__ import annotations

from typing import Any

from toolkit.cpu_kernels import without_unusable_kernels

with without_unusable_kernels():
    import unsloth
import torch

from rewards.core import UserError
from toolkit.config import LoraConfig, ModelConfig
from toolkit.models import ResolvedModel


class UnslothBackend:
    """FastLanguageModel behind the TrainBackend protocol."""

    def load(
        self,
        model: ModelConfig,
        resolved: ResolvedModel,
        lora: LoraConfig,
        seed: int,
        engine_memory: float | None = None,
    ) -> tuple[Any, Any]:
        """See TrainBackend."""
        full = model.tuning == "full"
        if model.tuning == "qlora" and not torch.cuda.is_available():
            raise UserError("model.tuning qlora needs a CUDA GPU; lora does not")
        dtype = None if model.dtype == "auto" else getattr(torch, model.dtype)
        if full and dtype is None:
            dtype = torch.float32
        if dtype is None and not torch.cuda.is_available():
            dtype = torch.float32  # bfloat16 products are slower than float32 on CPUs without AMX
        loaded, tokenizer = unsloth.FastLanguageModel.from_pretrained(
            str(resolved.adapter or resolved.path),
            max_seq_length=model.max_length,
            dtype=dtype,
            load_in_4bit=model.tuning == "qlora",
            full_finetuning=full,
            **_engine(lora, engine_memory),
        )
        if resolved.adapter is None and not full:
            loaded = unsloth.FastLanguageModel.get_peft_model(
                loaded,
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=list(lora.target_modules),
                bias="none",
                use_gradient_checkpointing=False,
                random_state=seed,
            )
        return loaded, tokenizer


def _engine(lora: LoraConfig, memory: float | None) -> dict[str, Any]:
    """A vLLM in the same process that reads the weights where training has them."""
    if memory is None:
        return {}
    return {"fast_inference": True, "max_lora_rank": lora.rank, "gpu_memory_utilization": memory}


def give_unsloth_varlen() -> None:
    """Let unsloth's layers attend within packed sequences through torch's FlashAttention.

    unsloth does so by itself from torch 2.12 on; before, without flash-attn, it runs every sequence alone.
    """
    from unsloth.utils import attention_dispatch as dispatch

    if getattr(dispatch, "_TORCH_VARLEN_ATTN", None) is None and hasattr(dispatch, "_varlen_attn_call"):
        dispatch._TORCH_VARLEN_ATTN = _varlen


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: torch.Tensor,
    _: torch.Tensor,
    longest: int,
    __: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """As torch.nn.attention.varlen.varlen_attn from torch 2.12 on; the kernel groups heads by itself."""
    left, right = window_size
    windows = {"window_size_left": left, "window_size_right": right} if left >= 0 else {}
    out: torch.Tensor = torch.ops.aten._flash_attention_forward(
        *(query, key, value, borders, borders, longest, longest, 0.0, right == 0),
        return_debug_mask=False,
        scale=scale,
        **windows,
    )[0]
    return out
