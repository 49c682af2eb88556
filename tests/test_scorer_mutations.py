"""The scorers, tested like code: what each near miss scores is declared here as data, and the declarations are strong
enough that a scorer made wrong in any of the listed ways is caught by them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from dateutil import parser as dateutil_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import datetimes, formats, numbers, response, structured
from rewards.canonical import canonical
from rewards.core import Example
from rewards.response import REASONING_CLOSE, REASONING_OPEN, Response, render
from tasks.base import Task
from tasks.registry import load_task

DATETIME, PLAIN = load_task("datetime_extraction"), load_task("datetime_extraction_plain")
ORDER, ARITHMETIC = load_task("order_extraction"), load_task("russian_arithmetic")
TASKS = (DATETIME, PLAIN, ORDER, ARITHMETIC)


def example(*answers: str) -> Example:
    return Example("e", ({"role": "user", "content": "?"},), answers)


# The fourth of March, five past nine in the evening: day and month, hours and halves of the day can be mixed up.
MOMENT = "2025-03-04T21:05:00+03:00"
ORDERED = '{"item": "стул", "quantity": 2, "city": null}'

# (what it is, the answer, what the metric gives): in a perfect form, so that the answer alone decides.
MOMENTS: list[tuple[str, str, float]] = [
    ("gold", MOMENT, 1),
    ("white space around it", f"\n  {MOMENT} ", 1),
    ("a day late", "2025-03-05T21:05:00+03:00", 0),
    ("a day early", "2025-03-03T21:05:00+03:00", 0),
    ("a week late", "2025-03-11T21:05:00+03:00", 0),
    ("a month late", "2025-04-04T21:05:00+03:00", 0),
    ("a year late", "2026-03-04T21:05:00+03:00", 0),
    ("day and month swapped", "2025-04-03T21:05:00+03:00", 0),
    ("morning for evening", "2025-03-04T09:05:00+03:00", 0),
    ("an hour late", "2025-03-04T22:05:00+03:00", 0),
    ("a minute late", "2025-03-04T21:06:00+03:00", 0),
    ("a second late", "2025-03-04T21:05:01+03:00", 0),
    ("minutes dropped", "2025-03-04T21:00:00+03:00", 0),
    ("midnight for the time", "2025-03-04T00:00:00+03:00", 0),
    ("another offset, the same hour", "2025-03-04T21:05:00+04:00", 0),
    ("the offset's sign", "2025-03-04T21:05:00-03:00", 0),
    ("UTC, the same hour", "2025-03-04T21:05:00Z", 0),
    ("UTC, the same instant", "2025-03-04T18:05:00Z", 0),
    ("another zone, the same instant", "2025-03-04T20:05:00+02:00", 0),
    ("no offset", "2025-03-04T21:05:00", 0),
    ("no seconds", "2025-03-04T21:05+03:00", 0),
    ("a fraction of a second", "2025-03-04T21:05:00.0+03:00", 0),
    ("the date alone", "2025-03-04", 0),
    ("the time alone", "21:05:00+03:00", 0),
    ("a space for the T", "2025-03-04 21:05:00+03:00", 0),
    ("the basic form", "20250304T210500+0300", 0),
    ("the Russian way", "04.03.2025 21:05", 0),
    ("bold", f"**{MOMENT}**", 0),
    ("code", f"`{MOMENT}`", 0),
    ("a code block", f"```\n{MOMENT}\n```", 0),
    ("quoted", f'"{MOMENT}"', 0),
    ("a full stop", f"{MOMENT}.", 0),
    ("words before it", f"The answer is {MOMENT}", 0),
    ("words after it", f"{MOMENT} (вторник)", 0),
    ("two answers", f"{MOMENT} or 2025-03-05T21:05:00+03:00", 0),
    ("the gold twice", f"{MOMENT} {MOMENT}", 0),
    ("two answers, the gold second", f"2025-03-05T21:05:00+03:00\n{MOMENT}", 0),
    ("none", "none", 0),
    ("the gold or none", f"{MOMENT} none", 0),
    ("full-width digits", "２０２５-03-04T21:05:00+03:00", 0),
    ("a Cyrillic letter for the T", "2025-03-04Т21:05:00+03:00", 0),
    ("a zero-width space in it", "2025-03-04\u200bT21:05:00+03:00", 0),
]
NO_MOMENT: list[tuple[str, str, float]] = [
    ("gold", "none", 1),
    ("white space around it", " none\n", 1),
    ("a moment", MOMENT, 0),
    ("capital letters", "None", 0),
    ("a full stop", "none.", 0),
    ("null", "null", 0),
    ("in Russian", "нет", 0),
    ("with a reason", "none: no date is named", 0),
    ("twice", "none none", 0),
]
TWO_GOLDS: list[tuple[str, str, float]] = [
    ("the first", MOMENT, 1),
    ("the second", "2025-03-05T21:05:00+03:00", 1),
    ("between them", "2025-03-05T09:05:00+03:00", 0),
    ("both", f"{MOMENT}\n2025-03-05T21:05:00+03:00", 0),
]
ORDERS: list[tuple[str, str, float]] = [
    ("gold", ORDERED, 1),
    ("other white space", '{"item":"стул","quantity":2,"city":null}', 1),
    ("another order of keys", '{"city": null, "quantity": 2, "item": "стул"}', 1),
    ("the same number", '{"item": "стул", "quantity": 2.0, "city": null}', 1),
    ("escaped letters", '{"item": "\\u0441\\u0442\\u0443\\u043b", "quantity": 2, "city": null}', 1),
    ("one more", '{"item": "стул", "quantity": 3, "city": null}', 0),
    ("the number as text", '{"item": "стул", "quantity": "2", "city": null}', 0),
    ("another word form", '{"item": "стула", "quantity": 2, "city": null}', 0),
    ("a capital letter", '{"item": "Стул", "quantity": 2, "city": null}', 0),
    ("space in a value", '{"item": " стул", "quantity": 2, "city": null}', 0),
    ("a city that nobody named", '{"item": "стул", "quantity": 2, "city": "Пермь"}', 0),
    ("null as text", '{"item": "стул", "quantity": 2, "city": "null"}', 0),
    ("empty for null", '{"item": "стул", "quantity": 2, "city": ""}', 0),
    ("a key missing", '{"item": "стул", "quantity": 2}', 0),
    ("a key too many", '{"item": "стул", "quantity": 2, "city": null, "note": null}', 0),
    ("a key twice", '{"item": "стул", "quantity": 3, "quantity": 2, "city": null}', 0),
    ("values swapped", '{"item": null, "quantity": 2, "city": "стул"}', 0),
    ("in a list", f"[{ORDERED}]", 0),
    ("a code block", f"```json\n{ORDERED}\n```", 0),
    ("words before it", f"Заказ: {ORDERED}", 0),
    ("words after it", f"{ORDERED} готово", 0),
    ("two objects", f"{ORDERED}{ORDERED}", 0),
    ("single quotes", "{'item': 'стул', 'quantity': 2, 'city': None}", 0),
    ("cut", ORDERED[:-1], 0),
    ("empty", "{}", 0),
    ("a true for a number", '{"item": "стул", "quantity": true, "city": null}', 0),
]
ONE_CHAIR: list[tuple[str, str, float]] = [
    ("gold", '{"quantity": 1}', 1),
    ("true is no 1", '{"quantity": true}', 0),
]
NESTED: list[tuple[str, str, float]] = [
    ("gold", '{"to": {"city": "Уфа", "flat": 1}, "items": ["стул", "стол"]}', 1),
    ("a nested key missing", '{"to": {"city": "Уфа"}, "items": ["стул", "стол"]}', 0),
    ("a nested key too many", '{"to": {"city": "Уфа", "flat": 1, "x": 1}, "items": ["стул", "стол"]}', 0),
    ("another order of a list", '{"to": {"city": "Уфа", "flat": 1}, "items": ["стол", "стул"]}', 0),
    ("a list too short", '{"to": {"city": "Уфа", "flat": 1}, "items": ["стул"]}', 0),
]
NUMBERS: list[tuple[str, str, float]] = [
    ("gold", "1234", 1),
    ("grouped", "1,234", 1),
    ("grouped by a space", "1 234", 1),
    ("a zero after the point", "1234.0", 1),
    ("a plus sign", "+1234", 1),
    ("one more", "1235", 0),
    ("one less", "1233", 0),
    ("a hair more", "1234.001", 0),
    ("the sign", "-1234", 0),
    ("ten times", "12340", 0),
    ("digits swapped", "1324", 0),
    ("a digit dropped", "123", 0),
    ("with its unit", "1234 яблока", 0),
    ("a sentence", "Стало 1234", 0),
    ("a full stop", "1234.", 1),
    ("quoted", '"1234"', 0),
    ("bold", "**1234**", 0),
    ("an equation", "1200 + 34 = 1234", 0),
    ("two numbers", "1234 1235", 0),
    ("two numbers, the gold last", "1235\n1234", 0),
    ("in words", "тысяча двести тридцать четыре", 0),
    ("an expression", "1200+34", 0),
    ("Arabic digits", "١٢٣٤", 0),
    ("infinity", "inf", 0),
    ("not a number", "nan", 0),
]

# (what it is, the completion for a gold answer, what format and metric give), for every task.
FORMS: list[tuple[str, Callable[[str], str], float]] = [
    ("whole", lambda gold: render("so", gold), 1),
    ("an empty reasoning", lambda gold: render("", gold), 1),
    ("white space between and around", lambda gold: f"\n<reasoning>so</reasoning>\n\n<answer>\n{gold}\n</answer>\n", 1),
    ("nothing", lambda gold: "", 0),
    ("the answer alone", lambda gold: gold, 0),
    ("no reasoning", lambda gold: f"<answer>{gold}</answer>", 0),
    ("no answer block", lambda gold: f"<reasoning>{gold}</reasoning>", 0),
    ("the answer in the reasoning only", lambda gold: render(gold, ""), 0),
    ("the answer after the reasoning, untagged", lambda gold: f"<reasoning>so</reasoning>{gold}", 0),
    ("a greeting before", lambda gold: "Sure! " + render("so", gold), 0),
    ("trailing text", lambda gold: render("so", gold) + " I hope this helps!", 0),
    ("text between", lambda gold: f"<reasoning>so</reasoning> thus <answer>{gold}</answer>", 0),
    ("in a code block", lambda gold: f"```\n{render('so', gold)}\n```", 0),
    ("the wrong order", lambda gold: f"<answer>{gold}</answer><reasoning>so</reasoning>", 0),
    ("two answer blocks", lambda gold: render("so", gold) + f"<answer>{gold}</answer>", 0),
    ("two answer blocks, the gold last", lambda gold: render("so", "0") + f"<answer>{gold}</answer>", 0),
    ("the whole twice", lambda gold: render("so", gold) * 2, 0),
    ("two reasonings", lambda gold: "<reasoning>so</reasoning>" + render("so", gold), 0),
    ("an answer block in the reasoning", lambda gold: render(f"<answer>{gold}</answer>", gold), 0),
    ("a tag in the answer", lambda gold: render("so", f"<answer>{gold}"), 0),
    ("an unclosed answer", lambda gold: f"<reasoning>so</reasoning><answer>{gold}", 0),
    ("an unclosed reasoning", lambda gold: f"<reasoning>so<answer>{gold}</answer>", 0),
    ("capital tags", lambda gold: render("so", gold).upper().replace(gold.upper(), gold), 0),
    ("other tags", lambda gold: f"<think>so</think><answer>{gold}</answer>", 0),
    ("spaces in the tags", lambda gold: render("so", gold).replace("<answer>", "< answer >"), 0),
    ("attributes", lambda gold: render("so", gold).replace("<answer>", '<answer id="1">'), 0),
    ("an empty answer", lambda gold: render("so", " "), 0),
]

TABLES: list[tuple[str, Task, Example, list[tuple[str, str, float]]]] = [
    ("moment", DATETIME, example(MOMENT), MOMENTS),
    ("no moment", DATETIME, example("none"), NO_MOMENT),
    ("two golds", DATETIME, example(MOMENT, "2025-03-05T21:05:00+03:00"), TWO_GOLDS),
    ("order", ORDER, example(ORDERED), ORDERS),
    ("one chair", ORDER, example('{"quantity": 1}'), ONE_CHAIR),
    ("nested", ORDER, example(NESTED[0][1]), NESTED),
    ("number", ARITHMETIC, example("1234"), NUMBERS),
]


def surprises() -> Iterator[str]:
    """Every declaration that the scorers, as they are now, don't keep."""
    for table, task, of, cases in TABLES:
        for name, answer, declared in cases:
            completion = render("so", answer)
            if task.metric(completion, of) != declared:
                yield f"{table}: {name}"
            if task.rewards["tag_format"][0](completion, of) != 1:
                yield f"{table}: {name}: form"
        for name, made, declared in FORMS:
            completion = made(of.answers[0])
            if task.metric(completion, of) != declared:
                yield f"{table}: {name}"
            if task.rewards["tag_format"][0](completion, of) != declared:
                yield f"{table}: {name}: form"


