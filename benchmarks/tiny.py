"""A model and a task small enough to train in seconds on a CPU, for benchmarks and tests of the machinery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.prompts import load_tokenizer

# A random model is never right, and groups without variance teach nothing: this reward tells any two texts apart.
SPREAD_TASK = """\
from dataclasses import replace
from zlib import crc32

from tasks.datetime_extraction import PLAIN


def spread(completion, example):
    return crc32(completion.encode()) % 101 / 100


TASK = replace(PLAIN, name="spread", rewards={**PLAIN.rewards, "spread": (spread, 1.0)})
"""


def write_tiny_llama(tokenizer_dir: Path, target: Path) -> Path:
    """A random Llama of two narrow layers, the same each time, under the tokenizer of another model.

    A cut completion earns nothing, and a random model would end none with the tokenizer's end token: one token in
    eight ends them.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer: Any = load_tokenizer(tokenizer_dir)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    model = LlamaForCausalLM(config)
    ends = range(20, len(tokenizer), 8)  # no special token among SmolLM2's, nor the line feed after a turn
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *ends]
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target
