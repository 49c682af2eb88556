from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from rewards.core import UserError
from rewards.response import render
from tasks.registry import load_task
from tests.commands import Done, Toolkit
from toolkit import __version__, stages
from toolkit.config import load_recipe
from toolkit.data import read_examples
from toolkit.report import outcome_grid, print_outcome
from toolkit.rundir import Run

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "unsloth", "trl", "vllm", "datasets", "peft")


def process(*arguments: object, **environment: str) -> Done:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "toolkit.cli", *map(str, arguments)]
    env = {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "toolkit.cli", "task", "list"]
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 14
    said = "error: what was written: No space left on device; make room, and run the same command again\n"
    assert done.stderr == said


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "toolkit.cli", "task", "list"]
    env = {**os.environ, "PYTHONUNBUFFERED": ""}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as output:
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# task


def test_task_list(toolkit: Toolkit) -> None:
    done = toolkit("task", "list")
    assert (done.code, done.err) == (0, "")
    assert [line.split("\t")[0] for line in done.out.splitlines()][:1] == ["datetime_extraction"]
    assert all(line.partition("\t")[2] for line in done.out.splitlines())


def test_task_check_of_a_healthy_task(toolkit: Toolkit) -> None:
    done = toolkit("task", "check", "datetime_extraction_plain", "--n", 40)
    assert (done.code, done.err) == (0, "")
    assert "train: 40 examples" in done.out
    assert done.out.endswith("no problems found\n")


def test_task_check_of_a_sick_task(toolkit: Toolkit, task_file: Path) -> None:
    task_file.write_text(
        task_file.read_text(encoding="utf-8").replace("float(completion.strip() in example.answers)", "1.0"),
        encoding="utf-8",
    )
    done = toolkit("task", "check", task_file, "--n", 4)
    assert done.code == 1
    assert "error: train-0-0: the metric gives full marks to an empty completion" in done.err
    assert "no problems found" not in done.out


