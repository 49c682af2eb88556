from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from rewards.core import Example, UserError, first_line, with_type

FULL = Example(
    id="train-0-1",
    messages=({"role": "system", "content": "Сегодня пятница"}, {"role": "user", "content": "завтра"}),
    answers=("a", "b"),
    reasoning="17+1=18",
    tags={"lang": "ru"},
    group="ru/tomorrow",
    context={"today": "2025-01-17", "nested": [1, None]},
)
LEAST: dict[str, Any] = {"id": "1", "messages": [{"role": "user", "content": "?"}], "answers": ["a"]}


def test_an_example_survives_json() -> None:
    assert Example.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL


def test_the_least_row() -> None:
    assert Example.from_json(LEAST) == Example(id="1", messages=({"role": "user", "content": "?"},), answers=("a",))


@pytest.mark.parametrize("absent", [{}, {"group": None, "reasoning": None}])
def test_no_group_is_no_group(absent: dict[str, Any]) -> None:
    assert Example.from_json(LEAST | absent).group == ""


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": None}, "id"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "?", "name": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"answers": []}, "answers"),
        ({"answers": "a"}, "answers"),
        ({"answers": [1]}, "answers"),
        ({"reasoning": 5}, "reasoning"),
        ({"tags": ["ru"]}, "tags"),
        ({"tags": {"level": 3}}, "tags"),
        ({"context": None}, "context"),
        ({"group": 0}, "group"),
        ({"group": ["a"]}, "group"),
    ],
)
def test_a_broken_row_names_its_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"key '{key}'"):
        Example.from_json(LEAST | change)


def test_an_example_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        FULL.id = "other"  # type: ignore[misc]


def test_a_user_error_carries_its_exit_code() -> None:
    assert (str(UserError("no such file")), UserError("no such file").exit_code) == ("no such file", 2)
    assert UserError("worse", exit_code=10).exit_code == 10


@pytest.mark.parametrize(
    ("error", "line", "typed"),
    [
        (ValueError("no such row"), "no such row", "ValueError: no such row"),
        (OSError("\n  a library's banner\nmore of it"), "a library's banner", "OSError: a library's banner"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str, typed: str) -> None:
    assert (first_line(error), with_type(error)) == (line, typed)
