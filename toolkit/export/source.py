"""What is exported: what a run trained, or the directory of an adapter or of a full model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eval.engines.base import ModelSpec
from eval.files import read_json
from eval.trained import trained_task
from rewards.core import Message, UserError
from toolkit.config import load_recipe
from toolkit.data import probes
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.stages import trained_model

PROMPTS = 6  # that the check of an export asks


@dataclass(frozen=True, slots=True)
class ExportSource:
    """model: an adapter on its base, or all weights. base: what was tuned, as a person writes it. run: None for a
    bare directory.
    """

    model: ModelSpec
    base: str
    task: str | None
    run: Run | None = None

    def prompts(self) -> list[tuple[Message, ...]]:
        """Conversations to compare models on."""
        return probes(self.run.dir if self.run is not None else None, PROMPTS)


def export_source(path: Path) -> ExportSource:
    """What a run directory, an adapter's or a full model's holds. Raises UserError for anything else."""
    if (path / "recipe.yaml").is_file():
        run = Run(path, load_recipe(path / "recipe.yaml"))
        return ExportSource(trained_model(run), run.recipe.model.reference, run.recipe.task, run)
    task = trained_task(path, "remove it")
    if (path / "adapter_config.json").is_file():
        resolved = resolve_model(str(path))  # says what an adapter lacks, its base's name too
        base = read_json(path / "adapter_config.json", "is it an adapter?")["base_model_name_or_path"]
        return ExportSource(ModelSpec(resolved.path, path, "trained"), base, task)
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path}: neither a run (recipe.yaml) nor an adapter (adapter_config.json) nor a model (config.json)"
        )
    return ExportSource(ModelSpec(resolve_model(str(path)).path, None, "trained"), str(path.resolve()), task)
