"""A limit on the time that a call may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class OutOfTime(BaseException):
    """A call was given up. No Exception: a reward that catches everything must not catch this."""


@contextmanager
def time_limit(seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Raise OutOfTime in the block after so long. Without effect outside the main thread and without SIGALRM.

    clock: what counts the seconds. time.thread_time counts what this thread computes, so a busy machine ends nothing
    that an idle one wouldn't; what may wait or sleep needs the wall clock. A limit around this one goes on: where it
    ends first, it ends this block, and then its own.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    outer, _ = signal.getitimer(signal.ITIMER_REAL)
    started, counted = time.monotonic(), clock()

    def outer_left() -> float:
        return outer - (time.monotonic() - started)

    def give_up(number: int, frame: Any) -> None:
        left = seconds - (clock() - counted)
        if left > 0 and (not outer or outer_left() > 0):  # the wall clock has gone on, this block's hasn't
            signal.setitimer(signal.ITIMER_REAL, max(min(left, outer_left()) if outer else left, 0.001))
            return
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, outer or seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:  # not at once where it is over: whoever waits for this block's OutOfTime would take that one for it
            signal.setitimer(signal.ITIMER_REAL, max(outer_left(), 0.01))