def test_every_completion_scores_as_declared() -> None:
    assert list(surprises()) == []


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (ORDERED, 1),
        ('{"item": "стул", "quantity": 3, "city": null}', 2 / 3),
        ('{"item": "стул", "quantity": 2}', 2 / 3),
        ('{"item": "стол", "quantity": 3, "city": null}', 1 / 3),
        ('{"item": "стул", "quantity": 2, "city": null, "note": 1}', 0),  # naming everything mustn't pay
        ("{}", 0),
        (ORDERED[:-1], 0),
    ],
)
def test_the_share_of_fields_as_declared(answer: str, share: float) -> None:
    fields = ORDER.rewards["json_fields"][0]
    assert fields(render("", answer), example(ORDERED)) == pytest.approx(share)
    assert fields(answer, example(ORDERED)) == 0


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_gold_scores_one_and_nothing_that_says_otherwise_does(task: Task) -> None:
    found = list(task.examples("test", 60, 11))
    for one in found:
        for answer in one.answers:
            assert task.metric(render(one.reasoning, answer), one) == 1
        for other in found[:20]:
            same = {canonical(answer) for answer in one.answers}
            expected = canonical(other.answers[0]) in same
            assert (task.metric(render("", other.answers[0]), one) == 1) is expected


drawn_examples = st.sampled_from([(task, each) for task in TASKS for each in task.examples("validation", 25, 5)])


