"""Evaluate a model on a task: render, generate, score, record, sum up. Interrupted, it goes on where it was."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from eval.cache import KEY_OPTIONS, keeps_nothing, with_cache
from eval.engines.base import Generator, ModelSpec, Request, Sampling
from eval.engines.registry import WITHOUT_TOKENIZER, EngineLoader, begun_engine, check_engine, load_engine
from eval.files import write_json
from eval.manifest import claim, identity, plain, read_manifest, stated
from eval.progress import live
from eval.prompts import (
    load_tokenizer,
    messages_hash,
    prompt_hash,
    render_prompts,
    short_hash,
    stop_token_ids,
    template_hash,
    tokenizer_dir,
)
from eval.records import RECORDS, Record, keep_complete, score, score_again, to_line, write_records
from eval.redaction import redacted
from eval.scorers import changed, scorers
from eval.summary import SUMMARY, Summary, summarize
from eval.trained import check_trained_for
from eval.validity import DEFAULT_LIMITS, Limits
from rewards.core import Example, ExitCode, UserError
from tasks.base import Task


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prompts ready for an engine. hashes: prompt hash by example id. template: its hash, None without a tokenizer."""

    requests: tuple[Request, ...]
    hashes: Mapping[str, str]
    template: str | None
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Answers:
    """What a session adds to an evaluation. seconds: without loading the model. cached: how many the cache gave."""

    records: Sequence[Record] = ()
    seconds: float = 0.0
    cached: int = 0


def evaluate(
    task: Task,
    examples: Sequence[Example],
    *,
    split: str,
    seed: int,
    model: ModelSpec,
    engine: str,
    sampling: Sampling,
    out_dir: Path,
    options: Mapping[str, Any] | None = None,
    progress: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    cache: Path | None = None,
    any_template: bool = False,
    shuffle: int | None = None,
    start: int = 0,
    load: EngineLoader | None = None,
) -> Summary:
    """Answer and score the examples; leave records.jsonl, summary.json and manifest.json in out_dir.

    split and seed say where the examples come from; they are part of the evaluation's identity, as are model, engine
    and sampling. In a directory with the same identity, examples that have all their samples aren't asked again; their
    records take the groups and tags that the examples have now.
    options are the engine's own (`eval.engines`). limits: what makes the summary `invalid`. cache: a file of
    completions that evaluations share (`eval.cache`). any_template: don't ask whether the model was trained on the chat
    template that is rendered here. shuffle: a seed; the order of the requests, which should change nothing but does
    where an engine's numbers depend on its batches. It measures that noise, so it is no part of the identity, and
    nothing is taken from the cache. start: how many examples of the split come before these. load: where the engine
    comes from; called only when an answer is missing. By itself vLLM's process starts before the prompts are rendered,
    where it is sure to be needed.

    Raises UserError for whatever a person can put right: an unknown engine, a missing package, a model without a chat
    template, another evaluation's directory, stored scores that the task no longer gives; with exit code 14 when the
    engine fails or answers nothing.
    """
    check_engine(engine)
    _check_ids(examples)
    chosen = dict(options or {})
    if engine == "vllm":
        chosen.setdefault("log_file", out_dir / "vllm.log")
    cache = cache if shuffle is None else None
    run = identity(examples, model, engine, chosen, sampling)
    kept = {**run, "options": stated(chosen, KEY_OPTIONS)}
    source = {"task": task.name, "task_version": task.version, "split": split, "seed": seed}
    by_id = {example.id: example for example in examples}
    fresh = Answers()
    with ExitStack() as stack:
        if load is None:
            sure = _is_new(out_dir) and keeps_nothing(cache, kept, model, sampling)
            load = stack.enter_context(begun_engine(engine, model, chosen)) if sure else load_engine
        prepared = prepare(examples, model, engine, sampling, any_template)
        rendered = {"template": prepared.template, "prompts": short_hash(" ".join(prepared.hashes.values()))}
        run["sampling"] = plain(prepared.sampling)  # with the tokenizer's stop tokens
        how = {"shuffle": shuffle, "any_template": any_template, "start": start}
        wanted = {**source, **rendered, **run, **scorers(task, examples)}
        claim(out_dir, wanted, model, how)
        records = _checked(task, by_id, keep_complete(out_dir / RECORDS, sampling.n), out_dir, wanted)
        if missing := _missing(prepared, records, shuffle):
            loading = partial(load, engine, model, chosen)
            source_of = partial(with_cache, cache, kept, model, missing, prepared.sampling, loading)
            first = f"loading {model.name} ({engine})"
            with live(len(missing) * sampling.n, first, progress) as show, closing(source_of()) as generator:
                fresh = _answer(task, by_id, prepared, missing, generator, out_dir / RECORDS, show)
    if not records and all(record.status == "error" for record in fresh.records):
        raise UserError(f"the engine answered nothing; it said: {fresh.records[0].problem}", ExitCode.FAILED)
    place = {example_id: index for index, example_id in enumerate(by_id)}
    records = sorted([*records, *fresh.records], key=lambda record: (place[record.id], record.sample))
    generated = len(fresh.records) - fresh.cached
    counts = {"cached": fresh.cached, "expected": len(examples) * sampling.n}
    summary = summarize(task.name, model.name, records, generated, fresh.seconds, limits=limits, **counts)
    write_records(out_dir / RECORDS, records)
    write_json(out_dir / SUMMARY, summary.to_json())
    return summary


