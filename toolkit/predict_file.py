"""A file of questions to a model: results stream to a CSV or JSONL file, and a bad row is a result like any other.

Killed or interrupted, the same command goes on: rows that have a result aren't asked again. OUT.manifest.json says what
the results are of, so that another model's or another file's are never mixed in.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from eval.engines.base import Completion, ModelSpec, Request, Sampling
from eval.engines.registry import WITHOUT_TOKENIZER, check_engine, load_engine
from eval.files import read_json, write_atomically, write_json
from eval.manifest import differences, fingerprint
from eval.prompts import load_tokenizer, render_prompt, stop_token_ids, tokenizer_dir
from rewards.core import ExitCode, UserError
from tasks.base import Task
from tasks.tables.rows import Bad, BadValue, Row, text_of
from tasks.tables.source import Source, open_source
from toolkit.predict import asked, check_asked, model_and_task, moment_of, prediction_of

Status = Literal["answered", "wrong_format", "truncated", "error", "bad_row"]
ANOTHER = "choose another --out"
CHUNK = 2048  # rows in the engine at a time


@dataclass(frozen=True, slots=True)
class Columns:
    """Where text and moment of a row are. now_column None: `now` is every row's; None as well: none is stated."""

    text: str
    now_column: str | None
    now: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the output. row: its number in the input, as tasks.tables counts. Empty text for what there isn't."""

    row: int
    status: Status
    answer: str = ""
    reasoning: str = ""
    problem: str = ""
    text: str = ""
    now: str = ""


HEADER = [field.name for field in fields(Result)]


def predict_file(
    file: Path, out: Path, model: str, columns: Columns, task: str | None, engine: str, max_tokens: int
) -> dict[str, int]:
    """Ask every row that has no result yet; give the number of rows by status. Raises UserError for bad input."""
    if out.suffix not in (".csv", ".jsonl"):
        raise UserError(f"{out}: results go to a .csv or a .jsonl file")
    moment = None if columns.now is None else moment_of(columns.now, "--now")
    check_engine(engine)
    source = open_source(str(file))
    spec, chosen = model_and_task(model, task)
    if chosen is not None:  # at once, not of each row
        check_asked(chosen, "?", moment if columns.now_column is None else datetime.now())
    weights = fingerprint(spec.adapter or spec.path, spec.name)
    name = None if chosen is None else chosen.name
    about = {"model": weights, "task": name, "engine": engine, "max_tokens": max_tokens, "input": source.sha256}
    _check_column(source, columns)
    results = _claim(out, {**about, **asdict(columns)})
    known = {each.row for each in results}
    todo = (each for each in source.rows() if each.number not in known)
    first = next(todo, None)
    if first is not None:
        with out.open("a", encoding="utf-8", newline="") as stream:
            for result in _ask(chain((first,), todo), spec, chosen, columns, engine, max_tokens, out):
                stream.write(_line(result, out.suffix))
                stream.flush()
                results.append(result)
    write_atomically(out, _head(out.suffix) + "".join(_line(each, out.suffix) for each in sorted(results, key=_number)))
    counts = Counter(each.status for each in results)
    if results and not counts["answered"]:
        problem = min(results, key=_number).problem
        raise UserError(f"no row was answered; the first says: {problem} (see {out})", ExitCode.FAULTS)
    return {str(status): number for status, number in counts.items()}


def _number(result: Result) -> int:
    return result.row


def _check_column(source: Source, columns: Columns) -> None:
    """A column that no row has would give a file of bad rows: say it at once."""
    wanted = {columns.text: "--text-column"}
    if columns.now_column is not None:
        wanted[columns.now_column] = "--now-column"
    seen: dict[str, None] = {}  # a row of JSON has the columns that it names
    for row in source.rows():
        if isinstance(row, Row):
            seen |= dict.fromkeys(row.values)
            if wanted.keys() <= seen.keys():
                return
    if not seen:
        raise UserError(f"{source.name}: holds no row that can be read")
    name = next(each for each in wanted if each not in seen)
    raise UserError(f"{source.name}: no column {name!r} ({wanted[name]}); its columns: {', '.join(seen)}")


def _ask(
    rows: Iterator[Row | Bad],
    spec: ModelSpec,
    task: Task | None,
    columns: Columns,
    engine: str,
    max_tokens: int,
    out: Path,
) -> Iterator[Result]:
    """A result for each row, bad rows at once, the others as they finish."""
    tokenizer = None if engine in WITHOUT_TOKENIZER else load_tokenizer(tokenizer_dir(spec))
    stops = () if tokenizer is None else stop_token_ids(tokenizer, spec.path)
    sampling = Sampling(max_tokens=max_tokens, stop_token_ids=stops)
    options = {"log_file": out.with_name(f"{out.name}.vllm.log")} if engine == "vllm" else {}
    with closing(load_engine(engine, spec, options)) as generator:
        while chunk := list(islice(rows, CHUNK)):
            requests, asked_rows = [], {}
            for row in chunk:
                found = _request(row, task, columns, tokenizer)
                if isinstance(found, Result):
                    yield found
                else:
                    request, asked_rows[request.id] = found[0], found[1]
                    requests.append(request)
            for completion in generator.generate(requests, sampling) if requests else ():
                yield _result(completion, asked_rows[completion.request_id], plain=task is None)


