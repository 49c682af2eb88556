"""The preflight: each trouble that it is for is found, by name, before any training; a sound run passes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewards.core import UserError
from toolkit import stages
from toolkit.cli import main
from toolkit.config import Recipe, check_recipe
from toolkit.doctor.sizes import Size
from toolkit.models import context_of
from toolkit.rundir import Run, open_run
from toolkit.stages import ensure, task_of

for name in ("tokenizers", "transformers", "jinja2", "pyarrow", "datasets"):
    pytest.importorskip(name)

from toolkit.training.preflight import RESULT, findings_of, preflight, steps_line  # noqa: E402
from toolkit.training.preflight_messages import MESSAGES  # noqa: E402
from toolkit.training.preflight_tokens import check_lengths, check_tags, check_template, take_sample  # noqa: E402
from toolkit.training.rows import IGNORED, Row  # noqa: E402

SMOLLM2 = Size(134_515_008, 30, 576, 49_152, 1_536, 576, 192)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TASK = """\
import time

from rewards.core import Example
from rewards.response import parse
from tasks.base import Task


def exact(completion, example):
    return float(parse(completion).answer in example.answers)


def examples(split, n, seed):
    for i in range(n):
        yield Example(
            id=f"{split}-{i}",
            messages=({"role": "user", "content": f"{split}: what is {i} and {i}?"},),
            answers=(str(2 * i + 7),),
            reasoning=f"{i}+{i}",
        )


TASK = Task("sums", "1", examples, {"exact": (exact, 1.0)}, exact)
"""


def write_model(directory: Path, special: tuple[str, ...] = (), template: str = CHATML, context: int = 512) -> Path:
    """What the preflight reads of a model: a byte-level tokenizer trained on nothing, and a config. No weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<|im_start|>", "<|im_end|>", "<pad>", "<bos>", *special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<pad>", bos_token="<bos>", chat_template=template
    )
    tokenizer.save_pretrained(directory)
    (directory / "config.json").write_text(json.dumps({"max_position_embeddings": context}), encoding="utf-8")
    (directory / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return directory


Make = Callable[..., Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A run whose data are built. model: arguments of write_model. swap: texts of the task's file to replace."""

    def made(model: dict[str, Any] | None = None, swap: tuple[tuple[str, str], ...] = (), /, **changes: Any) -> Run:
        text = TASK
        for old, new in swap:
            assert old in text
            text = text.replace(old, new)
        task = tmp_path / "sums.py"
        task.write_text(text, encoding="utf-8")
        directory = tmp_path / "model"
        directory.mkdir()
        write_model(directory, **(model or {}))
        raw: dict[str, Any] = {
            "task": str(task),
            "output": str(tmp_path / "run"),
            "model": {"reference": str(directory), "backend": "transformers", "max_length": 256},
            "data": {"sft": 20, "grpo": 16, "validation": 2, "test": 8},
            "sft": {},
            "grpo": {"max_completion_length": 96},
            "eval": {"max_tokens": 96},
        }
        for key, value in changes.items():
            raw[key] = {**raw[key], **value} if isinstance(value, dict) and isinstance(raw.get(key), dict) else value
        run = open_run(check_recipe(raw, "here"))
        ensure(run, "data", lambda line: None)
        return run

    return made


def ids(run: Run, stage: str) -> dict[str, str]:
    """Level of each finding that isn't ok, by id."""
    return {each.id: each.level for each in findings_of(run, stage) if each.level != "ok"}


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_sound_run_passes_and_shows_its_figures(make: Make, stage: str) -> None:
    run = make()
    said: list[str] = []
    preflight(run, stage, said.append)
    shown = "\n".join(said)
    assert f"{stage} preflight: ok      template: " in shown
    assert "completions/s" in shown
    assert "4 tags" in shown
    kept = json.loads((run.dir / stage / RESULT).read_text(encoding="utf-8"))
    assert kept["ok"] is True
    assert kept["stage"] == stage
    assert {each["level"] for each in kept["findings"]} == {"ok"}
    checks = ["steps", "template", "tags", "lengths", "rewards", *["groups"] * (stage == "grpo"), "memory"]
    assert [each["check"] for each in kept["findings"]] == checks


def test_a_problem_ends_the_stage_with_cause_and_fix_and_is_kept(make: Make) -> None:
    run = make({"special": ("<answer>",)})
    with pytest.raises(UserError) as caught:
        preflight(run, "sft", lambda line: None)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("sft preflight: tags: <answer> is lost in decoding")
    assert "[tag-special]. Fix: take the tag out of the tokenizer's special tokens" in str(caught.value)
    kept = json.loads((run.dir / "sft" / RESULT).read_text(encoding="utf-8"))
    assert kept["ok"] is False
    assert [each["id"] for each in kept["findings"] if each["level"] == "problem"] == ["tag-special"]


def test_an_accepted_problem_is_a_warning_and_needs_no_new_directory(make: Make) -> None:
    run = make({"special": ("<answer>",)})
    accepted = run.recipe.model_copy(
        update={"preflight": run.recipe.preflight.model_copy(update={"accept": ("tags",)})}
    )
    again = open_run(accepted)
    assert ids(again, "sft") == {"tag-special": "warning"}
    said: list[str] = []
    preflight(again, "sft", said.append)
    assert any("warning tags: <answer> is lost in decoding" in line for line in said)


def test_a_stage_begins_with_its_preflight(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make({"special": ("<answer>",)})
    monkeypatch.setattr(stages, "command_of", lambda *_: pytest.fail("a trainer was started"))
    for stage in ("sft", "grpo"):
        with pytest.raises(UserError, match="tag-special"):
            ensure(run, stage, lambda line: None)
    assert not run.is_done("sft")


# the template

UNLIKE_ITS_PROMPT = CHATML.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\nSo: ' }}")
NO_END = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
NO_END += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ '<bos><bos>' }}" + CHATML, "two BOS tokens"),
        (UNLIKE_ITS_PROMPT, "unlike its prompt"),
        (NO_END, "no end token"),
        ("{{ raise_exception('users only') }}", "the chat template refuses"),
    ],
)
def test_a_broken_template_is_said_with_its_reason(make: Make, template: str, reason: str) -> None:
    found = {each.id: each.cause for each in findings_of(make({"template": template}), "sft") if each.level != "ok"}
    assert list(found) == ["template-broken"]
    assert reason in found["template-broken"]