@given(drawn_examples, st.text(min_size=1), st.sampled_from(["before", "between", "after"]))
@settings(max_examples=200, deadline=None)
def test_text_outside_the_blocks_costs_everything(of: tuple[Task, Example], text: str, place: str) -> None:
    task, one = of
    gold = render("so", one.answers[0])
    completion = {
        "before": text + gold,
        "between": gold.replace(REASONING_CLOSE, REASONING_CLOSE + text),
        "after": gold + text,
    }[place]
    assert task.metric(completion, one) == float(not text.strip())


@given(drawn_examples, st.data())
@settings(max_examples=400, deadline=None)
def test_one_character_changed_is_another_answer(of: tuple[Task, Example], data: st.DataObject) -> None:
    """Right only when the changed text still says the same, as a sign before zero or a space in JSON does."""
    task, one = of
    gold = one.answers[0]
    place = data.draw(st.integers(0, len(gold) - 1))
    change = data.draw(st.characters(exclude_characters="<>") | st.sampled_from("0123456789+-:TZ .,\"'"))
    kind = data.draw(st.sampled_from(["replaced", "inserted", "deleted"]))
    changed = {
        "replaced": gold[:place] + change + gold[place + 1 :],
        "inserted": gold[:place] + change + gold[place:],
        "deleted": gold[:place] + gold[place + 1 :],
    }[kind]
    says_so = canonical(changed.strip()) in {canonical(answer) for answer in one.answers}
    assert task.metric(render("", changed), one) == float(says_so), changed


