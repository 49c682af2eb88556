"""JSON Schemas for editors: what the readers take they take, what the readers refuse they refuse."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from eval.gating.rules import read_rules
from rewards.core import UserError
from scripts.reference.parameters import Key, keys
from scripts.reference.schemas import gates_schema, recipe_schema, task_schema
from tasks.declared import declared_task
from toolkit.config import ColumnsConfig, ConversationsConfig, check_recipe, load_recipe

ROOT = Path(__file__).resolve().parents[1]
HEAD = re.compile(r"^# yaml-language-server: \$schema=(\S+)$|^#:schema (\S+)$", re.MULTILINE)
RECIPES = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "accelerate")
TASKS = [ROOT / "tasks" / "order_extraction" / "task.yaml"]
GATES = [ROOT / "examples" / "ci" / "gates.toml"]
# Formats of others, which have schemas of their own.
FOREIGN = {"configs/accelerate/ddp.yaml", "configs/accelerate/fsdp.yaml", "examples/ci/model-gate.yaml"}


def values(path: Path) -> Any:
    """A file's content; numbers as YAML 1.2 has them, which editors read (PyYAML takes 1e-5 for text)."""
    text = path.read_text(encoding="utf-8")
    return tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)


@pytest.mark.parametrize("path", [*RECIPES, *TASKS, *GATES], ids=lambda path: path.name)
def test_each_file_names_its_schema_and_keeps_to_it(path: Path) -> None:
    found = HEAD.search(path.read_text(encoding="utf-8"))
    assert found is not None, "the line for editors is missing"
    schema = json.loads((path.parent / (found[1] or found[2])).resolve().read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(values(path))] == []
    kind = "gates" if path in GATES else "task" if path in TASKS else "recipe"
    assert (found[1] or found[2]).endswith(f"schemas/{kind}.schema.json")


def test_no_file_is_left_out() -> None:
    folders = ("configs", "examples", "tasks")
    there = {path for folder in folders for path in (ROOT / folder).rglob("*.y*ml")} | set(GATES)
    known = {*RECIPES, *TASKS, *GATES, *(ROOT / name for name in FOREIGN)}
    assert there == known


def refused(schema: dict[str, Any], value: Any) -> bool:
    return bool(list(Draft202012Validator(schema).iter_errors(value)))


@pytest.mark.parametrize(
    "override",
    [
        "grpo.generatoins=8",
        "grpo.generations=1",
        "model.tuning=half",
        "sft.batch_size=0",
        "data.grpo=many",
        "grpo.loss_type=ppo",
        "lora.dropout=1",
        "launch.address=nowhere",
        "launch.address=host:٣",
        "grpo.scan=[0.1, 1.5]",
    ],
)
def test_a_recipe_that_is_refused_is_marked(override: str) -> None:
    path = ROOT / "configs" / "demo.yaml"
    with pytest.raises(UserError):
        load_recipe(path, [override])
    raw = values(path)
    key, _, value = override.partition("=")
    *parents, last = key.split(".")
    here = raw
    for parent in parents:
        here = here.setdefault(parent, {})
    here[last] = yaml.safe_load(value)
    assert refused(recipe_schema(), raw)
    assert not refused(recipe_schema(), values(path))


OF_A_TASK = {
    "task": "datetime_extraction_plain",
    "output": "runs/x",
    "model": {"reference": "m", "backend": "transformers"},
    "data": {"sft": 9, "grpo": 99, "test": 9},
}
OF_A_FILE = {"output": "runs/x", "model": {"reference": "m"}, "data": {"path": "rows.csv"}, "sft": {}}
# No .nan and .inf, which JSON lacks, and no texts like 1e-5, which are numbers to an editor.
CANDIDATES: list[Any] = [
    *(None, True, False, 0, 1, 2, -1, -2, 8, 0.5, -0.5, 1.5, 0.0, 1.0, 8.0, -1.0, 2**32 - 1, 2**32, 2**64, 10**30),
    *("", "x", "xx", ",", "yes", "no", "on", "true", "t", "null", "0", "1", "8", "-1", "0.5", "8.0", "1_000", " 1 "),
    *("nan", "inf", "host:1", "host:", "host: 1", "host:x", ":1"),
    *([], [0.1, 0.9], [0, 1], [-0.1, 0.5], [0.1, 1.5], [0.1], [0.1, 0.5, 0.9], ["0.1", "0.9"], [True, 0.5], [0, False]),
    *(["x"], ["1"], [1], [None], [True], [[]], ["tags"], ["tags", "x"], [{}]),
    *({}, {"x": 1}, {"x": 0}, {"x": -1}, {"x": 0.5}, {"x": "1"}, {"x": "y"}, {"x": True}, {"x": None}, {"x": {}}),
]


