"""Check a rationale without the generator: its sums are right, its today is the prompt's, and it ends in the gold."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from datetime import date

from rewards.datetimes import NONE
from tasks.base import SPLITS, Task
from tasks.datetime_extraction.days import MONTHS, WEEKDAYS

_SUM = re.compile(r"(?<![\d:.])(-?\d+)((?:[+*-]\d+)+)=(-?\d+)(?![\d:])")
_TERM = re.compile(r"([+*-])(\d+)")
_AFTERNOON = re.compile(r"(\d{1,2})(?::(\d\d))?\+12 = (\d\d):(\d\d)")
_DATE = re.compile(rf"(\d{{1,2}}) ({'|'.join(MONTHS)}) (\d{{4}})")
_NAMED = re.compile(rf"(\d{{1,2}}) ({'|'.join(MONTHS)})=({'|'.join(WEEKDAYS)})=(\d)")
_CLOCK = re.compile(r"(?<![\d:+-])(\d\d):(\d\d)(?::(\d\d))?(?![\d:])")
_LEAP = re.compile(r"(\d\d(\d)(\d)) (even|odd) (\d) (leap|common)")
_LONGEST = re.compile(rf"({'|'.join(MONTHS)}) has (\d+) days( at most)?")
_ENDS = re.compile(rf"(?:(leap|common), )?({'|'.join(MONTHS)}) ends (\d+)")
_YEARS_AHEAD = 4
EXAMPLES = 4000


def check(task: Task, n: int = EXAMPLES, seed: int = 0) -> list[str]:
    """The first rationale of each split that doesn't hold, if any does not, with its example's id."""
    found = []
    for split in SPLITS:
        for example in task.examples(split, n, seed):
            today = date.fromisoformat(example.context["today"])
            wrong = problems(example.reasoning or "", example.answers[0], today)
            if wrong:
                found.append(f"{example.id}: its rationale is wrong: {'; '.join(wrong)}")
                break
    return found


def problems(reasoning: str, answer: str, today: date) -> list[str]:
    """What is wrong with the rationale of `answer`, one line each; empty when it holds."""
    found = [*_wrong_sums(reasoning), *_wrong_days(reasoning, today), *_wrong_years(reasoning)]
    found += _wrong_lengths(reasoning)
    weekday = today.weekday()
    stated = f"{WEEKDAYS[weekday]}={weekday + 1} {today.day} {MONTHS[today.month - 1]}"
    has_steps = answer != NONE or ";" in reasoning  # «no date given» may stand alone
    if has_steps and not reasoning.startswith(f"{stated}; "):
        found.append(f"it must start with {stated!r}")
    return found if answer == NONE else found + _wrong_end(reasoning, answer)


def _wrong_sums(reasoning: str) -> list[str]:
    wrong = []
    for first, rest, result in _SUM.findall(reasoning):
        total = int(first)
        for sign, number in _TERM.findall(rest):
            total = total * int(number) if sign == "*" else total + int(number) if sign == "+" else total - int(number)
        if total != int(result):
            wrong.append(f"{first}{rest} is {total}, not {result}")
    for hour, minute, then, minutes in _AFTERNOON.findall(reasoning):
        if int(hour) + 12 != int(then) or (minute or "00") != minutes:
            wrong.append(f"{hour}:{minute or '00'}+12 is not {then}:{minutes}")
    return wrong


def _wrong_days(reasoning: str, today: date) -> list[str]:
    """Weekdays that the named dates don't have in any year the answer can lie in."""
    wrong = []
    for day, month, weekday, number in _NAMED.findall(reasoning):
        years = (
            year
            for year in range(today.year, today.year + _YEARS_AHEAD)
            if day != "29" or month != "Feb" or isleap(year)
        )
        weekdays = {date(year, MONTHS.index(month) + 1, int(day)).weekday() for year in years}
        if WEEKDAYS.index(weekday) + 1 != int(number) or WEEKDAYS.index(weekday) not in weekdays:
            wrong.append(f"{day} {month} is no {weekday} ({number})")
    return wrong


def _wrong_years(reasoning: str) -> list[str]:
    wrong = []
    for year, tens, ones, parity, digit, kind in _LEAP.findall(reasoning):
        right = (("even", "odd")[int(tens) % 2], ones, "leap" if isleap(int(year)) else "common")
        if (parity, digit, kind) != right:
            wrong.append(f"{year} is {' '.join(right)}, not {parity} {digit} {kind}")
    return wrong


def _wrong_lengths(reasoning: str) -> list[str]:
    wrong = []
    for month, days, at_most in _LONGEST.findall(reasoning):
        right = (monthrange(2024, MONTHS.index(month) + 1)[1], month == "Feb")
        if (int(days), bool(at_most)) != right:
            wrong.append(f"{month} has {right[0]} days{' at most' * right[1]}, not {days}{at_most}")
    for kind, month, last in _ENDS.findall(reasoning):
        if month == "Feb" and not kind:
            wrong.append("whether Feb is of a leap year must be said before its end")
        elif int(last) != (length := monthrange(2024 if kind == "leap" else 2023, MONTHS.index(month) + 1)[1]):
            wrong.append(f"{month} ends {length}, not {last}")
    return wrong


def _wrong_end(reasoning: str, answer: str) -> list[str]:
    dates, clocks = _DATE.findall(reasoning), _CLOCK.findall(reasoning)
    wrong = []
    if not dates or f"{dates[-1][2]}-{MONTHS.index(dates[-1][1]) + 1:02}-{int(dates[-1][0]):02}" != answer[:10]:
        wrong.append(f"the last date isn't that of {answer}")
    if not clocks or ":".join((*clocks[-1][:2], clocks[-1][2] or "00")) != answer[11:19]:
        wrong.append(f"the last time isn't that of {answer}")
    return wrong
