"""From the one text that `--task` takes to a Task: a built-in name, a YAML or Python file, or an installed plugin."""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from rewards.core import UserError
from tasks.base import Task
from tasks.declared import declared_task, files_of

PLUGIN_GROUP = "reasoning_toolkit.tasks"

BUILTIN: dict[str, str] = {
    "datetime_extraction": "tasks.datetime_extraction:TASK",
    "datetime_extraction_plain": "tasks.datetime_extraction:PLAIN",
    "order_extraction": "tasks.order_extraction:TASK",
    "russian_arithmetic": "tasks.russian_arithmetic:TASK",
}
# Here and not in the tasks, so that listing the names imports none of them.
_DESCRIPTIONS: dict[str, str] = {
    "datetime_extraction": "a free answer about time («Послезавтра в 12») to one moment, or none",
    "datetime_extraction_plain": "the same under a short prompt: learnable on a processor in minutes",
    "order_extraction": "a customer's message in Russian to an order in JSON; a YAML file over a CSV, to copy",
    "russian_arithmetic": "a story in Russian to one number, with the steps; procedural and on one page, to copy",
}


def task_names() -> list[tuple[str, str]]:
    """(name, one-line description) of every built-in task, then of every plugin. Imports none of them."""
    plugins = [(name, f"plugin, from {_origin(point)}") for name, point in sorted(_plugins().items())]
    return [(name, _DESCRIPTIONS[name]) for name in BUILTIN] + plugins


def load_task(ref: str) -> Task:
    """The task that `ref` names: a built-in name, a .yaml file, a .py file that exposes TASK, or a plugin.

    Raises UserError for anything else, and for a file or plugin that doesn't yield a Task.
    """
    if ref.endswith((".yaml", ".yml")):
        return declared_task(Path(ref))
    if ref.endswith(".py"):
        return _from_file(Path(ref))
    plugins = _plugins()
    if ref in BUILTIN:
        module, _, attribute = BUILTIN[ref].partition(":")
        return _as_task(getattr(importlib.import_module(module), attribute), BUILTIN[ref])
    if ref in plugins:
        return _from_plugin(plugins[ref])
    raise UserError(_unknown(ref, [*BUILTIN, *sorted(plugins)]))


def task_files(ref: str) -> list[Path]:
    """The files that the task `ref` is read from, a table's too; none of a built-in task or a plugin.

    What a .py file opens by itself isn't known. Raises UserError for a YAML file that isn't a task's.
    """
    path = Path(ref)
    if ref.endswith((".yaml", ".yml")) and path.is_file():
        return files_of(path)
    return [path] if ref.endswith(".py") else []


def _unknown(ref: str, allowed: list[str]) -> str:
    near = get_close_matches(ref, allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    names = ", ".join(allowed)
    return (
        f"unknown task {ref!r}: {hint}Allowed: {names}, or the path of a .py file that exposes TASK or of a .yaml file"
    )


def _as_task(found: object, where: str) -> Task:
    if not isinstance(found, Task):
        raise UserError(f"{where} must be a tasks.base.Task, got {type(found).__name__}")
    return found


def _from_file(path: Path) -> Task:
    if not path.is_file():
        raise UserError(f"{path}: no such file; --task takes a task's name or the path of a .py file that exposes TASK")
    module = _execute(path.resolve(), shown=path)
    if not hasattr(module, "TASK"):
        raise UserError(f"{path}: no TASK in it; end the file with TASK = Task(name=..., ...), from tasks.base")
    return _as_task(module.TASK, f"{path}: TASK")


def _execute(path: Path, shown: Path) -> ModuleType:
    # The name can't collide with a real module; dataclasses look their module up in sys.modules while it executes.
    name = f"_task_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None  # a .py suffix always has a loader
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is a stranger's: it may fail in any way
        del sys.modules[name]
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shown}:{_line(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _line(error: BaseException, path: Path) -> int:
    """The line of the file at `path` where `error` arose: a mistake in what it imports is shown at the import."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == str(path)), 1)


def _plugins() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=PLUGIN_GROUP):
        if point.name in BUILTIN:
            raise UserError(
                f"the plugin {_origin(point)} registers a task {point.name!r}, a built-in name; "
                "rename its entry point or uninstall it"
            )
        if point.name in found and found[point.name].value != point.value:
            raise UserError(
                f"two plugins register a task {point.name!r}: {_origin(found[point.name])} and {_origin(point)}; "
                "rename one entry point or uninstall one"
            )
        found[point.name] = point
    return found


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _from_plugin(point: EntryPoint) -> Task:
    where = f"task {point.name!r} of the plugin {_origin(point)} ({point.value})"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # importing a stranger's package may fail in any way
        raise UserError(f"{where} can't be loaded: {type(error).__name__}: {error}") from error
    return _as_task(found, where)
