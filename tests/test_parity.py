"""toolkit parity on a tiny random Llama: what is the same passes, and each way to break a model is caught."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.engines import transformers as engine_module
from eval.engines.base import ModelSpec, Scored
from eval.parity import TOLERANCES, Candidate, Certificate, compare, continued, scorer, write
from eval.prompts import load_tokenizer, render_prompts, stop_token_ids
from rewards.core import Message, UserError
from toolkit.cli import main
from toolkit.templates import template_text

PROMPTS: tuple[tuple[Message, ...], ...] = tuple(
    ({"role": "user", "content": text},) for text in ("В 12?", "a b", "7+1")
)
MARKS = ["<|im_start|>", "<|im_end|>"]


def save_tokenizer(directory: Path, template: str = "chatml", shift: int = 0) -> None:
    """Bytes as tokens; shift: the same vocabulary in another order."""
    import tokenizers
    import transformers

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    alphabet = alphabet[shift:] + alphabet[:shift]
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({each: i for i, each in enumerate(alphabet)}, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens([*MARKS, "<pad>"])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=MARKS[1], pad_token="<pad>")
    tokenizer.chat_template = template_text(template)
    tokenizer.save_pretrained(directory)


def save_adapter(base: Path, directory: Path, seed: int, size: float) -> None:
    import peft
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    tuned = peft.get_peft_model(model, config)
    for name, weights in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=size)
    tuned.save_pretrained(directory)
    save_tokenizer(directory)


def save_merged(base: Path, adapter: Path | None, directory: Path) -> None:
    import peft
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model.save_pretrained(directory)
    save_tokenizer(directory)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A base, its adapter, the merge of the two, and the adapter of an earlier checkpoint."""
    for package in ("torch", "transformers", "peft"):
        pytest.importorskip(package)
    import torch
    import transformers

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for matrices this small a second one only waits
    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=260,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        eos_token_id=257,
        pad_token_id=258,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(root / "base")
    save_tokenizer(root / "base")
    save_adapter(root / "base", root / "adapter", seed=1, size=0.05)
    save_adapter(root / "base", root / "earlier", seed=1, size=0.045)  # the same direction, nine tenths of the way
    save_adapter(root / "base", root / "idle", seed=1, size=0.0)
    save_merged(root / "base", root / "adapter", root / "merged")
    save_merged(root / "base", root / "earlier", root / "merged-earlier")
    yield SimpleNamespace(root=root, base=root / "base", adapter=root / "adapter", merged=root / "merged")
    torch.set_num_threads(threads)


def certify(tiny: SimpleNamespace, model: ModelSpec, adapter: Path | None = None) -> Certificate:
    reference = ModelSpec(tiny.base, adapter or tiny.adapter, "adapter")
    candidates = [Candidate("candidate", "transformers", model, "float32")]
    return compare(reference, candidates, PROMPTS, dtype="float32", max_tokens=12)


def test_the_merge_of_the_adapter_is_the_same(tiny: SimpleNamespace) -> None:
    certificate = certify(tiny, ModelSpec(tiny.merged, None, "merged"))
    (finding,) = certificate.findings
    assert (certificate.verdict, certificate.exit_code, finding.reason) == ("same", 0, "")
    assert finding.gap is not None
    assert finding.gap.mean < 1e-5
    assert (finding.gap.agreement, finding.gap.first) == (1.0, None)
    assert certificate.effect.mean > 0.1
    assert certificate.probes["n"] == 3
    assert certificate.reference["adapter_weights"] != certificate.reference["weights"] == certificate.base["weights"]