@pytest.mark.parametrize(
    "arguments",
    [("task", "check", "{}"), ("data", "build", "--task", "{}", "--out", "x.jsonl")],
    ids=["check", "build"],
)
def test_an_unknown_task(
    toolkit: Toolkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = toolkit(*(each.format("datetime_extracton") for each in arguments))
    assert done.code == 2
    assert done.error.startswith("unknown task 'datetime_extracton': did you mean 'datetime_extraction'?")
    gone = toolkit(*(each.format("gone.py") for each in arguments))
    assert gone.error.startswith("gone.py: no such file")
    assert list(tmp_path.iterdir()) == []


# data build


def build(toolkit: Toolkit, out: Path, *more: object) -> Done:
    return toolkit("data", "build", "--task", "datetime_extraction_plain", "--out", out, *more)


def test_data_build_gives_the_same_bytes_and_prefixes(toolkit: Toolkit, tmp_path: Path) -> None:
    done = build(toolkit, tmp_path / "a.jsonl", "--n", 60, "--seed", 5)
    assert (done.code, done.out) == (0, "")
    assert "60 examples of datetime_extraction_plain, train, seed 5" in done.err
    build(toolkit, tmp_path / "b.jsonl", "--n", 60, "--seed", 5)
    build(toolkit, tmp_path / "short.jsonl", "--n", 20, "--seed", 5)
    whole = (tmp_path / "a.jsonl").read_bytes()
    assert (tmp_path / "b.jsonl").read_bytes() == whole
    assert whole.splitlines()[:20] == (tmp_path / "short.jsonl").read_bytes().splitlines()


def test_data_build_says_when_the_split_has_fewer(toolkit: Toolkit, tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    done = toolkit("data", "build", "--task", "order_extraction", "--split", "test", "--n", 9999, "--out", out)
    count = len(read_examples(out))
    note = f"note: the split test of order_extraction has {count} examples, not 9999"
    assert (done.code, done.err.splitlines()[0]) == (0, note)


def test_data_build_of_an_empty_split_leaves_what_was_there(toolkit: Toolkit, tmp_path: Path, task_file: Path) -> None:
    out = tmp_path / "x.jsonl"
    out.write_text("of before\n", encoding="utf-8")
    task_file.write_text(task_file.read_text(encoding="utf-8").replace('"test": 100', '"test": 0'), encoding="utf-8")
    done = toolkit("data", "build", "--task", task_file, "--split", "test", "--out", out)
    says = "task 'word' has no examples in split 'test'; choose another with --split, or see `toolkit task check "
    assert (done.code, done.error) == (2, f"{says}{task_file}`")
    assert out.read_text(encoding="utf-8") == "of before\n"


def test_data_build_doesnt_depend_on_the_process(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        arguments = ("--task", "datetime_extraction", "--n", 200, "--out", tmp_path / seed)
        assert process("data", "build", *arguments, PYTHONHASHSEED=seed).code == 0
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_data_build_of_other_seeds_and_splits_is_other_data(toolkit: Toolkit, tmp_path: Path) -> None:
    build(toolkit, tmp_path / "a.jsonl", "--n", 40)
    build(toolkit, tmp_path / "seed.jsonl", "--n", 40, "--seed", 1)
    build(toolkit, tmp_path / "test.jsonl", "--n", 40, "--split", "test")
    built = {name: read_examples(tmp_path / f"{name}.jsonl") for name in ("a", "seed", "test")}
    prompts = {name: {example.messages[-1]["content"] for example in some} for name, some in built.items()}
    assert not {example.id for example in built["a"]} & {example.id for example in built["seed"]}
    assert prompts["a"] != prompts["seed"]
    assert not prompts["a"] & prompts["test"]
    assert not {example.group for example in built["a"]} & {example.group for example in built["test"]}


def test_data_build_into_what_is_no_file(toolkit: Toolkit, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    done = build(toolkit, tmp_path / "folder", "--n", 2)
    assert (done.code, done.error) == (2, f"{tmp_path}/folder: can't be written: Is a directory")
    (tmp_path / "file").touch()
    assert "can't be written" in build(toolkit, tmp_path / "file" / "x.jsonl", "--n", 2).error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_data_build_of_an_unknown_split(toolkit: Toolkit, tmp_path: Path) -> None:
    done = build(toolkit, tmp_path / "x.jsonl", "--split", "dev")
    assert (done.code, done.error) == (2, "unknown split 'dev'; choose one of: train, validation, test")


@pytest.mark.parametrize("option", [("--n", "0"), ("--n", "many"), ("--seed", "-1"), ("--sead", "1")])
def test_a_bad_option_is_named(toolkit: Toolkit, tmp_path: Path, option: tuple[str, str]) -> None:
    done = build(toolkit, tmp_path / "x.jsonl", *option)
    assert done.code == 2
    assert option[0] in done.error
    assert not (tmp_path / "x.jsonl").exists()


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    arguments = ["--task", "datetime_extraction", "--n", "100000000", "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "toolkit.cli", "data", "build", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background ignores it, and so would the child
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        while running.poll() is None and not list(tmp_path.iterdir()):
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        printed, said = running.communicate(timeout=20)
    assert (running.returncode, printed) == (130, "")
    assert said == "interrupted; the same command goes on where it stopped\n"
    assert list(tmp_path.iterdir()) == []


# sft, grpo, run


@pytest.mark.parametrize("verb", ["sft", "grpo", "run"])
def test_a_bad_recipe(toolkit: Toolkit, config: Path, tmp_path: Path, trained: list[str], verb: str) -> None:
    assert toolkit(verb, tmp_path / "none.yaml").error.startswith(f"{tmp_path}/none.yaml: no such recipe")
    assert "did you mean 'learning_rate'?" in toolkit(verb, config, "--set", "sft.learningrate=1").error
    assert "write a.b=value" in toolkit(verb, config, "--set", "seed").error
    assert trained == []
    assert not (tmp_path / "run").exists()


def test_every_mistake_of_a_recipe_is_a_line(toolkit: Toolkit, config: Path) -> None:
    done = toolkit("run", config, "--set", "lora.rnk=1", "--set", "data.test=0")
    assert done.code == 2
    assert len(done.err.splitlines()) == 2
    assert all(line.startswith(f"error: {config}: ") for line in done.err.splitlines())


def test_run_does_every_stage_once_and_prints_the_outcome(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    first = toolkit("run", config)
    assert first.code == 0
    assert trained == ["sft", "merge-sft", "grpo", "merge"]
    rows = [line.split("\t")[:2] for line in first.out.splitlines() if "\t" in line]
    assert rows == [["model", "exact"], ["base", "0.0%"], ["SFT", "0.0%"], ["SFT+GRPO", "100.0%"]]
    assert "tuned against base: better, +100.0 points" in first.out
    assert "exact ru" in first.out
    assert "…" not in first.out, "progress is for stderr"
    begun = [line.split(":")[0] for line in first.err.splitlines() if line.endswith(": …")]
    done = stages.stages_of(load_recipe(config))
    assert begun == [done[0], "preflight", *done[1:]]
    second = toolkit("run", config)
    assert (second.code, second.out) == (0, first.out)
    assert second.err.count("done before") == 9
    assert trained == ["sft", "merge-sft", "grpo", "merge"]


def test_a_task_without_its_own_question_isnt_asked_one(
    toolkit: Toolkit, config: Path, task_file: Path, trained: list[str]
) -> None:
    (said,) = [line for line in toolkit("run", config).out.splitlines() if line.startswith("try it: ")]
    assert said == f"try it: toolkit serve {config.parent / 'run' / 'model'}"


def test_a_task_that_states_no_moment_is_asked_without(
    toolkit: Toolkit, config: Path, task_file: Path, trained: list[str]
) -> None:
    ask = """metric=exact, ask=lambda text, now: ({"role": "user", "content": text},))"""
    code = task_file.read_text(encoding="utf-8").replace("1.0)}, exact)", f"1.0)}}, {ask}")
    task_file.write_text(code, encoding="utf-8")
    (said,) = [line for line in toolkit("run", config).out.splitlines() if line.startswith("try it: ")]
    assert said == f'try it: toolkit predict --model {config.parent / "run" / "model"} "TEXT"'


def of_squares(task_file: Path) -> None:
    """Let the task take numbers alone."""
    asking = 'ask=lambda text, now: ({"role": "user", "content": f"square of {int(text)}?"},))'
    code = task_file.read_text(encoding="utf-8").replace("1.0)}, exact)", f"1.0)}}, exact, {asking}")
    task_file.write_text(code, encoding="utf-8")


def test_a_task_that_takes_some_texts_only_has_its_outcome(
    toolkit: Toolkit, config: Path, task_file: Path, trained: list[str]
) -> None:
    of_squares(task_file)
    done = toolkit("run", config)
    assert done.code == 0
    (said,) = [line for line in done.out.splitlines() if line.startswith("try it: ")]
    assert said == f'try it: toolkit predict --model {config.parent / "run" / "model"} "TEXT"'


@pytest.mark.parametrize("now", [(), ("--now", "2025-01-17")])
def test_predict_probes_a_task_with_the_persons_own_text(
    toolkit: Toolkit, task_file: Path, fake_model: Path, now: tuple[str, ...]
) -> None:
    of_squares(task_file)
    ask = ("predict", "--model", fake_model, "--task", task_file, *now)
    assert "no tokenizer there" in toolkit(*ask, "7").error
    done = toolkit(*ask, "seven")
    assert done.code == 2
    assert done.error.startswith("task 'word' can't ask 'seven': ValueError: invalid literal for int()")


def test_a_model_of_conversations_is_asked_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(ROOT / "configs" / "conversations.yaml", ["data.path=my.csv", f"output={tmp_path}"])
    print_outcome(Run(tmp_path, recipe))
    model = tmp_path / "model"
    assert capsys.readouterr().out == f'the model: {model}\ntry it: toolkit predict --model {model} "TEXT"\n'


def test_an_outcome_needs_no_task(toolkit: Toolkit, config: Path, task_file: Path, trained: list[str]) -> None:
    """A model card tells it, maybe long after."""
    toolkit("run", config)
    task_file.unlink()
    grid = outcome_grid(Run(config.parent / "run", load_recipe(config.parent / "run" / "recipe.yaml")))
    assert grid.lines[0].startswith("tuned against base: better")


def test_a_run_of_sft_alone_calls_its_model_so(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    config.write_text(config.read_text(encoding="utf-8").replace("grpo: {}\n", ""), encoding="utf-8")
    toolkit("run", config)
    path = config.parent / "run" / "eval" / "tuned" / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**summary, "invalid": ["too few"]}), encoding="utf-8")
    done = toolkit("run", config)
    assert [line.split("\t")[0] for line in done.out.splitlines() if "\t" in line] == ["model", "base", "SFT"]
    verdict, complaint = [
        line for line in done.out.splitlines() if line.startswith(("tuned against", "SFT is invalid"))
    ]
    assert verdict.startswith("tuned against base: "), "the verdict first: a model card takes it"
    assert complaint == "SFT is invalid: too few"


@pytest.mark.parametrize(("gold", "code", "verdict"), [("base", 10, "worse"), ("nobody", 11, "can't tell")])
def test_run_ends_with_the_comparisons_code(
    toolkit: Toolkit, config: Path, task_file: Path, trained: list[str], gold: str, code: int, verdict: str
) -> None:
    task_file.write_text(task_file.read_text(encoding="utf-8").replace('"tuned"', f'"{gold}"'), encoding="utf-8")
    for _ in range(2):  # a run that is done says the same again
        done = toolkit("run", config)
        assert done.code == code
        assert f"tuned against base: {verdict}" in done.out


def test_run_of_another_recipe_in_the_same_place(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    toolkit("run", config)
    done = toolkit("run", config, "--set", "seed=1")
    assert done.code == 2
    assert "it differs in seed: 0 there, 1 here" in done.error


def test_run_of_one_stage_only(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    done = toolkit("run", config, "--set", "grpo=null")
    assert (done.code, trained) == (0, ["sft", "merge"])
    rows = [line.split("\t")[0] for line in done.out.splitlines() if "\t" in line]
    assert rows == ["model", "base", "SFT"], "one adapter is evaluated once"


def test_a_stage_that_fails_stops_the_run_and_is_taken_up_again(
    toolkit: Toolkit, config: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    def fail(run: Run, stage: str, say: Any) -> dict[str, Any]:
        raise UserError(f"{stage}: its process ended with status -9", 14)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "_in_own_process", fail)
        done = toolkit("run", config)
    assert (done.code, done.error, done.out) == (14, "sft: its process ended with status -9", "")
    again = toolkit("run", config)
    assert again.code == 0
    assert again.err.splitlines()[:3] == ["data: done before", "eval-base: done before", "sft: …"]


def test_sft_builds_the_data_and_evaluates_nothing(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    done = toolkit("sft", config)
    assert (done.code, done.out, trained) == (0, "", ["sft"])
    assert [line.split(":")[0] for line in done.err.splitlines() if "…" in line] == ["data", "sft"]


def test_grpo_goes_on_from_sft(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    early = toolkit("grpo", config)
    assert early.code == 2
    assert early.error.endswith(f"has no finished SFT stage to go on from; first: toolkit sft {config}")
    output = f"output={config.parent / 'a b'}"
    other = toolkit("grpo", config, "--set", output)
    assert other.error.endswith(f"first: toolkit sft {config} --set '{output}'"), "the same recipe, for a shell"
    toolkit("sft", config)
    assert toolkit("grpo", config).code == 0
    assert trained == ["sft", "grpo"], "a merged warm start is for an evaluation, which this verb doesn't make"


def test_grpo_alone_needs_no_sft(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    assert toolkit("grpo", config, "--set", "sft=null").code == 0
    assert trained == ["grpo"]


@pytest.mark.parametrize("verb", ["sft", "grpo"])
def test_a_verb_whose_section_is_missing(toolkit: Toolkit, config: Path, trained: list[str], verb: str) -> None:
    assert f"has no section {verb!r}" in toolkit(verb, config, "--set", f"{verb}=null").error
    assert trained == []


def test_a_recipe_that_trains_nothing(toolkit: Toolkit, config: Path) -> None:
    done = toolkit("run", config, "--set", "sft=null", "--set", "grpo=null")
    assert done.error == "the recipe trains nothing: give it a section sft or grpo"


def test_a_run_of_an_unknown_task(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    assert toolkit("run", config, "--set", "task=nothing").error.startswith("unknown task 'nothing'")
    assert trained == []


def test_missing_weights_are_found_before_any_training(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    done = toolkit("run", config, "--set", "model.reference=/gone/model")
    assert (done.code, trained) == (2, [])
    assert done.error.startswith("model '/gone/model' not found")


# eval, compare


def script(path: Path, right: Sequence[bool]) -> Path:
    """A model in a file: it gives the gold to example i where right[i]."""
    task = load_task("datetime_extraction_plain")
    rows = [
        {"id": example.id, "completion": render(example.reasoning, example.answers[0]) if ok else "no idea"}
        for example, ok in zip(task.examples("test", len(right), 0), right, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluation(toolkit: Toolkit, model: object, out: Path, *more: object) -> Done:
    return toolkit(
        *("eval", "--model", model, "--task", "datetime_extraction_plain", "--engine", "scripted", "--out", out), *more
    )


def evaluated(toolkit: Toolkit, out: Path, right: Sequence[bool]) -> Path:
    done = evaluation(toolkit, script(out.with_suffix(".jsonl"), right), out, "--n", len(right))
    assert done.code == 0, done.err
    return out


def test_the_version(toolkit: Toolkit) -> None:
    done = toolkit("--version")
    assert (done.code, done.out) == (0, f"reasoning-toolkit {__version__}\n")


def test_eval_says_that_a_split_has_fewer_examples_than_asked_for(toolkit: Toolkit, tmp_path: Path) -> None:
    asked = ("eval", "--task", "order_extraction", "--model", "no", "--engine", "scripted", "--out")
    assert "has 120 examples, not 121" in toolkit(*asked, tmp_path / "a", "--n", 121).err
    assert "examples, not" not in toolkit(*asked, tmp_path / "b", "--n", 120).err


def test_eval_scores_and_shows_a_table(toolkit: Toolkit, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [i % 4 > 0 for i in range(40)])
    done = evaluation(toolkit, model, tmp_path / "out", "--n", 40)
    assert done.code == 0
    assert "75.0%" in done.out
    assert "lang" in done.out
    assert "loading" not in done.out, "progress is for stderr"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["overall"]["exact"]["value"] == 0.75
    assert len(read_jsonl(tmp_path / "out" / "records.jsonl")) == 40


def test_eval_again_asks_nothing(toolkit: Toolkit, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [True] * 5)
    evaluation(toolkit, model, tmp_path / "out", "--n", 5)
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    assert evaluation(toolkit, model, tmp_path / "out", "--n", 5).code == 0
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


def test_eval_into_another_evaluations_directory(toolkit: Toolkit, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [True] * 5)
    evaluation(toolkit, model, tmp_path / "out", "--n", 5)
    done = evaluation(toolkit, model, tmp_path / "out", "--n", 5, "--seed", 1)
    assert done.code == 2
    assert "holds another evaluation; it differs in" in done.error
    assert "seed: 0 there, 1 here" in done.error


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--engine", "vlm"), 2, "unknown engine 'vlm'; choose one of: vllm, server, transformers, scripted"),
        (("--split", "dev"), 2, "unknown split 'dev'"),
        (("--samples", "4"), 2, "--samples above 1 needs --temperature above 0"),
        (("--option", "dtype"), 2, "--option 'dtype': write KEY=VALUE"),
        (("--option", "=1"), 2, "--option '=1': write KEY=VALUE"),
        (("--option", "dtype={"), 2, "--option 'dtype={': the value isn't YAML"),
        (("--option", "dtype=float32"), 2, "engine 'scripted' has no option 'dtype'"),
        (("--max-tokens", "0"), 2, "--max-tokens"),
        (("--engine", "scripted", "--task", "nothing"), 2, "unknown task 'nothing'"),
    ],
)
def test_bad_input_to_eval(toolkit: Toolkit, tmp_path: Path, more: Sequence[str], code: int, said: str) -> None:
    model = script(tmp_path / "m.jsonl", [True] * 3)
    done = evaluation(toolkit, model, tmp_path / "out", "--n", 3, *more)
    assert done.code == code
    assert said in done.error
    assert done.out == ""


@pytest.mark.parametrize(
    ("engine", "model", "said"),
    [
        ("scripted", "gone.jsonl", "gone.jsonl: no such script file"),
        ("transformers", "/gone", "model '/gone' not found"),
    ],
)
def test_eval_names_a_model_that_is_not_there(
    toolkit: Toolkit, tmp_path: Path, engine: str, model: str, said: str
) -> None:
    done = evaluation(toolkit, model, tmp_path / "out", "--n", 3, "--engine", engine)
    assert done.code == 2
    assert said in done.error


def test_an_engine_that_answers_nothing(toolkit: Toolkit, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"id": "another", "completion": "x"}\n', encoding="utf-8")
    done = evaluation(toolkit, tmp_path / "m.jsonl", tmp_path / "out", "--n", 3)
    assert done.code == 14
    assert "the engine answered nothing; it said: the script has no completion for this id" in done.error


def test_an_engine_whose_package_is_missing(
    toolkit: Toolkit, tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    done = evaluation(toolkit, fake_model, tmp_path / "out", "--engine", "vllm")
    assert done.code == 2
    assert "engine 'vllm' needs the package 'vllm', which isn't installed: pip install vllm" in done.error


@pytest.mark.parametrize(
    ("candidate", "code", "verdict"),
    [
        ([True] * 60, 0, "better"),
        ([i % 2 == 0 for i in range(60)], 0, "equal"),
        ([False] * 60, 10, "worse"),
        ([i % 2 == 0 or i == 1 for i in range(60)], 11, "can't tell"),
        ([True] * 30, 12, "not comparable"),
    ],
    ids=["better", "equal", "worse", "cant-tell", "not-comparable"],
)
def test_compare(toolkit: Toolkit, tmp_path: Path, candidate: Sequence[bool], code: int, verdict: str) -> None:
    base = evaluated(toolkit, tmp_path / "base", [i % 2 == 0 for i in range(60)])
    other = evaluated(toolkit, tmp_path / "other", candidate)
    done = toolkit("compare", base, other, "--out", tmp_path / "report")
    assert (done.code, done.err) == (code, "")
    assert f"verdict: {verdict}" in done.out
    written = json.loads((tmp_path / "report" / "comparison.json").read_text(encoding="utf-8"))
    assert (written["verdict"], written["exit_code"]) == (verdict, code)


def test_compare_takes_margin_and_level(toolkit: Toolkit, tmp_path: Path) -> None:
    base = evaluated(toolkit, tmp_path / "base", [True] * 60)
    other = evaluated(toolkit, tmp_path / "other", [i > 0 for i in range(60)])
    assert toolkit("compare", base, other).code == 11
    assert toolkit("compare", base, other, "--margin", "0.2").code == 0
    assert "--alpha" in toolkit("compare", base, other, "--alpha", "2").error


def test_compare_with_what_is_no_evaluation(toolkit: Toolkit, tmp_path: Path) -> None:
    base = evaluated(toolkit, tmp_path / "base", [True] * 3)
    done = toolkit("compare", base, tmp_path / "gone")
    assert (done.code, done.out) == (2, "")
    assert done.error == f"{tmp_path}/gone/manifest.json: no such file; give the directory of an evaluation"


# predict


@pytest.mark.parametrize("now", ["yesterday", "17.01.2025", "2025-13-01", ""])
def test_predict_with_a_bad_moment(toolkit: Toolkit, fake_model: Path, now: str) -> None:
    done = toolkit("predict", "--model", fake_model, "--now", now, "завтра")
    assert (done.code, done.out) == (2, "")
    expected = f"--now {now!r}: not an ISO date or time; write 2025-01-17 or 2025-01-17T10:30"
    assert done.error == expected


@pytest.mark.parametrize("text", ["", " \n"])
def test_predict_without_a_text(toolkit: Toolkit, fake_model: Path, text: str) -> None:
    done = toolkit("predict", "--model", fake_model, "--now", "2025-01-17", text)
    assert done.code == 2
    assert done.error.startswith("the text is empty")


def test_predict_with_a_model_that_isnt_there(toolkit: Toolkit) -> None:
    done = toolkit("predict", "--model", "/gone/model", "--now", "2025-01-17", "завтра")
    assert done.error.startswith("model '/gone/model' not found")


def test_predict_with_a_model_of_no_known_task(toolkit: Toolkit, fake_model: Path, task_file: Path) -> None:
    ask = ("predict", "--model", fake_model, "--now", "2025-01-17", "завтра")
    assert toolkit(*ask).error == f"{fake_model} doesn't say which task it was trained on; give --task"
    assert "unknown task 'nothing'" in toolkit(*ask, "--task", "nothing").error
    assert toolkit(*ask, "--task", task_file).error.startswith("task 'word' can't ask a free question (it has no `ask`")
    assert "`toolkit serve` takes whole prompts" in toolkit(*ask, "--task", task_file).error
    for text in ("{", "[]", '{"task": 1}'):
        (fake_model / "trained_for.json").write_text(text, encoding="utf-8")
        assert "give --task" in toolkit(*ask).error
    (fake_model / "trained_for.json").write_text('{"task": "datetime_extraction"}', encoding="utf-8")
    assert "no tokenizer there" in toolkit(*ask).error


@pytest.mark.parametrize("task", ["order_extraction", "russian_arithmetic", None])
def test_predict_asks_without_a_moment_what_states_none(toolkit: Toolkit, fake_model: Path, task: str | None) -> None:
    (fake_model / "trained_for.json").write_text(json.dumps({"task": task}), encoding="utf-8")
    assert "no tokenizer there" in toolkit("predict", "--model", fake_model, "два чайника").error


@pytest.mark.parametrize("more", [("завтра",), ("--file", "{file}", "--out", "{file}.csv", "--engine", "scripted")])
def test_predict_wants_the_moment_that_a_prompt_states(
    toolkit: Toolkit, fake_model: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    (tmp_path / "in.csv").write_text("text\nзавтра\n", encoding="utf-8")
    line = [each.replace("{file}", str(tmp_path / "in.csv")) for each in more]
    done = toolkit("predict", "--model", fake_model, "--task", "datetime_extraction", *line)
    assert done.code == 2
    assert done.error == (
        "the prompt of task 'datetime_extraction' states the moment; give --now, such as --now 2025-01-17T10:30"
    )


def test_predict_reads_the_task_beside_an_adapter(toolkit: Toolkit, fake_model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(fake_model)}))
    (adapter / "adapter_model.safetensors").touch()
    (adapter / "trained_for.json").write_text('{"task": "nothing"}', encoding="utf-8")
    done = toolkit("predict", "--model", adapter, "--now", "2025-01-17", "завтра")
    assert done.error.startswith("unknown task 'nothing'")


def test_predict_where_no_log_can_be_written(
    toolkit: Toolkit, fake_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "file"))
    (fake_model / "trained_for.json").write_text('{"task": "datetime_extraction"}', encoding="utf-8")
    done = toolkit("predict", "--model", fake_model, "--now", "2025-01-17", "завтра")
    assert done.code == 2
    assert done.error.startswith(f"{tmp_path}/file/predict.log: can't be written: ")
    assert "TOOLKIT_CACHE" in done.error


# all of them


@pytest.mark.parametrize("arguments", [("eval",), ("predict", "x"), ("compare", "x"), ("data", "build"), ("run",)])
def test_what_is_left_out_is_named(toolkit: Toolkit, arguments: Sequence[str]) -> None:
    done = toolkit(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.error.startswith("Missing ")


def test_verbs_without_a_model_load_nothing_heavy(tmp_path: Path, config: Path) -> None:
    model = script(tmp_path / "m.jsonl", [True] * 3)
    evaluate = f"['eval', '--model', {str(model)!r}, '--task', 'datetime_extraction_plain', '--n', '3', "
    code = f"""
import sys
from toolkit.cli import main
for arguments in (
    ['task', 'list'],
    ['task', 'check', {str(tmp_path / "word.py")!r}, '--n', '4'],
    ['data', 'build', '--task', 'datetime_extraction', '--n', '4', '--out', {str(tmp_path / "x.jsonl")!r}],
    {evaluate}'--engine', 'scripted', '--out', {str(tmp_path / "out")!r}],
    ['compare', {str(tmp_path / "out")!r}, {str(tmp_path / "out")!r}],
    ['sft', {str(config)!r}, '--set', 'model.reference=/gone'],
):
    try:
        main(arguments)
    except SystemExit:
        pass
print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "loaded: []", done.stderr


def test_a_place_that_cant_be_written_is_one_line(toolkit: Toolkit) -> None:
    done = toolkit(*ARITHMETIC, "--model", "x", "--out", "/proc/nope")
    assert (done.code, done.error) == (2, "/proc/nope: No such file or directory")


def test_a_constant_may_be_longer_than_a_files_name(toolkit: Toolkit, tmp_path: Path) -> None:
    done = toolkit(*ARITHMETIC, "--model", "да" * 200, "--out", tmp_path / "e")
    assert done.code == 0, done.err


ARITHMETIC = ["eval", "--task", "russian_arithmetic", "--n", "2", "--engine", "scripted"]
