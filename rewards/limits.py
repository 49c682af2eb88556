"""A limit on the time that a call may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class OutOfTime(BaseException):
    """A call was given up. No Exception: a reward that catches everything must not catch this."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after so long. Without effect outside the main thread and without SIGALRM.

    A limit around this one goes on: where it ends first, it ends this block, and then its own.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def give_up(number: int, frame: Any) -> None:
        raise OutOfTime

    outer, _ = signal.getitimer(signal.ITIMER_REAL)
    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, outer or seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:  # not at once where it is over: whoever waits for this block's OutOfTime would take that one for it
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - started), 0.01))
