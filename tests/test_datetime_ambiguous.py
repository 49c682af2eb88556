"""What a third reader of the datetime task found wrong, ambiguous or ungrammatical, a test for each kind of it."""

from __future__ import annotations

import re
from datetime import date
from random import Random

import pytest

from tasks.datetime_extraction import clock_kinds, day_kinds, deep, rationale, together
from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.gold import solve
from tasks.datetime_extraction.languages import LANGUAGES
from tasks.datetime_extraction.meaning import LANGS, Gold, Lang, Meaning, Policy, Setting

FRIDAY = date(2025, 1, 17)


@pytest.mark.parametrize(
    ("clock", "day", "turns"),
    [
        ("after 1", "Feb 24", False),
        ("by 4", "feb twenty one", False),
        ("at five to five", "June thirty", False),
        ("from 5 till seven", "August 1st", False),
        ("at 1330", "Dec. 15, 2026", False),
        ("at four twenty-five", "Nov-8", False),
        ("at 3 pm", "Feb 24", True),
        ("at 5 o'clock", "May 3", True),
        ("after 1", "Monday", True),
        ("at 7", "the 3rd of May", True),
    ],
)
def test_a_clock_that_ends_in_a_number_never_stands_before_a_month(clock: str, day: str, turns: bool) -> None:
    """ "After 1 Feb 24" is after 1 February 2024 to everyone."""
    assert together.can_turn(day, Clock("bare_hour"), clock) is turns


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Clock("noon"), Clock("hour_part", 12, 0, 1), True),
        (Clock("hh_mm", 23, 0), Clock("hour_part", 11, 0, 2), True),
        (Clock("hour_24", 14), Clock("hour_part", 2, 0, 1), True),
        (Clock("bare_hour", 4), Clock("part_hour", 4, 0, 1), True),
        (Clock("bare_hour", 9), Clock("hh_mm", 9, 30), False),
        (Clock("hh_mm", 9, 0), Clock("hh_mm", 21, 0), False),
        (Clock("bare_hour", 9), Clock("no_time"), False),
    ],
)
def test_no_time_is_offered_or_corrected_by_itself(one: Clock, other: Clock, same: bool) -> None:
    assert together.same_time(one, other, "en", Policy()) is same
    assert together.same_time(other, one, "en", Policy()) is same


@pytest.mark.parametrize(
    ("first", "second", "text", "keeps"),
    [
        (Clock("hh_mm", 21, 15), Clock("half_past", 9, 30), "around half past nine", True),
        (Clock("hour_part", 5, 0, 1), Clock("hh_mm", 8, 10), "к 8:10", True),
        (Clock("bare_hour", 6), Clock("hh_mm", 9, 30), "at 9:30", True),
        (Clock("hour_24", 20), Clock("bare_hour", 12), "at 12", True),
        (Clock("hh_mm", 21, 15), Clock("hh_mm_padded", 9, 30), "at 09:30", False),
        (Clock("hh_mm", 21, 15), Clock("half_past_part", 9, 30, 0), "at half past 9 am", False),
        (Clock("hh_mm", 21, 15), Clock("noon"), "at noon", False),
        (Clock("hh_mm", 21, 15), Clock("bare_hour", 7), "at 7", False),
        (Clock("hh_mm", 15, 0), Clock("bare_hour", 9), "at 9", False),
    ],
)
def test_a_time_that_corrects_an_evening_says_that_it_leaves_it(
    first: Clock, second: Clock, text: str, keeps: bool
) -> None:
    assert together.keeps_evening(first, second, text, "en", Policy()) is keeps


@pytest.mark.parametrize(
    ("day", "like"),
    [
        ("21.05", True),
        ("на 09.02.", True),
        ("в среду, 19.11", True),
        ("31.05", False),
        ("21/05", False),
        ("5/21", False),
        ("12.10.2026", False),
        ("21 мая", False),
    ],
)
def test_a_dotted_date_is_like_a_clock(day: str, like: bool) -> None:
    assert together.is_like_a_clock(day) is like


def test_a_dotted_date_corrects_a_day_only_where_the_time_is_said_to_stay() -> None:
    """«7-го в 18.50 то есть 21.05» is 21:05."""
    frames = LANGUAGES["ru"].talk.CORRECTIONS_OF_DAY
    clock, at = Clock("hh_mm", 18, 50), "в 18.50"
    kept = together.frames_of_day(frames, "в пятницу", clock, at, "21.05")
    assert kept == tuple(frame for frame in frames if "столько же" in frame or "это же время" in frame) != ()
    assert together.frames_of_day(frames, "в пятницу", clock, at, "31.05") == frames


def test_a_clock_before_the_day_that_is_taken_back_may_not_run_into_it() -> None:
    """ "17 10 24 January, wait, on Halloween"."""
    frames = LANGUAGES["en"].talk.CORRECTIONS_OF_DAY
    kept = together.frames_of_day(frames, "24 January", Clock("hh_mm_spaced", 17, 10), "17 10", "on Halloween")
    assert kept == tuple(frame for frame in frames if not frame.startswith("{clock}"))


