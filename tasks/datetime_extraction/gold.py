"""From a meaning and its setting to the accepted answers and the rationale.

None instead of a Gold says that people would disagree in a way that the policy doesn't settle: such a draw is left out.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from rewards.datetimes import NONE
from tasks.datetime_extraction.clock_kinds import Reading, read
from tasks.datetime_extraction.date_steps import shift
from tasks.datetime_extraction.day_kinds import NO_DAY, PART_OF_TODAY, RELATIVE
from tasks.datetime_extraction.day_steps import resolve_dates
from tasks.datetime_extraction.days import MONTHS, WEEKDAYS, Resolved
from tasks.datetime_extraction.meaning import Gold, Meaning, Setting, offset_text
from tasks.datetime_extraction.zones import ZONES

DAY_MINUTES = 24 * 60
AFTERNOON = 7  # a bare hour up to this one is in the afternoon, unless the prompt says otherwise
TALK_STEPS = {"correction": "last wins; ", "correction_time": "last time; ", "correction_day": "last day; "}


class _Time(NamedTuple):
    """Accepted (days to add, hour, minute), the canonical one first. past: why no reading is ahead, or empty."""

    options: tuple[tuple[int, int, int], ...]
    step: str
    past: str = ""


def solve(meaning: Meaning, setting: Setting) -> Gold | None:
    """The accepted answers and the rationale. None: a draw to be left out."""
    stated = _today(setting.today)
    if meaning.reason:
        return Gold((NONE,), f"{stated}; {meaning.reason}")
    talk = TALK_STEPS.get(meaning.talk, "")
    if meaning.day.kind in RELATIVE:
        return _relative(meaning, setting, f"{stated}; {talk}")
    dates = resolve_dates(meaning.day, setting) if meaning.day.kind != NO_DAY else _no_day(setting)
    if isinstance(dates, str):
        return Gold((NONE,), f"{stated}; {talk}{dates}")
    time = _time(meaning, setting)
    if time is None:
        return None
    if meaning.day.kind == "same_weekday":
        dates = (dates[1],) if time.past or meaning.clock.kind == "no_time" else (dates[0],)
        talk += f"{time.past}; " if time.past else ""
    elif time.past:
        return Gold((NONE,), f"{stated}; {talk}{time.step}, {time.past}, past")
    return _combine(meaning, setting, dates, time, f"{stated}; {talk}")


def _today(today: date) -> str:
    weekday = today.weekday()
    return f"{WEEKDAYS[weekday]}={weekday + 1} {today.day} {MONTHS[today.month - 1]}"


def _no_day(setting: Setting) -> tuple[Resolved, ...]:
    today = setting.today
    return (Resolved(today, f"{today.day} {MONTHS[today.month - 1]} {today.year}"),)


def _clock_face(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _time(meaning: Meaning, setting: Setting) -> _Time | None:
    reading = read(meaning.clock, meaning.lang, setting.policy)
    kind = meaning.day.kind
    if kind in ("today", NO_DAY) and len(reading.shifts) > 1:
        reading = reading._replace(shifts=(1,))  # today's midnight is the one to come
    if setting.now is None or kind not in ("today", PART_OF_TODAY, "same_weekday", NO_DAY) or reading.shifts != (0,):
        return _settled(reading, meaning, setting)
    if not reading.fixed and setting.policy.afternoon is None:
        return _next_occurrence(reading, kind, setting.now)
    time = _settled(reading, meaning, setting)
    _, hour, minute = time.options[0]
    if 60 * hour + minute > setting.now:
        return time._replace(options=time.options[:1])
    if kind == NO_DAY:
        return _Time(((1, hour, minute),), f"{time.step} is past, tomorrow")
    if kind == "today" and meaning.clock.kind in ("no_time", "day_part", "lunch"):
        return None  # «сегодня» at a default hour that has passed: nobody means that
    return _Time(time.options[:1], time.step, f"{hour}:{minute:02}<{_clock_face(setting.now)}")


def _settled(reading: Reading, meaning: Meaning, setting: Setting) -> _Time:
    """The time by the bare-hour rule, whatever the current time."""
    hour, minute = reading.hour, reading.minute
    limit = AFTERNOON if setting.policy.afternoon is None else setting.policy.afternoon
    step = f"{reading.prefix}{hour:02}:{minute:02}"
    if not reading.fixed and hour <= limit and hour < 12:
        step = f"{reading.prefix}{_face(hour, minute)}+12 = {hour + 12:02}:{minute:02}"
        hour += 12
    options = [(days, hour, minute) for days in reading.shifts]
    if meaning.clock.kind == "hh_mm_early" and setting.policy.afternoon is None:
        options.append((0, hour - 12, minute))  # «в 7:30» may also be meant as it stands
    return _Time(tuple(options), step)


def _face(hour: int, minute: int) -> str:
    return f"{hour}:{minute:02}" if minute else f"{hour}"


def _next_occurrence(reading: Reading, kind: str, now: int) -> _Time | None:
    """An hour of 1-12 today: the first reading that is still ahead."""
    hour, minute = reading.hour, reading.minute
    early = 60 * hour + minute
    if early > now:
        return _Time(((0, hour, minute),), f"{reading.prefix}{early // 60:02}:{minute:02}")
    late = f"{reading.prefix}{_face(hour, minute)}+12 = {hour + 12:02}:{minute:02}"
    if hour < 12 and early + 720 > now and (hour <= AFTERNOON or kind == NO_DAY):
        return _Time(((0, hour + 12, minute),), late)
    if kind == "today" and hour <= AFTERNOON:
        return _Time(((0, hour + 12, minute),), late, f"{hour + 12}:{minute:02}<{_clock_face(now)}")
    return None


def _relative(meaning: Meaning, setting: Setting, stated: str) -> Gold:
    if setting.now is None:
        return Gold((NONE,), f"{stated}no current time")
    n, now = meaning.day.n, setting.now
    (hours, minutes), (hour, minute) = divmod(n, 60), divmod(now, 60)
    steps, carry = [f"{hour}:{minute:02} + {hours}:{minutes:02}"], 0
    total = minute + minutes
    if minutes:
        steps.append(f"{minute}+{minutes}={total}")
    if total >= 60:
        carry, total = 1, total - 60
        steps.append(f"{total + 60}-60={total}")
    end = hour + hours + carry
    if hours or carry:
        steps.append(f"{hour}+{hours + carry}={end}")
    days, end = divmod(end, 24)
    if days:
        steps.append(f"{end + 24}-24={end}, next day")
    then = shift(setting.today, days) if days else _no_day(setting)[0]
    reasoning = f"{stated}{', '.join(steps)}; {then.steps}; {end:02}:{total:02}"
    return Gold((_answer(then.date, end, total, setting.offset),), reasoning)


def _combine(meaning: Meaning, setting: Setting, dates: tuple[Resolved, ...], time: _Time, stated: str) -> Gold | None:
    answers = []
    move, zone_step = _zone_move(meaning, setting)
    for resolved in dates:
        for days, hour, minute in time.options:
            more, minutes = divmod(60 * hour + minute - move, DAY_MINUTES)
            then = date.fromordinal(resolved.date.toordinal() + days + more)
            answers.append((then, minutes // 60, minutes % 60))
    first, hour, minute = answers[0]
    moved = first.toordinal() - dates[0].date.toordinal()
    if setting.now is not None and (first.toordinal(), 60 * hour + minute) <= (setting.today.toordinal(), setting.now):
        return None  # another city's clock has moved it into the past
    steps = dates[0].steps
    if moved:
        steps += f"; {shift(dates[0].date, moved).steps}"
    last = f"; {hour:02}:{minute:02}" if zone_step else ""
    reasoning = f"{stated}{steps}; {time.step}{zone_step}{last}"
    accepted = tuple(dict.fromkeys(_answer(*answer, setting.offset) for answer in answers))
    return Gold(accepted, reasoning)


def _zone_move(meaning: Meaning, setting: Setting) -> tuple[int, str]:
    """Minutes by which the named city is ahead of the prompt's offset, and the step that takes them off."""
    if meaning.zone is None:
        return 0, ""
    move = ZONES[meaning.zone].offset - setting.offset
    return move, f" {offset_text(ZONES[meaning.zone].offset)} to {offset_text(setting.offset)}" + (
        f", {'-' if move > 0 else '+'}{_clock_face(abs(move))}"
    )


def _answer(then: date, hour: int, minute: int, offset: int) -> str:
    return f"{then.isoformat()}T{hour:02}:{minute:02}:00{offset_text(offset)}"
