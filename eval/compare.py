"""Is the candidate better than the base? Two evaluations, paired by example.

Overlapping intervals of two rates say little: the two models answered the same examples, so the test is on the pairs.

The verdict, with d the mean over examples of (candidate - base), alpha 0.05 and margin 0.02 unless told otherwise:

- not comparable: not the same task, version, split, seed, examples, prompts, groups and metric, or an example lacks
  its answers.
- better / worse: d is significantly above / below 0. Significant: the interval of d, at confidence 1 - alpha, excludes
  0, the sign-flip test over clusters gives p < alpha and, for one yes-or-no sample an example, so does exact McNemar,
  which takes examples as independent.
- equal: not significant, and the interval lies within [-margin, margin]: 191 examples of as many groups can show it for
  a margin of 0.02, where none differs. Two evaluations whose every completion is the same text are equal at any size.
  An invalid evaluation is equal to none: its cut or failed answers weren't read.
- can't tell: everything else; `examples_needed` estimates how many would settle it.

A slice (all examples with one value of one tag) counts as better or worse by the same rule (`moved`): its interval
excludes 0 and its p, after Holm over all slices, is below alpha.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eval.differences import Difference, by_tag, difference, independent, with_holm
from eval.files import read_json, write_json
from eval.manifest import must_match, read_manifest, worth_a_note
from eval.noise import read_floor
from eval.pairs import Pair, pair_up, tagged_otherwise
from eval.records import RECORDS, read_records
from eval.scorers import other_rewards
from eval.statistics import fewest_flips, mcnemar
from eval.summary import why_invalid
from rewards.core import ExitCode

Verdict = Literal["better", "equal", "worse", "can't tell", "not comparable"]
EXIT_CODES: Mapping[Verdict, int] = {
    "better": ExitCode.OK,
    "equal": ExitCode.OK,
    "worse": ExitCode.WORSE,
    "can't tell": ExitCode.INCONCLUSIVE,
    "not comparable": ExitCode.NOT_COMPARABLE,
}
COMPARISON = "comparison.json"


@dataclass(frozen=True, slots=True)
class Flip:
    """An example whose score differs: what each of the two said, its own best or worst where there are samples."""

    id: str
    tags: Mapping[str, str]
    gold: str
    base: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome. overall and p are None when not comparable; p also when scores aren't one yes or no an example.

    gained: the candidate's score is higher; lost: lower. reasons: why not comparable. notes: what else differs.
    examples_needed: for "can't tell", about how many examples would settle it, should the difference stay what it is.
    better_slices, worse_slices: as "tag=value". noise: the noise floor given, from `eval.noise`, for so many examples.
    """

    verdict: Verdict
    base: str
    candidate: str
    alpha: float
    margin: float
    overall: Difference | None = None
    p: float | None = None
    gained: tuple[Flip, ...] = ()
    lost: tuple[Flip, ...] = ()
    by_tag: Mapping[str, Mapping[str, Difference]] | None = None
    examples_needed: int | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    better_slices: tuple[str, ...] = ()
    worse_slices: tuple[str, ...] = ()
    noise: float | None = None

    @property
    def exit_code(self) -> int:
        """0 better or equal, 10 worse, 11 can't tell, 12 not comparable."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """A plain dict, with the exit code."""
        return {**asdict(self), "exit_code": self.exit_code}


def read_comparison(directory: Path) -> dict[str, Any]:
    """What `compare` left there, as `Comparison.to_json` gives it. Raises UserError."""
    return read_json(directory / COMPARISON, "run the recipe again", ("verdict", "overall", "p", "reasons"))


def compare(
    base_dir: Path,
    candidate_dir: Path,
    *,
    alpha: float = 0.05,
    margin: float = 0.02,
    same_prompts: bool = True,
    noise: Path | None = None,
    out_dir: Path | None = None,
) -> Comparison:
    """Compare two finished evaluations; see the module for the verdict. Writes comparison.json into out_dir, if given.

    noise: a file of `toolkit noise`; a difference within its floor, for so many examples as these, gets a note. So
    does a floor of another model.

    same_prompts=False drops the demand that the prompts be the same tokens, for models of different families; the
    examples must still be the same. Raises UserError for a directory that holds no evaluation.
    """
    manifests = [read_manifest(directory) for directory in (base_dir, candidate_dir)]
    ours, theirs = (manifest["identity"] for manifest in manifests)
    pairs, reasons = pair_up(read_records(base_dir / RECORDS), read_records(candidate_dir / RECORDS), ours, theirs)
    forbidden = must_match(ours, theirs, same_prompts)
    reasons = [f"{key}: {ours[key]!r} and {theirs[key]!r}" for key in forbidden] + reasons
    sides = (("base", base_dir), ("candidate", candidate_dir))
    invalid = [f"the {side} is invalid: {reason}" for side, directory in sides for reason in why_invalid(directory)]
    tags = tagged_otherwise((pair.base[0], pair.candidate[0]) for pair in pairs)
    notes = [*worth_a_note(ours, theirs), *other_rewards(ours, theirs), *tags, *invalid]
    names = [str(manifest["model"]["name"]) for manifest in manifests]
    if reasons:
        result = Comparison(
            "not comparable", names[0], names[1], alpha, margin, reasons=tuple(reasons), notes=tuple(notes)
        )
    else:
        floor, sources = (None, []) if noise is None else read_floor(noise, ours, theirs)
        result = _judge(pairs, names, alpha, margin, [*notes, *sources], floor)
        if invalid and result.verdict in ("equal", "can't tell"):  # no number of examples makes it valid
            result = replace(result, verdict="can't tell", examples_needed=None)
    if out_dir is not None:
        out_dir.mkdir(parents=True, exist_ok=True)
        write_json(out_dir / COMPARISON, result.to_json())
    return result


def moved(low: float, high: float, p: float | None, alpha: float) -> int:
    """1 for a difference that is surely above 0, -1 for one surely below, 0 for one that may be either.

    The one rule of verdicts, slices and the report: the interval excludes 0 and p, where there is one, is below alpha.
    Each of the two alone is sure too soon of few flips, or of few groups.
    """
    return int(low > 0) - int(high < 0) if p is None or p < alpha else 0


def _judge(
    pairs: Sequence[Pair], names: Sequence[str], alpha: float, margin: float, notes: list[str], noise: float | None
) -> Comparison:
    clusters = independent([pair.cluster for pair in pairs])
    overall = _difference(pairs, clusters, alpha)
    gained = [pair for pair in pairs if pair.difference > 0]
    lost = [pair for pair in pairs if pair.difference < 0]
    binary = all(len(side) == 1 and side[0].score in (0, 1) for pair in pairs for side in (pair.base, pair.candidate))
    p = mcnemar(len(gained), len(lost)) if binary else None
    side = moved(overall.low, overall.high, max(overall.p, p or 0), alpha)
    verdict: Verdict
    if side:
        verdict = "better" if side > 0 else "worse"
    elif -margin <= overall.low and overall.high <= margin:
        verdict = "equal"
    elif _same_texts(pairs):
        verdict = "equal"
        notes.append("every completion is the same text in both")
    else:
        verdict = "can't tell"
    if len(pairs) > 1 and len({pair.cluster for pair in pairs}) == 1:
        notes.append("all examples are of one group: the interval takes them as independent")
    if noise is not None and abs(overall.difference) <= noise:
        notes.append(f"the difference is within the noise floor of ±{100 * noise:.1f} pt: a rerun may show as much")
    moved_groups = len({cluster for pair, cluster in zip(pairs, clusters, strict=True) if pair.difference})
    slices = _slices(pairs, clusters, alpha)
    sides = [
        (f"{tag}={value}", moved(some.low, some.high, some.p_holm, alpha))
        for tag, values in slices.items()
        for value, some in values.items()
    ]
    return Comparison(
        verdict=verdict,
        base=names[0],
        candidate=names[1],
        alpha=alpha,
        margin=margin,
        overall=overall,
        p=p,
        gained=tuple(map(_flip, gained)),
        lost=tuple(map(_flip, lost)),
        by_tag=slices,
        examples_needed=_examples_needed(overall, alpha, margin, moved_groups) if verdict == "can't tell" else None,
        notes=tuple(notes),
        better_slices=tuple(name for name, side in sides if side > 0),
        worse_slices=tuple(name for name, side in sides if side < 0),
        noise=noise,
    )


def _difference(pairs: Sequence[Pair], clusters: Sequence[str], alpha: float) -> Difference:
    base, candidate = zip(*(pair.scores for pair in pairs), strict=True)
    return difference(base, candidate, clusters, alpha)


def _slices(pairs: Sequence[Pair], clusters: Sequence[str], alpha: float) -> dict[str, dict[str, Difference]]:
    def of(some: Sequence[int]) -> Difference:
        return _difference([pairs[index] for index in some], [clusters[index] for index in some], alpha)

    tagged = by_tag([pair.first.tags for pair in pairs])
    return with_holm({tag: {value: of(some) for value, some in values.items()} for tag, values in tagged.items()})


def _flip(pair: Pair) -> Flip:
    """Show the two samples that differ most."""
    pick = (min, max) if pair.difference > 0 else (max, min)
    base, candidate = (
        choose(side, key=lambda record: record.score)
        for choose, side in zip(pick, (pair.base, pair.candidate), strict=True)
    )
    return Flip(base.id, base.tags, base.gold, base.completion, candidate.completion)


def _same_texts(pairs: Sequence[Pair]) -> bool:
    return all(
        [(record.sample, record.completion) for record in pair.base]
        == [(record.sample, record.completion) for record in pair.candidate]
        for pair in pairs
    )


def _examples_needed(overall: Difference, alpha: float, margin: float, moved: int) -> int | None:
    """How many examples would settle it, should the difference stay what it is; None where that can't be told.

    Half the interval must shrink to the difference, which it then excludes 0 by, or to what the margin leaves beside
    the difference: what takes fewer. It narrows with the square root of n or, while nothing moves, with n. A difference
    also takes p < alpha, so groups enough that move; `moved` did. Where p alone is missing, n isn't what it waits for.
    """
    if overall.low > 0 or overall.high < 0:
        return None
    n, half, apart = overall.n, (overall.high - overall.low) / 2, abs(overall.difference)
    needed = [n * max((half / apart) ** 2, fewest_flips(alpha) / moved)] if apart else []
    if apart < margin:
        shrink = half / (margin - apart)
        needed.append(n * (shrink**2 if moved else shrink))
    return max(n + 1, math.ceil(min(needed))) if needed else None
