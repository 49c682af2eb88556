"""Is it the same model? One adapter in several guises (LoRA in vLLM, merged weights, GGUF) against the plainest one.

The reference is transformers with the adapter put on its base, not merged. It continues fixed probes greedily; every
candidate then says how likely it finds each of those tokens. Where the most likely token is another one is also where
its own greedy text would leave the reference's.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from eval.engines.base import ModelSpec, Request, Sampling, Scored, Scorer
from eval.engines.registry import check_engine, load_engine
from eval.files import write_json
from eval.manifest import fingerprint, versions
from eval.prompts import (
    load_tokenizer,
    prompt_hash,
    render_prompts,
    short_hash,
    stop_token_ids,
    template_hash,
    tokenizer_dir,
)
from rewards.core import ExitCode, Message, UserError

Verdict = Literal["same", "differs", "training without effect"]
REFERENCE = "transformers"
RELATIVE = 0.1  # of the adapter's own effect: a weak adapter's merge must be closer than any absolute bound says


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Bounds of |difference of log probability| a token (natural logarithm), over all tokens of the probes."""

    mean: float
    largest: float


# Several times what right models showed (docs/engines.md has the figures); broken ones were far beyond.
TOLERANCES = {
    "float32": Tolerance(1e-4, 5e-3),
    "float16": Tolerance(1e-2, 0.3),
    "bfloat16": Tolerance(5e-2, 1.0),
    "gguf": Tolerance(0.3, 5.0),  # weights of 4 to 8 bits
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """What should be the reference in another guise. bounds: a key of TOLERANCES."""

    name: str
    engine: str
    model: ModelSpec
    bounds: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Distance to the reference. mean, largest: of the tokens' log probabilities, in nats. agreement: share of the
    probes whose greedy text is the same throughout. first: the earliest token, counted from 0, where one parts from it.
    """

    mean: float
    largest: float
    agreement: float
    first: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One candidate's result; `reason` is empty where it is the same."""

    name: str
    engine: str
    bounds: str
    gap: Gap | None
    verdict: Verdict
    reason: str
    model: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Certificate:
    """All of it. effect: how far the base is from the reference, which the adapter must have moved."""

    verdict: Verdict
    dtype: str
    probes: Mapping[str, Any]
    reference: Mapping[str, Any]
    base: Mapping[str, Any]
    effect: Gap
    findings: tuple[Finding, ...]
    tolerances: Mapping[str, Tolerance]
    versions: Mapping[str, str]
    platform: str

    @property
    def exit_code(self) -> int:
        """0 when every candidate is the same model."""
        return ExitCode.OK if self.verdict == "same" else ExitCode.WORSE


@dataclass(frozen=True, slots=True)
class Probes:
    """Prompts, and the reference's greedy continuations behind them: (ids, where the continuation begins)."""

    prompts: Sequence[Sequence[Message]]
    ids: Sequence[tuple[int, ...]]
    sequences: Sequence[tuple[Sequence[int], int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What every candidate is held against: the probes as the reference (wanted) and the base (unadapted) see them."""

    probes: Probes
    wanted: Sequence[Scored]
    unadapted: Sequence[Scored]

    @property
    def effect(self) -> Gap:
        """What the training changed at all."""
        return gap_of(self.wanted, self.unadapted)


def compare(
    reference: ModelSpec,
    candidates: Sequence[Candidate],
    prompts: Sequence[Sequence[Message]],
    *,
    dtype: str,
    max_tokens: int,
    base: ModelSpec | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Certificate:
    """Compare each candidate with `reference`. base: what it was tuned from; by default, what its adapter is on.

    options: of the engines, by name. Raises UserError for a reference without an adapter and without a base, or an
    engine that isn't installed; with exit code 14 when an engine fails.
    """
    if reference.adapter is None and base is None:
        raise UserError(
            f"{reference.name}: parity asks whether what was trained survived; name a run or an adapter, not a full "
            "model, whose base nobody knows"
        )
    for candidate in candidates:
        check_engine(candidate.engine)
    chosen = {
        name: {"dtype": dtype, **(options or {}).get(name, {})} for name in {REFERENCE, *(c.engine for c in candidates)}
    }
    base = base or ModelSpec(reference.path, None, "base")
    trained = f"{reference.adapter} on {reference.path}" if reference.adapter else f"{reference.path}"
    say(f"reference: {trained} ({REFERENCE}, {dtype})")
    with closing(scorer(REFERENCE, reference, chosen[REFERENCE])) as engine:
        probes = continued(engine, reference, prompts, max_tokens)
        if without := len(prompts) - len(probes.prompts):
            say(f"left out {without} of {len(prompts)} probes, which fill the model's context by themselves")
        wanted = engine.score(probes.sequences)
    say(f"base: {base.path}")
    with closing(scorer(REFERENCE, base, chosen[REFERENCE])) as engine:
        measured = Measured(probes, wanted, engine.score(probes.sequences))
    findings = []
    for candidate in candidates:
        say(f"{candidate.name}: {candidate.model.adapter or candidate.model.path} ({candidate.engine})")
        findings.append(_examine(candidate, measured, chosen[candidate.engine]))
    return _certificate(dtype, measured, reference, base, findings)


def _certificate(
    dtype: str, measured: Measured, reference: ModelSpec, base: ModelSpec, findings: Sequence[Finding]
) -> Certificate:
    probes, effect = measured.probes, measured.effect
    return Certificate(
        verdict=_verdict(effect, dtype, findings),
        dtype=dtype,
        probes={
            "n": len(probes.prompts),
            "tokens": sum(len(ids) - start for ids, start in probes.sequences),
            "prompts": short_hash(" ".join(map(prompt_hash, probes.ids))),
            "continuations": short_hash(" ".join(prompt_hash(ids) for ids, _ in probes.sequences)),
        },
        reference=_identity(reference),
        base=_identity(base),
        effect=effect,
        findings=tuple(findings),
        tolerances={name: TOLERANCES[name] for name in sorted({dtype, *(each.bounds for each in findings)})},
        versions=versions(),
        platform=platform.platform(),
    )


def to_json(certificate: Certificate) -> dict[str, Any]:
    """The certificate as JSON takes it: what is no number (spoiled weights give such) is null."""
    return dict(json.loads(json.dumps(asdict(certificate)), parse_constant=lambda name: None))


def write(certificate: Certificate, path: Path) -> None:
    """Write the certificate as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, to_json(certificate))


def scorer(engine: str, model: ModelSpec, options: Mapping[str, Any]) -> Scorer:
    """A loaded engine that tells how likely given tokens are. Raises UserError for one that can't."""
    generator = load_engine(engine, model, options)
    if not hasattr(generator, "score"):
        raise UserError(f"engine {engine!r} gives no log probabilities; parity needs transformers or vllm")
    return cast("Scorer", generator)


def continued(engine: Scorer, model: ModelSpec, prompts: Sequence[Sequence[Message]], max_tokens: int) -> Probes:
    """The prompts and their greedy continuations by REFERENCE; without those that leave none of the context for one."""
    from eval.engines.transformers import Transformers

    assert isinstance(engine, Transformers)  # REFERENCE
    sampling = Sampling(max_tokens, stop_token_ids=stop_token_ids(engine.tokenizer, model.path))
    rendered = zip(prompts, render_prompts(engine.tokenizer, prompts), strict=True)
    requests = [Request(str(number), tuple(ids), tuple(each)) for number, (each, ids) in enumerate(rendered)]
    asked = [each for each in requests if engine.room(each, sampling) > 0]
    if not asked:
        raise UserError(f"{model.name}: each of the {len(prompts)} probes fills the model's context by itself")
    found = zip(asked, engine.generate_ids([(each, 0) for each in asked], sampling), strict=True)
    sequences = [((*each.prompt_ids, *more), len(each.prompt_ids)) for each, more in found]
    return Probes([each.messages for each in asked], [each.prompt_ids for each in asked], sequences)


def gap_of(wanted: Sequence[Scored], found: Sequence[Scored]) -> Gap:
    """How far two views of the same tokens lie apart."""
    distances = [
        abs(one - other)
        for mine, theirs in zip(wanted, found, strict=True)
        for one, other in zip(mine.logprobs, theirs.logprobs, strict=True)
    ]
    partings = [each.best.index(False) for each in found if not all(each.best)]
    agreement = 1 - len(partings) / len(found)
    return Gap(sum(distances) / len(distances), max(distances), agreement, min(partings, default=None))


def _examine(candidate: Candidate, measured: Measured, options: Mapping[str, Any]) -> Finding:
    gap, probes = None, measured.probes
    if others := _rendered_otherwise(candidate.model, probes):
        reason = f"renders {others} of {len(probes.ids)} probes as other token ids: another tokenizer or chat template"
    else:
        with closing(scorer(candidate.engine, candidate.model, options)) as engine:
            found = engine.score(probes.sequences)
        gap, to_base = gap_of(measured.wanted, found), gap_of(measured.unadapted, found)
        reason = _complaint(gap, to_base, measured.effect, TOLERANCES[candidate.bounds])
    verdict: Verdict = "differs" if reason else "same"
    identity = _identity(candidate.model)
    return Finding(candidate.name, candidate.engine, candidate.bounds, gap, verdict, reason, identity)


def _rendered_otherwise(model: ModelSpec, probes: Probes) -> int:
    tokenizer = load_tokenizer(tokenizer_dir(model))
    if not tokenizer.chat_template:
        return len(probes.ids)
    rendered = map(tuple, render_prompts(tokenizer, probes.prompts))
    return sum(one != other for one, other in zip(rendered, probes.ids, strict=True))


def _complaint(gap: Gap, to_base: Gap, effect: Gap, bounds: Tolerance) -> str:
    """What is wrong with a candidate, or nothing. Comparisons are written so that NaN fails them."""
    near = gap.mean <= bounds.mean and gap.largest <= bounds.largest
    if near and gap.mean <= RELATIVE * effect.mean:
        return ""
    if to_base.mean <= min(bounds.mean, RELATIVE * effect.mean):
        return "answers as the base does: what was trained isn't in it"
    if near and effect.mean == 0:
        return "training changes nothing that its distance could be compared with"
    if near:
        return f"its distance is {gap.mean / effect.mean:.0%} of what training changes at all (at most {RELATIVE:.0%})"
    return f"beyond a mean of {bounds.mean:g} or a largest of {bounds.largest:g}"


def _verdict(effect: Gap, dtype: str, findings: Sequence[Finding]) -> Verdict:
    if not effect.mean > TOLERANCES[dtype].mean:
        return "training without effect"
    return "same" if all(each.verdict == "same" for each in findings) else "differs"


def _identity(model: ModelSpec) -> dict[str, Any]:
    """Where a model is, and hashes of all that makes it: weights and configs, adapter, chat template."""
    tokenizer = load_tokenizer(tokenizer_dir(model))
    return {
        "path": str(model.path),
        "weights": fingerprint(model.path, model.name),
        "adapter": model.adapter and str(model.adapter),
        "adapter_weights": model.adapter and fingerprint(model.adapter, model.name),
        "template": template_hash(tokenizer) if tokenizer.chat_template else None,
    }
