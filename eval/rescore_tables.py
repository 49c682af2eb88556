"""What rescoring changed, as tables."""

from __future__ import annotations

from eval.records import STATUSES, Record
from eval.rescore import Attribution, Rescored
from eval.shown import percent, points
from eval.tables import Grid


def rescored_grid(found: Rescored, show: int) -> Grid:
    """A row a status, old and new; below, which items moved from where to where, `show` of each with their text."""
    old, new = found.statuses()
    rows: list[tuple[str, ...]] = [
        (status, str(old[status]), str(new[status]), f"{new[status] - old[status]:+d}") for status in STATUSES
    ]
    scores = [sum(record.score for record in records) / len(records) for records in (found.old, found.new)]
    rows.append(("mean score", percent(scores[0]), percent(scores[1]), points(scores[1] - scores[0])))
    for name in found.new[0].rewards:
        means = [sum(each.rewards.get(name, 0.0) for each in some) / len(found.old) for some in (found.old, found.new)]
        rows.append((f"mean {name}", f"{means[0]:.3f}", f"{means[1]:.3f}", f"{means[1] - means[0]:+.3f}"))
    lines = [f"{len(found.moved)} of {len(found.old)} completions moved"]
    if found.new_golds:
        lines.append(f"{found.new_golds} examples have another canonical answer than when they were asked")
    for (before, after), records in found.transitions().items():
        lines.append(f"{before} -> {after}: {len(records)}")
        lines += [_item(record) for record in records[:show]]
    return Grid(f"{found.directory}, scored again", ("status", "old", "new", "difference"), tuple(rows), tuple(lines))


def _item(record: Record) -> str:
    said = " ".join((record.completion if record.answer is None else record.answer).split())
    return f"  {record.id}/{record.sample} (gold {record.gold}): {said[:160]}"


def attribution_grid(found: Attribution, new: Rescored, old: Rescored) -> Grid:
    """The sum, line by line."""
    rows = (
        ("old, as stored", percent(found.old), str(old.directory)),
        ("+ scorer", points(found.scorer), "the same completions, scored differently"),
        ("+ model", points(found.model), "other completions, both scored now"),
        ("= new, as stored", percent(found.new), str(new.directory)),
    )
    lines = (
        f"both scored now: old {percent(found.old_now)}, new {percent(found.new_now)}",
        "whether the model's part is more than chance: rescore both and compare the two new directories",
    )
    return Grid(f"{found.n} examples", ("part", "mean score", "what"), rows, lines)
