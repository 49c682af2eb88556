"""Gather the facts of this machine. Nothing heavy is imported here: each package is tried in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from eval.gpus import visible
from toolkit.doctor.facts import Facts, Gpu, Probe

PROBE_SECONDS = 180  # a first import of unsloth or vLLM from a slow disk takes a minute
GIB = 1 << 30


def gather(modules: Iterable[str], places: Mapping[str, Path]) -> Facts:
    """Facts of this machine; the named modules that are installed are imported and tried, two at a time."""
    versions = installed()
    total, free = memory()
    driver, driver_cuda, gpus = nvidia()
    torch, *others = dict.fromkeys(["torch", *modules])
    probes = {torch: probe(torch)}
    with ThreadPoolExecutor(2) as pool:
        probes |= dict(zip(others, pool.map(probe, others), strict=True))
    glibc = platform.libc_ver()
    return Facts(
        python=platform.python_version(),
        system=platform.system(),
        machine=platform.machine(),
        glibc=glibc[1] if glibc[0] == "glibc" else None,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=total,
        memory_free=free,
        disk={name: disk_free(path) for name, path in places.items()},
        versions=versions,
        probes=probes,
        gpus=gpus,
        driver=driver,
        driver_cuda=driver_cuda,
        nvidia_device=any(Path("/dev").glob("nvidia[0-9]*")) or Path("/proc/driver/nvidia/gpus").is_dir(),
        nvcc=nvcc_release(),
    )


def installed() -> dict[str, str]:
    """Versions of all installed distributions, by canonical name; of two of one name, the first on sys.path."""
    found: dict[str, str] = {}
    for each in distributions():
        name = each.metadata["Name"]
        if name:
            found.setdefault(canonicalize_name(name), each.version)
    return found


def memory() -> tuple[float, float]:
    """GiB of memory, all and free for use; a container's own limit counts where it is lower."""
    values = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            key, _, rest = line.partition(":")
            values[key] = int(rest.split()[0]) / (1 << 20)
    except OSError:  # not Linux
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
        return total, total
    total, free = values["MemTotal"], values["MemAvailable"]
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")) / GIB
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii")) / GIB
        stat = Path("/sys/fs/cgroup/memory.stat").read_text(encoding="ascii")
        # Files that were read count as used, and are given up as soon as anybody wants memory.
        used -= sum(map(int, re.findall(r"^inactive_file (\d+)$", stat, re.MULTILINE))) / GIB
    except (OSError, ValueError):  # no cgroup, or "max"
        return total, free
    return min(total, limit), min(free, limit - used)


def disk_free(path: Path) -> float:
    """GiB free where `path` is, or will be."""
    place = path.expanduser().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / GIB


def nvidia() -> tuple[str | None, str | None, tuple[Gpu, ...]]:
    """(driver, CUDA version it supports, GPUs) from nvidia-smi; (None, None, ()) where it doesn't answer.

    The GPUs are those that CUDA_VISIBLE_DEVICES lets this process have, in its order.
    """
    fields = "driver_version,name,compute_cap,memory.total,memory.free"
    query = _output(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"])
    if query is None:
        return None, None, ()
    return (*_driver(query, _output(["nvidia-smi"]) or ""), _visible(_gpus(query)))


def _driver(query: str, banner: str) -> tuple[str | None, str | None]:
    cuda = re.search(r"CUDA[^:|\n]*Version:\s*([0-9]+\.[0-9]+)", banner)
    return query.split(",")[0].strip() or None, cuda[1] if cuda else None


def _gpus(query: str) -> tuple[Gpu, ...]:
    rows = [[cell.strip() for cell in line.split(",")] for line in query.splitlines() if line.strip()]
    return tuple(Gpu(row[1], row[2], _mib(row[3]), _mib(row[4])) for row in rows if len(row) == 5)


def _visible(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    lines = [line for _, line in visible()]
    if None in lines:  # a slice: which card it is of isn't known
        return gpus
    return tuple(gpus[line] for line in lines if line is not None and line < len(gpus))


def _mib(text: str) -> float:
    try:
        return float(text) / 1024
    except ValueError:  # [N/A], as unified memory shows
        return 0.0


def nvcc_release() -> str | None:
    """The release of the CUDA compiler: CUDA_HOME's first, as torch's extension builder looks, then PATH's."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [str(Path(home) / "bin" / "nvcc")] if home else []
    for program in [*candidates, "nvcc", "/usr/local/cuda/bin/nvcc"]:
        if text := _output([program, "--version"]):
            found = re.search(r"release ([0-9]+\.[0-9]+)", text)
            return found[1] if found else None
    return None


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def probe(module: str, seconds: float = PROBE_SECONDS, prelude: str = "") -> Probe:
    """Import and try one package in a new process. A crash, or a hang, is a result.

    `prelude` is code that the process runs first; tests use it to make a package misbehave.
    """
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r})\n{prelude}\nfrom toolkit.doctor.probes import main\n"
    command = [sys.executable, "-P", "-c", f"{code}main({module!r})"]
    environment = {"UNSLOTH_DISABLE_STATISTICS": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Probe("timeout", reason=f"{seconds:.0f}")
    try:
        result: dict[str, Any] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    except ValueError:
        return Probe("crashed", reason=_ended(done.returncode, done.stderr))
    reason = result.get("reason", "")
    missing = re.match(r"ModuleNotFoundError: No module named '([\w]+)'", reason)
    absent = missing is not None and missing[1] == module
    return Probe("missing" if absent else result["outcome"], result.get("details", {}), reason)


def _ended(status: int, stderr: str) -> str:
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    last = (stderr.strip().splitlines() or ["no message"])[-1][:200]
    return f"status {status}: {last}"
