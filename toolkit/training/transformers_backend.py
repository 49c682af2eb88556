"""Plain transformers and PEFT: the reference, and the way to several GPUs through accelerate."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from rewards.core import UserError
from toolkit.config import LoraConfig, ModelConfig
from toolkit.models import ResolvedModel
from toolkit.training.cpu import use_torch_log_probs_on_cpu


class TransformersBackend:
    """AutoModelForCausalLM, alone or with a PEFT adapter, behind the TrainBackend protocol."""

    def load(
        self,
        model: ModelConfig,
        resolved: ResolvedModel,
        lora: LoraConfig,
        seed: int,
        engine_memory: float | None = None,
    ) -> tuple[Any, Any]:
        """See TrainBackend."""
        use_torch_log_probs_on_cpu()
        set_seed(seed)  # the adapter's first matrices are random
        on_gpu = torch.cuda.is_available()
        auto = torch.bfloat16 if on_gpu and model.tuning != "full" else torch.float32
        dtype = auto if model.dtype == "auto" else getattr(torch, model.dtype)
        options = _four_bits() if model.tuning == "qlora" else {}  # the trainer moves it to this process's device
        loaded = AutoModelForCausalLM.from_pretrained(str(resolved.path), dtype=dtype, **options)
        loaded.config.use_cache = False
        tokenizer = AutoTokenizer.from_pretrained(str(resolved.adapter or resolved.path))
        if model.tuning == "full":
            return loaded, tokenizer
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


def _four_bits() -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available() or find_spec("bitsandbytes") is None:
        raise UserError(
            "model.tuning qlora needs a CUDA GPU and bitsandbytes (pip install bitsandbytes); lora does not"
        )
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantized, "device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}
