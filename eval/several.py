"""Several models on the same examples: those of one base share one vLLM engine, the rest follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from eval.engines.base import Generator, ModelSpec
from eval.engines.registry import EngineLoader
from eval.runner import evaluate
from eval.summary import Summary
from rewards.core import Example, UserError
from tasks.base import Task


def evaluate_several(
    task: Task,
    examples: Sequence[Example],
    models: Sequence[ModelSpec],
    *,
    engine: str,
    out_dir: Path,
    options: Mapping[str, Any],
    **how: Any,
) -> dict[str, Summary]:
    """Evaluate each model into out_dir/NAME; give the summaries by name. how: the rest of `eval.runner.evaluate`.

    Raises UserError as that does, and for two models of one name.
    """
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise UserError(f"two models have the same name ({', '.join(names)}): give each one, --model NAME=MODEL")
    found = {}
    for base in dict.fromkeys(model.path for model in models):
        group = [model for model in models if model.path == base]
        with shared_engine(engine, group, {"log_file": out_dir / "vllm.log", **options}) as load:
            for model in group:
                found[model.name] = evaluate(
                    task,
                    examples,
                    model=model,
                    engine=engine,
                    out_dir=out_dir / model.name,
                    options=options,
                    load=load,
                    **how,
                )
    return {name: found[name] for name in names}


@contextmanager
def shared_engine(engine: str, models: Sequence[ModelSpec], shared: Mapping[str, Any]) -> Iterator[EngineLoader | None]:
    """A loader for models of one base: one vLLM engine, started with `shared` options when the first is asked.

    None for what shares nothing.
    """
    if engine != "vllm" or len(models) == 1:
        yield None
        return
    from eval.engines.vllm import Engine, load_shared

    running: list[Engine] = []
    with ExitStack() as stack:

        def load(name: str, model: ModelSpec, options: Mapping[str, Any]) -> Generator:
            if not running:
                running.append(stack.enter_context(closing(load_shared(models, shared))))
            return running[0].serve(model)

        yield load
