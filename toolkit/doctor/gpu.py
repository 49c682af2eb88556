"""What only concerns an NVIDIA GPU: driver, CUDA, architectures, attention kernels."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import Version

from toolkit.doctor.facts import Facts, Gpu
from toolkit.doctor.findings import Finding, fine, found
from toolkit.doctor.matrix import matrix
from toolkit.doctor.needs import Needs

PRODUCT_ALLOWED = 1e-2  # relative: TF32 has 10 bits of mantissa
ATTENTION_ALLOWED = 5e-3  # float16 inputs of unit variance; right kernels stay near 1e-3


def gpu_checks(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Nothing but the need itself where there is no card."""
    if not facts.gpus:
        if facts.nvidia_device:
            yield found("gpu", "driver-missing")
        if needs.gpu is not None:
            yield found("gpu", "gpu-needed", purpose=needs.gpu, change=needs.change)
        elif not facts.nvidia_device:
            yield fine("gpu", "none, and the recipe needs none")
        yield from _quantization(facts, needs)
        return
    yield fine(
        "gpu", "; ".join(f"{each.name}, {each.memory:.0f} GiB, capability {each.capability}" for each in facts.gpus)
    )
    yield from _cuda(facts)
    for gpu in dict.fromkeys(facts.gpus):
        yield from _capability(facts, needs, gpu)
    yield from _flash_attn(facts, needs)
    yield from _xformers(facts, needs)
    yield from _quantization(facts, needs)


def _cuda(facts: Facts) -> Iterator[Finding]:
    """The driver against torch's CUDA, and a product on the card."""
    probe = facts.probes.get("torch")
    if probe is None or probe.outcome != "ok":
        return  # said among the packages
    torch, cuda = facts.torch("version"), facts.torch("cuda")
    if cuda is None:
        yield found("cuda", "torch-without-cuda", torch=torch, gpu=facts.gpus[0].name)
        return
    minimum = matrix().drivers.get(int(cuda.split(".")[0]))
    if facts.driver is not None and minimum is not None and Version(facts.driver) < Version(minimum):
        values = {"driver": facts.driver, "cuda": cuda, "minimum": minimum, "torch": torch.partition("+")[0]}
        yield found("driver", "driver-too-old", driver_cuda=facts.driver_cuda or "11", **values)
        return
    yield fine("driver", f"{facts.driver}, for CUDA up to {facts.driver_cuda}; torch {torch} is built for {cuda}")
    error = facts.torch("error")
    if not facts.torch("usable") or error is None:
        yield found("cuda", "cuda-unusable", torch=torch, cuda=cuda, reason=facts.torch("reason") or "no reason given")
    elif not error <= PRODUCT_ALLOWED:  # so that NaN is wrong as well
        yield found("cuda", "cuda-wrong-numbers", error=error)
    else:
        yield fine("cuda", f"a product on the GPU agrees with the CPU's (off by {error:.1g})")


def _capability(facts: Facts, needs: Needs, gpu: Gpu) -> Iterator[Finding]:
    minimums, capability = matrix().capabilities, Version(gpu.capability)
    values = {"gpu": gpu.name, "capability": gpu.capability}
    for feature in ("unsloth", "vllm"):
        if feature in needs.packages and capability < Version(minimums[feature]):
            minimum = minimums[feature]
            yield found(
                "gpu", "capability-unsupported", feature=feature, minimum=minimum, change=needs.change, **values
            )
    built = facts.torch("architectures")
    if built and not runs_on(gpu.capability, built):
        torch = facts.torch("version")
        yield found("gpu", "architecture-missing", torch=torch, built=", ".join(built), **values)
    if capability < Version(minimums["bfloat16"]) and needs.recipe.model.dtype in ("auto", "bfloat16"):
        yield found("gpu", "bfloat16-missing", **values)


def runs_on(capability: str, built: list[str]) -> bool:
    """Whether code for `built` (sm_90, compute_120) runs: binaries within a major version, PTX on what is newer."""
    major, minor = map(int, capability.split("."))
    for name in built:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("abcdefghijklmnopqrstuvwxyz")
        if not digits.isdigit():
            continue
        has_major, has_minor = int(digits[:-1]), int(digits[-1])
        binary = kind == "sm" and has_major == major and has_minor <= minor
        if binary or (kind == "compute" and (has_major, has_minor) <= (major, minor)):
            return True
    return False


def _flash_attn(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Installed: does it load, and agree with torch's attention? Else: could it be compiled?"""
    version = facts.version("flash-attn")
    able = any(Version(gpu.capability) >= Version(matrix().capabilities["flash-attn"]) for gpu in facts.gpus)
    if version is None:
        if able and needs.recipe.model.backend == "unsloth":
            yield found("flash-attn", "flash-attn-missing")
            yield from _compiler(facts)
        return
    probe = facts.probes.get("flash_attn")
    if probe is None:
        return
    if probe.outcome != "ok":
        torch = facts.torch("version") or facts.version("torch") or "?"
        yield found("flash-attn", "flash-attn-broken", version=version, reason=probe.reason, torch=torch)
    elif probe.details.get("error") is None:
        reason = probe.details.get("reason", "no usable GPU")
        yield found("flash-attn", "flash-attn-untried", version=version, reason=reason)
    elif not probe.details["error"] <= ATTENTION_ALLOWED:
        error = probe.details["error"]
        yield found("flash-attn", "flash-attn-wrong-numbers", version=version, error=error, allowed=ATTENTION_ALLOWED)
    else:
        yield fine("flash-attn", f"{version}, agrees with torch's attention (off by {probe.details['error']:.1g})")


def _compiler(facts: Facts) -> Iterator[Finding]:
    cuda = facts.torch("cuda")
    if cuda is None:
        return
    if facts.nvcc is None:
        yield found("nvcc", "nvcc-missing", cuda=cuda)
    elif facts.nvcc.split(".")[0] != cuda.split(".")[0]:
        yield found("nvcc", "nvcc-mismatch", cuda=cuda, nvcc=facts.nvcc)
    else:
        yield fine("nvcc", f"CUDA {facts.nvcc}, torch's is {cuda}")


def _xformers(facts: Facts, needs: Needs) -> Iterator[Finding]:
    version, probe = facts.version("xformers"), facts.probes.get("xformers")
    if version is None or probe is None or "unsloth" not in needs.packages:
        return
    if probe.outcome == "ok" and probe.details.get("loads"):
        yield fine("xformers", f"{version}, its kernels load")
        return
    reason = probe.reason or probe.details.get("reason") or "no reason given"
    built, torch = probe.details.get("built") or "another torch", facts.torch("version") or facts.version("torch")
    yield found("xformers", "xformers-other-torch", version=version, built=built, torch=torch, reason=reason)


def _quantization(facts: Facts, needs: Needs) -> Iterator[Finding]:
    version, probe = facts.version("bitsandbytes"), facts.probes.get("bitsandbytes")
    if version is None or probe is None:
        return
    if probe.outcome != "ok":
        yield found("bitsandbytes", "bitsandbytes-broken", version=version, reason=probe.reason)
    else:
        yield fine("bitsandbytes", f"{version}, 4-bit weights come back right")
