"""Import one package and try it: `python -m toolkit.doctor.probes NAME`. The last line of stdout is a JSON object.

It runs in a process of its own: a package whose compiled part doesn't fit may end the process, and that is a finding.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from rewards.core import first_line, with_type
from toolkit.cpu_kernels import without_unusable_kernels


def probe_torch() -> dict[str, Any]:
    """Build, devices, and a matrix product on the GPU against the CPU's (float32, relative to its largest entry)."""
    import torch

    found: dict[str, Any] = {"version": torch.__version__, "cuda": torch.version.cuda, "usable": False}
    if torch.version.cuda is None:
        return found
    found["architectures"] = torch.cuda.get_arch_list()
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return {**found, "reason": first_line(error)}
    found["usable"] = torch.cuda.is_available()
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    product = (left.cuda() @ right.cuda()).cpu()
    expected = left.double() @ right.double()
    found["error"] = float((product.double() - expected).abs().max() / expected.abs().max())
    found["bfloat16"] = torch.cuda.is_bf16_supported(including_emulation=False)
    return found


def probe_flash_attn() -> dict[str, Any]:
    """The padded and the packed kernel on two short sequences, against torch's attention in float32."""
    import torch

    flash_attn = importlib.import_module("flash_attn")
    found: dict[str, Any] = {"version": flash_attn.__version__, "error": None}
    if not torch.cuda.is_available():
        return found
    try:
        found["error"] = max(_attention_error(flash_attn.flash_attn_func, flash_attn.flash_attn_varlen_func))
    except RuntimeError as error:
        found["reason"] = first_line(error)
    return found


def _attention_error(padded: Callable[..., Any], packed: Callable[..., Any]) -> Iterator[float]:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    torch.manual_seed(0)
    length, heads, width = 48, 4, 64
    query, key, value = (torch.randn(2, length, heads, width, device="cuda", dtype=torch.float16) for _ in range(3))
    wanted = scaled_dot_product_attention(
        *(each.transpose(1, 2).float() for each in (query, key, value)), is_causal=True
    ).transpose(1, 2)
    yield float((padded(query, key, value, causal=True).float() - wanted).abs().max())
    bounds = torch.tensor([0, length, 2 * length], device="cuda", dtype=torch.int32)
    flat = [each.reshape(2 * length, heads, width) for each in (query, key, value)]
    rows = packed(*flat, bounds, bounds, length, length, causal=True)
    yield float((rows.reshape(wanted.shape).float() - wanted).abs().max())


def probe_xformers() -> dict[str, Any]:
    """The torch that it was built for, and whether its kernels load into this one."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("xformers")
    assert spec is not None  # asked for installed packages only
    assert spec.origin is not None
    build = Path(spec.origin).with_name("cpp_lib.json")
    built = json.loads(build.read_text(encoding="utf-8"))["version"] if build.is_file() else {}
    version = importlib.import_module("xformers").__version__
    failure = getattr(importlib.import_module("xformers._cpp_lib"), "_cpp_library_load_exception", None)
    reason = "" if failure is None else type(failure).__name__
    return {"version": version, "built": built.get("torch"), "loads": failure is None, "reason": reason}


def probe_bitsandbytes() -> dict[str, Any]:
    """Quantize to 4 bits and back, on the GPU where there is one."""
    import torch

    bitsandbytes = importlib.import_module("bitsandbytes")
    functional = importlib.import_module("bitsandbytes.functional")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
    packed, state = functional.quantize_4bit(weights, quant_type="nf4")
    error = float((functional.dequantize_4bit(packed, state) - weights).abs().max())
    if error > 0.5:
        raise RuntimeError(f"4-bit weights come back off by {error:.2f}")
    return {"version": bitsandbytes.__version__, "error": error}


def _imported(name: str) -> dict[str, Any]:
    with without_unusable_kernels():  # as training imports it
        return {"version": str(getattr(importlib.import_module(name), "__version__", ""))}


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": probe_torch,
    "flash_attn": probe_flash_attn,
    "xformers": probe_xformers,
    "bitsandbytes": probe_bitsandbytes,
}


def main(name: str) -> NoReturn:
    """Probe the package; an exception is a result, too."""
    try:
        details = PROBES[name]() if name in PROBES else _imported(name)
        result = {"outcome": "ok", "details": details}
    except Exception as error:  # whatever an import may raise is what we are here to learn
        result = {"outcome": "failed", "reason": with_type(error)[:300]}
    sys.stdout.flush()
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)  # some libraries crash or hang at interpreter shutdown, which says nothing of their use


if __name__ == "__main__":
    main(sys.argv[1])
