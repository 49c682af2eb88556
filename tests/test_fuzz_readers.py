"""Any bytes and any text: the parser, scorer, readers and loader raise nothing but UserError, in linear time."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.redaction import redact_text
from rewards.core import Example, UserError
from rewards.datetimes import exact_datetime, moment, same_moment
from rewards.response import TAGS, Response, parse, render
from tasks.tables.rows import Bad, BadValue, Row
from tasks.tables.shapes import checked, shape_of, turns_of
from tasks.tables.source import open_source
from tests.timing import KIB, assert_linear, assert_within
from toolkit.config import Recipe, apply_overrides, check_recipe, load_recipe

FUZZ = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))

anything = st.text(st.characters(), max_size=200)  # surrogates included
pieces = st.lists(st.one_of(st.sampled_from([*TAGS, "none", "\n", "2025-01-17T12:00:00+03:00"]), anything), max_size=9)
completions = st.one_of(anything, pieces.map("".join))


@FUZZ
@given(completions)
def test_parse_takes_any_text(text: str) -> None:
    response = parse(text)
    assert isinstance(response, Response)
    if response.problem is None:
        assert response.answer
        assert parse(render(response.reasoning, response.answer)) == response
    else:
        assert (response.reasoning, response.answer) == ("", "")


digits = st.text(string.digits, min_size=2, max_size=4)
offsets = st.one_of(st.just("Z"), st.builds("{}{}:{}".format, st.sampled_from("+-"), digits, digits))
moments = st.builds("{}-{}-{}T{}:{}:{}{}".format, *[digits] * 6, offsets)
edges = st.sampled_from(
    ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "none"]
)


@FUZZ
@given(st.one_of(moments, edges, anything), st.one_of(moments, edges))
def test_the_datetime_scorer_takes_any_text(answer: str, gold: str) -> None:
    assert same_moment(answer, gold) in (True, False)
    assert same_moment(answer, gold) == same_moment(gold, answer)
    example = Example("1", ({"role": "user", "content": "?"},), (gold,))
    assert exact_datetime(render("", answer), example) in (0.0, 1.0)
    assert exact_datetime(answer, example) == 0.0 or "<answer>" in answer
    moment(answer)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), anything),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(anything, inner, max_size=4)),
    max_leaves=12,
)
turn_like = st.fixed_dictionaries(
    {}, optional={key: json_values for key in ("role", "content", "from", "value", "tool_calls")}
)


@FUZZ
@given(st.one_of(json_values, st.lists(turn_like, max_size=4), st.lists(turn_like, max_size=4).map(repr)))
def test_turns_are_read_or_refused(cell: object) -> None:
    try:
        turns = checked(turns_of(cell))
    except BadValue:
        return
    assert turns[-1]["role"] == "assistant"


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(["instruction", "input", "output", "history", "prompt", "completion", "messages", "x"]),
        json_values,
        min_size=1,
    )
)
def test_rows_are_read_or_refused(row: dict[str, object]) -> None:
    with suppress(BadValue):
        checked(shape_of(row, {})(row))


noise = st.one_of(
    st.binary(max_size=400),
    st.text(st.sampled_from('",;\t|\n\r{}[]:\\ aж\0"'), max_size=300).map(str.encode),
    anything.map(lambda text: text.encode("utf-16", "replace")),
    st.lists(json_values, max_size=5).map(lambda rows: "\n".join(map(json.dumps, rows)).encode("utf-8", "replace")),
    json_values.map(lambda value: json.dumps(value).encode("utf-8", "replace")),
)


@FUZZ
@given(noise)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(data)
    try:
        rows = list(open_source(str(path)).rows())
    except UserError:
        return
    assert all(isinstance(row, Row | Bad) for row in rows)


BASE = {
    "task": "datetime_extraction_plain",
    "output": "x",
    "model": {"reference": "a/b"},
    "data": {"sft": 1, "grpo": 8, "test": 1},
    "sft": {},
}
keys = st.sampled_from(
    ["task", "output", "seed", "rewards", "model", "lora", "data", "sft", "grpo", "eval", "x", 1, None]
)
inner_keys = st.sampled_from(
    ["reference", "rank", "target_modules", "steps", "options", "path", "columns", "epochs", "y"]
)
sections = st.one_of(json_values, st.dictionaries(inner_keys, json_values, max_size=4))


@FUZZ
@given(st.dictionaries(keys, sections, max_size=4))
def test_a_recipe_is_read_or_refused(changes: dict[object, object]) -> None:
    with suppress(UserError):
        assert isinstance(check_recipe({**BASE, **changes}, "r.yaml"), Recipe)  # type: ignore[dict-item]


yaml_text = st.text(st.sampled_from("&*!|>-?:{}[]#%@`'\",\n\t ab01.~<=_é\0"), max_size=120)
timestamps = st.sampled_from(
    ["2001-99-99", "1" * 5000, "!!int x", "&a [*a]", "? [a]\n: b", "!!timestamp x", "0x", "!!binary é"]
)


@FUZZ
@given(
    st.one_of(yaml_text, timestamps, anything),
    st.sampled_from(["task", "eval.options", "grpo.steps", "", "a..b", "model"]),
)
def test_a_recipe_file_and_overrides_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, key: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with suppress(UserError):
        load_recipe(path)
    with suppress(UserError):
        check_recipe(apply_overrides({**BASE}, [f"{key}={text}"]), "r")


def test_references_that_blow_up_are_refused(tmp_path: Path) -> None:
    laughs = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    for text in ("\n".join(laughs), "a: &a {b: *a}", "[" * 20_000, "a: " + "{a: " * 20_000, "x" * (KIB << 9)):
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError):
            load_recipe(path)


# Time: four times the input takes four times as long, not sixteen.


def repeated(piece: str) -> Callable[[int], str]:
    return lambda length: piece * (length // len(piece))


def test_what_grows_faster_is_found_out() -> None:
    def cubic(text: str) -> None:  # a quadratic one is near enough to the limit to pass it by chance
        n = len(text) // KIB
        for _ in range(n * n):
            sum(range(n))

    with pytest.raises(AssertionError, match="faster than its input"):
        assert_linear(cubic, repeated("x"), kib=64)
    with pytest.raises(AssertionError, match="not 0"):
        assert_within(0, lambda: None)


PATTERNS = [
    "<",
    "<reasoning>",
    "</answer><answer>",
    " \n",
    "<answer>" + "\t" * 50,
    "2025-01-17T12:00:00+03:00",
    "0",
    "ж",
    "\ud800",
]


@pytest.mark.slow
@pytest.mark.parametrize("piece", PATTERNS, ids=ascii)
def test_a_response_is_scored_in_linear_time(piece: str) -> None:
    example = Example("1", ({"role": "user", "content": "?"},), ("2025-01-17T12:00:00+03:00",))
    assert_linear(
        lambda text: (exact_datetime(text, example), exact_datetime(render(text, text), example)), repeated(piece)
    )


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["hf_", "sk-", "bearer ", "https://a:", "://a:b", "x" * 100 + ":"])
def test_a_text_is_redacted_in_linear_time(piece: str) -> None:
    assert_linear(redact_text, repeated(piece))


FILES = [
    (".csv", 'a,b\n"x,1\n'),
    (".csv", "a,b\n1,2\n"),
    (".csv", '"'),
    (".csv", 'a,b\n"x'),
    (".csv", 'a,b\n1,"x\n'),
    (".json", "[1,"),
    (".json", '[{"a": "b"},'),
    (".json", '["' + "x" * 70),
    (".json", "["),
    (".json", '{"a":'),
    (".jsonl", '{"messages": []}\n'),
    (".jsonl", "["),
    (".jsonl", '{"a":'),
    (".jsonl", "\\"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "piece"), FILES, ids=ascii)
def test_a_file_is_read_in_linear_time(tmp_path: Path, suffix: str, piece: str) -> None:
    def act(text: str) -> None:
        path = tmp_path / f"f{suffix}"
        path.write_text(text, encoding="utf-8")
        with suppress(UserError):
            sum(1 for _ in open_source(str(path)).rows())

    begin, _, rest = piece.partition("\n")
    head = f"{begin}\n" if suffix == ".csv" and rest else ""
    assert_linear(act, lambda length: head + repeated(rest if head else piece)(length))
    one_opening = piece[0] if suffix == ".json" else ""
    if one_opening == "[":
        assert_linear(act, lambda length: "[" + repeated(piece[1:] or "1,")(length))


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["[", '{"a":', "(", "'", "\\", "1+", "-", "{'role': 'user'},", "}\n {"])
def test_a_cell_is_read_in_linear_time(piece: str) -> None:
    def act(text: str) -> None:
        with suppress(BadValue):
            turns_of(text)

    assert_linear(act, repeated(piece))


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["[", "{a: ", "- ", "? ", "&a ", "*a ", "a: b\n", "'", "\t", "|\n", "# x\n", "a\n"])
def test_a_recipe_file_is_refused_at_once_or_read_in_linear_time(tmp_path: Path, piece: str) -> None:
    """Recipes have at most 256 KiB; PyYAML takes seconds for those."""

    def act(text: str) -> None:
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError):
            load_recipe(path)

    assert_linear(act, repeated(piece), kib=8)
    assert_within(0.2, lambda: act(repeated(piece)(1024 * KIB)))