@given(st.datetimes(), st.integers(-720, 840), st.timedeltas(timedelta(seconds=1), timedelta(days=800)))
@settings(max_examples=200, deadline=None)
def test_no_moment_is_another(when: Any, minutes: int, off: timedelta) -> None:
    sign, (hours, rest) = "+-"[minutes < 0], divmod(abs(minutes), 60)
    when = when.replace(microsecond=0, year=min(when.year, 9990))
    gold, wrong = (f"{each.isoformat(timespec='seconds')}{sign}{hours:02}:{rest:02}" for each in (when, when + off))
    assert DATETIME.metric(render("", gold), example(gold)) == 1
    assert DATETIME.metric(render("", wrong), example(gold)) == float(wrong == gold)


# Scorers made wrong, each in one way that a hurried author makes. (what, module, attribute, the wrong thing)
def _moments(equal: Callable[[Any, Any], bool]) -> Callable[[str, str], bool]:
    def same_moment(answer: str, gold: str) -> bool:
        if "none" in (answer, gold):
            return answer == gold
        ours, theirs = datetimes.moment(answer), datetimes.moment(gold)
        return ours is not None and theirs is not None and equal(ours, theirs)

    return same_moment


def _same_offset(one: Any, other: Any) -> bool:
    return bool(one.utcoffset() == other.utcoffset())