def prepare(
    examples: Sequence[Example], model: ModelSpec, engine: str, sampling: Sampling, any_template: bool = False
) -> Prepared:
    """Render every prompt. Stop tokens that the caller didn't give are the tokenizer's and the model's.

    Raises UserError when the model was trained on another chat template, unless any_template allows it.
    """
    if engine in WITHOUT_TOKENIZER:
        requests = tuple(Request(example.id, (), example.messages) for example in examples)
        hashes = {example.id: messages_hash(example.messages) for example in examples}
        return Prepared(requests, hashes, None, sampling)
    tokenizer = load_tokenizer(tokenizer_dir(model))
    if model.chat_template is not None:
        tokenizer.chat_template = model.chat_template
    if not any_template:
        check_trained_for(model, tokenizer)
    rendered = render_prompts(tokenizer, [example.messages for example in examples])
    requests = tuple(
        Request(example.id, tuple(ids), example.messages) for example, ids in zip(examples, rendered, strict=True)
    )
    if not sampling.stop_token_ids:
        sampling = replace(sampling, stop_token_ids=stop_token_ids(tokenizer, model.path))
    hashes = {request.id: prompt_hash(request.prompt_ids) for request in requests}
    return Prepared(requests, hashes, template_hash(tokenizer), sampling)


def _is_new(out_dir: Path) -> bool:
    """Whether the directory can be this evaluation's, and holds no answers."""
    return not (out_dir / RECORDS).exists() and (out_dir.is_dir() or not out_dir.exists())


def _checked(
    task: Task, by_id: Mapping[str, Example], kept: Sequence[Record], out_dir: Path, wanted: Mapping[str, Any]
) -> list[Record]:
    """The kept records, with the groups and tags that their examples have now.

    Raises UserError where the task scores kept completions, or others, otherwise now: new ones would mix the two.
    """
    mend = f"Score it again (toolkit rescore {out_dir}), and put the new directory in its place, or choose another one"
    for record in kept:
        now = score_again(task, by_id[record.id], record)
        if (now.status, now.score, now.rewards) != (record.status, record.score, record.rewards):
            raise UserError(
                f"{out_dir}: the task scores what is stored otherwise now, for instance {record.id!r}: stored "
                f"{record.score:g} ({_rewards(record)}), now {now.score:g} ({_rewards(now)}). {mend}"
            )
    if found := changed(read_manifest(out_dir)["identity"], redacted(wanted)):
        told = "; ".join(f"{name}: {both}" for name, both in found.items())
        raise UserError(f"{out_dir}: what is stored was scored otherwise, {told}. {mend}")
    examples = [by_id[record.id] for record in kept]
    pairs = zip(kept, examples, strict=True)
    return [replace(record, group=example.group, tags=dict(example.tags)) for record, example in pairs]


def _rewards(record: Record) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in record.rewards.items())


def _check_ids(examples: Sequence[Example]) -> None:
    if not examples:
        raise UserError("there are no examples to evaluate: check the task's split and --n")
    ((first, count),) = Counter(example.id for example in examples).most_common(1)
    if count > 1:
        raise UserError(f"example id {first!r} occurs {count} times; ids must be unique within a split")


def _missing(prepared: Prepared, kept: Sequence[Record], shuffle: int | None) -> list[Request]:
    """What is still to be asked, shuffled by the seed, if there is one."""
    known = {record.id for record in kept}
    missing = [request for request in prepared.requests if request.id not in known]
    if shuffle is not None:
        random.Random(shuffle).shuffle(missing)
    return missing


def _answer(
    task: Task,
    by_id: Mapping[str, Example],
    prepared: Prepared,
    missing: Sequence[Request],
    generator: Generator,
    path: Path,
    show: Callable[[Record], None],
) -> Answers:
    """Generate and score what is missing, each record flushed at once."""
    total = len(missing) * prepared.sampling.n
    records: list[Record] = []
    started = time.perf_counter()
    with path.open("a", encoding="utf-8") as file:
        for completion in generator.generate(missing, prepared.sampling):
            example = by_id[completion.request_id]
            record = score(task, example, completion, prepared.hashes[example.id])
            file.write(to_line(record))
            file.flush()
            records.append(record)
            show(record)
    seconds = time.perf_counter() - started
    if len(records) < total:
        raise UserError(f"the engine gave {len(records)} of {total} completions; run again to resume", ExitCode.FAILED)
    return Answers(records, seconds, getattr(generator, "hits", 0))
