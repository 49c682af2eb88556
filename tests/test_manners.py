"""How the command line behaves towards people, pipes and programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eval.progress import QUIET
from rewards.core import Example
from tasks.base import Task
from tests.commands import Toolkit
from tests.scripted import evaluate_script
from toolkit.cli import command, verbs_of

ROOT = Path(__file__).resolve().parents[1]
COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38;[0-9;]+)[0-9;]*m")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
VERBS = dict(verbs_of(command()))


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """--quiet leaves its mark in the environment, for the processes that a command starts."""
    monkeypatch.setenv(QUIET, "")


@pytest.fixture
def evaluations(tmp_path: Path) -> tuple[Path, Path]:
    """Two evaluations of twenty examples: one all wrong, one all right."""

    def exact(completion: str, example: Example) -> float:
        return float("yes" in completion)

    examples = [Example(f"e{i}", ({"role": "user", "content": str(i)},), ("yes",), group=str(i)) for i in range(20)]
    task = Task("yes", "1", lambda split, n, seed: iter(examples[:n]), {"exact": (exact, 1.0)}, exact)
    made = [evaluate_script(tmp_path / said, task, examples, [said] * 20) for said in ("no", "yes")]
    return made[0], made[1]


def as_program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a shell does, by the name of the console script."""
    command_line = [str(Path(sys.executable).with_name("toolkit")), *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command_line, env=env, capture_output=True, text=True, check=False)


