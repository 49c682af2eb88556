"""From a meaning and its setting to the accepted answers and the rationale.

None instead of a Gold says that people would disagree in a way that the policy doesn't settle: such a draw is left out.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from rewards.datetimes import NONE
from tasks.datetime_extraction.clock_kinds import AFTERNOON, MIDNIGHT, NIGHT, WITH_PART, Reading, in_afternoon, read
from tasks.datetime_extraction.date_steps import shift
from tasks.datetime_extraction.day_kinds import NO_DAY, PART_OF_TODAY, RELATIVE
from tasks.datetime_extraction.day_steps import resolve_dates
from tasks.datetime_extraction.days import MONTHS, WEEKDAYS, Day, Resolved
from tasks.datetime_extraction.languages import NUMERIC
from tasks.datetime_extraction.meaning import Gold, Meaning, Setting, offset_text
from tasks.datetime_extraction.zones import ZONES

DAY_MINUTES = 24 * 60
AS_ON_A_CLOCK = ("hh_mm_early", "hh_mm_words", "hours_minutes")  # hours and minutes as a clock shows them
OPEN = ("after_hour", "range_start")  # may still go on when their start has passed
EVENING, MORNING = 16, 6  # hours after the one, and before the other
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
    if _disputed(meaning, setting):
        return None
    said = _said(meaning, setting)
    dates = tuple(resolved._replace(steps=f"{said}{resolved.steps}") for resolved in dates)
    time = _time(meaning, setting)
    if time is None or _new_year_s_eve(meaning, time):
        return None
    if meaning.day.kind == "same_weekday":
        return _combine(meaning, setting, *_today_or_in_a_week(meaning, setting, dates, time, f"{stated}; {talk}"))
    if time.past:
        return Gold((NONE,), f"{stated}; {talk}{dates[0].steps}; {time.step}, {time.past}")
    return _combine(meaning, setting, dates, time, f"{stated}; {talk}")


def _disputed(meaning: Meaning, setting: Setting) -> bool:
    """What people would read in two ways, and the policy, the prompt's too, doesn't settle."""
    day, clock, policy = meaning.day, meaning.clock, setting.policy
    faces = ("hh_mm", "hh_mm_spaced", "hh_mm_compact", *(("range_start",) if clock.hour > AFTERNOON else ()))
    if clock.kind in faces and clock.hour <= (policy.afternoon or 0):
        return True  # «в 9:40», «с 9:00 до 11:00» where hours up to 9 are in the afternoon
    if day.kind == "same_weekday" and clock.kind in WITH_PART and clock.part == NIGHT and clock.hour < MORNING:
        return True  # today's night to come, or one of next week's
    # "The Tuesday after next", where the next one is next week's.
    after_next = day.kind == "skip_weekday" and meaning.lang == "en" and policy.following == "week"
    return after_next and day.n > setting.today.weekday()


def _new_year_s_eve(meaning: Meaning, time: _Time) -> bool:
    """«На Новый год вечером»: the evening before it as well."""
    return (
        meaning.day.kind == "holiday" and meaning.day.n == 0 and meaning.lang == "ru" and time.options[0][1] > EVENING
    )


def _said(meaning: Meaning, setting: Setting) -> str:
    """What of the words the date, or what a passed hour means (none or tomorrow), depends on: it comes first."""
    kind = meaning.day.kind
    if kind in NUMERIC:
        return "day first, " if meaning.lang == "ru" or setting.policy.day_first else "month first, "
    return {"today": "today ", PART_OF_TODAY: "today ", NO_DAY: "no day, "}.get(kind, "")


def _today_or_in_a_week(
    meaning: Meaning, setting: Setting, dates: tuple[Resolved, ...], time: _Time, stated: str
) -> tuple[tuple[Resolved, ...], _Time, str]:
    """The name of today's weekday: today while the time is ahead, else a week later. The clock comes first."""
    if meaning.clock.kind == "no_time" or setting.now is None:
        return dates[1:], time, stated
    _, hour, minute = time.options[0]
    compared = time.past or _compared(setting.now, hour, minute)
    return (
        dates[1:] if time.past else dates[:1],
        time._replace(step=f"{hour:02}:{minute:02}"),
        f"{stated}{time.step}, {compared}; ",
    )


def _today(today: date) -> str:
    weekday = today.weekday()
    return f"{WEEKDAYS[weekday]}={weekday + 1} {today.day} {MONTHS[today.month - 1]}"


def _no_day(setting: Setting) -> tuple[Resolved, ...]:
    today = setting.today
    return (Resolved(today, f"{today.day} {MONTHS[today.month - 1]} {today.year}"),)


