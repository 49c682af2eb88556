"""Where the numbers come from: manifests, where they differ, and the commands that make them again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from toolkit.page.sources import Evaluation, Row, RunFiles, Sources

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def documents(sources: Sources) -> list[tuple[str, str]]:
    """(title, text) of each recipe and manifest."""
    found = []
    for run in sources.runs:
        found.append((f"{run.name}: recipe.yaml", yaml.safe_dump(run.recipe, allow_unicode=True, sort_keys=False)))
        found.append((f"{run.name}: manifest.json", _json(run.manifest)))
        found.append((f"{run.name}: stages", _json(run.stages)))
    return found + [(f"{each.label}: manifest.json", _json(each.manifest)) for each in sources.evaluations]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def differing(sources: Sources) -> list[tuple[str, Table]]:
    """(title, table) for evaluations, and for runs where there are several: the keys whose values aren't the same."""
    evaluations = [(each.label, each.manifest) for each in sources.evaluations]
    runs: list[tuple[str, Row]] = [(run.name, {"recipe": run.recipe, "manifest": run.manifest}) for run in sources.runs]
    named: list[tuple[str, list[tuple[str, Row]]]] = [("Evaluations", evaluations), ("Runs", runs)]
    return [(title, differences(rows)) for title, rows in named if len(rows) > 1]


def differences(named: Sequence[tuple[str, Row]]) -> Table:
    """A column a manifest, a row a key whose values differ; "–" where a manifest lacks the key."""
    flat = [(name, flatten(row)) for name, row in named]
    keys = dict.fromkeys(key for _, row in flat for key in row)
    rows = [
        (key, *(row.get(key, "–") for _, row in flat))
        for key in keys
        if len({row.get(key, "–") for _, row in flat}) > 1
    ]
    return ("key", *(name for name, _ in flat)), rows


def flatten(value: Any, key: str = "") -> dict[str, str]:
    """Leaves of nested objects by dotted key, each as JSON text (a text by itself)."""
    if isinstance(value, Mapping) and value:
        return {
            path: leaf
            for name, each in value.items()
            for path, leaf in flatten(each, f"{key}.{name}" if key else str(name)).items()
        }
    return {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def commands(sources: Sources, paths: Sequence[Path]) -> list[tuple[str, str]]:
    """(what it makes, command) for each run, each evaluation outside a run, and this page."""
    found = [(f"the run {run.name}{_at_commit(run)}", _run_command(run)) for run in sources.runs]
    loose = [each for each in sources.evaluations if each.run is None]
    asked = [(f"the evaluation {each.label}", _eval_command(each)) for each in loose]
    found += [(what, command) for what, command in asked if command is not None]
    return [*found, ("this page", shlex.join(["toolkit", "report", *map(str, paths)]))]


def _at_commit(run: RunFiles) -> str:
    commit = run.manifest.get("git_commit")
    return f", at commit {commit}" if commit else ""


def _run_command(run: RunFiles) -> str:
    return shlex.join(["toolkit", "run", str(run.dir / "recipe.yaml"), "--set", f"output={again(str(run.dir))}"])


def _eval_command(each: Evaluation) -> str | None:
    """What was asked, into another directory; of an evaluation that no `toolkit eval` made, nothing."""
    words = shlex.split(each.manifest.get("command", ""))
    if words[:2] != ["toolkit", "eval"]:
        return None
    for place, word in enumerate(words):
        if word == "--out" and place + 1 < len(words):
            words[place + 1] = again(words[place + 1])
        elif word.startswith("--out="):
            words[place] = again(word)
    return shlex.join(words)


def again(out: str) -> str:
    """The directory beside it that a second run writes to."""
    return f"{out.rstrip('/')}-again"
