"""vLLM's library for AVX-512 isn't loaded where the processor lacks it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import pytest

from toolkit import cpu_kernels
from toolkit.cpu_kernels import LIBRARY, without_unusable_kernels


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of processor flags, under a vLLM for CPUs."""
    monkeypatch.setattr(cpu_kernels, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.32.0")
    monkeypatch.delitem(sys.modules, LIBRARY, raising=False)
    return tmp_path / "cpuinfo"


def test_without_avx512_the_library_seems_missing(processor: Path) -> None:
    processor.write_text("processor : 0\nflags : sse4_2 avx2 fma\n")
    with without_unusable_kernels(), pytest.raises(ModuleNotFoundError):
        importlib.import_module(LIBRARY)
    assert LIBRARY not in sys.modules


@pytest.mark.parametrize("text", ["flags : avx2 avx512f avx512bw\n", "Features : fp asimd\n"])
def test_elsewhere_nothing_is_hidden(processor: Path, text: str) -> None:
    processor.write_text(text)
    with without_unusable_kernels():
        assert LIBRARY not in sys.modules


def test_a_cuda_build_is_left_alone(processor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    processor.write_text("flags : avx2\n")
    monkeypatch.setattr("importlib.metadata.version", missing)
    with without_unusable_kernels():
        assert LIBRARY not in sys.modules


@pytest.mark.slow
@pytest.mark.skipif(find_spec("unsloth") is None, reason="needs unsloth")
def test_unsloth_imports_on_this_processor() -> None:
    code = "import toolkit.training.unsloth_backend, sys; assert 'unsloth' in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
