"""Which NVIDIA GPUs this process may have."""

from __future__ import annotations

import os
import subprocess


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may call each, in CUDA's order; none where nvidia-smi doesn't answer."""
    return [name for name, _ in visible()]


def visible() -> list[tuple[str, int | None]]:
    """(name, line in nvidia-smi's list) of each; the line of a slice of a card (MIG), which isn't listed, is None."""
    try:
        command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    known = [[cell.strip() for cell in line.split(",")] for line in listed.splitlines() if line.strip()]
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return [(index, line) for line, (index, _) in enumerate(known)]
    found: list[tuple[str, int | None]] = []
    for name in (each.strip() for each in names.split(",")):
        lines = [line for line, (index, uuid) in enumerate(known) if name == index or uuid.startswith(name)]
        is_slice = name.startswith("MIG-")
        if not name or not (lines or is_slice):
            break  # as CUDA does: what follows a name that it doesn't know isn't looked at
        found.append((name, None if is_slice else lines[0]))
    return found
