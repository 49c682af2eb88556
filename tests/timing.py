"""How long something takes, measured so that neither other processes nor this one's own heap decide a test."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

KIB = 1 << 10
TRIES = 3
SOON = 0.02


def seconds(act: Callable[[], object]) -> float:
    """This process's own seconds of the processor, the fewer of two calls unless one took none to speak of.

    Without the garbage collector: what it takes grows with all that the tests before have imported.
    """
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        taken: list[float] = []
        while len(taken) < 2:
            started = time.process_time()
            act()
            taken.append(time.process_time() - started)
            if taken[-1] < SOON:
                break
        return min(taken)
    finally:
        if collecting:
            gc.enable()


def assert_linear(act: Callable[[str], object], make: Callable[[int], str], *, kib: int = 256) -> None:
    """`act` on `make(kib KiB)` and on four times as much: a quadratic act takes 16 times as long, and fails at 12.

    What takes under 20 ms needs no ratio. Noise passes; what is quadratic is so in each of three tries.
    """
    small, large = make(kib * KIB), make(4 * kib * KIB)
    assert abs(len(large) / len(small) - 4) < 0.1
    pairs: list[tuple[float, float]] = []
    for _ in range(TRIES):
        longer = seconds(lambda: act(large))
        assert longer < 120
        if longer < SOON:
            return
        pairs.append((round(seconds(lambda: act(small)), 4), round(longer, 4)))
        if longer < 12 * max(pairs[-1][0], 0.001):
            return
    raise AssertionError(f"grows faster than its input: {pairs} s for {kib} and {4 * kib} KiB")


def assert_within(limit: float, act: Callable[[], object]) -> None:
    """`act` takes fewer than `limit` seconds of the processor, in the best of three tries."""
    taken: list[float] = []
    for _ in range(TRIES):
        taken.append(seconds(act))
        if taken[-1] < limit:
            return
    raise AssertionError(f"took {taken} s, not {limit}")
