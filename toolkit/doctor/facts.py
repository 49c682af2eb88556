"""What is known of a machine: plain values, gathered once, so that a test can make up any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["ok", "missing", "failed", "crashed", "timeout"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU as its driver shows it. capability: 9.0 for an H100. Memory in GiB."""

    name: str
    capability: str
    memory: float
    free: float


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of importing a package and trying it, in a process of its own.

    details: what the package said of itself. reason: the error's last line, the signal, or the timeout.
    """

    outcome: Outcome
    details: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine. Sizes in GiB. versions: of installed distributions. probes: by import name; absent: not tried.

    driver, driver_cuda: the NVIDIA driver's version and the CUDA version that it supports; None without one.
    nvidia_device: the kernel shows an NVIDIA card, whether or not the driver's tools answer. nvcc: the release of the
    CUDA compiler, None without it. disk: free space by place, "run" for the run directory and "cache".
    """

    python: str
    system: str
    machine: str
    glibc: str | None
    cores: int
    memory: float
    memory_free: float
    disk: Mapping[str, float]
    versions: Mapping[str, str]
    probes: Mapping[str, Probe]
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    driver_cuda: str | None = None
    nvidia_device: bool = False
    nvcc: str | None = None

    def version(self, *names: str) -> str | None:
        """The version of the first of these distributions that is installed."""
        return next((self.versions[name] for name in names if name in self.versions), None)

    def torch(self, key: str) -> Any:
        """What torch said of itself; None where it couldn't be asked."""
        probe = self.probes.get("torch")
        return probe.details.get(key) if probe is not None else None