def _said(lang: Lang, kind: str, n: int = 60) -> list[str]:
    """Every form of a kind of day, each of n meanings."""
    rng, said = Random(0), list[str]()
    while len(said) < n * len(LANGUAGES[lang].days[kind]):
        day = day_kinds.SAMPLERS[kind](rng, FRIDAY)
        said += [form.write(day) for form in LANGUAGES[lang].days[kind]] if day is not None else []
    return said


def _clocks(lang: Lang, kind: str, n: int = 120) -> list[tuple[Clock, str]]:
    """Every form of a kind of clock, each of n meanings."""
    rng = Random(0)
    drawn = [clock_kinds.SAMPLERS[kind](rng, lang) for _ in range(n)]
    return [(clock, form(clock)) for clock in drawn for form in LANGUAGES[lang].clocks[kind]]


def test_a_bare_number_is_no_date() -> None:
    """ "Let's say on 6 at 10 15"."""
    assert not [said for said in _said("en", "day_of_month") if re.fullmatch(r"on \d+", said)]


def test_two_to_four_o_clock_is_said_with_a_preposition() -> None:
    """«Буду завтра 2 дня» is a stay of two days."""
    counted = re.compile(r"(?:[2-4]|два|три|четыре) дня")
    assert not [said for _, said in _clocks("ru", "hour_part") if counted.fullmatch(said)]
    assert together.go_on("days_before_date", "четыре часа дня")


def test_the_small_hours_are_not_many() -> None:
    """«Часов в 3 ночи» is «часа в 3 ночи»."""
    for clock, said in _clocks("ru", "hour_part"):
        assert clock.hour > 4 or not said.startswith("часов в"), said


@pytest.mark.parametrize("kind", sorted(day_kinds.RELATIVE - {"days_hours"}))
def test_after_some_hours_is_left_to_the_clock(kind: str) -> None:
    """ "Please make it after 17 hours"."""
    assert not [said for said in _said("en", kind) if said.startswith("after")]


def test_a_table_for_six_is_no_hour() -> None:
    """ "11th of May for 5, please"."""
    assert not [said for _, said in _clocks("en", "bare_hour") if re.fullmatch(r"for \d+", said)]


@pytest.mark.parametrize("kind", ["hours_minutes", "minutes_past", "minutes_past_part", "half_past_part"])
def test_minutes_are_past_an_hour_of_the_clock_s_face(kind: str) -> None:
    """No "at 30 minutes past 18", "at 1 minutes past 3" or "at 20 hours 1 minutes"."""
    wrong = re.compile(r"\b1 minutes|minutes past (?:1[3-9]|2\d)|\d hours \d")
    assert not [said for _, said in _clocks("en", kind) if wrong.search(said)]


def test_small_forms() -> None:
    assert not [said for _, said in _clocks("en", "minutes_past_part") if re.search(r"(?:[e-z])(?:am|pm)$", said)]
    assert not [said for said in _said("ru", "last_day_of_month") if said.startswith("в последний день в ")]
    assert not [said for _, said in _clocks("ru", "hours_minutes", 900) if "одна минута" in said]
    of_months: tuple[tuple[Lang, tuple[str, ...]], ...] = (
        ("en", ("day_month", "full_date")),
        ("ru", ("full_date", "weekday_date")),
    )
    for lang, kinds in of_months:
        for kind in kinds:
            assert not [said for said in _said(lang, kind, 200) if re.search(r"\b(?:May|мая)\.", said)]


def _gold(day: Day, clock: Clock, now: int | None = None, setting: Setting = Setting(FRIDAY)) -> Gold | None:  # noqa: B008
    return solve(Meaning("en", "plain", day, clock), setting._replace(now=now, offset=0))


def _answers(day: Day, clock: Clock, now: int | None = None, today: date = FRIDAY) -> list[str]:
    gold = _gold(day, clock, now, Setting(today))
    assert gold is not None
    return [answer.removesuffix(":00Z") for answer in gold.answers]


@pytest.mark.parametrize("clock", [Clock("after_hour", 10), Clock("range_start", 10, 0, 11), Clock("after_hour", 16)])
@pytest.mark.parametrize("kind", ["today", day_kinds.NO_DAY])
@pytest.mark.parametrize("policy", [Policy(), Policy(afternoon=0)])
def test_what_may_still_go_on_is_left_out(clock: Clock, kind: str, policy: Policy) -> None:
    """ "Today after 16" at 16:58 is no past, and "from 10 to 11" is no 22:00."""
    assert _gold(Day(kind), clock, 16 * 60 + 58, Setting(FRIDAY, policy=policy)) is None


def test_an_open_interval_still_ahead_is_its_start() -> None:
    assert _answers(Day("today"), Clock("after_hour", 6), 614) == ["2025-01-17T18:00"]
    assert _answers(Day(day_kinds.NO_DAY), Clock("range_start", 2, 0, 4), 614) == ["2025-01-17T14:00"]


