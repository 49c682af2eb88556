"""Evaluation asks a model through the template that it was trained on, with exactly one BOS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eval.engines.base import ModelSpec, Sampling
from eval.prompts import render_conversation, render_prompt
from eval.runner import evaluate, prepare
from eval.trained import TRAINED_FOR, check_trained_for, trained_task, training_record
from rewards.core import Example, Message, UserError
from rewards.response import render
from tasks.base import Task
from toolkit.templates import template_names, template_text

MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
)
CHAT: tuple[Message, ...] = (
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "В 12?"},
    {"role": "assistant", "content": "Да."},
)
EXAMPLES = [Example("test-0", CHAT[:2], ("x",), group="g")]


def tokenizer_of(template: str, bos: str = "<s>") -> Any:
    """Bytes as tokens; like Llama's and Gemma's, it puts BOS before every text that it is given."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({each: i for i, each in enumerate(alphabet)}, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens([bos, *MARKS])
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=next((mark for mark in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>") if mark in template), MARKS[1]),
        pad_token="<pad>",
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", template_names())
def test_a_shipped_template_gives_one_bos_at_most(name: str) -> None:
    tokenizer = tokenizer_of(template_text(name))
    own = int("bos_token" in template_text(name))
    for chat, ids in (
        (CHAT[:2], render_prompt(tokenizer, CHAT[:2])),
        (CHAT[1:2], render_prompt(tokenizer, CHAT[1:2])),
        (CHAT, render_conversation(tokenizer, CHAT)),
    ):
        assert ids.count(tokenizer.bos_token_id) == own, chat
        assert ids[:own] == [tokenizer.bos_token_id] * own
    text = tokenizer.apply_chat_template(list(CHAT), tokenize=False)
    assert tokenizer(text)["input_ids"].count(tokenizer.bos_token_id) == own + 1, "what goes wrong with text"


def test_a_template_that_writes_bos_twice_is_refused() -> None:
    with pytest.raises(UserError, match="two BOS tokens"):
        render_prompt(tokenizer_of("{{ bos_token }}" + template_text("gemma")), CHAT)


def model_in(directory: Path, template: str, trained_on: str | None = None, bos: str = "<s>") -> ModelSpec:
    """A model's directory without weights. trained_on: the template that training saw, if not the one it has now."""
    directory.mkdir()
    tokenizer_of(template, bos).save_pretrained(directory)
    record = training_record("task", tokenizer_of(trained_on or template, "<s>"))
    (directory / TRAINED_FOR).write_text(json.dumps(record), encoding="utf-8")
    (directory / "config.json").write_text("{}", encoding="utf-8")
    return ModelSpec(directory, None, directory.name)


def test_the_same_template_saved_and_loaded_again_passes(tmp_path: Path) -> None:
    for name in template_names():
        prepare(EXAMPLES, model_in(tmp_path / name, template_text(name)), "vllm", Sampling(4))


def test_another_template_is_refused_before_any_engine_starts(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model", template_text("qwen-3"), trained_on=template_text("chatml"))
    task = Task("task", "1", lambda split, n, seed: iter(EXAMPLES), {}, lambda completion, example: 0.0)

    def never(*arguments: Any) -> Any:
        raise AssertionError("loaded")

    how: dict[str, Any] = {"split": "test", "seed": 0, "model": model, "sampling": Sampling(4), "load": never}
    with pytest.raises(UserError, match=r"trained on another chat template .*--any-template") as caught:
        evaluate(task, EXAMPLES, engine="transformers", out_dir=tmp_path / "out", **how)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    with pytest.raises(AssertionError, match="loaded"):
        evaluate(task, EXAMPLES, engine="transformers", out_dir=tmp_path / "out", any_template=True, **how)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["how"]["any_template"] is True


def test_a_template_given_for_the_evaluation_is_refused_too(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model", template_text("chatml"))
    other = ModelSpec(model.path, None, "m", chat_template=template_text("qwen-3"))
    with pytest.raises(UserError, match="another chat template"):
        prepare(EXAMPLES, other, "vllm", Sampling(4))
    prepare(EXAMPLES, other, "vllm", Sampling(4), any_template=True)


def test_the_adapters_own_record_counts(tmp_path: Path) -> None:
    base = model_in(tmp_path / "base", template_text("gemma"))
    adapter = model_in(tmp_path / "adapter", template_text("chatml"))
    prepare(EXAMPLES, ModelSpec(base.path, adapter.path, "tuned"), "vllm", Sampling(4))
    (adapter.path / "tokenizer_config.json").unlink()  # so the base's tokenizer is used, with another template
    with pytest.raises(UserError, match="another chat template"):
        prepare(EXAMPLES, ModelSpec(base.path, adapter.path, "tuned"), "vllm", Sampling(4))


def test_another_tokenizer_under_the_same_template_is_refused(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model", template_text("chatml"))
    state = json.loads((model.path / "tokenizer.json").read_text(encoding="utf-8"))
    state["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, state["pre_tokenizer"]],
    }
    state["normalizer"] = {"type": "Lowercase"}
    (model.path / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(UserError, match="its template is the same, the tokenizer isn't"):
        prepare(EXAMPLES, model, "vllm", Sampling(4))


def test_a_template_with_todays_date_is_told_by_its_text_alone(tmp_path: Path) -> None:
    dated = template_text("chatml") + "{{ strftime_now('%d %b %Y') }}"
    assert training_record(None, tokenizer_of(dated))["prompt"] is None
    prepare(EXAMPLES, model_in(tmp_path / "model", dated), "vllm", Sampling(4))


@pytest.mark.parametrize("record", [None, {"task": "task"}])
def test_a_model_that_says_nothing_passes(tmp_path: Path, record: Any) -> None:
    model = model_in(tmp_path / "model", template_text("chatml"))
    path = model.path / TRAINED_FOR
    path.unlink()
    if record is not None:
        path.write_text(json.dumps(record), encoding="utf-8")
    check_trained_for(model, tokenizer_of(template_text("qwen-3")))


def order_of(tmp_path: Path, shuffle: int | None, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], bytes]:
    from eval.engines import scripted

    asked: list[str] = []
    original = scripted.Scripted.generate

    def spy(engine: scripted.Scripted, requests: Sequence[Any], sampling: Sampling) -> Any:
        asked.extend(request.id for request in requests)
        yield from original(engine, requests, sampling)

    monkeypatch.setattr(scripted.Scripted, "generate", spy)
    examples = [Example(f"test-{i}", CHAT[1:2], (str(i),), group="g") for i in range(20)]
    task = Task("task", "1", lambda split, n, seed: iter(examples), {}, lambda completion, example: 1.0)
    out = tmp_path / f"{shuffle}"
    model = ModelSpec(tmp_path / "none", None, render(None, "3"))
    evaluate(
        task,
        examples,
        split="test",
        seed=0,
        model=model,
        engine="scripted",
        sampling=Sampling(9),
        out_dir=out,
        shuffle=shuffle,
    )
    monkeypatch.undo()
    return asked, (out / "records.jsonl").read_bytes()


def test_shuffled_requests_leave_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, records = order_of(tmp_path, None, monkeypatch)
    first, first_records = order_of(tmp_path, 1, monkeypatch)
    other, other_records = order_of(tmp_path, 2, monkeypatch)
    assert sorted(first) == sorted(plain)
    assert len({tuple(plain), tuple(first), tuple(other)}) == 3
    assert records == first_records == other_records
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("None", "1")]
    assert manifests[0]["identity"] == manifests[1]["identity"], "they can be compared"
    assert [each["how"]["shuffle"] for each in manifests] == [None, 1]


def test_a_task_that_is_no_text_is_said_to_every_reader(tmp_path: Path) -> None:
    """Export and serve would take it for a model that names no task."""
    (tmp_path / TRAINED_FOR).write_text('{"task": 3}', encoding="utf-8")
    with pytest.raises(UserError, match="key 'task' must be text, got 3; train again"):
        trained_task(tmp_path, "train again")
    (tmp_path / TRAINED_FOR).write_text('{"task": null}', encoding="utf-8")
    assert trained_task(tmp_path, "train again") is None
