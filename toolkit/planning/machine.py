"""The device that training would take here, and what of its memory is free."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from toolkit.doctor import gather


@dataclass(frozen=True, slots=True)
class Device:
    """kind: "gpu" or "cpu". name: the card's, or the processor's with its cores. total, free: bytes of its memory."""

    kind: str
    name: str
    total: float
    free: float


def device() -> Device:
    """The first GPU that this process may have, else the processor and what a container leaves of the RAM."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():  # knows which card this process got
        free, total = torch.cuda.mem_get_info()
        return Device("gpu", torch.cuda.get_device_name(), float(total), float(free))
    return driver_device()


def driver_device() -> Device:
    """The same by the driver's word: a process that only looks takes no memory of the card, as torch's CUDA would."""
    if gpus := gather.nvidia()[2]:
        return Device("gpu", gpus[0].name, gpus[0].memory * gather.GIB, gpus[0].free * gather.GIB)
    total, free = gather.memory()
    return Device("cpu", _processor(), total * gather.GIB, free * gather.GIB)


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return f"{found[1].strip() if found else 'processor'}, {cores} cores"