def test_a_model_without_a_template_is_refused(make: Make) -> None:
    run = make()
    (Path(run.recipe.model.reference) / "chat_template.jinja").unlink()
    assert ids(run, "sft") == {"template-broken": "problem"}


def test_a_template_with_todays_date_is_a_warning(make: Make) -> None:
    found = ids(make({"template": "{{ strftime_now('%d') }}" + CHATML}), "sft")
    assert found == {"template-dated": "warning"}


def test_others_who_render_other_ids_are_named(make: Make) -> None:
    """GRPO goes on from the adapter's tokenizer; evaluation of the base reads the base's own."""
    run = make()
    warm = run.dir / "sft" / "adapter"
    warm.mkdir(parents=True)
    write_model(warm, template=CHATML.replace("'<|im_end|>\n'", "'<|im_end|>\n\n'"))
    found = [each for each in findings_of(run, "grpo") if each.level != "ok"]
    assert [each.id for each in found] == ["template-differs"]
    assert found[0].cause.startswith(
        "the evaluation of the base sends other token ids than training sees for the prompt"
    )


@pytest.mark.parametrize("who", ["the trainer", "the evaluation of the saved model", "the server"])
def test_each_of_the_others_is_compared(make: Make, who: str) -> None:
    sample = take_sample(make(), "sft")
    others = {**sample.others, who: lambda messages: [*sample.others[who](messages), 1]}
    assert [each.level for each in check_template(sample)] == ["ok"]
    (found,) = [each for each in check_template(replace(sample, others=others)) if each.level != "ok"]
    assert found.id == "template-differs"
    assert found.cause.startswith(f"{who} sends")
    assert "(1 there, the end in training)" in found.cause


