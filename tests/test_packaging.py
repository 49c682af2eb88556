"""What holds the flat layout together: nobody else owns our names, help stays light, and the locks are plain pins."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from ast import literal_eval
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import toolkit

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("toolkit", "tasks", "rewards", "eval")
HEAVY = ("torch", "transformers", "unsloth", "trl", "vllm", "datasets", "peft", "pandas", "starlette", "uvicorn")
LISTS = sorted((ROOT / "requirements").glob("[cg]pu.txt"))


def run_python(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter with `path`, then the repository, first on sys.path."""
    entries = [str(entry) for entry in (path, ROOT) if entry]
    prelude = f"import sys; sys.path[:0] = {entries!r}\n"
    return subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, cwd="/", check=False)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


@pytest.fixture(scope="module")
def ranges(project: dict[str, Any]) -> dict[str, Requirement]:
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, texts)}


def test_installed_version_is_the_source_version() -> None:
    assert version("reasoning-toolkit") == toolkit.__version__


SURFACE = {  # what `from NAME import *` gives: a person's task needs the last two, and whatever rewards it picks
    "toolkit": {"__version__"},
    "eval": set(),
    "tasks": set(),
    "rewards": set(),
    "tasks.base": {"SPLITS", "Ask", "Example", "Message", "Reward", "Split", "Task"},
    "rewards.core": {"Example", "Message", "Reward", "UserError"},
}


@pytest.mark.parametrize("name", SURFACE)
def test_a_package_offers_no_more_than_it_means_to(name: str) -> None:
    """And importing it imports no other module of ours, but what it offers."""
    ours = f"[each for each in sys.modules if each.split('.')[0] in {PACKAGES!r}]"
    done = run_python(f"space = {{}}; exec('from {name} import *', space); print(sorted(space)); print({ours})")
    assert done.returncode == 0, done.stderr
    offered, loaded = map(literal_eval, done.stdout.splitlines())
    assert set(offered) - {"__builtins__"} == SURFACE[name]
    assert set(loaded) <= {name, name.partition(".")[0], "rewards", "rewards.core"}


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_owns_our_names(name: str) -> None:
    assert set(packages_distributions().get(name, [])) <= {"reasoning-toolkit"}


@pytest.mark.parametrize("name", ["tasks", "rewards", "eval"])
@pytest.mark.parametrize("as_file", [True, False], ids=["module", "package"])
def test_foreign_sibling_is_refused(tmp_path: Path, name: str, as_file: bool) -> None:
    foreign = tmp_path / f"{name}.py" if as_file else tmp_path / name / "__init__.py"
    foreign.parent.mkdir(exist_ok=True)
    foreign.touch()
    done = run_python("import toolkit", tmp_path)
    assert done.returncode == 1
    assert f"ImportError: package '{name}' comes from {tmp_path}" in done.stderr


def test_foreign_sibling_is_named_by_its_distribution(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").touch()
    metadata = tmp_path / "celery_things-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: celery-things\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "top_level.txt").write_text("tasks\n", encoding="utf-8")
    assert "the installed distribution celery-things" in run_python("import toolkit", tmp_path).stderr


def test_missing_sibling_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toolkit").mkdir()
    (tmp_path / "toolkit" / "__init__.py").write_bytes((ROOT / "toolkit" / "__init__.py").read_bytes())
    # -S leaves out site-packages, where the editable install would supply the siblings, -E whatever PYTHONPATH holds.
    command = [sys.executable, "-S", "-E", "-c", "import toolkit"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "ImportError: package 'eval' is missing beside" in done.stderr


HELP = """
sys.argv[1:] = ["--help"]
try:
    toolkit.cli.main()
except SystemExit as exit:
    assert not exit.code
"""


@pytest.mark.parametrize("action", ["", HELP], ids=["import", "help"])
def test_help_loads_nothing_heavy(action: str) -> None:
    report = f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    done = run_python(f"import toolkit.cli\n{action}\n{report}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_both_locks_are_there() -> None:
    assert [path.name for path in LISTS] == ["cpu.txt", "gpu.txt"]


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_lock_holds_only_pins(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.+]+", line)] == []
    names = [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names)) > 200


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda path: path.name)
def test_requirements_name_no_address_or_place(path: Path) -> None:
    words = ("://", "file:", " @ ", "--index", "--extra-index", "--find-links", "/tmp", "/home", "/root")
    text = path.read_text(encoding="utf-8")
    assert [word for word in words if word in text] == []


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_lock_satisfies_the_ranges(path: Path, ranges: dict[str, Requirement]) -> None:
    pins = dict(line.split("==") for line in path.read_text(encoding="utf-8").splitlines() if "==" in line)
    outside = [f"{name}=={pins[name]}" for name in ranges.keys() & pins if pins[name] not in ranges[name].specifier]
    assert outside == []


@pytest.mark.parametrize(
    ("name", "pin"),
    [("torch", "2.11.0"), ("torch", "2.14.0"), ("torch", "2.14.1"), ("vllm", "0.24.0"), ("vllm", "0.33.0")],
)
def test_ranges_admit_the_stacks_seen_working(ranges: dict[str, Requirement], name: str, pin: str) -> None:
    assert pin in ranges[name].specifier