class _Searched:
    """The form, looked for anywhere."""

    def __init__(self, pattern: str, which: int) -> None:
        self.pattern, self.which = re.compile(pattern), which

    def __call__(self, text: str) -> Any:
        found = self.pattern.findall(text)
        return datetimes._read(found[self.which]) if found else None


def _any_form(text: str) -> Any:
    try:
        return dateutil_parser.isoparse(text.strip())
    except ValueError:
        return None


def _parser(change: Callable[[str, Response], Response]) -> Callable[[str], Response]:
    return lambda completion: change(completion, response.parse(completion))


def _block(which: int) -> Callable[[str, Response], Response]:
    def read(completion: str, parsed: Response) -> Response:
        blocks = re.findall(r"<answer>(.*?)</answer>", completion, re.DOTALL)
        return Response(answer=blocks[which].strip()) if blocks else parsed

    return read


def _forgives(problem: str, but: str = "") -> Callable[[str, Response], Response]:
    """Reads the last answer block where the form has this problem only."""

    def read(completion: str, parsed: Response) -> Response:
        return _block(-1)(completion, parsed) if parsed.problem == problem else parsed

    return read


def _from_reasoning(completion: str, parsed: Response) -> Response:
    if parsed.problem != "empty_answer":
        return parsed
    return Response(answer=completion.partition(REASONING_OPEN)[2].partition(REASONING_CLOSE)[0].strip())


def _stripped(characters: str) -> Callable[[str, Response], Response]:
    return lambda completion, parsed: Response(parsed.reasoning, parsed.answer.strip(characters), parsed.problem)


def _first_object(text: str) -> Any:
    found = re.search(r"\{.*?\}", text, re.DOTALL)
    return None if found is None else json.loads(found[0])


def _any_number(which: int) -> Callable[..., Any]:
    def number_of(text: str, decimal: str = ".") -> Any:
        found = re.findall(r"[+-]?[0-9]+(?:\.[0-9]+)?", text.replace(",", ""))
        return Decimal(found[which]) if found else None

    return number_of


def _changed_number(change: Callable[[Any], Any]) -> Callable[..., Any]:
    original = numbers.number_of

    def number_of(text: str, decimal: Any = ".") -> Any:
        found = original(text, decimal)
        return found if found is None else change(found)

    return number_of