def test_rows_without_their_end_token_or_prompt_are_seen(make: Make) -> None:
    sample = take_sample(make(), "sft")
    first = sample.rows[0]
    shorter: Row = {"input_ids": first.row["input_ids"][:-1], "labels": first.row["labels"][:-1]}
    cut = replace(first, row=shorter)
    assert [each.id for each in check_template(replace(sample, rows=[cut]))] == ["end-unlabelled"]
    labels = first.row["labels"]
    start = next(at for at, label in enumerate(labels) if label != IGNORED)
    late = replace(
        first, row={"input_ids": first.row["input_ids"], "labels": [*labels[:start], IGNORED, *labels[start + 1 :]]}
    )
    assert [each.id for each in check_template(replace(sample, rows=[late]))] == ["template-broken"]


# tags


@pytest.mark.parametrize("tag", ["<reasoning>", "</answer>"])
def test_a_tag_that_is_a_special_token_is_a_problem(make: Make, tag: str) -> None:
    assert ids(make({"special": (tag,)}), "grpo") == {"tag-special": "problem"}


def test_an_answer_that_decoding_changes_is_a_problem(make: Make) -> None:
    sample = take_sample(make(), "sft")
    row = sample.rows[0].row
    last = max(at for at, label in enumerate(row["labels"]) if label not in (IGNORED, *sample.stops))
    labels = [IGNORED if at == last else label for at, label in enumerate(row["labels"])]
    torn = replace(sample.rows[0], row=Row(input_ids=row["input_ids"], labels=labels))
    assert [each.id for each in check_tags(replace(sample, rows=[torn]))] == ["response-changed"]


def test_a_gold_that_holds_a_special_token_is_a_problem(make: Make) -> None:
    run = make({"special": ("9",)})
    (problem,) = [each for each in findings_of(run, "sft") if each.level != "ok"]
    assert problem.id == "template-broken"
    assert "holds '9', a special token of the model; take it out" in problem.cause


# lengths


def test_what_is_too_long_is_named_with_its_limit(make: Make) -> None:
    run = make(model={"max_length": 90})
    causes = {each.id: each.cause for each in findings_of(run, "sft") if each.level != "ok"}
    assert list(causes) == ["too-long-completion"]
    assert "model.max_length is 90" in causes["too-long-completion"]
    rollouts = {each.id: each.cause for each in findings_of(run, "grpo") if each.level != "ok"}
    assert list(rollouts) == ["too-long-rollout"]
    assert "grpo.max_completion_length 96 that is more than model.max_length 90" in rollouts["too-long-rollout"]


def test_the_models_context_is_a_limit_too(make: Make) -> None:
    found = ids(make({"context": 90}), "sft")
    assert found == {"too-long-completion": "problem", "too-long-answer": "problem"}


def test_an_evaluation_must_fit_its_engine(make: Make) -> None:
    run = make(eval={"max_tokens": 96, "options": {"max_model_len": 128}})
    found = {each.id: each.cause for each in findings_of(run, "sft") if each.level != "ok"}
    assert list(found) == ["too-long-answer"]
    assert "more than eval.options.max_model_len 128" in found["too-long-answer"]


def test_a_limit_below_the_gold_is_a_warning(make: Make) -> None:
    assert ids(make(grpo={"max_completion_length": 20}), "grpo") == {"gold-cut": "warning"}


def test_the_context_is_read_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 77}}', encoding="utf-8")
    assert context_of(tmp_path) == 77
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert context_of(tmp_path) is None


# rewards

EXACT = "    return float(parse(completion).answer in example.answers)\n"
BROKEN_REWARDS = {
    "raises": "    return float(completion.split('<answer>')[1].split('<')[0] in example.answers)\n",
    "above one": EXACT.replace("float(", "2 * float("),
    "gold below one": EXACT.replace("float(", "0.5 * float("),
    "hangs": "    time.sleep(0 if completion else 9)\n" + EXACT,
}


@pytest.mark.parametrize("body", BROKEN_REWARDS.values(), ids=BROKEN_REWARDS)
def test_a_reward_that_breaks_its_contract_is_a_problem(make: Make, body: str) -> None:
    found = ids(make({}, ((EXACT, body),)), "grpo")
    assert found["reward-unsound"] == "problem"
    assert found.keys() <= {"reward-unsound", "reward-hackable"}


