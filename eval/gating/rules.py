"""gates.toml: which claims a run must meet. Strict: an unknown key is an error that names the nearest one."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from eval.validity import DEFAULT_LIMITS, Limits
from rewards.core import UserError

Kind = Literal["non_inferior", "superior", "at_least", "at_most"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PAIRED: tuple[Kind, ...] = ("non_inferior", "superior")
TOP = ("alpha", "inconclusive", "same_prompts", "valid", "gate")
VALID = {f"max_{each.name}": each.name for each in fields(Limits)}
GATE = ("kind", "metric", "margin", "bound", "slice", "each", "unit", "name")
UNITS = ("group", "example")


@dataclass(frozen=True, slots=True)
class Gate:
    """One claim. margin: of the paired kinds. bound: of at_least and at_most. slice: "tag=value", or "" for all.

    each: a tag; the gate stands for one gate a value of it. unit: what counts as independent; "example" where the
    groups at hand are all that there are, so that only new examples of them matter.
    """

    kind: Kind
    metric: str = "exact"
    margin: float = 0.0
    bound: float = 0.0
    slice: str = ""
    each: str = ""
    unit: str = "group"
    name: str = ""

    @property
    def title(self) -> str:
        """Its name, or what it claims."""
        limit = f"margin {self.margin:g}" if self.kind in PAIRED else f"{self.bound:g}"
        title = self.name or f"{self.metric} {self.kind} ({limit})"
        return f"{title} [{self.slice}]" if self.slice else title


@dataclass(frozen=True, slots=True)
class Rules:
    """A gates file. alpha: shared by the two wrong verdicts, half each. inconclusive: what JUnit and pytest make of
    such a gate. same_prompts: prompts must be the same tokens; false for models of different families.
    """

    gates: tuple[Gate, ...]
    alpha: float = 0.05
    inconclusive: Literal["fail", "skip"] = "fail"
    same_prompts: bool = True
    valid: Limits = DEFAULT_LIMITS


def read_rules(path: Path) -> Rules:
    """Read gates.toml. Raises UserError that names file, key, what is allowed."""
    try:
        row = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: can't be read: {error.strerror}; it holds the claims, docs/gate.md has one"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: can't be read: {error}") from error
    try:
        return _rules(row)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _rules(row: Mapping[str, Any]) -> Rules:
    _known(row, TOP, "")
    gates = row.get("gate")
    if not isinstance(gates, list) or not gates or not all(isinstance(each, dict) for each in gates):
        raise UserError("want at least one [[gate]] section")
    inconclusive = row.get("inconclusive", "fail")
    if inconclusive not in ("fail", "skip"):
        raise UserError(f'inconclusive = {inconclusive!r}: want "fail" or "skip"')
    same_prompts = row.get("same_prompts", True)
    if not isinstance(same_prompts, bool):
        raise UserError(f"same_prompts = {same_prompts!r}: want true or false")
    valid = row.get("valid", {})
    if not isinstance(valid, dict):
        raise UserError("valid: want a section [valid]")
    _known(valid, VALID, "[valid] ")
    shares = {VALID[key]: _number(value, f"[valid] {key}", 0, 1) for key, value in valid.items()}
    return Rules(
        gates=tuple(_gate(each, f"gate {number}: ") for number, each in enumerate(gates, 1)),
        alpha=_number(row.get("alpha", 0.05), "alpha", 0.0001, 0.5),
        inconclusive=inconclusive,
        same_prompts=same_prompts,
        valid=Limits(**shares),
    )


def _gate(row: Mapping[str, Any], where: str) -> Gate:
    _known(row, GATE, where)
    for key in ("kind", "metric", "slice", "each", "unit", "name"):
        if not isinstance(row.get(key, ""), str):
            raise UserError(f"{where}{key} = {row[key]!r}: want a text")
    kind = row.get("kind", "")
    if kind not in KINDS:
        raise UserError(f"{where}kind = {kind!r}: want one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    wanted, unwanted = ("margin", "bound") if kind in PAIRED else ("bound", "margin")
    if unwanted in row:
        raise UserError(f"{where}{kind} takes {wanted}, not {unwanted}")
    if wanted not in row and kind != "superior":
        raise UserError(f"{where}{kind} needs {wanted}, for instance {wanted} = {0.02 if kind in PAIRED else 0.95}")
    if "slice" in row and "each" in row:
        raise UserError(f'{where}slice is one value ("lang=ru"), each is a tag ("lang"); give one of them')
    if "=" not in row.get("slice", "="):
        raise UserError(f'{where}slice = {row["slice"]!r}: want "tag=value"')
    if row.get("unit", "group") not in UNITS:
        raise UserError(f'{where}unit = {row["unit"]!r}: want "group" or "example"')
    value = _number(row.get(wanted, 0.0), f"{where}{wanted}", 0, 1)
    if wanted == "bound" and value in (0, 1):
        raise UserError(f"{where}bound = {value:g}: no sample can show that; want a number between 0 and 1")
    return Gate(
        kind=kind,
        metric=row.get("metric", "exact"),
        margin=value if wanted == "margin" else 0.0,
        bound=value if wanted == "bound" else 0.0,
        slice=row.get("slice", ""),
        each=row.get("each", ""),
        unit=row.get("unit", "group"),
        name=row.get("name", ""),
    )


def _known(row: Mapping[str, Any], allowed: Collection[str], where: str) -> None:
    for key in row:
        if key not in allowed:
            raise UserError(f"{where}unknown key {key!r}; want one of {', '.join(allowed)}{nearest(key, allowed)}")


def _number(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{name} = {value!r}: want a number from {low:g} to {high:g}")
    return float(value)


def nearest(name: str, allowed: Collection[str]) -> str:
    """ "; did you mean …?", or nothing where none is near."""
    close = get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
