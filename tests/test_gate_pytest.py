"""The pytest plugin, in pytests of their own, as its users run it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from eval.gating.scores import write_baseline
from rewards.core import Example
from tasks.base import Task
from tests.scripted import evaluate_script

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
NON_INFERIOR = '[[gate]]\nkind = "non_inferior"\nmargin = 0.02\n'
TEST = "def test_model(model_gate):\n    model_gate.check({})\n"


def run(directory: Path, wrong: set[int]) -> Path:
    """Evaluate a scripted model on 300 examples whose gold is "yes"; it says "no" to those named."""
    examples = [Example(f"e{i}", ({"role": "user", "content": str(i)},), ("yes",)) for i in range(300)]
    task = Task("yes", "1", lambda split, n, seed: iter(()), {}, lambda text, example: float(text in example.answers))
    said = ["no" if i in wrong else "yes" for i in range(300)]
    return evaluate_script(directory, task, examples, said)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with a baseline, a good, a bad and an undecided run, and gates."""
    write_baseline(run(tmp_path / "base", set()), tmp_path / "baseline.json")
    run(tmp_path / "good", set())
    run(tmp_path / "bad", set(range(0, 300, 8)))
    run(tmp_path / "unsure", {0, 1, 2})
    (tmp_path / "gates.toml").write_text(NON_INFERIOR, encoding="utf-8")
    return tmp_path


def pytest_of(folder: Path, test: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output. The plugin comes through its entry point: of the installed distribution, and of one beside
    the test, in case that the installed one is older.
    """
    (folder / "test_it.py").write_text(test, encoding="utf-8")
    probe = folder / "site" / "gate_probe-1.dist-info"
    probe.mkdir(parents=True, exist_ok=True)
    (probe / "METADATA").write_text("Metadata-Version: 2.1\nName: gate-probe\nVersion: 1\n", encoding="utf-8")
    lines = "".join(f"{name} = {value}\n" for name, value in PLUGINS.items())
    (probe / "entry_points.txt").write_text("[pytest11]\n" + lines, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *arguments, "test_it.py"]
    path = os.pathsep.join(filter(None, [str(ROOT), str(probe.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout + done.stderr


MANY = """\
import pytest

PATHS = {"baseline": "baseline.json"}


def test_good(model_gate):
    assert model_gate.check("gates.toml", run="good", **PATHS).exit_code == 0


@pytest.mark.parametrize("name", ["bad", "unsure", "nowhere"])
def test_of(model_gate, name):
    model_gate.check("gates.toml", run=name, **PATHS)


def test_bad_file(model_gate):
    model_gate.check("gates.tml", run="good", **PATHS)
"""


def test_each_outcome_is_a_tests_outcome(suite: Path) -> None:
    code, text = pytest_of(suite, MANY)
    assert code == 1
    assert "4 failed, 1 passed" in text
    assert "model gate: fail" in text
    assert "worse on e0, e8, e16" in text
    assert "model gate: inconclusive" in text
    assert "model gate: infrastructure" in text
    assert "model_gate: gates.tml: can't be read: No such file or directory; it holds the claims" in text
    assert "Traceback" not in text
    assert "verdicts.py" not in text


def test_inconclusive_is_skipped_when_the_file_or_the_option_says_so(suite: Path) -> None:
    code, text = pytest_of(suite, MANY, "--model-inconclusive=skip")
    assert "3 failed, 1 passed, 1 skipped" in text
    (suite / "gates.toml").write_text('inconclusive = "skip"\n' + NON_INFERIOR, encoding="utf-8")
    code, text = pytest_of(suite, MANY, "-k", "unsure or good")
    assert code == 0
    assert "1 passed, 1 skipped" in text


def test_paths_come_from_options_and_the_ini_file(suite: Path) -> None:
    (suite / "pytest.ini").write_text("[pytest]\nmodel_gates = gates.toml\nmodel_baseline = baseline.json\n")
    code, text = pytest_of(suite, TEST.format(""), "--model-run", "bad")
    assert code == 1
    assert "model gate: fail" in text
    code, text = pytest_of(suite, TEST.format(""))
    assert code == 1
    assert "model_gate: no run: pass run=…, --model-run or the ini key model_run" in text


def test_unused_it_costs_and_changes_nothing(suite: Path) -> None:
    """No module beyond the plugin's own, and scipy and numpy not at all."""
    test = """\
        import sys

        def test_nothing():
            ours = sorted(name for name in sys.modules if name.split(".")[0] in {"eval", "toolkit", "rewards", "tasks"})
            assert ours == ["eval", "eval.pytest_plugin"]
            assert not {"numpy", "scipy", "rich"} & set(sys.modules)
    """
    code, text = pytest_of(suite, textwrap.dedent(test), "-p", "no:hypothesispytest", "-p", "no:timeout")
    assert code == 0, text
