"""Which pairs a report compares, and what it says about each, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from eval.compare import compare, moved
from eval.shown import confidence, p_is, percent
from toolkit.page.sources import FINAL, Evaluation, Sources

SIGNS = {"better": "▲", "worse": "▼", "equal": "=", "can't tell": "?", "not comparable": "≠"}
WORDS = {
    "better": "is better than",
    "worse": "is worse than",
    "equal": "is as good as",
    "can't tell": "may or may not be better than",
    "not comparable": "can't be compared with",
}
NAMED = 5  # slices that a sentence names


@dataclass(frozen=True, slots=True)
class Paired:
    """Two evaluations, by their place in Sources.evaluations, and their comparison as comparison.json holds it."""

    base: int
    candidate: int
    base_label: str
    candidate_label: str
    comparison: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """One of `eval.compare.Verdict`."""
        return str(self.comparison["verdict"])

    @property
    def sign(self) -> str:
        """A sign for the verdict, so that colour isn't all that tells."""
        return SIGNS.get(self.verdict, "·")

    @property
    def title(self) -> str:
        """The verdict as a sentence without its figures."""
        return f"{self.candidate_label} {WORDS.get(self.verdict, self.verdict)} {self.base_label}"


def pairs_of(sources: Sources) -> list[Paired]:
    """The pairs worth a verdict, the main one first.

    Of each run: base and tuned, then base and SFT, SFT and tuned. Then the first run's last model against all else:
    other runs' last models, peers, other evaluations. Without a run, the first evaluation against each other one.
    """
    places = list(enumerate(sources.evaluations))
    wanted: list[tuple[int, int]] = []
    lasts: list[int] = []
    for run in range(len(sources.runs)):
        own = [i for i, each in places if each.run == run and each.stage in ("base", "sft", "grpo") and _final(each)]
        if len(own) > 1:
            lasts.append(own[-1])
            wanted += [(own[0], own[-1]), *((own[0], i) for i in own[1:-1]), *pairwise(own[1:])]
    others = [i for i, each in places if each.run is None or (each.stage in ("peer", "other"))]
    if lasts:
        wanted += [(lasts[0], i) for i in lasts[1:]]
        wanted += [(i, lasts[0]) for i in others]
    elif sources.evaluations:
        first = next((i for i, each in places if each.stage != "peer"), 0)
        wanted += [(first, i) if each.stage != "peer" else (i, first) for i, each in places if i != first]
    return [_paired(sources, base, candidate) for base, candidate in dict.fromkeys(wanted)]


def _final(each: Evaluation) -> bool:
    return each.step == FINAL


def _paired(sources: Sources, base: int, candidate: int) -> Paired:
    ours, theirs = sources.evaluations[base], sources.evaluations[candidate]
    stored = None
    if ours.run is not None and ours.run == theirs.run and ours.dir.name == "base" and theirs.dir.name == "tuned":
        stored = sources.runs[ours.run].comparison
    if stored is None:
        same_prompts = "peer" not in (ours.stage, theirs.stage)
        result = compare(ours.dir, theirs.dir, same_prompts=same_prompts)
        stored = {**asdict(result), "exit_code": result.exit_code}
    return Paired(base, candidate, ours.label, theirs.label, stored)


def points(value: float) -> str:
    """A difference of shares in percentage points, signed unless it is 0."""
    shown = f"{100 * value:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")


def grounds(paired: Paired) -> list[str]:
    """What the verdict rests on, and what it leaves open; a sentence each."""
    found = paired.comparison
    overall = found.get("overall")
    if overall is None:
        return [*(f"{reason}." for reason in found.get("reasons", ())), *_notes(found)]
    said = [
        f"{percent(overall['candidate'])} exact against {percent(overall['base'])}: "
        f"{points(overall['difference'])} points ({confidence(found['alpha'])} "
        f"interval {points(overall['low'])} to {points(overall['high'])})."
    ]
    p = "" if found.get("p") is None else f" Exact McNemar {p_is(found['p'])}."
    said.append(f"{len(found['gained'])} gained, {len(found['lost'])} lost of {overall['n']} examples.{p}")
    # Comparisons that were written by an older version lack the fields that are asked for with `get`.
    if overall.get("p") is not None and overall["p"] != found.get("p"):
        said.append(f"Sign flips over {overall['clusters']} groups: {p_is(overall['p'])}.")
    if overall.get("detectable") == 1:
        said.append("So few groups show no difference, however large.")
    elif overall.get("detectable") is not None:
        said.append(f"These examples would show a difference of {100 * overall['detectable']:.1f} points (power 0.8).")
    if found.get("examples_needed"):
        said.append(
            f"About {found['examples_needed']} examples would tell, if the difference stays what it is "
            f"(equal means within ±{100 * found['margin']:g} points)."
        )
    return [*said, _worse_slices(found), *_notes(found)]


def _worse_slices(found: Mapping[str, Any]) -> str:
    slices = [
        (some["difference"], f"{tag}={value} ({points(some['difference'])}, {some['n']} examples)", side(found, some))
        for tag, values in (found.get("by_tag") or {}).items()
        for value, some in values.items()
    ]
    worse = [name for _, name, side_of in sorted(slices) if side_of < 0]
    lower = sum(difference < 0 for difference, _, _ in slices)
    if worse:
        more = f" and {len(worse) - NAMED} more" if len(worse) > NAMED else ""
        return f"Worse in {len(worse)} of {len(slices)} slices: {', '.join(worse[:NAMED])}{more}."
    if lower:
        return f"In {lower} of {len(slices)} slices the mean is lower, in none beyond doubt."
    return f"No slice of {len(slices)} got worse." if slices else "The examples have no tags, so there are no slices."


def _notes(found: Mapping[str, Any]) -> list[str]:
    """What else differs, by name: the values are in the page's table of manifests."""
    notes = [str(note).partition(" differs:") for note in found.get("notes", ())]
    keys = [key for key, differs, _ in notes if differs]
    said = [f"Note: {note}." for note, differs, _ in notes if not differs]
    if keys:
        said.append(f"Note: {' and '.join(keys)} not the same on both sides; the table of manifests has the values.")
    return said


def side(found: Mapping[str, Any], some: Mapping[str, Any]) -> int:
    """1 for a slice that is surely better, -1 for one surely worse, 0 for one that may be either.

    Comparisons of an older version lack p after Holm over all slices, or any p.
    """
    p = some.get("p") if some.get("p_holm") is None else some["p_holm"]
    return moved(some["low"], some["high"], p, found["alpha"])


def cautions(sources: Sources) -> list[str]:
    """What could mislead a reader of the rates: cut completions, engine errors, evaluations that aren't finished."""
    said = []
    for each in sources.evaluations:
        said += [f"{each.label} is no valid measurement: {why}." for why in getattr(each.summary, "invalid", ())]
        overall = each.summary.overall
        cut = overall.truncated.value
        if cut > 0:
            limit = each.identity["sampling"]["max_tokens"]
            said.append(
                f"{each.label}: {percent(cut)} of the completions were cut at {limit} tokens and count as wrong. "
                f"Were all of them right, it would have {percent(overall.exact.value + cut)}."
            )
        errors = overall.statuses.get("error", 0)
        if errors:
            said.append(
                f"{each.label}: the engine failed on {errors} completions; the same evaluation again asks them."
            )
    for run in sources.runs:
        said += [f"{run.name}: the evaluation {name!r} isn't finished and is left out." for name in run.unfinished]
    return said
