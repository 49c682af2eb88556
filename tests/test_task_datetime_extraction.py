"""The datetime task: the same every time, apart between its splits, and right by a calendar that isn't its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from itertools import product
from random import Random

import pytest
from dateutil.parser import parse as read_datetime
from dateutil.relativedelta import MO, relativedelta, weekday

from rewards.core import Example
from rewards.response import render
from tasks.base import SPLITS, Split, Task
from tasks.datetime_extraction import PLAIN, TASK, clocks, days, english, grammar, ru_words, russian
from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.grammar import NO_DATE, all_groups, solve

FRIDAY = date(2025, 1, 17)  # the day of the note that started the project
PLAIN_ONLY = pytest.mark.parametrize(
    "task", [PLAIN], ids=lambda task: task.name
)  # the deep task: test_datetime_deep.py
BOTH = pytest.mark.parametrize("task", [TASK, PLAIN], ids=lambda task: task.name)


def build(task: Task, split: Split = "train", n: int = 300, seed: int = 0) -> list[Example]:
    return list(task.examples(split, n, seed))


def meanings(n: int, seed: int = 0) -> Iterator[tuple[Day, Clock, date]]:
    """n meanings, as the task draws them, and the day on which each was said."""
    rng = Random(seed)
    for _ in range(n):
        today = date.fromordinal(rng.randrange(*grammar.TODAYS))
        day = days.KINDS[rng.choice(list(days.KINDS))](rng, today)
        yield day, clocks.KINDS[rng.choice(list(clocks.KINDS))](rng), today


# Determinism


@BOTH
@pytest.mark.parametrize("split", SPLITS)
def test_the_same_twice_and_a_prefix_of_a_longer_build(task: Task, split: Split) -> None:
    long = build(task, split, 300, seed=7)
    assert long == build(task, split, 300, seed=7)
    assert long[:50] == build(task, split, 50, seed=7)


@BOTH
def test_another_seed_gives_other_examples(task: Task) -> None:
    ours, theirs = ({str(each.messages) for each in build(task, seed=seed)} for seed in (0, 1))
    assert len(ours & theirs) < 10


# Fields


@PLAIN_ONLY
def test_fields(task: Task) -> None:
    examples = build(task)
    assert len({each.id for each in examples}) == len(examples)
    for each in examples:
        assert [turn["role"] for turn in each.messages] == ["system", "user"]
        assert set(each.tags) == {"lang", "phenomenon", "clock"}
        assert each.group.startswith(f"{each.tags['lang']}/{each.tags['phenomenon']}.")
        assert each.context["text"] in each.messages[-1]["content"]
        assert each.context["text"].strip() == each.context["text"] != ""
        assert "  " not in each.context["text"]
        assert each.reasoning
        assert Example.from_json(each.to_json()) == each


@PLAIN_ONLY
def test_the_prompt_states_today_and_the_form(task: Task) -> None:
    for each in build(task):
        today = date.fromisoformat(each.context["today"])
        system = each.messages[0]["content"]
        assert today.strftime("%A, ") + str(today.day) + today.strftime(" %B %Y") in system
        assert "YYYY-MM-DDTHH:NN:SS+03:00" in system
        assert "none" in system
        assert ("Сегодня" in system) == (each.tags["lang"] == "ru")


# Gold


@BOTH
@pytest.mark.parametrize("split", SPLITS)
def test_gold_scores_one(task: Task, split: Split) -> None:
    for each in build(task, split):
        for answer in each.answers:
            gold = render(each.reasoning, answer)
            assert task.metric(gold, each) == 1.0
            assert all(reward(gold, each) == 1.0 for reward, _ in task.rewards.values())


def test_gold_is_none_exactly_without_a_date() -> None:
    for each in build(PLAIN, n=1000):
        assert ("none" in each.answers) == (each.tags["phenomenon"] == NO_DATE)


# Splits


def test_groups_are_in_one_split_only() -> None:
    assert len({group.id for group in all_groups()}) == len(all_groups())
    dealt = grammar.deal(all_groups())
    by_split = [{group.id for members in dealt[split].values() for group in members} for split in SPLITS]
    assert sum(map(len, by_split)) == len(set.union(*by_split)) == len(all_groups())


@PLAIN_ONLY
@pytest.mark.parametrize("split", SPLITS)
def test_every_phenomenon_in_both_languages_is_in_every_split(task: Task, split: Split) -> None:
    seen = {(each.tags["lang"], each.tags["phenomenon"]) for each in build(task, split, 1500)}
    assert seen == set(product(("ru", "en"), [*days.KINDS, NO_DATE]))


def test_every_form_occurs_in_training() -> None:
    """What is tested is a new pair of forms; a form never seen would test the memory of words."""
    names = [group.id for members in grammar.deal(all_groups())["train"].values() for group in members]
    trained = {(lang, part) for name in names for lang, _, rest in [name.partition("/")] for part in rest.split("/")}
    for lang, language in (("ru", russian), ("en", english)):
        for forms in (language.DAYS, language.CLOCKS):
            assert {(lang, f"{kind}.{i}") for kind, each in forms.items() for i in range(len(each))} <= trained


def test_both_languages_and_all_phenomena_have_equal_shares() -> None:
    examples = build(PLAIN, n=6000)
    for tag, values in (("lang", 2), ("phenomenon", len(days.KINDS) + 1)):
        counts = [sum(each.tags[tag] == value for each in examples) for value in {each.tags[tag] for each in examples}]
        assert len(counts) == values
        assert max(counts) < 1.4 * min(counts)


# Gold again, by other means: dateutil's calendar, and the conventions as written in prose


def next_with(today: date, fits: Callable[[date], bool]) -> date:
    """The first day from today on that fits."""
    return next(day for day in (today + timedelta(days=i) for i in range(366 * 5)) if fits(day))


DAY_ORACLE: dict[str, Callable[[Day, date], date]] = {
    "today": lambda m, today: today,
    "tomorrow": lambda m, today: today + relativedelta(days=1),
    "day_after_tomorrow": lambda m, today: today + relativedelta(days=2),
    "in_days": lambda m, today: today + relativedelta(days=m.n),
    "in_weeks": lambda m, today: today + relativedelta(weeks=m.n),
    "in_months": lambda m, today: today + relativedelta(months=m.n),
    "weekday": lambda m, today: today + relativedelta(days=1, weekday=weekday(m.n)),
    "weekday_next_week": lambda m, today: (
        today + relativedelta(days=1, weekday=MO) + relativedelta(weekday=weekday(m.n))
    ),
    "day_of_month": lambda m, today: next_with(today, lambda day: day.day == m.day),
    "day_month": lambda m, today: next_with(today, lambda day: (day.month, day.day) == (m.month, m.day)),
    "numeric_date": lambda m, today: next_with(today, lambda day: (day.month, day.day) == (m.month, m.day)),
    "full_date": lambda m, today: read_datetime(f"{m.day}/{m.month}/{m.year}", dayfirst=True).date(),
}


def office_hour(hour: int) -> int:
    """What a bare hour means: the hour from 8:00 to 19:59 that a twelve-hour clock shows so."""
    return next(of_day for of_day in range(8, 20) if (of_day - hour) % 12 == 0)


CLOCK_ORACLE: dict[str, Callable[[Clock], str]] = {
    "hh_mm": lambda m: read_datetime(f"{m.hour}:{m.minute}").strftime("%H:%M"),
    "bare_hour": lambda m: f"{office_hour(m.hour):02}:00",
    "hour_part": lambda m: read_datetime(f"{m.hour} {'am' if m.part == 0 else 'pm'}").strftime("%H:%M"),
    "half_past": lambda m: f"{office_hour(m.hour):02}:30",
    "noon": lambda m: "12:00",
    "day_part": lambda m: ("09:00", "13:00", "18:00", "22:00")[m.part],
    "no_time": lambda m: "09:00",
}


def test_gold_by_another_calendar() -> None:
    assert DAY_ORACLE.keys() == days.KINDS.keys()
    assert CLOCK_ORACLE.keys() == clocks.KINDS.keys()
    for day, clock, today in meanings(20_000):
        expected = f"{DAY_ORACLE[day.kind](day, today)}T{CLOCK_ORACLE[clock.kind](clock)}:00+03:00"
        assert solve(day, clock, today)[0] == expected, (day, clock, today)


def test_no_gold_is_in_the_past() -> None:
    for day, clock, today in meanings(5_000, seed=1):
        assert solve(day, clock, today)[0][:10] >= today.isoformat(), (day, clock, today)


@pytest.mark.parametrize(
    ("day", "today", "expected"),
    [
        (Day("in_months", 1), date(2025, 1, 31), "2025-02-28"),
        (Day("in_months", 1), date(2024, 1, 31), "2024-02-29"),
        (Day("in_months", 2), date(2025, 12, 31), "2026-02-28"),
        (Day("in_days", 30), date(2024, 1, 31), "2024-03-01"),
        (Day("tomorrow", 1), date(2024, 2, 28), "2024-02-29"),
        (Day("tomorrow", 1), date(2025, 12, 31), "2026-01-01"),
        (Day("weekday", 4), FRIDAY, "2025-01-24"),
        (Day("weekday", 5), FRIDAY, "2025-01-18"),
        (Day("weekday_next_week", 0), FRIDAY, "2025-01-20"),
        (Day("weekday_next_week", 6), date(2025, 1, 19), "2025-01-26"),
        (Day("day_of_month", 0, 16), FRIDAY, "2025-02-16"),
        (Day("day_of_month", 0, 17), FRIDAY, "2025-01-17"),
        (Day("day_of_month", 0, 1), date(2025, 12, 31), "2026-01-01"),
        (Day("day_month", 0, 16, 1), FRIDAY, "2026-01-16"),
        (Day("day_month", 0, 17, 1), FRIDAY, "2025-01-17"),
    ],
)
def test_the_edges_of_the_calendar(day: Day, today: date, expected: str) -> None:
    assert solve(day, Clock("no_time"), today)[0] == f"{expected}T09:00:00+03:00"


# Rationales

SUM = re.compile(r"(?<![\d:])(\d+(?:[+*-]\d+)+) ?= ?(\d+)")  # 17+20=37, 2*7=14, 3-5+7=5, 7+12 = 19:00
HALF = re.compile(r"(\d+):30(\+12)? = (\d+):30")  # 7:30+12 = 19:30
OVER = re.compile(r"=(\d+), -12=(\d+)")  # month 11+3=14, -12=2


def value(terms: str) -> int:
    """The value of a sum or a product that is written without brackets."""
    if "*" in terms:
        left, _, right = terms.partition("*")
        return int(left) * int(right)
    return sum(int(term) for term in re.findall(r"[+-]?\d+", terms))


def test_the_arithmetic_in_rationales_is_right() -> None:
    checked = 0
    for day, clock, today in meanings(20_000, seed=2):
        reasoning = solve(day, clock, today)[1]
        for left, right in SUM.findall(reasoning):
            assert value(left) == int(right), reasoning
            checked += 1
        for hour, plus, result in HALF.findall(reasoning):
            assert int(hour) + (12 if plus else 0) == int(result), reasoning
        for month, result in OVER.findall(reasoning):
            assert int(month) - 12 == int(result), reasoning
    assert checked > 15_000


def test_every_sign_of_equality_in_rationales_was_checked() -> None:
    """A new way of writing a step must not escape the test above. Fri=5 and `7 am = 07:00` are facts, not sums."""
    fact = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)=\d|\d am = \d")
    for day, clock, today in meanings(5_000, seed=3):
        rest = OVER.sub(r"=\1", solve(day, clock, today)[1])  # its first sign belongs to the sum before it
        for pattern in (SUM, HALF, fact):
            rest = pattern.sub("", rest)
        assert "=" not in rest, solve(day, clock, today)[1]


def test_the_comparisons_in_rationales_are_right() -> None:
    seen = set()
    for day, clock, today in meanings(20_000, seed=6):
        answer, reasoning = solve(day, clock, today)
        for left, sign, right in re.findall(r"(\d+)([<>])(\d+)", reasoning):
            assert int(left) < int(right) if sign == "<" else int(left) > int(right), reasoning
            seen.add(sign)
        for word in re.findall(r"is (past|ahead)", reasoning):
            assert (word == "past") == (int(answer[:4]) > today.year), reasoning
            seen.add(word)
    assert seen == {"<", ">", "past", "ahead"}


def test_rationales_start_with_today_and_end_with_the_answer() -> None:
    for day, clock, today in meanings(20_000, seed=4):
        answer, reasoning = solve(day, clock, today)
        assert reasoning.startswith(f"{today:%a}={today.isoweekday()} {today.day} {today:%b}; "), reasoning
        last_date = re.findall(r"\d+ [A-Z][a-z]{2} \d{4}", reasoning)[-1]
        last_time = re.findall(r"\d\d:\d\d", reasoning)[-1]
        assert reasoning.endswith(last_time)
        concluded = datetime.strptime(f"{last_date} {last_time}", "%d %b %Y %H:%M")
        assert f"{concluded.isoformat()}+03:00" == answer, reasoning


def test_named_weekdays_have_their_numbers() -> None:
    numbers = {name: str(i) for i, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), 1)}
    for day, clock, today in meanings(5_000, seed=5):
        for name, number in re.findall(r"([A-Z][a-z]{2})=(\d)", solve(day, clock, today)[1]):
            assert numbers[name] == number


# The seed's own example


def test_the_note_that_started_the_project() -> None:
    answer, reasoning = solve(Day("day_after_tomorrow", 2), Clock("bare_hour", 12), FRIDAY)
    assert answer == "2025-01-19T12:00:00+03:00"
    assert reasoning == "Fri=5 17 Jan; 17+2=19 Jan 2025; 12:00"
    said = f"{russian.DAYS['day_after_tomorrow'][0](Day('', 2))} {russian.CLOCKS['bare_hour'][0](Clock('', 12))}"
    assert said == "послезавтра в 12"
    assert TASK.ask is not None
    system, user = TASK.ask("Послезавтра в 12", datetime(2025, 1, 17, 23, 59))
    assert "Сегодня Friday, 17 January 2025." in system["content"]
    assert "Ответ пользователя: Послезавтра в 12\n" in user["content"]


# Words


@pytest.mark.parametrize(
    ("n", "noun"),
    [
        *[(1, "день"), (21, "день"), (101, "день")],
        *[(2, "дня"), (3, "дня"), (4, "дня"), (22, "дня")],
        *[
            (5, "дней"),
            (11, "дней"),
            (12, "дней"),
            (14, "дней"),
            (20, "дней"),
            (25, "дней"),
            (111, "дней"),
            (112, "дней"),
        ],
    ],
)
def test_russian_plurals(n: int, noun: str) -> None:
    assert ru_words.plural(n, "день", "дня", "дней") == noun


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (Day("in_days", 2), "через 2 дня"),
        (Day("in_days", 21), "через 21 день"),
        (Day("in_days", 30), "через 30 дней"),
        (Day("in_weeks", 1), "через неделю"),
        (Day("in_weeks", 3), "через 3 недели"),
        (Day("in_months", 1), "через месяц"),
        (Day("in_months", 2), "через 2 месяца"),
        (Day("in_months", 5), "через 5 месяцев"),
        (Day("weekday", 1), "во вторник"),
        (Day("weekday", 2), "в среду"),
        (Day("weekday_next_week", 6), "в воскресенье на следующей неделе"),
        (Day("day_of_month", 0, 5), "5-го"),
        (Day("day_month", 0, 3, 5), "3 мая"),
        (Day("numeric_date", 0, 3, 5), "03.05"),
        (Day("full_date", 0, 31, 8, 2026), "31 августа 2026 года"),
    ],
)
def test_russian_days(day: Day, said: str) -> None:
    assert russian.DAYS[day.kind][0](day) == said


@pytest.mark.parametrize(
    ("clock", "form", "said"),
    [
        (Clock("hh_mm", 18, 5), 0, "в 18:05"),
        (Clock("bare_hour", 1), 1, "в час"),
        (Clock("bare_hour", 1), 2, "в 1 час"),
        (Clock("bare_hour", 3), 2, "в 3 часа"),
        (Clock("bare_hour", 11), 2, "в 11 часов"),
        (Clock("hour_part", 7, 0, 2), 0, "в 7 вечера"),
        (Clock("hour_part", 1, 0, 1), 1, "в час дня"),
        (Clock("half_past", 7, 30), 0, "в половине восьмого"),
        (Clock("half_past", 12, 30), 0, "в половине первого"),
        (Clock("half_past", 7, 30), 1, "в полвосьмого"),
        (Clock("day_part", part=3), 0, "ночью"),
    ],
)
def test_russian_clocks(clock: Clock, form: int, said: str) -> None:
    assert russian.CLOCKS[clock.kind][form](clock) == said


def test_russian_half_before_a_vowel() -> None:
    assert russian.CLOCKS["half_past"][1](Clock("half_past", 10, 30)) == "в пол-одиннадцатого"


@pytest.mark.parametrize(
    ("n", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (22, "22nd")],
)
def test_english_ordinals(n: int, said: str) -> None:
    assert english.ordinal(n) == said


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (Day("in_weeks", 1), "in a week"),
        (Day("in_months", 2), "in 2 months"),
        (Day("weekday", 2), "on Wednesday"),
        (Day("day_of_month", 0, 21), "on the 21st"),
        (Day("numeric_date", 0, 3, 5), "5/3"),
    ],
)
def test_english_days(day: Day, said: str) -> None:
    assert english.DAYS[day.kind][0](day) == said


# A stranger's text


@BOTH
@pytest.mark.parametrize(
    ("text", "today"),
    [
        ("Послезавтра в 12", "Сегодня"),
        ("ЁЛКА", "Сегодня"),
        ("завтра at 5", "Сегодня"),
        ("tomorrow at 5", "Today is"),
        ("12:30", "Today is"),
        ("", "Today is"),
    ],
)
def test_ask_tells_the_language(task: Task, text: str, today: str) -> None:
    assert task.ask is not None
    messages = task.ask(text, datetime(2025, 1, 17, 10))
    assert f"{today} Friday, 17 January 2025" in messages[0]["content"]
    assert messages[-1]["role"] == "user"
    assert text in messages[-1]["content"]


@BOTH
def test_ask_takes_any_text(task: Task) -> None:
    assert task.ask is not None
    for text in ("{today}", "{}", "%s", "{text}", "</answer>", "\x00"):
        assert text in task.ask(text, datetime(2025, 1, 17))[-1]["content"]
