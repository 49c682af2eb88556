"""ARCHITECTURE.md names what is there, and what has to be named in two places is named in both."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from eval.engines.registry import ENGINES
from tests.docs_blocks import ROOT
from toolkit.commands.shared import ChatTemplate
from toolkit.config import ModelConfig
from toolkit.config.sections import Engine
from toolkit.templates import template_names
from toolkit.training.backends import BACKENDS
from toolkit.training.backends import PACKAGES as NEEDED

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = ("toolkit", "eval", "tasks", "rewards")


def named() -> set[Path]:
    """Every file and folder on the page. In a cell a bare name follows one of the same folder."""
    found = set()
    for cell in re.split(r"[|\n]", PAGE):
        folder = ROOT
        for text in re.findall(r"`([\w./]+(?:/|\.\w+))`", cell):
            path = ROOT / text if (ROOT / text).exists() else folder / text
            folder = path.parent
            found.add(path)
    return found


def test_every_path_is_there() -> None:
    paths = named()
    assert len(paths) > 100
    assert sorted(str(path) for path in paths if not path.exists()) == []


def test_every_module_is_named() -> None:
    """Those of the packages themselves, and their folders."""
    inside = [path for name in PACKAGES for path in (ROOT / name).iterdir() if not path.name.startswith("_")]
    modules = [path for path in inside if path.suffix == ".py" or (path / "__init__.py").is_file()]
    covered = named() | {parent for path in named() for parent in path.parents}
    assert sorted(str(path) for path in modules if path not in covered) == []


def test_the_page_says_what_may_import_what() -> None:
    layers = re.search(r'^layers = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert layers is not None
    assert f"**{layers[1].replace(chr(34) + ', ' + chr(34), ' -> ')}**" in PAGE


def test_it_is_one_page() -> None:
    assert len(PAGE.splitlines()) <= 100


def rewards() -> list[str]:
    """Every reward: a public function of (completion, example) under rewards/."""
    found = []
    for path in sorted((ROOT / "rewards").glob("[a-z]*.py")):
        module = import_module(f"rewards.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            parameters = list(inspect.signature(function).parameters)
            if function.__module__ == module.__name__ and parameters[:2] == ["completion", "example"]:
                found.append(name)
    return found


@pytest.mark.parametrize("name", rewards())
def test_every_reward_is_in_the_table(name: str) -> None:
    table = re.findall(r"^\| (`rewards\..+?) \|", (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8"), re.M)
    assert re.search(rf"[:`]{name}`", "\n".join(table))


def test_a_recipe_takes_every_engine_and_backend() -> None:
    """But the parsers, which answer no run's questions."""
    assert set(get_args(Engine)) == {name for name in ENGINES if not name.startswith("peer:")}
    assert set(get_args(ModelConfig.model_fields["backend"].annotation)) == set(BACKENDS) == set(NEEDED)


def test_every_chat_template_is_offered() -> None:
    option = get_args(ChatTemplate)[1].help
    key = ModelConfig.model_fields["chat_template"].description
    page = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    for text in (option, key, page):
        assert [name for name in template_names() if name not in (text or "")] == []