@pytest.mark.parametrize("kind", ["hh_mm_early", "hh_mm_words", "hours_minutes"])
def test_hours_and_minutes_may_be_meant_as_they_stand(kind: str) -> None:
    """ "Seven twenty" as "7:20"; "twenty past seven" goes by the bare-hour rule."""
    assert _answers(Day("tomorrow", 1), Clock(kind, 7, 20)) == ["2025-01-18T19:20", "2025-01-18T07:20"]
    assert _answers(Day("tomorrow", 1), Clock("minutes_past", 7, 20)) == ["2025-01-18T19:20"]


def test_hours_and_minutes_that_are_settled_have_one_reading() -> None:
    assert _answers(Day("tomorrow", 1), Clock("hh_mm_words", 8, 20)) == ["2025-01-18T08:20"]
    assert _answers(Day("tomorrow", 1), Clock("hh_mm_words", 19, 20)) == ["2025-01-18T19:20"]


@pytest.mark.parametrize(
    ("today", "n", "weeks", "answers"),
    [
        (date(2024, 6, 22), 0, 1, ["2024-07-01", "2024-06-24"]),  # Saturday; Monday
        (date(2024, 6, 22), 0, 2, ["2024-07-08", "2024-07-01"]),
        (date(2024, 6, 21), 1, 1, ["2024-06-25", "2024-07-02"]),  # Friday; Tuesday, four days off
        (date(2024, 6, 17), 2, 1, ["2024-06-26"]),  # Monday; Wednesday
    ],
)
def test_monday_in_a_week_is_the_one_about_a_week_ahead(today: date, n: int, weeks: int, answers: list[str]) -> None:
    found = _answers(Day("weekday_in_weeks", n, weeks), Clock("no_time"), today=today)
    assert found == [f"{answer}T09:00" for answer in answers]


def test_the_length_of_a_month_is_checked() -> None:
    for month, most in ((2, "29 days at most"), (4, "30 days"), (12, "31 days")):
        gold = _gold(Day("invalid_date", 0, 33, month), Clock("no_time"))
        assert gold is not None
        assert gold.reasoning.endswith(f" has {most}, not 33")
        assert rationale.problems(gold.reasoning, "none", FRIDAY) == []
    for wrong in ("Feb has 29 days, not 31", "Apr has 31 days, not 32", "Jan has 31 days at most, not 32"):
        assert rationale.problems(f"Fri=5 17 Jan; {wrong}", "none", FRIDAY)


def test_the_coming_night_is_compared_first() -> None:
    gold = _gold(Day("today"), Clock("hour_part", 2, 0, clock_kinds.NIGHT), 12 * 60 + 49)
    assert gold is not None
    steps = "today 17 Jan 2025; night 02:00, now 12:49, 02:00 is past, coming 02:00; 17+1=18 Jan 2025; 02:00"
    assert gold.reasoning == f"Fri=5 17 Jan; {steps}"


@pytest.mark.parametrize("lang", LANGS)
def test_a_word_stands_between_two_days_since_noise_takes_the_punctuation(lang: Lang) -> None:
    """«не на послезавтра в ближайший вторник»."""
    words = LANGUAGES[lang].talk
    for frame in (*words.NEGATIONS, *words.CORRECTIONS, *words.ALTERNATIVES):
        between = re.split(r"\{[ab]\}", frame)[1]
        assert re.search(r"\w", between), frame


@pytest.mark.parametrize(
    ("said", "refusable"),
    [
        ("уже завтра", False),
        ("прямо сегодня", False),
        ("послезавтра же", False),
        ("дней через 12", False),
        ("минуты через две", False),
        ("ровно через 2 недели", False),
        ("только через среду", False),
        ("не в эту среду, а через среду", False),
        ("через 12 дней", True),
        ("сегодня", True),
    ],
)
def test_what_insists_on_a_day_is_not_refused(said: str, refusable: bool) -> None:
    assert together.refusable(said, "ru") is refusable


def test_a_clock_with_a_comma_never_comes_first() -> None:
    assert not together.can_turn("завтра", Clock("part_hour"), "утром, в 7")
    assert not [said for _, said in _clocks("ru", "day_part") if "," in said]


def _plain(lang: Lang, n: int = 1500) -> list[str]:
    """The words of n drawn answers that are plain, without what stands around them and without noise."""
    rng, said = Random(4), list[str]()
    while len(said) < n:
        drawn = deep.draw(rng, "train").built
        said += [drawn.text] if (drawn.meaning.lang, drawn.meaning.talk) == (lang, "plain") else []
    return said


def test_one_comes_on_a_day_and_is_put_down_for_it() -> None:
    """No «буду на завтра», "I can come for Monday", «лучше лучше днём»."""
    coming = re.compile(
        r".*(?:приеду|буду|прийти|могу|смогу) на (?:\w*завтра|сегодня|среду)|.*(?:come|meet) for (?:to|the)"
    )
    for lang in LANGS:
        plain = _plain(lang)
        assert not [text for text in plain if coming.match(text)]
        assert not [text for text in plain if text.count("лучше") > 1]