def named_values(schema: Any) -> Iterator[Any]:
    """Every value that a schema names."""
    if isinstance(schema, dict):
        yield from [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    if isinstance(schema, dict | list):
        for each in schema.values() if isinstance(schema, dict) else schema:
            yield from named_values(each)


@cache
def recipe_validator() -> Any:
    return Draft202012Validator(recipe_schema())


def refused_by_the_reader(raw: dict[str, Any]) -> bool:
    """Whether a value is refused for itself: only then the line names its key first. A schema knows no sums."""
    try:
        check_recipe(copy.deepcopy(raw), "here")
    except UserError as error:
        return any(line.startswith("here: key ") for line in str(error).splitlines())
    return False


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.shown)
def test_the_schema_and_the_reader_agree_on_every_value_of(key: Key) -> None:
    validator = recipe_validator()
    known = [each for each in named_values(validator.schema) if not isinstance(each, bool | int)]
    differing = []
    for value in [*CANDIDATES, *dict.fromkeys(known)]:
        raw = copy.deepcopy(OF_A_FILE if key.section in (ConversationsConfig, ColumnsConfig) else OF_A_TASK)
        here: dict[str, Any] = raw
        *parents, last = key.shown.split(".")
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
        if validator.is_valid(raw) == refused_by_the_reader(raw):
            differing.append(value)
    assert differing == []


def test_an_editor_shows_the_teaching_text() -> None:
    shown = recipe_schema()["$defs"]["GrpoConfig"]["properties"]["beta"]["description"]
    assert shown.startswith("weight of the KL penalty")
    assert "\n\nWhat goes wrong: " in shown


@pytest.mark.parametrize(
    "gate",
    [
        {"kind": "better", "margin": 0.1},
        {"kind": "non_inferior"},
        {"kind": "at_least", "margin": 0.1},
        {"kind": "at_least"},
        {"kind": "superior", "bound": 0.1},
        {"kind": "non_inferior", "margin": 0.1, "slice": "lang"},
        {"kind": "non_inferior", "margin": 0.1, "slice": "lang=ru", "each": "lang"},
        {"kind": "at_most", "bound": 1},
        {"kind": "non_inferior", "margin": 2},
        {"kind": "non_inferior", "margin": 0.1, "marign": 0.1},
        {"kind": "non_inferior", "margin": 0.1, "unit": "row"},
    ],
)
def test_a_gate_that_is_refused_is_marked(gate: dict[str, Any], tmp_path: Path) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in gate.items()]
    path = tmp_path / "gates.toml"
    path.write_text("\n".join(["[[gate]]", *lines]), encoding="utf-8")
    with pytest.raises(UserError):
        read_rules(path)
    assert refused(gates_schema(), {"gate": [gate]})


@pytest.mark.parametrize(
    "gate",
    [{"kind": "superior"}, {"kind": "at_most", "bound": 0.1}, {"kind": "non_inferior", "margin": 0, "each": "lang"}],
)
def test_a_gate_that_is_read_is_not_marked(gate: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in gate.items()]
    path.write_text("\n".join(["[[gate]]", *lines]), encoding="utf-8")
    assert len(read_rules(path).gates) == 1
    assert not refused(gates_schema(), {"gate": [gate]})


@pytest.mark.parametrize(
    "change",
    [
        {"mertic": "x"},
        {"name": None},
        {"rewards": ["a:b"]},
        {"rewards": {"a:b": "much"}},
        {"rewards": {"a:b": -1}},
        {"tags": "lang"},
    ],
)
def test_a_task_that_is_refused_is_marked(change: dict[str, Any], tmp_path: Path) -> None:
    raw = values(TASKS[0])
    assert not refused(task_schema(), raw)
    changed = {key: value for key, value in {**raw, **change}.items() if value is not None}
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(changed), encoding="utf-8")
    with pytest.raises(UserError):
        list(declared_task(path).examples("train", 1, 0))
    assert refused(task_schema(), changed)
