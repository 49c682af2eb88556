"""What is exported: the adapter of a run, or an adapter's directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eval.files import read_json
from eval.trained import trained_task
from rewards.core import Message, UserError
from toolkit.config import load_recipe
from toolkit.data import probes
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.stages import trained_adapter

PROMPTS = 6  # that the check of an export asks


@dataclass(frozen=True, slots=True)
class ExportSource:
    """base: the reference that a person writes; base_dir: where it is. run: None for a bare adapter."""

    adapter: Path
    base: str
    base_dir: Path
    task: str | None
    run: Run | None = None

    def prompts(self) -> list[tuple[Message, ...]]:
        """Conversations to compare models on."""
        return probes(self.run.dir if self.run is not None else None, PROMPTS)


def export_source(path: Path) -> ExportSource:
    """The adapter that a run directory or an adapter directory holds. Raises UserError for anything else."""
    if (path / "recipe.yaml").is_file():
        run = Run(path, load_recipe(path / "recipe.yaml"))
        adapter, base = trained_adapter(run), run.recipe.model.reference
        return ExportSource(adapter, base, resolve_model(base).path, run.recipe.task, run)
    if not (path / "adapter_config.json").is_file():
        raise UserError(f"{path}: neither a run (recipe.yaml) nor an adapter (adapter_config.json)")
    resolved = resolve_model(str(path))
    base = read_json(path / "adapter_config.json", "is it an adapter?")["base_model_name_or_path"]
    return ExportSource(path, base, resolved.path, trained_task(path, "remove it"))
