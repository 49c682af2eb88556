"""The doctor's report, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolkit.doctor.checks import Diagnosis
from toolkit.doctor.facts import Facts
from toolkit.doctor.findings import Finding
from toolkit.doctor.install import commands

SIGNS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """A line a finding, its fix under those that need one."""
    out = []
    for each in findings:
        out.append(f"{SIGNS[each.level]} {each.check}: {each.cause}" + (f" [{each.id}]" if each.fix else ""))
        if each.fix:
            out.append(f"        fix: {each.fix}")
    return out


def lines(diagnosis: Diagnosis, facts: Facts, what: str) -> list[str]:
    """A line a check; cause and fix under those that need one; install commands where something is wrong."""
    out = finding_lines(diagnosis.findings)
    if any("below" in each.fix for each in diagnosis.findings):
        for purpose, typed in commands(facts):
            out += ["", f"# {purpose}", *typed]
        out.append("")
    counts = {level: sum(each.level == level for each in diagnosis.findings) for level in ("problem", "warning")}
    verdict = "can run here" if diagnosis.can_run else "can't run here"
    return [*out, f"{what} {verdict}: {counts['problem']} problems, {counts['warning']} warnings"]


def to_json(diagnosis: Diagnosis, facts: Facts, what: str) -> dict[str, Any]:
    """The same as one object. Facts hold no secrets: no environment, no command lines."""
    from dataclasses import asdict

    return {
        "recipe": what,
        "can_run": diagnosis.can_run,
        "findings": [each.to_json() for each in diagnosis.findings],
        "commands": [{"purpose": purpose, "lines": typed} for purpose, typed in commands(facts)],
        "facts": asdict(facts),
    }
