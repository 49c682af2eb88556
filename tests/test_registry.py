from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.core import UserError
from tasks.base import Task
from tasks.registry import BUILTIN, load_task, task_names

ROOT = Path(__file__).resolve().parents[1]
TASK_FILE = """\
from __future__ import annotations
from dataclasses import dataclass
from rewards.formats import tag_format
from tasks.base import Task

@dataclass
class Settings:
    n: int = 1

TASK = Task("mine", "1", lambda split, n, seed: iter(()), {"form": (tag_format, 1.0)}, tag_format)
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def install(site: Path, entry: str, package: str = "my-plugin", code: str | None = None) -> None:
    """What pip leaves behind for a distribution with one entry point in our group, and its module if there is code."""
    info = site / f"{package.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True)
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    write(info / "entry_points.txt", f"[reasoning_toolkit.tasks]\n{entry}\n")
    if code is not None:
        write(site / f"{package.replace('-', '_')}.py", code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_plugin", "other_plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_name(name: str) -> None:
    assert load_task(name).name == name


def test_every_built_in_task_is_described_in_a_line() -> None:
    names = task_names()
    assert [name for name, _ in names][: len(BUILTIN)] == list(BUILTIN)
    assert all(text.strip() and "\n" not in text for _, text in names)


def test_listing_imports_no_task() -> None:
    code = "import sys, tasks.registry as r; r.task_names(); sys.exit('tasks.datetime_extraction' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("datetime_extration", "did you mean 'datetime_extraction'?"),
        ("datetime-extraction-plain", "did you mean 'datetime_extraction_plain'?"),
        (
            "zzz",
            f"unknown task 'zzz': Allowed: {', '.join(BUILTIN)}, or the path",
        ),
        ("", "unknown task ''"),
        ("tasks.datetime_extraction:TASK", "did you mean 'datetime_extraction'?"),
        ("mine.yaml", "mine.yaml: no such file"),
        ("tasks/mine.yml", "tasks/mine.yml: no such file"),
        ("nowhere/mine.py", "nowhere/mine.py: no such file"),
    ],
)
def test_a_name_that_is_none(ref: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        load_task(ref)
    assert "\n" not in str(caught.value)


def test_a_python_file(tmp_path: Path) -> None:
    assert load_task(write(tmp_path / "mine.py", TASK_FILE)).name == "mine"


def test_a_python_file_may_have_the_name_of_a_module(tmp_path: Path) -> None:
    before = sys.modules["subprocess"]
    assert load_task(write(tmp_path / "subprocess.py", TASK_FILE)).name == "mine"
    assert sys.modules["subprocess"] is before


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", TASK_FILE)
    assert load_task(path).name == "mine"
    write(tmp_path / "mine.py", TASK_FILE.replace('"mine"', '"another"'))
    assert load_task(path).name == "another"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").mkdir()
    with pytest.raises(UserError, match="no such file"):
        load_task(str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", r"mine\.py: no TASK in it"),
        ("TASK = {'name': 'mine'}\n", r"mine\.py: TASK must be a tasks\.base\.Task, got dict"),
        ("x = 1\n\ndef f(:\n", r"mine\.py:3: SyntaxError: "),
        ("x = 1\n\nraise ValueError('boo')\n", r"mine\.py:3: ValueError: boo"),
        ("import json\njson.loads('{')\n", r"mine\.py:2: JSONDecodeError: "),
        ("def f():\n    return 1 / 0\n\nf()\n", r"mine\.py:2: ZeroDivisionError: "),
        ("import no_such_package\n", r"mine\.py:1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("import sys\nsys.exit(3)\n", r"mine\.py:2: SystemExit: 3"),
        (
            "from rewards.core import UserError\nraise UserError('data.csv: no such file')\n",
            r"^data\.csv: no such file$",
        ),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_task(write(tmp_path / "mine.py", text))


def test_a_plugin(site: Path) -> None:
    install(site, "mine = my_plugin:TASK", code=TASK_FILE)
    assert ("mine", "plugin, from my-plugin 1.5") in task_names()
    assert "my_plugin" not in sys.modules
    assert isinstance(load_task("mine"), Task)
    with pytest.raises(UserError, match=r"did you mean 'mine'\? Allowed: datetime_extraction, .*, mine, or"):
        load_task("mime")


def test_a_plugin_may_not_take_a_built_in_name(site: Path) -> None:
    install(site, "datetime_extraction = my_plugin:TASK", code=TASK_FILE)
    with pytest.raises(UserError, match=r"my-plugin 1\.5 registers a task 'datetime_extraction', a built-in name"):
        load_task("datetime_extraction")


def test_two_plugins_may_not_share_a_name(site: Path) -> None:
    install(site, "mine = my_plugin:TASK", code=TASK_FILE)
    install(site, "mine = other_plugin:TASK", "other-plugin", TASK_FILE)
    with pytest.raises(UserError, match=r"two plugins register a task 'mine': (my|other)-plugin 1\.5 and"):
        task_names()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "TASK = 5\n",
            r"task 'mine' of the plugin my-plugin 1\.5 \(my_plugin:TASK\) must be a tasks\.base\.Task, got int",
        ),
        ("", r"can't be loaded: AttributeError: "),
        ("import no_such_package\n", r"can't be loaded: ModuleNotFoundError: "),
        ("import sys\nsys.exit(0)\n", r"can't be loaded: SystemExit: 0"),
        (None, r"can't be loaded: ModuleNotFoundError: No module named 'my_plugin'"),
    ],
)
def test_a_broken_plugin_is_named(site: Path, code: str | None, says: str) -> None:
    install(site, "mine = my_plugin:TASK", code=code)
    with pytest.raises(UserError, match=says):
        load_task("mine")
    assert load_task("datetime_extraction").name == "datetime_extraction"
