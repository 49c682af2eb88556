"""Where several vLLM processes go: which GPU and what share of its memory, or which CPU cores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from eval.gpus import gpus
from rewards.core import UserError


@dataclass(frozen=True, slots=True)
class Place:
    """One process's place. memory: share of the GPU's memory, of what one process would take. like: the number of an
    earlier process on the same GPU, whose KV cache this one's equals; two can't measure the free memory at once.
    """

    memory: float = 1.0
    like: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def places(processes: int) -> list[Place]:
    """A place for each process. Raises UserError for more processes than CPU cores, where there is no GPU."""
    if processes < 1:
        raise UserError(f"option processes must be at least 1, got {processes}")
    if processes == 1:
        return [Place()]
    devices = gpus()
    if devices:
        share = 1 / -(-processes // len(devices))
        found = []
        for number in range(processes):
            first = number % len(devices)
            like = first if number != first else None
            found.append(Place(share, like, {"CUDA_VISIBLE_DEVICES": devices[first]}))
        return found
    cores = sorted(os.sched_getaffinity(0))
    if processes > len(cores):
        raise UserError(f"option processes is {processes}, this machine has {len(cores)} CPU cores and no NVIDIA GPU")
    found = []
    for number in range(processes):
        own = cores[number * len(cores) // processes : (number + 1) * len(cores) // processes]
        threads = {"OMP_NUM_THREADS": str(len(own)), "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, own))}
        found.append(Place(1.0, None, threads))
    return found