def in_terminal(*arguments: str, **environment: str) -> str:
    """What a terminal of 80 columns gets."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "PYTHONPATH": str(ROOT), **environment}
    with subprocess.Popen(
        [sys.executable, "-m", "toolkit.cli", *arguments], stdout=theirs, stderr=theirs, env=env, close_fds=True
    ):
        os.close(theirs)
        shown = b""
        while True:
            try:
                got = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not got:
                break
            shown += got
    os.close(ours)
    return shown.decode()


def test_without_a_verb_it_shows_the_road(toolkit: Toolkit) -> None:
    done = toolkit()
    assert (done.code, done.err) == (0, "")
    for step in ("task check", "data inspect", "sft", "grpo", "eval", "compare", "report", "serve"):
        assert step in done.out
    steps = re.findall(r"^  toolkit (.+?)  ", done.out, re.MULTILINE)
    told = {verb.split()[0] for step in [*steps, *re.findall(r"Also: (.+)\.", done.out)] for verb in step.split(",")}
    assert told == {name.split()[1] for name in VERBS}, "every verb is on the road or beside it, and no other"


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_can_be_quiet(name: str) -> None:
    assert "--quiet" in [option for each in VERBS[name].params for option in each.opts]


def test_quiet_leaves_the_results(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    loud = toolkit("run", config)
    assert "sft: …" in loud.err
    quiet = toolkit("run", config, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (loud.code, loud.out, "")
    assert os.environ[QUIET] == "1", "what it starts is as quiet"


def test_quiet_still_says_what_is_wrong(toolkit: Toolkit, tmp_path: Path) -> None:
    done = toolkit("run", tmp_path / "none.yaml", "-q")
    assert (done.code, done.out) == (2, "")
    assert done.error.startswith(f"{tmp_path}/none.yaml: no such recipe")


def test_results_as_json(
    toolkit: Toolkit, tmp_path: Path, config: Path, trained: list[str], evaluations: tuple[Path, Path]
) -> None:
    wrong, right = evaluations
    (tmp_path / "my.csv").write_text('user,assistant\nhow?,"so"\nand?,well\n', encoding="utf-8")
    (tmp_path / "gates.toml").write_text('[[gate]]\nkind = "at_least"\nbound = 0.5\n', encoding="utf-8")
    task = ("--task", "datetime_extraction_plain", "--engine", "scripted", "--model", "12:00", "--n", 3)
    for command_line, code, key in (
        (("task", "list"), 0, "datetime_extraction"),
        (("task", "check", "datetime_extraction_plain", "--n", 20), 0, "counts"),
        (("rewards", "lint", "datetime_extraction_plain", "--n", 5), 0, "findings"),
        (("data", "inspect", tmp_path / "my.csv"), 0, "report"),
        (("run", config), 0, "comparison"),
        (("scan", config, "--prompts", 4, "--samples", 2), 0, "dead"),
        (("eval", *task, "--out", tmp_path / "e"), 0, "12:00"),
        (("compare", wrong, right), 0, "verdict"),
        (("noise", wrong, wrong.parent / "again"), 0, "flips"),
        (("gate", "--run", right, "--gates", tmp_path / "gates.toml"), 0, "judgements"),
        (("rescore", tmp_path / "e", "--out", tmp_path / "e2"), 0, "moved"),
        (("rescore", tmp_path / "e", "--against", tmp_path / "e2"), 0, "scorer"),
    ):
        if "again" in str(command_line[-1]):
            subprocess.run(["cp", "-r", str(wrong), str(wrong.parent / "again")], check=True)
        done = toolkit(*command_line, "--json")
        assert done.code == code, (command_line, done.err)
        assert key in json.loads(done.out), command_line


def test_a_pipe_gets_no_control_characters(config: Path, tmp_path: Path, evaluations: tuple[Path, Path]) -> None:
    for arguments in (
        (),
        ("--help",),
        ("run", "--help"),
        ("task", "check", "datetime_extraction_plain", "--n", "20"),
        ("compare", *map(str, evaluations)),
        ("sft", str(config), "--set", "sft.max_steps=0"),
    ):
        done = as_program(*arguments, TERM="xterm-256color")
        assert not CONTROL.search(done.stdout + done.stderr), arguments
        assert "Traceback" not in done.stderr


def test_a_pipe_that_closes_early_is_no_error() -> None:
    toolkit = Path(sys.executable).with_name("toolkit")
    shell = f"set -o pipefail; {toolkit} task list | head -n 1"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", shell], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("datetime_extraction\t")
    assert done.stderr == ""


def test_no_color_is_obeyed(tmp_path: Path) -> None:
    arguments = ("--model", "12:00", "--task", "datetime_extraction_plain", "--engine", "scripted", "--n", "5", "--out")
    coloured = in_terminal("eval", *arguments, str(tmp_path / "a"), NO_COLOR="")
    assert COLOUR.search(coloured), "a terminal gets a bar in colours"
    plain = in_terminal("eval", *arguments, str(tmp_path / "b"), NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "exact" in plain
    quiet = in_terminal("eval", "--quiet", *arguments, str(tmp_path / "c"), NO_COLOR="1")
    assert "left" not in quiet, "no bar"
    assert "exact" in quiet


def test_the_shell_completes_verbs_and_options() -> None:
    for words, wanted in (("toolkit re", {"report", "rescore", "rewards"}), ("toolkit eval --mo", {"--model"})):
        env = {"_TOOLKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        assert set(as_program(**env).stdout.split()) == wanted
    assert "complete -o default" in as_program(_TOOLKIT_COMPLETE="source_bash").stdout


def test_what_ends_says_where_things_are_and_what_comes_next(
    toolkit: Toolkit, config: Path, tmp_path: Path, trained: list[str]
) -> None:
    run = tmp_path / "run"
    *_, where, further = toolkit("sft", config).err.splitlines()
    assert where == f"what was trained: {run / 'sft' / 'adapter'} (its log: {run / 'logs' / 'sft'}.log)"
    assert further == f"next: toolkit scan {config}, then toolkit grpo {config}; or all at once: toolkit run {config}"
    assert toolkit("grpo", config).err.splitlines()[-1] == f"next: toolkit run {config}"
    kept, changed = tmp_path / "other" / "recipe.yaml", ("--set", f"output={tmp_path / 'other'}", "--set", "seed=1")
    further = toolkit("sft", config, *changed).err.splitlines()[-1]
    assert further == f"next: toolkit scan {kept}, then toolkit grpo {kept}; or all at once: toolkit run {kept}"
    assert "sft: done before" in toolkit("grpo", kept).err, "it holds what was set"
    done = toolkit("run", config)
    assert f"the model: {run / 'model'}\ntry it: toolkit serve {run / 'model'}" in done.out
    assert done.err.splitlines()[-1] == f"the report: {run / 'report.html'}"
    asked = ("--task", "datetime_extraction_plain", "--engine", "scripted", "--model", "12:00", "--n", 3)
    *_, where, further = toolkit("eval", *asked, "--out", tmp_path / "e").err.splitlines()
    assert where == f"the records: {tmp_path / 'e'}"
    assert further.startswith("next: toolkit compare ")


@pytest.mark.parametrize("argument", ["", "--help"])
def test_the_road_and_the_help_answer_at_once(argument: str) -> None:
    """What takes longer than a blink is imported by the verbs that need it."""
    slow = ("rich", "pydantic", "yaml", "jinja2", "numpy", "pandas", "torch", "transformers")
    code = (
        f"import sys; sys.argv[1:] = {[argument] if argument else []!r}\nfrom toolkit.cli import main\n"
        f"try:\n    main()\nexcept SystemExit:\n    print([name for name in {slow!r} if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
