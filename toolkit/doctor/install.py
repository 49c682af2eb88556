"""The commands that set this machine up: exact, and for both pip and uv."""

from __future__ import annotations

from packaging.version import Version

from toolkit.doctor.facts import Facts
from toolkit.doctor.matrix import matrix

COMPILE_MEMORY = 6  # GiB that one of flash-attn's compiler processes takes, about


def commands(facts: Facts) -> list[tuple[str, list[str]]]:
    """(what it is for, command lines), in order."""
    device = "gpu" if facts.gpus else "cpu"
    listed = f"requirements/{device}.txt"
    steps = [
        ("everything, with make", [f"make install REQUIREMENTS={listed}"]),
        (
            "the same with pip",
            [
                "python3 -m venv .venv",
                f".venv/bin/python -m pip install --no-deps --requirement {listed}",
                ".venv/bin/python -m pip install --no-deps --no-build-isolation --editable .",
            ],
        ),
        (
            "the same with uv",
            [
                "uv venv --python 3.11 .venv",
                f"uv pip install --python .venv/bin/python --no-deps --requirement {listed}",
                "uv pip install --python .venv/bin/python --no-deps --no-build-isolation --editable .",
            ],
        ),
    ]
    return [*steps, *_flash_attn(facts)]


def compile_jobs(facts: Facts) -> int:
    """Compiler processes at a time that memory and cores allow."""
    return max(1, min(facts.cores, int(facts.memory_free // COMPILE_MEMORY)))


def _flash_attn(facts: Facts) -> list[tuple[str, list[str]]]:
    minimum = Version(matrix().capabilities["flash-attn"])
    if not any(Version(gpu.capability) >= minimum for gpu in facts.gpus):
        return []
    cuda = facts.torch("cuda") or "of torch (torch.version.cuda)"
    jobs = compile_jobs(facts)
    capabilities = {gpu.capability.replace(".", "") for gpu in facts.gpus}
    needed = f"flash-attn, once torch is in; needs nvcc of CUDA {cuda} (CUDA_HOME), g++, ninja, packaging"
    variables = f"MAX_JOBS={jobs} FLASH_ATTN_CUDA_ARCHS='{';'.join(sorted(capabilities))}'"
    lines = [
        ".venv/bin/python -m pip install ninja packaging wheel setuptools",
        f"{variables} .venv/bin/python -m pip install --no-deps --no-build-isolation flash-attn",
        ".venv/bin/python -m pip install --no-deps einops",
    ]
    with_uv = [
        "uv pip install --python .venv/bin/python ninja packaging wheel setuptools",
        f"{variables} uv pip install --python .venv/bin/python --no-deps --no-build-isolation flash-attn einops",
    ]
    return [(needed, lines), ("the same with uv", with_uv)]
