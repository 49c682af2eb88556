"""The matrix of versions that fit: matrix.toml, read and asked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, slots=True)
class Rule:
    """`package` in `versions` needs other packages. accepts: versions that it refuses but that were seen working."""

    package: str
    versions: SpecifierSet
    needs: Mapping[str, SpecifierSet]
    source: str
    checked: date
    metadata: bool = False
    extra: str = ""
    level: Literal["warning", "problem"] = "problem"
    accepts: Mapping[str, SpecifierSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Combination:
    """A set of versions that was seen working. device: cpu or cuda. A version of two parts stands for its patches."""

    name: str
    device: str
    versions: Mapping[str, str]
    source: str
    checked: date
    requirements: str | None = None


@dataclass(frozen=True, slots=True)
class Clash:
    """An installed package that another one can't do with."""

    rule: Rule
    other: str
    wanted: SpecifierSet
    found: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """All of matrix.toml. drivers: CUDA major to the oldest driver. capabilities: feature to the smallest one."""

    rules: tuple[Rule, ...]
    combinations: tuple[Combination, ...]
    drivers: Mapping[int, str]
    capabilities: Mapping[str, str]

    def clashes(self, versions: Mapping[str, str]) -> Iterator[Clash]:
        """Each installed pair that breaks a rule. What isn't installed breaks none."""
        for rule in self.rules:
            ours = versions.get(rule.package)
            if ours is None or not fits(ours, rule.versions):
                continue
            for other, wanted in rule.needs.items():
                theirs = versions.get(other)
                accepted = rule.accepts.get(other)
                if theirs is None or fits(theirs, wanted) or (accepted is not None and fits(theirs, accepted)):
                    continue
                yield Clash(rule, other, wanted, theirs)

    def nearest(self, versions: Mapping[str, str], device: str) -> tuple[Combination, list[str]]:
        """The combination for the device that differs least, and the differences as texts."""
        choices = [(each, differences(each, versions)) for each in self.combinations if each.device == device]
        return min(choices, key=lambda choice: len(choice[1]))


def differences(combination: Combination, versions: Mapping[str, str]) -> list[str]:
    """What is installed otherwise than in the combination, as `trl 1.14.2 (1.15.0)`; a missing package is no matter."""
    return [
        f"{name} {versions[name]} ({wanted})"
        for name, wanted in combination.versions.items()
        if name in versions and not fits(versions[name], SpecifierSet(f"=={wanted}.*"))
    ]


def fits(version: str, wanted: SpecifierSet) -> bool:
    """Whether a version is within a range. A build label (+cu130) counts only where the range names one."""
    try:
        return wanted.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


@cache
def matrix() -> Matrix:
    """The packaged matrix."""
    raw = tomllib.loads(Path(__file__).with_name("matrix.toml").read_text(encoding="utf-8"))
    return Matrix(
        rules=tuple(map(_rule, raw["rule"])),
        combinations=tuple(Combination(**each) for each in raw["combination"]),
        drivers={each["cuda"]: each["minimum"] for each in raw["driver"]},
        capabilities={each["feature"]: each["minimum"] for each in raw["capability"]},
    )


def _rule(raw: dict[str, Any]) -> Rule:
    plain = {key: value for key, value in raw.items() if key not in ("versions", "needs", "accepts")}
    needs, accepts = _ranges(raw["needs"]), _ranges(raw.get("accepts", {}))
    return Rule(versions=SpecifierSet(raw["versions"]), needs=needs, accepts=accepts, **plain)


def _ranges(raw: Mapping[str, str]) -> dict[str, SpecifierSet]:
    return {name: SpecifierSet(text) for name, text in raw.items()}
