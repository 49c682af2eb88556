"""toolkit parity: is what was merged, exported or served the model that was trained?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.progress import quiet
from rewards.core import Message, UserError
from toolkit.commands.shared import Json, print_json, say

if TYPE_CHECKING:
    from eval.engines.base import ModelSpec
    from eval.parity import Candidate, Certificate
    from eval.tables import Grid

app = typer.Typer()


@app.command()
def parity(
    run: Annotated[str, typer.Argument(help="a run directory, or an adapter")],
    candidate: Annotated[
        list[str] | None, typer.Option(metavar="NAME=MODEL", help="a model that should be the same; in a run: one more")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="transformers, vllm; default: both where vllm is installed")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, float16 or bfloat16: of the computation, for all alike")
    ] = "float32",
    n: Annotated[int, typer.Option(min=1, help="probes: prompts of the run's test file, or of a fixed list")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="tokens of each greedy continuation")] = 64,
    out: Annotated[Path | None, typer.Option(help="the certificate; default in a run: RUN/parity.json")] = None,
    as_json: Json = False,
) -> None:
    """Is it the same model? Compares what was trained, in transformers, with vLLM, merged weights and GGUF files.

    Exits with 0 same, 10 differs or the training has no effect, 14 an engine failed.
    """
    from eval.parity import TOLERANCES, to_json, write
    from eval.tables import show
    from toolkit.data import probes

    if dtype not in TOLERANCES or dtype == "gguf":
        raise UserError(f"--dtype {dtype!r}: choose float32, float16 or bfloat16")
    named = Path(run).expanduser()
    directory = named if (named / "recipe.yaml").is_file() else None
    reference, base = _of_run(directory) if directory is not None else (_reference(run), None)
    candidates = _candidates(directory, reference, candidate or [], _engines(engine), dtype)
    if not candidates:
        raise UserError(
            f"{run}: nothing to compare the trained model with; merge it (toolkit run), or give --candidate"
        )
    certificate = _certificate(reference, base, candidates, probes(directory, n), dtype, max_tokens)
    if as_json:
        print_json(to_json(certificate))
    else:
        show(grid_of(certificate))
    target = out or (directory and directory / "parity.json")
    if target is not None:
        write(certificate, target)
        say(f"certificate: {target}")
    raise typer.Exit(certificate.exit_code)


def _certificate(
    reference: ModelSpec,
    base: ModelSpec | None,
    candidates: list[Candidate],
    prompts: list[tuple[Message, ...]],
    dtype: str,
    max_tokens: int,
) -> Certificate:
    """compare, with what the libraries print in a log."""
    from eval.parity import compare
    from toolkit.models import cache_dir, context_of
    from toolkit.quiet import output_to

    length = min(2048, context_of(reference.path) or 2048)  # room for any probe, if the model takes so many tokens
    with output_to(cache_dir() / "parity.log") as terminal:
        return compare(
            reference,
            candidates,
            prompts,
            dtype=dtype,
            max_tokens=max_tokens,
            base=base,
            options={"vllm": {"max_model_len": length, "log_file": cache_dir() / "parity-vllm.log"}},
            say=lambda line: None if quiet() else print(line, file=terminal, flush=True),
        )


def _of_run(directory: Path) -> tuple[ModelSpec, ModelSpec]:
    """What a run trained, and what from."""
    from toolkit.config import load_recipe
    from toolkit.rundir import Run
    from toolkit.stages import model_of, trained_model

    run = Run(directory, load_recipe(directory / "recipe.yaml"))
    return trained_model(run), model_of(run, "base")


def _reference(text: str) -> ModelSpec:
    from eval.engines.base import ModelSpec
    from toolkit.models import resolve_model

    resolved = resolve_model(text)
    return ModelSpec(resolved.path, resolved.adapter, text)


def _engines(chosen: list[str] | None) -> list[str]:
    from importlib.util import find_spec

    known = ["transformers", "vllm"]
    for name in chosen or []:
        if name not in known:
            raise UserError(f"--engine {name!r}: parity needs log probabilities; choose one of: {', '.join(known)}")
    return chosen or [name for name in known if name == "transformers" or find_spec(name) is not None]


def _candidates(
    run: Path | None, reference: ModelSpec, named: list[str], engines: list[str], dtype: str
) -> list[Candidate]:
    from eval.parity import REFERENCE, Candidate

    models: dict[str, str] = {}
    if run is not None and (run / "model" / "config.json").is_file():
        models["merged"] = str(run / "model")
    for gguf in sorted((run / "export").glob("*.gguf")) if run is not None else ():
        models[gguf.name] = str(gguf)
    for text in named:
        name, equals, model = text.partition("=")
        if not equals or not name or not model:
            raise UserError(f"--candidate {text!r}: write NAME=MODEL")
        models[name] = model
    itself = "adapter" if reference.adapter else "trained"
    found = [Candidate(itself, engine, reference, dtype) for engine in engines if engine != REFERENCE]
    for name, text in models.items():
        spec, bounds = _reference(text), "gguf" if text.endswith(".gguf") else dtype
        found += [Candidate(name, engine, spec, bounds) for engine in engines]
    return found


def grid_of(certificate: Certificate) -> Grid:
    """The certificate as a table."""
    from eval.shown import percent
    from eval.tables import Grid

    def row(name: str, engine: str, gap: Any, verdict: str) -> tuple[str, ...]:
        if gap is None:
            return (name, engine, "-", "-", "-", "-", verdict)
        first = "never" if gap.first is None else f"token {gap.first}"
        return (name, engine, f"{gap.mean:.1e}", f"{gap.largest:.1e}", percent(gap.agreement, 0), first, verdict)

    rows = [row("base (canary)", "transformers", certificate.effect, "must differ")]
    rows += [row(each.name, each.engine, each.gap, each.verdict) for each in certificate.findings]
    bounds = "; ".join(
        f"{name}: mean {some.mean:g}, largest {some.largest:g}" for name, some in certificate.tolerances.items()
    )
    lines = [f"{each.name} ({each.engine}): {each.reason}" for each in certificate.findings if each.reason]
    return Grid(
        f"the trained model in transformers, {certificate.dtype}, {certificate.probes['n']} probes, "
        f"{certificate.probes['tokens']} tokens",
        ("model", "engine", "mean |Δlogp|", "largest", "greedy agrees", "first parts", "verdict"),
        tuple(rows),
        (*lines, f"tolerances: {bounds}", f"verdict: {certificate.verdict}"),
    )
