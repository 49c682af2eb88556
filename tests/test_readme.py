"""README.md: what it shows is true; README.ru.md says the same. Its fast commands are typed in test_stranger.py."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs_blocks import ROOT, blocks

PATHS = (ROOT / "README.md", ROOT / "README.ru.md")
README, RUSSIAN = (path.read_text(encoding="utf-8") for path in PATHS)
BLOCKS = list(blocks(PATHS[0]))


def write_files(folder: Path) -> None:
    """The files whose content the README shows."""
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text("\n".join([*block.lines, ""]), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a person has who types the commands: a clone, and the README's files in it."""
    clone = tmp_path_factory.mktemp("readme")
    for name in ("configs", "tasks", "examples"):
        (clone / name).symlink_to(ROOT / name)
    write_files(clone)
    return clone


def slow() -> list[Any]:
    marks = [pytest.mark.slow] if find_spec("unsloth") else [pytest.mark.skip(reason="needs the training packages")]
    commands = [command for block in BLOCKS if block.directive == "slow" for command in block.commands()]
    return [pytest.param(command, marks=marks) for command in commands]


@pytest.mark.parametrize("command", slow())
def test_each_slow_command_works(command: str, folder: Path) -> None:
    """Those that want a tokenizer or weights, in the README's order."""
    program, *arguments = shlex.split(command)
    toolkit = Path(sys.executable).with_name(program)
    done = subprocess.run([toolkit, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr


def test_what_is_not_run_has_a_reason_and_its_tests() -> None:
    left_out = [block for block in BLOCKS if block.commands() and block.directive not in ("", "slow")]
    assert len(left_out) == 5
    for block in left_out:
        names = re.findall(r"tests/test_\w+\.py", block.directive)
        assert names, block.place
        assert [name for name in names if not (ROOT / name).is_file()] == [], block.place


def test_make_has_the_targets() -> None:
    commands = [command for block in BLOCKS for command in block.commands()]
    named = {command.split()[1] for command in commands if command.startswith("make ")}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "install"} == named <= targets


def test_the_demo_output_is_of_the_recipe_that_ships() -> None:
    recipe = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    assert f"{recipe['task']}: {recipe['data']['test']} held-out examples" in README
    assert f"from {recipe['data']['sft']} examples" in README.replace("\n", " ")


def test_the_table_of_results_is_the_demos_output() -> None:
    """What is in the demo's column stands in the demo's output, but for the constant answer and what isn't measured."""
    output = dict(re.findall(r"^(base|SFT|SFT\+GRPO) +(\d+\.\d%)", README, re.MULTILINE))
    column = re.findall(r"^\| [^|]+ \| (\d+\.\d%) \|", part(README, "results"), re.MULTILINE)
    assert column[:-1] == [output["base"], output["SFT"], output["SFT+GRPO"]]


def part(text: str, name: str) -> str:
    """What stands between the comments <!-- name --> and <!-- /name -->."""
    return text.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]


def test_the_figures_of_the_gpu_are_in_the_benchmarks() -> None:
    """Or, of the parsers, in the task's data card."""
    sources = [ROOT / "docs" / "benchmarks.md", ROOT / "tasks" / "datetime_extraction" / "README.md"]
    known = set(numbers("".join(path.read_text(encoding="utf-8") for path in sources)))
    results, gpu = (re.findall(r"^\|.+\|$", text, re.M) for text in (part(README, "results"), section("On a GPU")))
    gpu += [row.split("|")[-2] for row in results]
    shown = set(numbers("\n".join(gpu)))
    assert {"99.5", "34.9", "392318", "149.3"} <= shown
    assert shown - known == set()


def section(heading: str) -> str:
    """A section of the README."""
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def numbers(text: str) -> list[str]:
    """The numbers of a text, thousands without their separators."""
    return re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d)[,\u00a0](?=\d{3}(?!\d))", "", text))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_link_and_picture_is_there(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert {"docs/report.png", "docs/ui.png"} <= set(targets)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_page_of_the_documentation_is_linked() -> None:
    pages = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")} - {"docs/index.md"}
    assert pages - set(re.findall(r"\]\(([^)#]+)", README)) == set()


def sections(text: str) -> list[str]:
    """A README cut at its headings."""
    return re.split(r"^#+ .+$", without_code(text), flags=re.MULTILINE)


def without_code(text: str) -> str:
    """The prose and the tables."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_both_languages_have_the_same_code() -> None:
    """Commands, outputs and files, in one order, and the same said of how they are tested."""
    shown = [[(block.language, block.lines, block.directive) for block in blocks(path)] for path in PATHS]
    assert shown[0] == shown[1]


def test_both_languages_have_the_same_headings() -> None:
    levels = [re.findall(r"^(#+) ", without_code(text), re.MULTILINE) for text in (README, RUSSIAN)]
    assert levels[0] == levels[1]
    assert len(levels[0]) > 8


@pytest.mark.parametrize("what", ["tables", "numbers", "links", "names"])
def test_both_languages_say_the_same_in_each_section(what: str) -> None:
    """Tables of the same shape; the same numbers, links and `names`, in whatever order a language puts them."""
    readers: dict[str, Callable[[str], list[Any]]] = {
        "tables": lambda text: [line.count("|") for line in text.splitlines() if line.startswith("|")],
        "numbers": lambda text: sorted(numbers(re.sub(r"<!--.*?-->|`[^`]+`|\]\([^)]*\)", "", text))),
        "links": lambda text: sorted(re.findall(r"\]\(([^)]+)\)", text)),
        "names": lambda text: sorted(re.findall(r"`([^`]+)`", text)),
    }
    read = readers[what]
    of_english, of_russian = ([read(each) for each in sections(text)] for text in (README, RUSSIAN))
    if what == "links":  # each links to the other
        of_english[1].remove("README.ru.md")
        of_russian[1].remove("README.md")
    assert of_english == of_russian
    assert sum(map(len, of_english)) > 10
