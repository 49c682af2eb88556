"""A gate's report as text for a terminal, Markdown for a pull request, JUnit XML for a CI server."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from eval.gating.rules import PAIRED
from eval.gating.verdicts import Judgement, Report
from eval.shown import interval, limit, limit_points, p_is, percent, points, points_interval
from eval.tables import Grid, escape_markdown, markdown_table

LOST_SHOWN = 10
FEW_GROUPS = 10
HEADER = ("gate", "n", "baseline", "run", "estimate", "interval", "limit", "verdict")
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TODO = {
    "pass": "Nothing to do.",
    "fail": "Don't ship this model. toolkit compare BASELINE_RUN RUN shows what each of the two said.",
    "inconclusive": "More examples would tell (--n), or a wider margin, if that is what you can accept.",
    "not comparable": "Evaluate on the baseline's examples, or write a new baseline, knowingly.",
    "invalid run": "Put the run right; its figures mean nothing yet.",
    "infrastructure": "Nothing is known about the model yet; the reason says what to do.",
}


def report_grid(report: Report) -> Grid:
    """A row a gate; below, the verdict, reasons, and what to do."""
    lines = [f"verdict: {report.outcome}"]
    lines += [f"{report.outcome}: {reason}" for reason in report.reasons]
    for each in report.judgements:
        if each.verdict != "pass":
            lines.append(f"{each.gate.title}: {explain(each)}")
    lines += [f"note: {note}" for note in report.notes]
    lines.append(TODO[report.outcome])
    title = f"{report.task or 'gate'}: {report.run}" + (f" against {report.baseline}" if report.baseline else "")
    return Grid(title, HEADER, tuple(map(_row, report.judgements)), tuple(lines))


def _row(each: Judgement) -> tuple[str, ...]:
    if each.gate.kind in PAIRED:
        figures = (points(each.estimate), points_interval(each.low, each.high), limit_points(each.limit))
    else:
        figures = (percent(each.estimate), interval(each.low, each.high), limit(each.limit))
    return (
        each.gate.title,
        str(each.n),
        "" if each.baseline is None else percent(each.baseline),
        percent(each.run),
        *figures,
        each.verdict,
    )


def explain(each: Judgement) -> str:
    """Why a gate hasn't passed, in one line."""
    _, _, _, _, estimate, around, bound, verdict = _row(each)
    text = f"{verdict}: {estimate} ({around}), limit {bound}"
    if verdict == "fail":
        text += f", {p_is(each.p_fail)} after Holm"
    elif not each.low <= each.limit <= each.high and each.p_pass < each.p_fail:
        text += f"; beyond the limit, but sign flips give {p_is(2 * each.p_pass)}"
    elif not each.low <= each.limit <= each.high:
        text += f"; beyond the limit, but {p_is(each.p_fail)} after Holm over all gates"
    elif each.examples_needed is not None:
        text += f"; about {each.examples_needed} examples would tell"
    if verdict == "inconclusive" and each.clusters < min(FEW_GROUPS, each.n):
        text += f'; only {each.clusters} groups (unit = "example" takes these for all that there are)'
    if each.lost:
        more = len(each.lost) - LOST_SHOWN
        text += f"; worse on {', '.join(each.lost[:LOST_SHOWN])}" + (f" and {more} more" if more > 0 else "")
    return text


def to_markdown(report: Report) -> str:
    """The verdict first, then the table, reasons and what to do."""
    grid = report_grid(report)
    head = [f"## Model gate: {report.outcome}", "", TODO[report.outcome], "", escape_markdown(grid.title), ""]
    rows = markdown_table(grid) if grid.rows else []
    body = [f"- {escape_markdown(line)}" for line in grid.lines[1:-1]]
    return "\n".join([*head, *rows, *([""] if rows and body else []), *body]) + "\n"


def to_junit(report: Report) -> str:
    """One testcase a gate: a failure where it fails; where it is inconclusive, a failure or skipped, as the rules say.

    Where no gate could be judged, each declared one is an error; where none could be read, the file of gates is.
    """
    cases = [_case(report, each) for each in report.judgements] or [
        _element("testcase", _result("error", report.outcome, "; ".join(report.reasons)), name=title)
        for title in [gate.title for gate in report.rules.gates] or ["gates"]
    ]
    counts = {kind: str(sum(case.find(kind) is not None for case in cases)) for kind in ("failure", "error", "skipped")}
    suite = _element(
        "testsuite",
        name="model gate",
        tests=str(len(cases)),
        failures=counts["failure"],
        errors=counts["error"],
        skipped=counts["skipped"],
    )
    for case in cases:
        case.set("classname", f"model_gate.{report.task or 'unknown'}")
        suite.append(case)
    root = _element("testsuites", suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(report: Report, each: Judgement) -> ElementTree.Element:
    case = _element("testcase", name=each.gate.title)
    if each.verdict == "fail":
        case.append(_result("failure", "fail", explain(each)))
    elif each.verdict == "inconclusive":
        kind = "failure" if report.rules.inconclusive == "fail" else "skipped"
        case.append(_result(kind, "inconclusive", explain(each)))
    figures = _element("system-out")
    figures.text = _clean("; ".join(f"{name} {value}" for name, value in zip(HEADER, _row(each), strict=True) if value))
    case.append(figures)
    return case


def _result(kind: str, outcome: str, text: str) -> ElementTree.Element:
    result = _element(kind, type=outcome, message=text)
    result.text = _clean(text)
    return result


def _element(tag: str, *children: ElementTree.Element, **attributes: str) -> ElementTree.Element:
    element = ElementTree.Element(tag, {name: _clean(value) for name, value in attributes.items()})
    element.extend(children)
    return element


def _clean(text: str) -> str:
    """Without the characters that XML can't hold."""
    return NOT_XML.sub("\ufffd", text)