def test_a_reward_that_can_be_hacked_is_a_problem_for_grpo_alone(make: Make) -> None:
    form = 'def form(completion, example):\n    return float("<answer>" in completion)\n\n\ndef examples('
    swap = (("def examples(", form), ('{"exact": (exact, 1.0)}', '{"exact": (exact, 1.0), "form": (form, 1.0)}'))
    run = make({}, swap)
    found = [each for each in findings_of(run, "grpo") if each.level != "ok"]
    assert {each.id for each in found} == {"reward-hackable"}
    assert "the rewards can be hacked by" in found[0].cause
    assert ids(run, "sft") == {"reward-hackable": "problem"}, "GRPO comes later: better now than after the SFT"
    alone = Run(run.dir, run.recipe.model_copy(update={"grpo": None}))
    assert ids(alone, "sft") == {"reward-hackable": "warning"}
    weighed = Run(run.dir, run.recipe.model_copy(update={"rewards": {"form": 0.1}}))
    assert ids(weighed, "grpo") == {}, "under the recipe's weights"


def test_slow_rewards_meet_fewer_examples(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reward of 200 ms held the preflight for 20 minutes without a word."""
    monkeypatch.setattr("toolkit.training.preflight_rewards.LINT_SECONDS", 0.5)
    run = make({}, ((EXACT, "    time.sleep(0.005)\n" + EXACT),), data={"grpo": 48})
    (found,) = [each for each in findings_of(run, "grpo") if each.check == "rewards"]
    assert found.cause.startswith("2 golds score full marks")
    says = r" ms a call: the rewards meet 2 examples, not \d\d, which takes up to about \d+ s\n"
    assert re.search(says, capsys.readouterr().err)


def test_slow_rewards_are_a_warning(make: Make) -> None:
    run = make(
        {},
        ((EXACT, "    time.sleep(0.0005)\n" + EXACT),),
        grpo={"prompts": 2000, "batch_size": 32},
        data={"grpo": 2000},
    )
    found = [each for each in findings_of(run, "grpo") if each.level != "ok"]
    assert [each.id for each in found] == ["reward-slow"]
    assert "scoring the 16000 completions of a step takes" in found[0].cause


# the rest


def test_a_run_ends_on_its_trainings_problems_before_it_evaluates_and_goes_on_with_what_they_advise(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(model={"max_length": 90}, eval={"engine": "scripted"})
    command = ["run", str(run.dir / "recipe.yaml")]
    with pytest.raises(SystemExit, match="2"):
        main(command)
    said = capsys.readouterr().err
    for stage in ("sft", "grpo"):
        assert f"error: {stage} preflight: lengths: " in said
    assert "model.max_length is 90" in said
    assert "eval-base" not in said
    reached: list[str] = []

    def stop(run: Run, stage: str, say: Any) -> None:
        reached.append(stage)
        if stage == "eval-base":
            raise UserError("far enough")
        ensure(run, stage, say)

    monkeypatch.setattr(stages, "ensure", stop)
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--set", "model.max_length=256"])
    assert reached == ["data", "eval-base"]
    assert "far enough" in capsys.readouterr().err


def test_a_finished_training_is_checked_no_more(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`toolkit sft` was told to accept its problem; `toolkit run` and `toolkit preflight` needn't be."""
    run = make(model={"max_length": 90}, eval={"engine": "scripted"}, grpo=None)
    run.finish("sft", 1.0)

    def stop(run: Run, stage: str, say: Any) -> None:
        if stage == "eval-base":
            raise UserError("far enough")

    monkeypatch.setattr(stages, "ensure", stop)
    for verb, told in (("preflight", "sft: done before"), ("run", "far enough")):
        with pytest.raises(SystemExit):
            main([verb, str(run.dir / "recipe.yaml")])
        said = capsys.readouterr().err
        assert told in said
        assert "lengths" not in said
    assert not (run.dir / "sft" / RESULT).exists()


def scanned(
    run: Run, dead: float, rates: Mapping[str, float] | None = None, weights: Mapping[str, float] | None = None
) -> None:
    rates = dict(rates or {})
    report: dict[str, Any] = {} if weights is None else {"weights": weights}  # older reports have none
    report |= {
        "prompts": len(rates),
        "samples": 8,
        "temperature": 1.0,
        "pass_rate": 0.5,
        "dead": {"8": dead},
        "rates": rates,
    }
    report["advice"] = ["train longer with sft before GRPO"]
    (run.dir / "scan").mkdir(exist_ok=True)
    (run.dir / "scan" / "report.json").write_text(json.dumps(report), encoding="utf-8")


def test_a_stored_scan_tells_of_dead_groups(make: Make) -> None:
    run = make()
    assert "no scan is stored: `toolkit scan CONFIG`" in " ".join(each.cause for each in findings_of(run, "grpo"))
    for dead, found in ((0.1, {}), (0.5, {"groups-mostly-dead": "warning"}), (0.97, {"groups-dead": "problem"})):
        scanned(run, dead)
        assert ids(run, "grpo") == found
    chosen = run.recipe.model_copy(update={"grpo": run.recipe.grpo.model_copy(update={"scan": (0.1, 0.9)})})  # type: ignore[union-attr]
    assert ids(Run(run.dir, chosen), "grpo") == {}, "the prompts were chosen by that very scan"


def test_a_scan_under_other_weights_judges_nothing(make: Make) -> None:
    """Which groups are dead hangs on them: a reward of weight 0 makes no difference within a group."""
    run = make()
    now = {name: weight for name, (_, weight) in task_of(run.recipe).rewards.items()}
    scanned(run, 0.97, weights=now)
    assert ids(run, "grpo") == {"groups-dead": "problem"}
    name = next(iter(now))
    scanned(run, 0.97, {"train-0": 1.0}, weights={**now, name: now[name] + 1})
    assert ids(run, "grpo") == {}
    (cause,) = [each.cause for each in findings_of(run, "grpo") if each.check == "groups"]
    assert cause == (
        "the stored scan was judged under other weights of the rewards; `toolkit scan CONFIG --prompts 1 --samples 8 "
        "--temperature 1.0` judges it again, without asking"
    )


def test_the_arithmetic_is_one_line(make: Make) -> None:
    run = make(sft={"batch_size": 8, "epochs": 2}, grpo={"prompts": 4, "generations": 8, "batch_size": 16, "steps": 10})
    assert steps_line(run, "sft") == "20 sequences, 8 a step = 3 steps an epoch; x 2 epochs = 6 steps"
    assert steps_line(run, "grpo") == (
        "4 prompts x 8 generations = 32 completions a step, in 2 passes of 16; "
        "10 steps see 40 prompts of 16: 2.5 epochs"
    )


def test_epochs_are_of_the_prompts_that_grpo_scan_leaves(make: Make) -> None:
    run = make(grpo={"prompts": 4, "generations": 8, "batch_size": 16, "steps": 10, "scan": [0.1, 0.9]})
    unknown = "10 steps see 40 prompts of at most 16 (grpo.scan is yet to choose): 2.5 epochs or more"
    assert steps_line(run, "grpo").endswith(unknown)
    scanned(run, 0.1, {f"train-{i}": i / 15 for i in range(16)})
    assert steps_line(run, "grpo").endswith(
        "10 steps see 40 prompts of 12 (what grpo.scan leaves of 16 scanned, 8 samples each at temperature 1): "
        "3.3 epochs"
    )
    scanned(run, 0.1, {"train-0": 1.0})
    assert steps_line(run, "grpo").endswith(
        "40 prompts of 0 (what grpo.scan leaves of 1 scanned, 8 samples each at temperature 1), too few for a step of 4"
    )


def test_too_little_memory_is_a_warning(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.planning.machine import Device
    from toolkit.training import preflight as module

    monkeypatch.setattr(module, "size_of_directory", lambda _: SMOLLM2)
    monkeypatch.setattr(module, "driver_device", lambda: Device("cpu", "a processor", 8e9, 2e9))
    assert ids(make(), "sft") == {"memory-short": "warning"}


def test_each_stage_has_the_memory_that_the_plan_gives_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.planning.machine import Device
    from toolkit.planning.memory import GB, Way, grpo_memory
    from toolkit.training import preflight as module

    monkeypatch.setattr(module, "size_of_directory", lambda _: SMOLLM2)
    monkeypatch.setattr(module, "driver_device", lambda: Device("cpu", "a processor", 99e9, 99e9))
    run = make()
    said = {
        stage: next(each for each in findings_of(run, stage) if each.check == "memory") for stage in ("sft", "grpo")
    }
    assert said["sft"].cause != said["grpo"].cause
    sample = take_sample(run, "grpo")
    prompts = [sum(label == IGNORED for label in each.row["labels"]) for each in sample.rows]
    assert run.recipe.grpo is not None
    batch = run.recipe.grpo.forward_batch(1)
    parts = grpo_memory(run.recipe, SMOLLM2, sum(prompts) / len(prompts), batch, Way("cpu"))
    assert f"about {sum(parts.values()) / GB:.1f} GB (" in said["grpo"].cause


def test_own_conversations_are_checked_as_well(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    write_model(directory, template=CHATML)
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}] * 2
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps({"conversations": turns[: 2 + 2 * (i % 2)]}) + "\n" for i in range(9)), "utf-8")
    raw = {
        "output": str(tmp_path / "run"),
        "model": {"reference": str(directory), "max_length": 128},
        "data": {"path": str(data), "validation": 0},
        "sft": {"batch_size": 4},
    }
    run = open_run(check_recipe(raw, "here"))
    ensure(run, "data", lambda line: None)
    assert ids(run, "sft") == {}
    assert steps_line(run, "sft").startswith("9 sequences, 4 a step = 3 steps an epoch")
    write_model(directory, template="{{ '<bos><bos>' }}" + CHATML)
    assert ids(run, "sft") == {"template-broken": "problem"}