def _request(row: Row | Bad, task: Task | None, columns: Columns, tokenizer: Any) -> tuple[Request, Result] | Result:
    """The prompt of a row, with its result begun; or, for a bad row, its result."""
    if isinstance(row, Bad):
        return Result(row.number, "bad_row", problem=row.reason)
    try:
        text = text_of(row.values.get(columns.text)).strip()
        now = columns.now if columns.now_column is None else text_of(row.values.get(columns.now_column))
    except BadValue as error:
        return Result(row.number, "bad_row", problem=f"a column {error}")
    begun = Result(row.number, "answered", text=_printable(text), now=_printable(now or ""))
    try:
        if not text:
            raise UserError(f"column {columns.text!r} is empty")
        moment = None if now is None else moment_of(now, f"column {columns.now_column!r}:")
        messages = asked(task, text, moment)
        ids = () if tokenizer is None else tuple(render_prompt(tokenizer, messages))
    except (UserError, UnicodeError) as error:
        return Result(row.number, "bad_row", problem=str(error), text=begun.text, now=begun.now)
    return Request(str(row.number), ids, messages), begun


def _printable(text: str) -> str:
    """Without the surrogates that undecodable bytes leave: no file can hold them."""
    return text.encode("utf-8", "replace").decode()


def _result(completion: Completion, begun: Result, plain: bool) -> Result:
    said = prediction_of(completion, plain)
    failed: dict[str, Status] = {"error": "error", "length": "truncated"}
    status: Status = "answered" if said.problem is None else failed.get(completion.finish_reason, "wrong_format")
    parts = {"answer": said.answer or "", "reasoning": said.reasoning or "", "problem": said.problem or ""}
    return Result(
        begun.row, status, **{key: _printable(part) for key, part in parts.items()}, text=begun.text, now=begun.now
    )


# The output file.


def _claim(out: Path, wanted: dict[str, Any]) -> list[Result]:
    """Make the file ours, or take it up where it was; give the results that stand. Engine errors are asked again."""
    manifest = out.with_name(f"{out.name}.manifest.json")
    text = out.read_bytes().decode("utf-8", "replace") if out.exists() else ""
    stored = _results(text, out) if manifest.exists() else []
    if not out.exists() or (manifest.exists() and not stored):
        write_json(manifest, wanted)
    found = read_json(manifest, f"{out} is no file of ours; {ANOTHER}")
    if differing := differences(found, json.loads(json.dumps(wanted))):
        raise UserError(f"{out} holds other results; it differs in {'; '.join(differing)}; {ANOTHER}")
    results = [each for each in stored if each.status != "error"]
    write_atomically(out, _head(out.suffix) + "".join(_line(each, out.suffix) for each in results))
    return results


def _head(suffix: str) -> str:
    return ",".join(HEADER) + "\r\n" if suffix == ".csv" else ""


def _line(result: Result, suffix: str) -> str:
    if suffix == ".jsonl":
        return json.dumps(asdict(result), ensure_ascii=False) + "\n"
    text = io.StringIO()
    csv.writer(text).writerow(asdict(result).values())
    return text.getvalue()


def _results(text: str, out: Path) -> list[Result]:
    """The whole rows of an output file; a torn last one is dropped. Raises UserError for a file of another form."""
    if out.suffix == ".jsonl":
        lines = enumerate(text.split("\n")[:-1], 1)
        return [_result_of(line, f"{out}:{number}") for number, line in lines if line.endswith("}")]
    found: list[Sequence[str]] = []
    with suppress(csv.Error):  # the last row ends within quotes
        found.extend(csv.reader(io.StringIO(text, newline=""), strict=True))
        if not text.endswith("\n"):
            del found[-1:]
    if found and found[0] != HEADER:
        raise UserError(f"{out}:1: its columns are {', '.join(found[0])}, ours {', '.join(HEADER)}; {ANOTHER}")
    rows = [row for row in found[1:] if len(row) == len(HEADER) and row[0].isdigit()]
    return [Result(int(row[0]), *row[1:]) for row in rows]  # type: ignore[arg-type]


def _result_of(line: str, where: str) -> Result:
    try:
        result = Result(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: no result of ours ({error}); remove the line, or {ANOTHER}") from error
    if not isinstance(result.row, int):
        raise UserError(f"{where}: row {result.row!r} is no number; remove the line, or {ANOTHER}")
    return result