_FORM = datetimes._FORM.pattern
_same, _share = structured.same, structured._share
PARSERS: dict[str, Callable[[str, Response], Response]] = {
    "the first answer block, whatever surrounds it": _block(0),
    "the last answer block, whatever surrounds it": _block(-1),
    "text outside is forgiven": _forgives("text_outside"),
    "a missing tag is forgiven": _forgives("missing_tag"),
    "a repeated tag is forgiven": _forgives("repeated_tag"),
    "the wrong order is forgiven": _forgives("wrong_order"),
    "an answer in the reasoning is taken": _from_reasoning,
}
STRIPPERS = {"Markdown is stripped": _stripped("*`"), "punctuation is stripped": _stripped(".!\"'")}
MUTANTS: list[tuple[str, Any, str, Any]] = [
    ("any offset", datetimes, "same_moment", _moments(lambda a, b: a.replace(tzinfo=None) == b.replace(tzinfo=None))),
    ("the instant only", datetimes, "same_moment", _moments(lambda a, b: a == b)),
    ("the date only", datetimes, "same_moment", _moments(lambda a, b: a.date() == b.date() and _same_offset(a, b))),
    (
        "the time only",
        datetimes,
        "same_moment",
        _moments(lambda a, b: a.timetz() == b.timetz() and _same_offset(a, b)),
    ),
    (
        "no seconds",
        datetimes,
        "same_moment",
        _moments(lambda a, b: a.replace(second=0) == b.replace(second=0) and _same_offset(a, b)),
    ),
    (
        "no minutes",
        datetimes,
        "same_moment",
        _moments(lambda a, b: a.replace(minute=0) == b.replace(minute=0) and _same_offset(a, b)),
    ),
    (
        "a clock of twelve hours",
        datetimes,
        "same_moment",
        _moments(lambda a, b: a.replace(hour=a.hour % 12) == b.replace(hour=b.hour % 12) and _same_offset(a, b)),
    ),
    (
        "a day of tolerance",
        datetimes,
        "same_moment",
        _moments(lambda a, b: abs(a - b) <= timedelta(days=1) and _same_offset(a, b)),
    ),
    (
        "an hour of tolerance",
        datetimes,
        "same_moment",
        _moments(lambda a, b: abs(a - b) <= timedelta(hours=1) and _same_offset(a, b)),
    ),
    (
        "day and month either way",
        datetimes,
        "same_moment",
        _moments(lambda a, b: {a.day, a.month} == {b.day, b.month} and a.timetz() == b.timetz() and a.year == b.year),
    ),
    ("not after the gold", datetimes, "same_moment", _moments(lambda a, b: a <= b and _same_offset(a, b))),
    ("equal to the second gold never", datetimes, "any", lambda found: next(iter(found))),
    ("every gold must match", datetimes, "any", all),
    ("none is always right", datetimes, "same_moment", lambda a, b: a == "none" or a == b),
    ("none in capitals", datetimes, "same_moment", lambda a, b: a.lower() == b.lower()),
    ("none anywhere", datetimes, "same_moment", lambda a, b: a == b or (b == "none" and "none" in a)),
    ("the gold anywhere", datetimes, "same_moment", lambda a, b: b in a),
    ("the first moment found", datetimes, "moment", _Searched(_FORM, 0)),
    ("the last moment found", datetimes, "moment", _Searched(_FORM, -1)),
    ("any ISO form", datetimes, "moment", _any_form),
    ("the format isn't checked", formats, "parse", lambda completion: Response(answer="x")),
    ("the first object found", structured, "object_of", _first_object),
    ("a key may be given twice", structured, "_once", dict),
    ("values as text", structured, "same", lambda a, b: str(a) == str(b) or _same(a, b)),
    ("values in any case", structured, "same", lambda a, b: str(a).lower() == str(b).lower() or _same(a, b)),
    ("true is 1", structured, "same", lambda a, b: a == b),
    ("null is anything empty", structured, "same", lambda a, b: _same(a or None, b or None)),
    (
        "nested keys may be missing",
        structured,
        "same",
        lambda a, b: a.items() <= b.items() if isinstance(a, dict) and isinstance(b, dict) else _same(a, b),
    ),
    (
        "nested keys may be added",
        structured,
        "same",
        lambda a, b: a.items() >= b.items() if isinstance(a, dict) and isinstance(b, dict) else _same(a, b),
    ),
    ("keys may be missing", structured, "_share", lambda ours, gold, fields: _share(ours, gold, list(ours))),
    (
        "keys may be added",
        structured,
        "_share",
        lambda ours, gold, fields: _share({key: each for key, each in ours.items() if key in gold}, gold, fields),
    ),
    (
        "lists in any order",
        structured,
        "same",
        lambda a, b: sorted(a) == sorted(b) if isinstance(a, list) and isinstance(b, list) else _same(a, b),
    ),
    ("the first number found", numbers, "number_of", _any_number(0)),
    ("the last number found", numbers, "number_of", _any_number(-1)),
    ("no sign", numbers, "number_of", _changed_number(abs)),
    ("rounded", numbers, "number_of", _changed_number(round)),
    ("rounded to tens", numbers, "number_of", _changed_number(lambda found: round(found, -1))),
]


def test_the_mutants_start_from_a_clean_table() -> None:
    assert len({name for name, *_ in MUTANTS}) == len(MUTANTS) >= 30
    assert list(surprises()) == []


@pytest.mark.parametrize(("name", "module", "attribute", "wrong"), MUTANTS, ids=[name for name, *_ in MUTANTS])
def test_a_scorer_made_wrong_is_caught(
    name: str, module: Any, attribute: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, attribute, wrong, raising=False)
    assert next(surprises(), None) is not None, f"nothing in the tables notices: {name}"


@pytest.mark.parametrize(
    ("name", "table"),
    [(name, table) for name in PARSERS for table, *_ in TABLES]
    + [(name, table) for name in STRIPPERS for table in ("moment", "number")],
)
def test_a_parser_made_wrong_is_caught_in_every_task(name: str, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = _parser({**PARSERS, **STRIPPERS}[name])
    for module in ("rewards.datetimes", "rewards.text"):  # not the format reward: the metric alone must notice
        monkeypatch.setattr(f"{module}.parse", wrong)
    found = [line for line in surprises() if line.startswith(f"{table}:") and not line.endswith(": form")]
    assert found, f"nothing in the table notices: {name}"
