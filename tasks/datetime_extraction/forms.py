"""The types of surface forms: functions from a meaning to its words."""

from __future__ import annotations

from collections.abc import Callable

from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.days import Day

DayForm = Callable[[Day], str]
ClockForm = Callable[[Clock], str]
DayForms = dict[str, tuple[DayForm, ...]]
ClockForms = dict[str, tuple[ClockForm, ...]]