def test_rows_that_the_template_refuses_are_passed_over(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    write_model(directory, template=refusing)
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    chats = [[{"role": "system", "content": "Add."}, *turns]] * 70 + [turns] * 8
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps({"conversations": chat}) + "\n" for chat in chats), "utf-8")
    raw = {
        "output": str(tmp_path / "run"),
        "model": {"reference": str(directory), "max_length": 128},
        "data": {"path": str(data), "validation": 0, "max_bad_share": 1},
        "sft": {"batch_size": 4},
    }
    run = open_run(check_recipe(raw, "here"))
    ensure(run, "data", lambda line: None)
    assert ids(run, "sft") == {}
    sample = take_sample(run, "sft")
    assert len(sample.rows) == 8
    assert list(check_lengths(replace(sample, rows=()))) == []  # the file may have changed since


def test_the_command_checks_every_stage_and_ends_with_2(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    run = make({"special": ("<answer>",)})
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(run.recipe.model_dump(mode="json")), encoding="utf-8")
    for more, code in (([], 2), (["--set", "preflight.accept=[tags]"], 0)):
        with pytest.raises(SystemExit) as ended:
            main(["preflight", str(config), *more])
        assert ended.value.code == code
        said = capsys.readouterr().err
        for stage in ("sft", "grpo"):
            told = "error: {}: tags: <answer>" if code else "{}: warning tags: <answer>"
            assert told.format(f"{stage} preflight") in said
    assert not (run.dir / "stages" / "sft.json").exists()


def test_every_check_with_problems_can_be_accepted() -> None:
    problems = {name for name, message in MESSAGES.items() if message.level == "problem"}
    checks = {"template": "template", "end": "template", "tag": "tags", "response": "tags", "too": "lengths"}
    checks |= {"reward": "rewards", "groups": "groups"}
    assert {checks[name.split("-")[0]] for name in problems} == set(checks.values())
    raw = {"output": "x", "model": {"reference": "x"}, "data": {"path": "x"}, "sft": {}}
    assert isinstance(check_recipe({**raw, "preflight": {"accept": sorted(set(checks.values()))}}, "here"), Recipe)
