"""unsloth: fused kernels on a GPU; on a CPU the stock stack with unsloth's loading and adapters."""

from __future__ import annotations

from typing import Any

import unsloth
import torch

from toolkit.config import LoraConfig, ModelConfig
from toolkit.models import ResolvedModel


class UnslothBackend:
    """FastLanguageModel behind the TrainBackend protocol."""

    def load(self, model: ModelConfig, resolved: ResolvedModel, lora: LoraConfig, seed: int) -> tuple[Any, Any]:
        """See TrainBackend."""
        dtype = None if model.dtype == "auto" else getattr(torch, model.dtype)
        if dtype is None and not torch.cuda.is_available():
            dtype = torch.float32  # bfloat16 products are slower than float32 on CPUs without AMX
        loaded, tokenizer = unsloth.FastLanguageModel.from_pretrained(
            str(resolved.adapter or resolved.path),
            max_seq_length=model.max_length,
            dtype=dtype,
            load_in_4bit=False,
        )
        if resolved.adapter is None:
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
