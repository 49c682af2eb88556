"""What changes while a run trains: curves, samples, comparison. Each is drawn anew only when a file changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from eval.prompts import short_hash
from toolkit.page import figures, verdict
from toolkit.page.examples import browser
from toolkit.page.render import REPORT, fill
from toolkit.page.sources import TRAINED, Row, read_sources, read_training
from toolkit.ui.runs import Entry, card_of

CURVE_FILES = tuple(f"{stage}/{name}" for stage in TRAINED for name in ("log.jsonl", "held_out.jsonl", "watchdog.log"))
RESULT_FILES = ("comparison.json", "eval/*/summary.json", "summary.json", "recipe.yaml")
FLIPS = 10  # of each kind on the page; the report has them all
FLIP_BUDGET = 24_000_000  # characters of examples to choose the flips from
WINDOW = 1 << 18  # bytes of a rollouts file that one look reads
GROUPS = 6  # prompts shown of a step
LONGEST = 4000  # characters of one text


def stamp(folders: Sequence[Path], patterns: Sequence[str]) -> str:
    """12 hex digits that change when a file that fits a pattern appears, goes, grows or is written anew."""
    found = []
    for path in sorted(path for folder in folders for pattern in patterns for path in folder.glob(pattern)):
        try:
            state = path.stat()
        except OSError:  # it went meanwhile
            continue
        found.append(f"{path} {state.st_mtime_ns} {state.st_size}")
    return short_hash("\n".join(found))


def status(entry: Entry) -> dict[str, str]:
    """The fragment with the run's state, and its stamp."""
    html = fill("ui_status.html.jinja", card=card_of(entry), report=(entry.dir / REPORT).is_file())
    return {"stamp": short_hash(html), "html": html}


def curves(entry: Entry, known: str) -> dict[str, str]:
    """The fragment of training curves with its stamp; the stamp alone where it is the one that the page knows."""
    now = stamp([entry.dir], CURVE_FILES)
    if now == known:
        return {"stamp": now}
    logs, warnings = read_training(entry.checked().dir)
    return {"stamp": now, "html": fill("ui_curves.html.jinja", charts=figures.training(logs), warnings=warnings)}


def results(entries: Sequence[Entry], known: str) -> dict[str, str]:
    """The same of verdicts, learning curve and flips of some runs and evaluations."""
    folders = tuple(each.checked().dir for each in entries)
    now = stamp(folders, RESULT_FILES)
    return {"stamp": now} if now == known else {"stamp": now, "html": _results(folders, now)}


@lru_cache(maxsize=16)
def _results(folders: tuple[Path, ...], now: str) -> str:
    """Reading every record and comparing takes a second or more; a stamp that was seen costs nothing."""
    sources = read_sources(folders)
    run_of = [each.run for each in sources.evaluations]
    # two runs were chosen to be seen against each other: those pairs come before each one's own
    pairs = sorted(verdict.pairs_of(sources), key=lambda pair: run_of[pair.base] == run_of[pair.candidate])
    return fill(
        "ui_results.html.jinja",
        sources=sources,
        pairs=pairs,
        grounds=verdict.grounds,
        cautions=verdict.cautions(sources),
        curve=figures.learning_curve(sources),
        flips=_flips(browser(sources, pairs[0].base, pairs[0].candidate, FLIP_BUDGET).data) if pairs else [],
    )


def _flips(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gained and lost examples of the main pair, some of each: {kind, count, shown: [{id, question, gold, sides}]}."""
    left, right = data["left"], data["right"]
    kinds: dict[str, list[Any]] = {"gained": [], "lost": []}
    for item in data["items"]:
        sides = (item["by"][left], item["by"][right])
        if None not in sides and sides[0]["score"] != sides[1]["score"]:
            kinds["gained" if sides[1]["score"] > sides[0]["score"] else "lost"].append(item)
    models = data["models"]
    return [
        {
            "kind": kind,
            "count": len(items),
            "shown": [
                {
                    "id": item["id"],
                    "question": _short(item["prompt"][-1][1]) if item["prompt"] else "",
                    "gold": _short(item["gold"]),
                    "sides": [(models[side], _short(item["by"][side]["said"][0][2])) for side in (left, right)],
                }
                for item in items[:FLIPS]
            ],
        }
        for kind, items in kinds.items()
        if items
    ]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"


def samples(entry: Entry, place: float) -> dict[str, Any]:
    """Rollouts of one step of GRPO. place: 0 is the first step, 1 the newest. step is None where there are none."""
    step, rows = rollouts_at(entry.checked().dir / "grpo" / "rollouts.jsonl", place)
    by_example: dict[str, list[Row]] = {}
    for row in rows:
        by_example.setdefault(str(row.get("example")), []).append(row)
    chosen = dict(list(by_example.items())[:GROUPS])
    questions = _questions(entry.dir / "data" / "grpo.jsonl", set(chosen))
    groups = [{"id": key, **questions.get(key, {}), "rollouts": _rollouts(some)} for key, some in chosen.items()]
    return {"step": step, "groups": groups, "more": len(by_example) - len(chosen)}


def rollouts_at(path: Path, place: float) -> tuple[int | None, list[Row]]:
    """The step at a place of a rollouts file, and its rows. Reads a window of the file, however long that is."""
    if not path.is_file():
        return None, []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = file.seek(round(place * max(0, size - WINDOW)))
        lines = file.read(WINDOW).split(b"\n")[1 if start else 0 : -1]  # a line cut by the window's edge isn't whole
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # a kill tore it
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    if not rows:
        return None, []
    step = rows[round(place * (len(rows) - 1))]["step"]
    return step, [row for row in rows if row["step"] == step]


def _reward(row: Row) -> float:
    reward = row.get("reward")
    return float(reward) if isinstance(reward, int | float) else 0.0


def _rollouts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The completions of one prompt, the best first; the same text stands there once, with how often it was said."""
    said: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=_reward, reverse=True):
        text = _short(str(row.get("completion", "")))
        rewards = row.get("rewards")
        parts = rewards.items() if isinstance(rewards, dict) else ()
        shown = ", ".join(f"{name} {value:.3g}" for name, value in parts if isinstance(value, int | float))
        one = {"completion": text, "reward": round(_reward(row), 3), "tokens": row.get("tokens"), "parts": shown}
        said.setdefault(text, {**one, "times": 0})["times"] += 1
    return list(said.values())


def _questions(path: Path, wanted: set[str]) -> dict[str, dict[str, str]]:
    """The question and the gold of some examples. Their lines are looked for: the file may hold a million others."""
    found: dict[str, dict[str, str]] = {}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if len(found) == len(wanted):
                break
            if not any(key in line for key in wanted - found.keys()):
                continue
            try:
                row = json.loads(line)
                if row["id"] in wanted:
                    texts = {"question": row["messages"][-1]["content"], "gold": row["answers"][0]}
                    found[row["id"]] = {name: _short(str(text)) for name, text in texts.items()}
            except (ValueError, KeyError, IndexError, TypeError):  # no example; the stage that reads it says so
                continue
    return found
