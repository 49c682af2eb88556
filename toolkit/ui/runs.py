"""The runs that the page lists: found at or below the given directories, each told from a few small files."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eval.compare import COMPARISON, read_comparison
from eval.manifest import MANIFEST
from eval.prompts import short_hash
from eval.shown import percent
from eval.summary import SUMMARY, read_summary
from rewards.core import UserError
from toolkit.config import load_recipe
from toolkit.inside import refuse_links_out
from toolkit.page.sources import unique_names
from toolkit.page.verdict import SIGNS, points
from toolkit.report import trained_title
from toolkit.rundir import Run, is_running, read_log
from toolkit.stages import stages_of

DEPTH = 5  # folders below a given one that are looked into
FRESH = 3.0  # seconds that a look at the disk holds
LINKS = 3  # levels of a run in which no link may lead out of it: run/eval/base/records.jsonl


@dataclass(frozen=True, slots=True)
class Entry:
    """A run or an evaluation on disk. id: what addresses call it, the same as long as it stays where it is."""

    id: str
    name: str
    dir: Path
    kind: Literal["run", "evaluation"]

    def checked(self) -> Entry:
        """Itself. Raises UserError where a link in it leads elsewhere: the page shows what was given and no more."""
        refuse_links_out(self.dir, LINKS)
        return self

    def run(self) -> Run:
        """The run directory with its recipe. Raises UserError for an evaluation, and for a broken recipe."""
        if self.kind != "run":
            raise UserError(f"{self.dir} is an evaluation, not a run")
        return Run(self.dir, load_recipe(self.checked().dir / "recipe.yaml"))


@dataclass(frozen=True, slots=True)
class Card:
    """An entry in the list. state: where it stands, in words. problem: why the rest is empty.

    rates: (model, exact in words). verdict: (sign, word, the difference in words), or None.
    """

    entry: Entry
    about: str = ""
    state: str = ""
    running: bool = False
    rates: tuple[tuple[str, str], ...] = ()
    verdict: tuple[str, str, str] | None = None
    problem: str = ""


class Shelf:
    """The entries at or below some directories. New ones appear by themselves."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = [root.expanduser() for root in roots]
        self.lock = threading.Lock()
        self.found: dict[str, Entry] = {}
        self.looked = float("-inf")

    def entries(self) -> list[Entry]:
        """All, by name. Raises UserError for a root that isn't there."""
        with self.lock:
            if time.monotonic() - self.looked > FRESH:
                found = dict(each for root in self.roots for each in _below(root, DEPTH))
                names = unique_names(list(found))
                entries = [
                    Entry(short_hash(str(path.resolve())), name, path, kind)
                    for (path, kind), name in zip(found.items(), names, strict=True)
                ]
                self.found = {each.id: each for each in sorted(entries, key=lambda each: each.name)}
                self.looked = time.monotonic()
            return list(self.found.values())

    def entry(self, entry_id: str) -> Entry | None:
        """The entry of that id."""
        return next((each for each in self.entries() if each.id == entry_id), None)


def _below(folder: Path, depth: int) -> Iterator[tuple[Path, Literal["run", "evaluation"]]]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory; give run directories, or a folder that holds some")
    if (folder / "recipe.yaml").is_file():
        yield folder, "run"
    elif (folder / MANIFEST).is_file() and (folder / SUMMARY).is_file():
        yield folder, "evaluation"
    elif depth > 0:
        try:
            inside = sorted(os.scandir(folder), key=lambda each: each.name)
        except PermissionError:
            return
        for each in inside:
            if each.is_dir(follow_symlinks=False) and not each.name.startswith("."):
                yield from _below(Path(each.path), depth - 1)


def card_of(entry: Entry) -> Card:
    """What the list says of an entry. A broken one is a card with its problem."""
    try:
        return _run_card(entry) if entry.kind == "run" else _evaluation_card(entry)
    except UserError as error:
        return Card(entry, problem=str(error))


def _evaluation_card(entry: Entry) -> Card:
    summary = read_summary(entry.checked().dir)
    about = f"evaluation of {summary.model} on {summary.task}"
    return Card(entry, about, f"{summary.overall.n} examples", False, ((summary.model, _exact(entry.dir)),))


def _run_card(entry: Entry) -> Card:
    run = entry.run()
    rates = tuple(
        (title, _exact(entry.dir / "eval" / name))
        for name, title in (("base", "base"), ("sft", "SFT"), ("tuned", trained_title(run.recipe)))
        if (entry.dir / "eval" / name / SUMMARY).is_file()
    )
    about = f"{run.recipe.task or 'conversations'}, {run.recipe.model.reference}"
    return Card(entry, about, state_of(run), is_running(entry.dir), rates, _verdict(entry.dir))


def _exact(folder: Path) -> str:
    return percent(read_summary(folder).overall.exact.value)


def _verdict(run_dir: Path) -> tuple[str, str, str] | None:
    if not (run_dir / COMPARISON).is_file():
        return None
    found = read_comparison(run_dir)
    word, overall = str(found["verdict"]), found["overall"]
    return SIGNS.get(word, "·"), word, f"{points(overall['difference'])} points" if overall else ""


def state_of(run: Run) -> str:
    """Where the run stands, in words: `running: grpo, step 5 of 20`."""
    stages = stages_of(run.recipe)
    left = [stage for stage in stages if not run.is_done(stage)]
    if not left:
        return "done"
    at = left[0]
    step = _step(run, at) if at in ("sft", "grpo") else ""
    if is_running(run.dir):
        return f"running: {at}{step} ({len(stages) - len(left)} of {len(stages)} stages done)"
    if len(left) == len(stages):
        return f"not begun: `toolkit run` starts with {at}{step}"
    return f"stopped: {at} is next{step}; the same `toolkit run` goes on"


def _step(run: Run, stage: str) -> str:
    steps = [row["step"] for row in read_log(run.dir / stage / "log.jsonl") if isinstance(row.get("step"), int)]
    config: Any = getattr(run.recipe, stage)
    total = config.steps if stage == "grpo" else config.max_steps
    return f", step {steps[-1]}{f' of {total}' if total > 0 else ''}" if steps else ""
