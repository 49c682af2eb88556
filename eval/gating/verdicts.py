"""Does a run meet its gates? Every gate claims that a figure lies on the good side of a limit.

The figure is the mean of run - baseline over the same examples (non_inferior: limit -margin; superior: +margin), or
the run's own mean (at_least, at_most: limit bound). With alpha 0.05:

- pass: the claim is shown: one-sided p <= alpha / 2; the interval at 1 - alpha lies beyond the limit.
- fail: the opposite is shown: one-sided p, after Holm over all gates of the file, <= alpha / 2.
  Of run - baseline with limit 0, p is at least half of sign flips' and of exact McNemar's: as `eval.compare` tests.
- inconclusive: neither; more examples would tell.

The whole fails when a gate fails, passes when all pass. So a run for which every claim is true fails with probability
at most alpha / 2 however many gates there are (Holm), and a run for which one is false passes with at most alpha / 2
(it would have to pass that one).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from eval.differences import LOW_IS_GOOD, Item, by_tag, difference, independent, margin_test, worst_of
from eval.gating.rules import PAIRED, Gate, Rules, nearest, read_rules
from eval.gating.scores import WRITE_AGAIN, Scores, read_scores
from eval.manifest import NotAnEvaluation, must_match, worth_a_note
from eval.pairs import grouped_otherwise, tagged_otherwise
from eval.scorers import another_scorer, other_rewards, other_scorers
from eval.statistics import Interval, holm, mcnemar, rate_score
from eval.validity import check_validity
from rewards.core import ExitCode, UserError

Verdict = Literal["pass", "fail", "inconclusive"]
Outcome = Literal["pass", "fail", "inconclusive", "not comparable", "invalid run", "infrastructure"]
EXIT_CODES: Mapping[Outcome, int] = {
    "pass": ExitCode.OK,
    "fail": ExitCode.WORSE,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "not comparable": ExitCode.NOT_COMPARABLE,
    "invalid run": ExitCode.INVALID,
    "infrastructure": ExitCode.FAILED,
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """One gate judged. baseline, run: means over its n examples, which are of `clusters` independent groups. estimate,
    low, high: the figure and its interval.

    p_pass, p_fail: one-sided, p_fail after Holm. lost: ids that the baseline did better. examples_needed: for
    "inconclusive", about how many would settle it, should the figure stay what it is.
    """

    gate: Gate
    verdict: Verdict
    n: int
    clusters: int
    baseline: float | None
    run: float
    estimate: float
    low: float
    high: float
    limit: float
    p_pass: float
    p_fail: float
    lost: tuple[str, ...] = ()
    examples_needed: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All gates judged; or reasons why none could be, and then no judgements."""

    outcome: Outcome
    rules: Rules
    task: str
    baseline: str
    run: str
    judgements: tuple[Judgement, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 pass, 10 fail, 11 inconclusive, 12 not comparable, 13 invalid run, 14 infrastructure."""
        return EXIT_CODES[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """A plain dict, with the exit code."""
        return {**asdict(self), "exit_code": self.exit_code}


def check(gates: Path, run: Path, baseline: Path | None = None) -> Report:
    """Judge the run in a directory against a baseline file (or another run's directory) by the rules of gates.toml.

    Raises UserError for gates that can't be meant: a bad file, an unknown metric or slice, no baseline where one is
    needed, a run's directory for an evaluation's. What is wrong with run or baseline is the report's outcome.
    """
    rules = read_rules(gates)
    if baseline is None and any(gate.kind in PAIRED for gate in rules.gates):
        raise UserError(f"{gates}: {' and '.join(PAIRED)} compare with a baseline: give --baseline FILE")
    names = (str(baseline or ""), str(run))
    try:
        theirs = read_scores(run)
        ours = None if baseline is None else read_scores(baseline, WRITE_AGAIN)
    except NotAnEvaluation:
        raise
    except UserError as error:
        return Report("infrastructure", rules, "", *names, reasons=(str(error),))
    return judge(rules, theirs, ours, names)


def judge(rules: Rules, run: Scores, baseline: Scores | None, names: tuple[str, str] = ("", "")) -> Report:
    """Judge scores that were read. names: of the baseline and the run, for the report."""
    blank = Report("pass", rules, str(run.identity.get("task", "")), *names)
    problems = check_validity(run.completions, rules.valid)
    if problems:
        return replace(blank, outcome="invalid run", reasons=tuple(problems))
    reasons = [] if baseline is None else _reasons(baseline, run, rules)
    if baseline is not None and reasons:
        return replace(blank, outcome="not comparable", reasons=tuple(reasons), notes=_notes(baseline, run, rules))
    gates = [each for gate in rules.gates for each in _expand(gate, run, baseline)]
    raw = [_judge(gate, rules.alpha, run, baseline) for gate in gates]
    judgements = [
        _decide(replace(each, p_fail=p), rules.alpha)
        for each, p in zip(raw, holm([each.p_fail for each in raw]), strict=True)
    ]
    verdicts = {each.verdict for each in judgements}
    outcome: Outcome = "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"
    notes = () if baseline is None else _notes(baseline, run, rules)
    if len(run.items) > 1 and len({item.cluster for item in run.items.values()}) == 1:
        notes = (*notes, "all examples are of one group: the intervals take them as independent")
    return replace(blank, outcome=outcome, judgements=tuple(judgements), notes=notes)


def _reasons(baseline: Scores, run: Scores, rules: Rules) -> list[str]:
    ours, theirs = baseline.identity, run.identity
    reasons = [
        f"{key}: {ours.get(key)!r} in the baseline, {theirs.get(key)!r} in the run"
        for key in must_match(ours, theirs, rules.same_prompts)
    ]
    extra = sorted(set(run.items) - set(baseline.items))
    if extra:
        reasons.append(f"the baseline lacks {len(extra)} examples of the run, for instance {extra[0]!r}")
    judged = {gate.metric for gate in rules.gates}
    if said := other_scorers(ours, theirs, judged):
        reasons += [f"{each}; then write the baseline again" for each in said]
    elif count := _scored_otherwise(baseline, run, judged):
        reasons.append(f"{another_scorer(count)}; then write the baseline again")
    reasons += [f"{reason}; then write the baseline again" for reason in grouped_otherwise(_pairs(baseline, run))]
    return reasons


def _pairs(baseline: Scores, run: Scores) -> list[tuple[Item, Item]]:
    """Of the examples that both have."""
    return [(item, run.items[key]) for key, item in baseline.items.items() if key in run.items]


def _scored_otherwise(baseline: Scores, run: Scores, metrics: Set[str]) -> int:
    """Examples to which the two said the same, and whose gated figures differ all the same."""
    pairs = _pairs(baseline, run)
    same = [(ours.values, theirs.values) for ours, theirs in pairs if ours.said and ours.said == theirs.said]
    return sum(
        any(ours[name] != theirs[name] for name in metrics & ours.keys() & theirs.keys()) for ours, theirs in same
    )


def _notes(baseline: Scores, run: Scores, rules: Rules) -> tuple[str, ...]:
    both = baseline.identity, run.identity
    notes = [*worth_a_note(*both), *other_rewards(*both, {gate.metric for gate in rules.gates})]
    notes += tagged_otherwise(_pairs(baseline, run))
    for name, version in baseline.versions.items():
        if run.versions.get(name, version) != version:
            notes.append(f"{name} {version} in the baseline, {run.versions[name]} in the run")
    if not any(item.said for item in baseline.items.values()):
        unseen = "the baseline doesn't hold hashes of its completions, so a changed scorer goes unseen"
        notes.append(f"{unseen}; {WRITE_AGAIN}")
    return (*notes, *(f"the baseline: {problem}" for problem in check_validity(baseline.completions, rules.valid)))


def _expand(gate: Gate, run: Scores, baseline: Scores | None) -> list[Gate]:
    """The gates that one section stands for, its names checked against the run and the baseline."""
    if gate.metric not in run.metrics:
        known = ", ".join(run.metrics)
        raise UserError(f"unknown metric {gate.metric!r}; the run has {known}{nearest(gate.metric, run.metrics)}")
    if gate.kind in PAIRED and baseline is not None and gate.metric not in baseline.metrics:
        raise UserError(f"the baseline has no metric {gate.metric!r}; {WRITE_AGAIN}")
    whose, scores = ("run", run) if baseline is None else ("baseline", baseline)
    tags = by_tag([item.tags for item in scores.items.values()])
    if gate.each:
        if not tags:
            mend = f"name them in the task (tags: [{gate.each}] in YAML) and evaluate again, or take each out"
            raise UserError(f"each = {gate.each!r}: the {whose}'s examples have no tags; {mend}")
        if gate.each not in tags:
            raise UserError(
                f"each = {gate.each!r}: the {whose}'s tags are {', '.join(tags)}{nearest(gate.each, list(tags))}"
            )
        return [replace(gate, slice=f"{gate.each}={value}", each="") for value in tags[gate.each]]
    slices = [f"{tag}={value}" for tag, values in tags.items() for value in values]
    if gate.slice and gate.slice not in slices:
        raise UserError(f"slice = {gate.slice!r}: no example of the {whose} has it{nearest(gate.slice, slices)}")
    return [gate]


def _mcnemar(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of yes-or-no values; 0 of others, which it isn't for."""
    if not {*ours, *theirs} <= {0, 1}:
        return 0.0
    pairs = list(zip(ours, theirs, strict=True))
    return mcnemar(sum(before < after for before, after in pairs), sum(before > after for before, after in pairs))


def _judge(gate: Gate, alpha: float, run: Scores, baseline: Scores | None) -> Judgement:
    """A judgement before Holm: its verdict isn't final."""
    reference = list((run if baseline is None else baseline).items.values())
    units = independent([item.cluster if gate.unit == "group" else item.id for item in reference])
    tag, _, value = gate.slice.partition("=")
    inside = [i for i, item in enumerate(reference) if not gate.slice or str(item.tags.get(tag)) == value]
    chosen, clusters = [reference[i] for i in inside], [units[i] for i in inside]
    theirs = [_value(run.items.get(item.id), gate.metric) for item in chosen]
    known = baseline is not None and gate.metric in baseline.metrics
    ours = [item.values[gate.metric] for item in chosen] if known else None
    low_is_good = gate.metric in LOW_IS_GOOD
    if gate.kind in PAIRED:
        assert ours is not None  # `check` and `_expand` refuse paired gates without it
        some = difference(ours, theirs, clusters, alpha)
        limit = gate.margin if (gate.kind == "superior") != low_is_good else -gate.margin
        estimate, low, high = some.difference, some.low, some.high
        below, above = margin_test(ours, theirs, clusters, limit)
        if limit == 0:  # no difference at all: the tests of `compare`, as the interval alone is sure too soon
            p = max(some.p, _mcnemar(ours, theirs))
            below, above = max(below, p / 2), max(above, p / 2)
        claims_high = not low_is_good
    else:
        limit, estimate = gate.bound, fmean(theirs)
        interval, below, above = _rate(theirs, clusters, limit, alpha)
        low, high = interval
        claims_high = gate.kind == "at_least"
    p_pass, p_fail = (above, below) if claims_high else (below, above)
    sign = -1 if low_is_good else 1
    lost = [] if ours is None else [i for i, pair in enumerate(zip(ours, theirs, strict=True)) if _fell(pair, sign)]
    return Judgement(
        gate=gate,
        verdict="inconclusive",
        n=len(chosen),
        clusters=len(set(clusters)),
        baseline=None if ours is None else fmean(ours),
        run=fmean(theirs),
        estimate=estimate,
        low=low,
        high=high,
        limit=limit,
        p_pass=p_pass,
        p_fail=p_fail,
        lost=tuple(chosen[i].id for i in lost),
    )


def _fell(pair: tuple[float, float], sign: int) -> bool:
    return sign * (pair[1] - pair[0]) < -1e-9


def _value(item: Item | None, metric: str) -> float:
    return worst_of(metric) if item is None else item.values[metric]


def _rate(
    values: Sequence[float], clusters: Sequence[str], bound: float, alpha: float
) -> tuple[Interval, float, float]:
    if len(set(clusters)) < 2:
        return Interval(0.0, 1.0), 1.0, 1.0
    score = rate_score(values, clusters)
    return score.interval(1 - alpha), score.p_below(bound), score.p_above(bound)


def _decide(each: Judgement, alpha: float) -> Judgement:
    if each.p_pass <= alpha / 2:
        return replace(each, verdict="pass")
    if each.p_fail <= alpha / 2:
        return replace(each, verdict="fail")
    if not each.low <= each.limit <= each.high:  # refuted if it were the only gate, or shown but for the sign flips
        return each
    gap = abs(each.estimate - each.limit)
    reach = each.estimate - each.low if each.limit < each.estimate else each.high - each.estimate
    needed = each.n * (reach / gap) ** 2 if gap > 1e-9 else math.inf
    return replace(each, examples_needed=max(each.n + 1, math.ceil(needed)) if needed < 1e7 else None)