def said_by_user(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def with_context(tiny: SimpleNamespace, tmp_path: Path, context: int) -> ModelSpec:
    shutil.copytree(tiny.base, tmp_path / "small")
    path = tmp_path / "small" / "config.json"
    config = {**json.loads(path.read_text()), "max_position_embeddings": context}
    path.write_text(json.dumps(config), encoding="utf-8")
    return ModelSpec(path.parent, tiny.adapter, "small")


def test_a_long_probe_shortens_no_other_and_one_that_fills_the_context_is_left_out(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    short, long, full = (said_by_user("a" * size) for size in (3, 90, 200))
    (ids,) = render_prompts(load_tokenizer(tiny.base), [long])
    model = with_context(tiny, tmp_path, len(ids) + 2)
    with closing(scorer("transformers", model, {"dtype": "float32"})) as engine:
        probes = continued(engine, model, [long, full, short], 12)
        alone = [continued(engine, model, [each], 12) for each in (long, short)]
        with pytest.raises(UserError, match="small: each of the 1 probes fills the model's context by itself"):
            continued(engine, model, [full], 12)
    assert list(probes.prompts) == [long, short]
    assert list(probes.sequences) == [each.sequences[0] for each in alone]
    assert [len(sequence) - start for sequence, start in probes.sequences] == [2, 12]
    said: list[str] = []
    candidates = [Candidate("same", "transformers", model, "float32")]
    certificate = compare(model, candidates, [long, full, short], dtype="float32", max_tokens=12, say=said.append)
    assert (certificate.verdict, certificate.probes["n"]) == ("same", 2)
    assert "left out 1 of 3 probes, which fill the model's context by themselves" in said


def scaled(tiny: SimpleNamespace, tmp_path: Path, alpha: float) -> ModelSpec:
    shutil.copytree(tiny.adapter, tmp_path / "scaled")
    path = tmp_path / "scaled" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": alpha}), encoding="utf-8")
    return ModelSpec(tiny.base, tmp_path / "scaled", "scaled")


def broken_model(tiny: SimpleNamespace, tmp_path: Path, how: str) -> ModelSpec:
    copy = ModelSpec(tmp_path / "copy", None, how)
    shutil.copytree(tiny.merged, copy.path)
    match how:
        case "applied twice":
            return ModelSpec(tiny.merged, tiny.adapter, how)
        case "not applied":
            return ModelSpec(tiny.base, None, how)
        case "merge of nothing":
            shutil.rmtree(copy.path)
            save_merged(tiny.base, None, copy.path)
        case "merge of another checkpoint":
            return ModelSpec(tiny.root / "merged-earlier", None, how)
        case "wrong scale":
            return scaled(tiny, tmp_path, 4)
        case "slightly wrong scale":
            return scaled(tiny, tmp_path, 8.4)
        case "another template":
            save_tokenizer(copy.path, "llama-3.1")
        case "another tokenizer":
            save_tokenizer(copy.path, shift=1)
        case "no template":
            (copy.path / "chat_template.jinja").unlink()
        case "not finite":
            _spoil(copy.path / "model.safetensors")
    return copy


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("applied twice", "beyond a mean"),
        ("not applied", "answers as the base does"),
        ("merge of nothing", "answers as the base does"),
        ("merge of another checkpoint", "beyond a mean"),
        ("wrong scale", "beyond a mean"),
        ("slightly wrong scale", "beyond a mean"),
        ("another template", "3 of 3 probes as other token ids"),
        ("another tokenizer", "3 of 3 probes as other token ids"),
        ("no template", "3 of 3 probes as other token ids"),
        ("not finite", "beyond a mean"),
    ],
)
def test_a_broken_model_differs(tiny: SimpleNamespace, tmp_path: Path, broken: str, reason: str) -> None:
    certificate = certify(tiny, broken_model(tiny, tmp_path, broken))
    assert (certificate.verdict, certificate.exit_code) == ("differs", 10)
    assert reason in certificate.findings[0].reason
    write(certificate, tmp_path / "new" / "parity.json")
    written = json.loads((tmp_path / "new" / "parity.json").read_text(encoding="utf-8"))
    assert written["verdict"] == "differs"
    if broken == "not finite":
        assert written["findings"][0]["gap"]["mean"] is None


def _spoil(weights: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    tensors["model.norm.weight"][:] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})


def test_an_adapter_that_changes_nothing_is_no_success(tiny: SimpleNamespace) -> None:
    idle = tiny.root / "idle"
    certificate = certify(tiny, ModelSpec(tiny.base, None, "base"), adapter=idle)
    assert certificate.effect.mean == 0
    assert (certificate.verdict, certificate.exit_code) == ("training without effect", 10)


