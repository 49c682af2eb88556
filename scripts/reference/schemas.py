"""JSON Schemas of what people write: recipes, gates, tasks in YAML. Editors read them through a line in each file."""

from __future__ import annotations

import json
from typing import Any

from eval.gating.rules import GATE, KINDS, PAIRED, TOP, UNITS, VALID
from scripts.reference.parameters import PARTS, keys, texts
from tasks.declared import KEYS, NEEDED
from toolkit.config import Recipe

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}


def schemas() -> dict[str, str]:
    """The text of each schema file, by the name of what it describes."""
    made = {"recipe": recipe_schema(), "gates": gates_schema(), "task": task_schema()}
    return {
        name: json.dumps({"$schema": DRAFT, **each}, ensure_ascii=False, indent=2) + "\n" for name, each in made.items()
    }


def recipe_schema() -> dict[str, Any]:
    """pydantic's, with the teaching text of each key in its description, where an editor shows it."""
    schema = Recipe.model_json_schema()
    for key in keys():
        holder = schema if key.section is Recipe else schema["$defs"][key.section.__name__]
        said = texts()[key.name]
        lines = [key.schema["description"], *(f"{title}: {said[part]}" for part, title in PARTS.items())]
        holder["properties"][key.shown.rpartition(".")[2]]["description"] = "\n\n".join(lines)
    return schema


def gates_schema() -> dict[str, Any]:
    """Of gates.toml. What depends on the kind of a gate is said as conditions."""
    gate = {
        "kind": {"enum": list(KINDS), "description": "what is claimed; the paired kinds need a baseline"},
        "metric": {**TEXT, "description": "exact, format, truncated, or reward:NAME"},
        "margin": {**SHARE, "description": "of non_inferior and superior"},
        "bound": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "description": "of at_least and at_most",
        },
        "slice": {**TEXT, "pattern": "=", "description": "tag=value: only these examples"},
        "each": {**TEXT, "description": "a tag: a gate for each of its values"},
        "unit": {"enum": list(UNITS), "description": "what counts as independent"},
        "name": {**TEXT, "description": "shown instead of the claim"},
    }
    top = {
        "alpha": {"type": "number", "minimum": 0.0001, "maximum": 0.5, "description": "the chance of a wrong verdict"},
        "inconclusive": {"enum": ["fail", "skip"], "description": "of such a gate in JUnit and pytest"},
        "same_prompts": {"type": "boolean", "description": "false: prompts may be other tokens"},
        "valid": _closed({name: {**SHARE, "description": "largest share of a valid run"} for name in VALID}, []),
        "gate": {
            "type": "array",
            "minItems": 1,
            "items": {
                **_closed({name: gate[name] for name in GATE}, ["kind"]),
                "if": {"properties": {"kind": {"enum": list(PAIRED)}}},
                "then": {"properties": {"bound": False}},
                "else": {"properties": {"margin": False}, "required": ["bound"]},
                "not": {"required": ["slice", "each"]},
                "allOf": [
                    {"if": {"properties": {"kind": {"const": "non_inferior"}}}, "then": {"required": ["margin"]}}
                ],
            },
        },
    }
    return {"title": "gates.toml", **_closed({name: top[name] for name in TOP}, ["gate"])}


def task_schema() -> dict[str, Any]:
    """Of a task in YAML."""
    weight = {"type": "number", "minimum": 0}
    options = {"type": "object", "properties": {"weight": weight}}
    kinds: dict[str, dict[str, Any]] = {
        "answer": {"anyOf": [TEXT, TEXTS]},
        "tags": TEXTS,
        "shares": _closed({"validation": SHARE, "test": SHARE}, []),
        "rewards": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [weight, options]},
        },
        "metric": {**TEXT, "pattern": ":"},
    }
    properties = {name: {**kinds.get(name, TEXT), "description": meaning} for name, meaning in KEYS.items()}
    return {"title": "A task in YAML", **_closed(properties, list(NEEDED))}


def _closed(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
