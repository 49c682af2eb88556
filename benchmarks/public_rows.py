"""Rule-based parsers, and a model if one is named, on the public test rows, in one table.

    python -m benchmarks.public_rows --data ../shared/data
    python -m benchmarks.public_rows --data ../shared/data --model out/merged --engine transformers --out out/public

A row is right when the answer agrees with the expected start at the row's granularity (day, hour, minute or second).
Only `future` rows count: the others ask for the past, which a scheduler refuses. The suites disagree with each other
and with our policy (a bare hour, a part of the day, "next Wednesday"), so nobody can reach 100%.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.jsonl import read_jsonl
from eval.engines.base import ModelSpec, Sampling
from eval.engines.peers import INSTALL, PARSERS, ask
from eval.tables import Grid, markdown_table
from rewards.core import Example
from rewards.response import parse
from tasks.base import Task
from tasks.datetime_extraction import TASK
from toolkit.ending import exit_code

LENGTHS = {"day": 10, "hour": 13, "minute": 16, "second": 19}
MOSCOW = timezone(timedelta(hours=3))


class Row(NamedTuple):
    """One public row. reference is local; key is the part of the expected start that has to agree."""

    id: str
    lang: str
    text: str
    reference: datetime
    key: str
    suite: str


def read_rows(data: Path) -> list[Row]:
    """The future rows of both languages. Raises SystemExit when the files aren't there."""
    rows = []
    for lang in ("ru", "en"):
        path = data / f"datetime_public_{lang}.jsonl"
        if not path.is_file():
            raise SystemExit(f"{path}: no such file; the public rows lie outside the repository: give --data")
        for number, row in enumerate(read_jsonl(path)):
            if row["future"]:
                key = row["expected_start"][: LENGTHS[row["granularity"]]]
                reference = datetime.fromisoformat(row["reference"])
                rows.append(Row(f"public-{lang}-{number}", lang, row["text"], reference, key, row["suite"]))
    return rows


def peer_answers(name: str, rows: Sequence[Row]) -> list[bool]:
    """For each row, whether the parser is right."""
    parser = PARSERS[name]()
    hits = []
    for row in rows:
        then = ask(parser, row.text, row.reference.replace(tzinfo=MOSCOW), row.lang)
        hits.append(then is not None and then.isoformat(timespec="seconds").startswith(row.key))
    return hits


def installed() -> list[str]:
    """The parsers whose packages are here."""
    return [name for name in PARSERS if find_spec(name) is not None]


def _row_match(completion: str, example: Example) -> float:
    response = parse(completion)
    return float(response.problem is None and response.answer.startswith(example.answers[0]))


def model_answers(rows: Sequence[Row], model: Path, engine: str, out: Path) -> list[bool]:
    """For each row, whether the model is right. Its prompt is the task's own, with the reference moment in it."""
    from eval.records import RECORDS, read_records  # here, so that the parsers need nothing else installed
    from eval.runner import evaluate

    assert TASK.ask is not None
    examples = [
        Example(row.id, TASK.ask(row.text, row.reference.replace(tzinfo=MOSCOW)), (row.key,), None, {"lang": row.lang})
        for row in rows
    ]
    task = Task("datetime_public", TASK.version, lambda split, n, seed: iter(examples[:n]), {}, _row_match)
    evaluate(
        task,
        examples,
        split="test",
        seed=0,
        model=ModelSpec(model, None, model.name),
        engine=engine,
        sampling=Sampling(max_tokens=256),
        out_dir=out,
        # For so few rows compiling takes the longest, and little memory is enough beside another job.
        options={"enforce_eager": True, "gpu_memory_utilization": 0.4} if engine == "vllm" else {},
    )
    right = {record.id: record.score == 1 for record in read_records(out / RECORDS)}
    return [right[row.id] for row in rows]


def table(rows: Sequence[Row], hits: dict[str, list[bool]]) -> str:
    """Markdown: the share of right rows by language; English also without Duckling's own suite, half of it holidays."""
    slices = {
        "Russian": [row.lang == "ru" for row in rows],
        "Russian, not Duckling's": [row.lang == "ru" and not row.suite.startswith("duckling") for row in rows],
        "English": [row.lang == "en" for row in rows],
        "English, not Duckling's": [row.lang == "en" and not row.suite.startswith("duckling") for row in rows],
    }
    lines = []
    for name, right in hits.items():
        shares = (
            sum(hit and taken for hit, taken in zip(right, chosen, strict=True)) / max(1, sum(chosen))
            for chosen in slices.values()
        )
        lines.append((name, *(f"{100 * share:.1f}" for share in shares)))
    header = ("", *(f"{name} ({sum(chosen)})" for name, chosen in slices.items()))
    return "\n".join(markdown_table(Grid("", header, tuple(lines))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where datetime_public_*.jsonl lie")
    parser.add_argument("--model", type=Path, help="a model's directory, to stand beside the parsers")
    parser.add_argument("--engine", default="transformers", help="the engine for --model")
    parser.add_argument("--out", type=Path, default=Path("out/public_rows"), help="where the model's records go")
    chosen = parser.parse_args()
    rows = read_rows(chosen.data)
    names = installed()
    if not names:
        print(f"no parser is installed: {INSTALL}")
    hits = {name: peer_answers(name, rows) for name in names}
    if hits:
        hits["any of them"] = [any(right) for right in zip(*hits.values(), strict=True)]
    if chosen.model is not None:
        hits[chosen.model.name] = model_answers(rows, chosen.model, chosen.engine, chosen.out)
    print(table(rows, hits))


if __name__ == "__main__":
    sys.exit(exit_code(main))
