"""Several sequences in one row without padding, each attending to itself alone.

No mask is ever built: on a GPU torch's own FlashAttention takes the sequences' borders; elsewhere each sequence is a
call of its own, which costs a processor nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf

from rewards.core import UserError
from toolkit.training.loss import predicting_places
from toolkit.training.rows import IGNORED

NAME = "packed_varlen"  # under which transformers knows the attention function
MULTIPLE = 64  # a packed row's length: matrix products are fastest at round sizes


@dataclass(frozen=True, slots=True)
class PackedCollator:
    """Rows of a batch to one packed row.

    longest: the longest sequence of the data set, a constant, so that compiled code never changes with a batch.
    unsloth: add the lengths under the name by which unsloth's own layers take them.
    """

    pad_token_id: int
    longest: int
    multiple: int = MULTIPLE
    unsloth: bool = False

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """input_ids, labels, position_ids [1, T]; cu_seq_lens_q [n + 1], where each sequence begins and the last ends;
        loss_places, the positions that predict a labelled token.

        Nothing before a sequence's first token predicts it: its label is ignored. T is rounded up to `multiple` with
        sequences of padding, ignored as well.
        """
        ids = [torch.as_tensor(row["input_ids"], dtype=torch.long) for row in rows]
        labels = [torch.as_tensor(row["labels"], dtype=torch.long) for row in rows]
        left = -sum(map(len, ids)) % self.multiple
        while left:
            filler = torch.full((min(left, self.longest),), self.pad_token_id)
            ids.append(filler)
            labels.append(torch.full_like(filler, IGNORED))
            left -= len(filler)
        lengths = torch.tensor([len(each) for each in ids])
        borders = torch.zeros(len(ids) + 1, dtype=torch.int32)
        borders[1:] = lengths.cumsum(0)
        starts = borders[:-1].long()
        packed_labels = torch.cat(labels)
        packed_labels[starts] = IGNORED
        positions = torch.arange(int(borders[-1])) - torch.repeat_interleave(starts, lengths)
        batch: dict[str, Any] = {
            "input_ids": torch.cat(ids).unsqueeze(0),
            "labels": packed_labels.unsqueeze(0),
            "loss_places": predicting_places(packed_labels.unsqueeze(0)),
            "position_ids": positions.unsqueeze(0),
            "cu_seq_lens_q": borders,
            "max_length_q": self.longest,
        }
        if self.unsloth:
            batch["packed_seq_lengths"] = lengths.to(torch.int32)
        return batch


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    sliding_window: int | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence; the signature is that of transformers' attention functions.

    query [1, heads, T, dim], key and value [1, key heads, T, dim] -> [1, T, heads, dim].
    """
    if cu_seq_lens_q is None:
        raise RuntimeError(f"attention {NAME!r} takes packed rows only: no cu_seq_lens_q was given")
    if attention_mask is not None or s_aux is not None:  # more than `packing_problem` can see of a model
        what = "a mask of its own" if attention_mask is not None else "attention sinks"
        raise UserError(f"{type(module).__name__} has {what}, which packed rows don't serve: set packing to false")
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    if query.is_cuda:
        if torch.is_autocast_enabled("cuda"):
            wanted = torch.get_autocast_dtype("cuda")
            query, key, value = query.to(wanted), key.to(wanted), value.to(wanted)
        if query.dtype in (torch.bfloat16, torch.float16):
            return _flash(query, key, value, cu_seq_lens_q, max_length_q, scaling, sliding_window).unsqueeze(0), None
    return _each(query, key, value, cu_seq_lens_q.tolist(), scaling, sliding_window).unsqueeze(0), None


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: torch.Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """The kernel that comes with torch; it groups query heads over key heads by itself. All [T, heads, dim]."""
    out: torch.Tensor = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        borders,
        borders,
        longest,
        longest,
        0.0,
        True,
        return_debug_mask=False,
        scale=scaling,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )[0]
    return out


def _each(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: Sequence[int],
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # the kernels without a mask want as many key heads as query heads
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    parts = []
    for start, end in itertools.pairwise(borders):
        one = [each[start:end].transpose(0, 1).unsqueeze(0) for each in (query, key, value)]
        if window is not None and end - start > window:
            place = torch.arange(end - start, device=query.device)
            distance = place[:, None] - place[None, :]
            mask = (distance >= 0) & (distance < window)
            out = nnf.scaled_dot_product_attention(*one, attn_mask=mask, scale=scaling)
        else:
            out = nnf.scaled_dot_product_attention(*one, is_causal=True, scale=scaling)
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)


def packing_problem(model: Any) -> str | None:
    """Why this model can't train on packed rows, or None."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} brings an attention of its own"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention caps the scores (attn_logit_softcapping)"
    if getattr(config, "attention_dropout", 0.0):
        return "its attention has dropout"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if other := kinds - {"full_attention", "sliding_attention"}:
        return f"it has layers of kind {', '.join(sorted(other))}"
    if getattr(config, "block_types", None):
        return "it has recurrent blocks (block_types)"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return "its attention has sinks"
    return _kernel_problem(config) if torch.cuda.is_available() else None


def _kernel_problem(config: Any) -> str | None:
    """What torch's own kernel on a GPU can't do of this model."""
    if torch.cuda.get_device_capability() < (8, 0):
        return "its kernel needs an Ampere GPU or newer"
    names = ("head_dim", "global_head_dim", "qk_head_dim", "v_head_dim")
    sizes = {name: size for name in names if isinstance(size := getattr(config, name, None), int)}
    if odd := [f"{name} {size}" for name, size in sizes.items() if size > 256 or size % 8]:
        return f"its kernel takes heads of up to 256, in eights, not {', '.join(odd)}"
    if "qk_head_dim" in sizes and sizes["qk_head_dim"] != sizes.get("v_head_dim"):
        return "its queries and values have heads of different sizes"
    return None


def register_packed_attention() -> None:
    """Make packed_attention known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)


def use_packed_attention(model: Any) -> None:
    """Give the model packed_attention. From then on it takes packed rows only."""
    register_packed_attention()
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise RuntimeError(f"transformers kept attention {model.config._attn_implementation!r}")


def base_of(model: Any) -> Any:
    """The model itself, without the adapter that peft put around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def attention_of(model: Any, name: str) -> Iterator[None]:
    """Another attention, by its name, for a while."""
    config = base_of(model).config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def own_attention_of(model: Any) -> AbstractContextManager[None]:
    """torch's attention for a while, where use_packed_attention took its place: generation pads its rows."""
    base = base_of(model)
    own = "sdpa" if getattr(base, "_supports_sdpa", False) else "eager"
    current = base.config._attn_implementation
    return attention_of(model, own if current == NAME else current)