def test_what_is_near_an_adapter_that_changes_nothing_is_measured_against_no_effect(
    tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {**TOLERANCES, "bfloat16": replace(TOLERANCES["bfloat16"], mean=9.0, largest=99.0)}
    monkeypatch.setattr("eval.parity.TOLERANCES", wide)
    reference = ModelSpec(tiny.base, tiny.root / "idle", "idle")
    candidates = [Candidate("other", "transformers", ModelSpec(tiny.merged, None, "other"), "bfloat16")]
    certificate = compare(reference, candidates, PROMPTS, dtype="float32", max_tokens=12)
    assert certificate.verdict == "training without effect"
    assert certificate.findings[0].reason == "training changes nothing that its distance could be compared with"


def test_a_weak_adapters_merge_must_be_closer_than_the_bounds(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {**TOLERANCES, "bfloat16": replace(TOLERANCES["bfloat16"], mean=9.0, largest=99.0)}
    monkeypatch.setattr("eval.parity.TOLERANCES", wide)
    reference = ModelSpec(tiny.base, tiny.adapter, "adapter")
    candidates = [Candidate("half", "transformers", scaled(tiny, tmp_path, 4), "bfloat16")]
    (finding,) = compare(reference, candidates, PROMPTS, dtype="float32", max_tokens=12).findings
    assert finding.verdict == "differs"
    assert "of what training changes at all" in finding.reason


def test_scoring_is_what_the_definition_says(tiny: SimpleNamespace) -> None:
    import torch

    engine = engine_module.load(ModelSpec(tiny.base, None, "base"), {"dtype": "float32"})
    (found,) = engine.score([((1, 2, 3, 4, 5), 3)])
    with torch.inference_mode():
        probabilities = engine.model(torch.tensor([[1, 2, 3, 4, 5]])).logits[0].softmax(-1)
    expected = Scored(
        tuple(float(probabilities[at - 1, token].log()) for at, token in ((3, 4), (4, 5))),
        tuple(int(probabilities[at - 1].argmax()) == token for at, token in ((3, 4), (4, 5))),
    )
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
    assert found.best == expected.best
    engine.close()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_half_of_a_model_is_named(tiny: SimpleNamespace, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny.base, tmp_path / "half")
    cut(tmp_path / "half" / name)
    with pytest.raises(UserError, match=r"half: can't be loaded \(.+\); fetch or save it again$") as caught:
        engine_module.load(ModelSpec(tmp_path / "half", None, "half"), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_of_an_adapter_is_named(tiny: SimpleNamespace, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny.adapter, tmp_path / "half")
    cut(tmp_path / "half" / name)
    with pytest.raises(UserError, match=r"half: can't be loaded \(.+\); fetch or save it again$"):
        engine_module.load(ModelSpec(tiny.base, tmp_path / "half", "half"), {})


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_half_of_a_file_that_names_end_tokens_is_named(tiny: SimpleNamespace, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny.base, tmp_path / "half")
    cut(tmp_path / "half" / name)
    with pytest.raises(UserError, match=rf"half/{name}: can't be read .*; fetch or save the model again"):
        stop_token_ids(load_tokenizer(tmp_path / "half"), tmp_path / "half")


def cut(path: Path) -> None:
    """As a download that broke off leaves it."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_the_verb_prints_a_table_and_leaves_a_certificate(
    tiny: SimpleNamespace, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    certificate = tmp_path / "parity.json"
    shared = ["parity", tiny.adapter, "--engine", "transformers", "--n", 2, "--max-tokens", 8, "--out", certificate]
    assert run(*shared, "--candidate", f"merged={tiny.merged}") == 0
    printed = capfd.readouterr()
    assert [line.split("\t")[0] for line in printed.out.splitlines()[2:4]] == ["base (canary)", "merged"]
    assert printed.out.splitlines()[-1] == "verdict: same"
    written = json.loads(certificate.read_text(encoding="utf-8"))
    assert written["verdict"] == written["findings"][0]["verdict"] == "same"
    assert written["versions"]["torch"]
    assert run(*shared, "--candidate", f"base={tiny.base}") == 10
    assert "base (transformers): answers as the base does" in capfd.readouterr().out
    assert json.loads(certificate.read_text(encoding="utf-8"))["verdict"] == "differs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dtype", "int8"], "choose float32"),
        (["--engine", "server"], "choose one of: transformers, vllm"),
        (["--engine", "transformers"], "nothing to compare"),
        (["--engine", "transformers", "--candidate", "merged"], "write NAME=MODEL"),
    ],
)
def test_bad_input_is_named(
    tiny: SimpleNamespace, capfd: pytest.CaptureFixture[str], arguments: list[Any], said: str
) -> None:
    assert run("parity", tiny.adapter, *arguments) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(("candidate", "verdict"), [("merged", "same"), ("merged-earlier", "differs")])
def test_a_run_of_all_weights_names_its_base(tiny: SimpleNamespace, candidate: str, verdict: str) -> None:
    trained, base = ModelSpec(tiny.merged, None, "trained"), ModelSpec(tiny.base, None, "base")
    candidates = [Candidate("copy", "transformers", ModelSpec(tiny.root / candidate, None, "copy"), "float32")]
    certificate = compare(trained, candidates, PROMPTS, dtype="float32", max_tokens=12, base=base)
    assert certificate.verdict == verdict
    assert certificate.effect.mean > 0.1  # the canary: the base isn't taken for the trained model


def test_a_full_model_is_no_reference(tiny: SimpleNamespace) -> None:
    with pytest.raises(UserError, match="name a run or an adapter"):
        compare(ModelSpec(tiny.merged, None, "merged"), [], PROMPTS, dtype="float32", max_tokens=4)


def test_an_engine_that_fails_ends_with_14(tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, model: ModelSpec, options: dict[str, Any]) -> Any:
        raise UserError("vLLM failed: no memory", 14)

    monkeypatch.setattr("eval.parity.load_engine", fail)
    with pytest.raises(UserError, match="no memory") as caught:
        certify(tiny, ModelSpec(tiny.merged, None, "merged"))
    assert caught.value.exit_code == 14