def _clock_face(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _compared(now: int, hour: int, minute: int) -> str:
    """The comparison that the answer hangs on: both times, then the verdict, always in this order."""
    return f"now {_clock_face(now)}, {hour:02}:{minute:02} is {'ahead' if 60 * hour + minute > now else 'past'}"


def _time(meaning: Meaning, setting: Setting) -> _Time | None:
    reading = read(meaning.clock, meaning.lang, setting.policy)
    kind = meaning.day.kind
    if kind in ("today", NO_DAY) and meaning.clock.kind in MIDNIGHT:
        reading = reading._replace(shifts=(1,))  # today's midnight is the one to come
    elif kind not in ("same_weekday", NO_DAY) and meaning.clock.kind in WITH_PART and meaning.clock.part == NIGHT:
        reading = _in_the_night(reading, kind, setting.now)
    if setting.now is None or kind not in ("today", PART_OF_TODAY, "same_weekday", NO_DAY) or reading.shifts != (0,):
        return _settled(reading, meaning, setting)
    if not reading.fixed and setting.policy.afternoon is None:
        return _next_occurrence(reading, meaning, setting.now)
    time = _settled(reading, meaning, setting)
    _, hour, minute = time.options[0]
    if 60 * hour + minute > setting.now:
        step = time.step if kind == "same_weekday" else f"{time.step}, {_compared(setting.now, hour, minute)}"
        return _Time(time.options[:1], step)
    if meaning.clock.kind in OPEN:
        return None
    if kind == NO_DAY:
        return _Time(((1, hour, minute),), f"{time.step}, {_compared(setting.now, hour, minute)}, tomorrow")
    if kind == "today" and meaning.clock.kind in ("no_time", "day_part", "lunch"):
        return None  # a default hour that has passed, which nobody means
    return _Time(time.options[:1], time.step, _compared(setting.now, hour, minute))


def _in_the_night(reading: Reading, kind: str, now: int | None) -> Reading:
    """«Сегодня ночью в 2» is in the coming night; «в понедельник ночью в 2» in the night to Monday or from it."""
    if reading.hour >= MORNING:
        return reading
    if kind not in ("today", PART_OF_TODAY):
        return reading._replace(shifts=(0, 1))
    if now is None:
        return reading._replace(shifts=(1, 0), prefix=f"coming {reading.prefix}")
    if now < 60 * reading.hour + reading.minute:
        return reading  # it is that night already
    face, compared = f"{reading.hour:02}:{reading.minute:02}", _compared(now, reading.hour, reading.minute)
    return reading._replace(shifts=(1,), prefix=f"{reading.prefix}{face}, {compared}, coming ")


def _settled(reading: Reading, meaning: Meaning, setting: Setting) -> _Time:
    """The time by the bare-hour rule, whatever the current time."""
    hour, minute = reading.hour, reading.minute
    step = f"{reading.prefix}{hour:02}:{minute:02}"
    if in_afternoon(reading, setting.policy):
        step = f"{reading.prefix}{_face(hour, minute)}+12 = {hour + 12:02}:{minute:02}"
        hour += 12
    options = [(days, hour, minute) for days in reading.shifts]
    if meaning.clock.kind in AS_ON_A_CLOCK and hour != reading.hour and setting.policy.afternoon is None:
        options.append((0, reading.hour, minute))  # «в 7:30», «семь тридцать» may also be meant as they stand
    return _Time(tuple(options), step)


def _face(hour: int, minute: int) -> str:
    return f"{hour}:{minute:02}" if minute else f"{hour}"


def _next_occurrence(reading: Reading, meaning: Meaning, now: int) -> _Time | None:
    """An hour of 1-12 today: the first reading that is still ahead."""
    hour, minute, kind, goes_on = reading.hour, reading.minute, meaning.day.kind, meaning.clock.kind in OPEN
    early = 60 * hour + minute
    if early > now:
        return _Time(((0, hour, minute),), f"{reading.prefix}{_compared(now, hour, minute)}")
    passed = _compared(now, hour, minute)
    late = f"{reading.prefix}{passed}, {_face(hour, minute)}+12 = {hour + 12:02}:{minute:02}"
    if hour < 12 and early + 720 > now and (hour <= AFTERNOON or (kind == NO_DAY and not goes_on)):
        return _Time(((0, hour + 12, minute),), late)
    if kind == "today" and hour <= AFTERNOON and not goes_on:
        return _Time(((0, hour + 12, minute),), late, f"{hour + 12}:{minute:02} is past")
    return None


def _relative(meaning: Meaning, setting: Setting, stated: str) -> Gold:
    if setting.now is None:
        return Gold((NONE,), f"{stated}no current time")
    said, now = meaning.day, setting.now
    minutes, seconds = divmod(said.month, 60)
    added = said.n + minutes
    # The unit comes first: «11 часов спустя» is no date, unlike «11 дней спустя».
    steps = [f"{_unit(said)}: {_clock_face(now)} + {_clock_face(added)}{f':{seconds:02}' if said.month else ''}"]
    if said.kind == "in_minutes" and added > 59:
        steps.insert(0, f"minutes: {added}-60={added - 60}, {_clock_face(added)}")
    if said.month > 59:
        steps.append(f"{said.month}-60={seconds}")
    steps += _moved_clock(*divmod(now, 60), added)
    days, then = divmod(now + added, DAY_MINUTES)
    day = shift(setting.today, said.day + days) if said.day + days else _no_day(setting)[0]
    if said.day and days:
        steps.append(f"{said.day}+{days}={said.day + days}")
    clock = f"{then // 60:02}:{then % 60:02}{f':{seconds:02}' if said.month else ''}"
    answer = _answer(day.date, then // 60, then % 60, setting.offset, seconds)
    return Gold((answer,), f"{stated}{', '.join(steps)}; {day.steps}; {clock}")


def _unit(said: Day) -> str:
    if said.day:
        return f"{said.day} day{'s' if said.day > 1 else ''}"
    if said.month:
        return "seconds"
    return "now" if not said.n else "minutes" if said.n < 60 else "hours"


def _combine(meaning: Meaning, setting: Setting, dates: tuple[Resolved, ...], time: _Time, stated: str) -> Gold | None:
    answers = []
    move, zone_step = _zone_move(meaning, setting, time)
    for resolved in dates:
        for days, hour, minute in time.options:
            more, minutes = divmod(60 * hour + minute - move, DAY_MINUTES)
            then = date.fromordinal(resolved.date.toordinal() + days + more)
            answers.append((then, minutes // 60, minutes % 60))
    first, hour, minute = answers[0]
    if setting.now is not None and (first.toordinal(), 60 * hour + minute) <= (setting.today.toordinal(), setting.now):
        return None  # another city's clock has moved it into the past
    moved = first.toordinal() - dates[0].date.toordinal()
    shifted = f"{shift(dates[0].date, moved).steps}; " if moved else ""
    if zone_step or moved:  # the clock decides whether the date moves, so it comes first
        steps = f"{dates[0].steps}; {time.step}{zone_step}; {shifted}{hour:02}:{minute:02}"
    else:
        steps = f"{dates[0].steps}; {time.step}"
    accepted = tuple(dict.fromkeys(_answer(*answer, setting.offset) for answer in answers))
    return Gold(accepted, stated + steps)


def _zone_move(meaning: Meaning, setting: Setting, time: _Time) -> tuple[int, str]:
    """Minutes by which the named city is ahead of the prompt's offset, and the steps that take them off."""
    if meaning.zone is None:
        return 0, ""
    theirs, ours = ZONES[meaning.zone].offset, setting.offset
    _, hour, minute = time.options[0]
    zones = f" {offset_text(theirs)} to {offset_text(ours)}"
    if theirs == ours:
        return 0, f"{zones}, same"
    return theirs - ours, f"{zones}, {_signed(ours - theirs)}: {', '.join(_moved_clock(hour, minute, ours - theirs))}"


def _signed(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{_clock_face(abs(minutes))}"


def _moved_clock(hour: int, minute: int, by: int) -> list[str]:
    """The steps of hour:minute plus `by` minutes: `15-30=-15, -15+60=45, 9-2=7, 7-1=6`; past midnight `-3+24=21`."""
    sign, (hours, minutes) = ("-" if by < 0 else "+"), divmod(abs(by), 60)
    steps, carry = [], 0
    if minutes:
        total = minute - minutes if by < 0 else minute + minutes
        carry = total // 60
        steps.append(f"{minute}{sign}{minutes}={total}")
        if carry:
            steps.append(f"{total}{'+' if carry < 0 else '-'}60={total % 60}")
    end = hour
    for more in filter(None, (hours, abs(carry))):  # sums of two numbers: small models miss sums of three
        steps.append(f"{end}{sign}{more}={end - more if by < 0 else end + more}")
        end += -more if by < 0 else more
    while not 0 <= end < 24:
        more = 24 if end < 0 else -24
        steps.append(f"{end}{more:+}={end + more}, {'day before' if end < 0 else 'next day'}")
        end += more
    return steps


def _answer(then: date, hour: int, minute: int, offset: int, second: int = 0) -> str:
    return f"{then.isoformat()}T{hour:02}:{minute:02}:{second:02}{offset_text(offset)}"
