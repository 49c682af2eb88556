"""Plain transformers and PEFT: the reference, and the way to several GPUs through accelerate."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from toolkit.config import LoraConfig, ModelConfig
from toolkit.models import ResolvedModel
from toolkit.training.cpu import use_torch_log_probs_on_cpu


class TransformersBackend:
    """AutoModelForCausalLM with a PEFT adapter behind the TrainBackend protocol."""

    def load(self, model: ModelConfig, resolved: ResolvedModel, lora: LoraConfig, seed: int) -> tuple[Any, Any]:
        """See TrainBackend."""
        use_torch_log_probs_on_cpu()
        set_seed(seed)  # the adapter's first matrices are random
        auto = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        dtype = auto if model.dtype == "auto" else getattr(torch, model.dtype)
        loaded = AutoModelForCausalLM.from_pretrained(str(resolved.path), dtype=dtype)
        loaded.config.use_cache = False
        tokenizer = AutoTokenizer.from_pretrained(str(resolved.adapter or resolved.path))
        if resolved.adapter is not None:
            return PeftModel.from_pretrained(loaded, str(resolved.adapter), is_trainable=True), tokenizer
        adapter = PeftLoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(loaded, adapter), tokenizer
