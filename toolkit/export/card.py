"""The model card: what the model is, from the run's own records. Nothing in it is typed by hand."""

from __future__ import annotations

from typing import Any

import yaml

from eval.files import read_json
from eval.redaction import redact_text
from eval.shown import interval, percent
from eval.summary import SUMMARY, read_summary
from eval.tables import Grid, markdown_table
from toolkit.config import dump_recipe
from toolkit.export.source import ExportSource
from toolkit.rundir import Run

LICENCE = (
    "The weights are derived from the base model's: its licence and terms hold for them. The toolkit that trained them "
    "is Apache-2.0, which says nothing about the weights or the data."
)


def model_card(source: ExportSource, kind: str, check: dict[str, Any] | None) -> str:
    """README.md of an export, with the front matter that the hub reads. Secrets are masked."""
    meta: dict[str, Any] = {
        "library_name": "peft" if kind == "adapter" else "transformers",
        "tags": ["reasoning-toolkit"],
    }
    if ":" not in source.base and source.base.count("/") == 1 and not source.base.startswith((".", "/", "~")):
        meta["base_model"] = source.base
    if source.run is not None and source.run.recipe.grpo is not None:
        meta["tags"].append("grpo")
    name = source.task or "conversations"
    parts = [f"# {name}, tuned from {_public(source.base)}", "", f"Export: {kind}. Made by reasoning-toolkit.", ""]
    if source.run is not None:
        parts += [*_data(source.run), *_results(source.run), *_phenomena(source.run), *_prompt(source.run)]
    if check is not None:
        parts += [
            "## Is it the trained model?",
            "",
            f"Checked on {check['tokens']} tokens after {check['prompts']} prompts against what was trained, in "
            f"float32: log-probabilities differ by {check['mean']:.2g} nats on average ({check['largest']:.2g} at "
            f"most), greedy picks agree on {percent(check['greedy_agreement'])}. Chat template `{check['template']}`.",
            "",
        ]
    parts += ["## Licence", "", LICENCE, ""]
    if source.run is not None:
        parts += ["## Recipe", "", "```yaml", dump_recipe(source.run.recipe).rstrip(), "```", ""]
    front = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)
    return redact_text(f"---\n{front}---\n" + "\n".join(parts))


def _public(base: str) -> str:
    """A local path says nothing to others, and something about the machine: its last part is enough."""
    return base.rsplit("/", 1)[-1] if base.startswith(("/", "~", ".")) else base


def _data(run: Run) -> list[str]:
    if not run.is_done("data"):
        return []
    facts = run.facts("data")
    counts = ", ".join(f"{name} {facts[name]}" for name in ("sft", "grpo", "validation", "test") if name in facts)
    hashes = facts.get("hashes", {})
    lines = ["## Data", "", f"Examples: {counts}." if counts else "Conversations of the user's own."]
    if hashes:
        lines.append("Hashes: " + ", ".join(f"{name} `{value}`" for name, value in hashes.items()) + ".")
    return [*lines, ""]


def _results(run: Run) -> list[str]:
    if run.recipe.task is None or not run.is_done("compare"):
        return []
    from toolkit.report import outcome_grid

    grid = outcome_grid(run)
    return ["## Results", "", f"{grid.title}.", "", *markdown_table(grid), "", grid.lines[0] + ".", ""]


def _phenomena(run: Run) -> list[str]:
    """What it is good and bad at: the test examples by the tag phenomenon, where the task has it, the worst first."""
    folder = run.dir / "eval" / "tuned"
    if not (folder / SUMMARY).is_file():
        return []
    slices = read_summary(folder).by_tag.get("phenomenon", {})
    if not slices:
        return []
    rows = [
        (name, str(found.n), percent(found.exact.value), interval(found.exact.low, found.exact.high))
        for name, found in sorted(slices.items(), key=lambda row: (row[1].exact.value, row[0]))
    ]
    table = Grid("Of the tuned model, the worst first.", ("phenomenon", "n", "exact", "95% CI"), tuple(rows))
    return ["## By phenomenon", "", table.title, "", *markdown_table(table), ""]


def _prompt(run: Run) -> list[str]:
    path = run.dir / "eval" / "tuned" / "manifest.json"
    if not path.is_file():
        return []
    found = read_json(path, "evaluate again").get("identity", {})
    return [
        f"Chat template `{found.get('template')}`, prompts `{found.get('prompts')}` (hashes of what was evaluated).",
        "",
    ]
