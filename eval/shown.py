"""Figures as people read them. Rounding makes nothing whole that isn't: 2,999 of 3,000 right aren't 100%."""

from __future__ import annotations

WHOLE = 1e-9  # nearer than this to 0 or 1 is a sum's rounding: no evaluation has so many examples
LEAST_P = 1e-300


def percent(share: float, digits: int = 1) -> str:
    """A share in percent: 0 and 100 only where it is that, else "<0.1%" and ">99.9%"."""
    shown, step = f"{share:.{digits}%}", 10.0**-digits
    if shown == f"{0:.{digits}%}" and share > WHOLE:
        return f"<{step:g}%"
    if shown == f"{1:.{digits}%}" and share < 1 - WHOLE:
        return f">{100 - step:g}%"
    return shown


def interval(low: float, high: float) -> str:
    """Of a share in [0, 1], in percent."""
    return f"{percent(low)}..{percent(high)}"


def points(difference: float) -> str:
    """A difference of two shares, in percentage points."""
    return f"{_tenths(difference)} pt"


def points_interval(low: float, high: float) -> str:
    """Of a difference of two shares, in percentage points."""
    return f"{_tenths(low)}..{_tenths(high)}"


def _tenths(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # with 0.0, minus zero is zero


def limit(share: float) -> str:
    """What a person set as a share, in percent with all its digits: 95.0%, 99.99%."""
    return f"{_exact(100 * share, '')}%"


def limit_points(difference: float) -> str:
    """The same of a difference, in percentage points: -2.0 pt, -0.25 pt."""
    return f"{_exact(100 * difference, '+')} pt"


def _exact(value: float, sign: str) -> str:
    shown = format(value + 0.0, f"{sign}.10g")
    return shown if "." in shown or "e" in shown else f"{shown}.0"


def confidence(alpha: float) -> str:
    """1 - alpha in percent: 95%, 97.5%."""
    return f"{100 * (1 - alpha):.10g}%"


def p_value(p: float, digits: int = 2) -> str:
    """A p value; no p is 0, but some are too small for a float."""
    return f"<{LEAST_P:g}" if p < LEAST_P else f"{p:.{digits}g}"


def p_is(p: float, digits: int = 2) -> str:
    """As "p = 0.0625", or "p < 1e-300"."""
    return f"p {p_value(p, digits).replace('<', '< ')}" if p < LEAST_P else f"p = {p_value(p, digits)}"
