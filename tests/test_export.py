"""An export is the trained model, or there is none: a tiny model with a random adapter goes each way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.engines.base import ModelSpec
from eval.files import write_json
from eval.prompts import load_tokenizer
from eval.records import Record, Status
from eval.summary import summarize
from eval.trained import training_record
from rewards.core import UserError
from tests.commands import Toolkit
from toolkit.export import gguf as gguf_module
from toolkit.export import run as export_module
from toolkit.export.card import _phenomena, model_card
from toolkit.export.hub import check_repo, push
from toolkit.export.run import export
from toolkit.export.source import export_source
from toolkit.export.verify import verify_export
from toolkit.export.write import rotary
from toolkit.rundir import Run

TEMPLATE = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny/base: a Llama of 60,000 random parameters. tiny/adapter: a LoRA adapter that changes what it says."""
    torch = pytest.importorskip("torch")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    root: Path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    letters = {chr(code): place for place, code in enumerate([*range(32, 127), *range(0x410, 0x450)])}
    words = {"<pad>": len(letters), "<s>": len(letters) + 1, "</s>": len(letters) + 2, "<unk>": len(letters) + 3}
    backend = Tokenizer(models.WordLevel({**letters, **words}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", bos_token="<s>"
    )
    tokenizer.chat_template = TEMPLATE
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=words["</s>"], pad_token_id=words["<pad>"],
    )  # fmt: skip
    base = transformers.LlamaForCausalLM(config)
    base.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    tuned = peft.get_peft_model(
        base, peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"])
    )
    for name, weights in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.5)
    tuned.save_pretrained(root / "adapter")
    tokenizer.save_pretrained(root / "adapter")
    path = root / "adapter" / "adapter_config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**stated, "base_model_name_or_path": str(root / "base")}), encoding="utf-8")
    record = training_record("datetime_extraction_plain", load_tokenizer(root / "adapter"))
    write_json(root / "adapter" / "trained_for.json", record)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))


def quiet(line: str) -> None: ...


@pytest.mark.parametrize(("kind", "allowed"), [("adapter", 1e-5), ("merged", 0.05)])
def test_an_export_is_the_trained_model(tiny: Path, tmp_path: Path, kind: str, allowed: float) -> None:
    check = export(tiny / "adapter", kind, tmp_path / "out", quiet)
    assert 0 <= check.mean <= allowed
    assert check.tokens > 10
    names = {path.name for path in (tmp_path / "out").iterdir()}
    weights = "adapter_model.safetensors" if kind == "adapter" else "model.safetensors"
    assert {weights, "README.md", "export.json", "chat_template.jinja", "trained_for.json"} <= names
    told = [(folder / "trained_for.json").read_text() for folder in (tiny / "adapter", tmp_path / "out")]
    assert told[0] == told[1], "with the hashes that an evaluation checks"
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    assert json.loads((tmp_path / "out" / "export.json").read_text())["same"] is True


def test_a_merged_model_is_in_16_bits(tiny: Path, tmp_path: Path) -> None:
    export(tiny / "adapter", "merged", tmp_path / "out", quiet)
    raw = (tmp_path / "out" / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert {each["dtype"] for name, each in header.items() if name != "__metadata__"} == {"BF16"}


def test_a_merged_model_ends_where_its_template_does(tiny: Path, tmp_path: Path) -> None:
    """Its base ends documents; and files that name the template's end already stay as they are, byte by byte."""
    export(tiny / "adapter", "merged", tmp_path / "same", quiet)
    base = Path(shutil.copytree(tiny / "base", tmp_path / "base"))
    ends = {"generation_config.json": 0, "config.json": 0}
    for name, end in ends.items():
        told = json.loads((tmp_path / "same" / name).read_text(encoding="utf-8"))["eos_token_id"]
        assert told == load_tokenizer(tiny / "adapter").eos_token_id
        write_json(base / name, {**json.loads((base / name).read_text(encoding="utf-8")), "eos_token_id": end})
    adapter = Path(shutil.copytree(tiny / "adapter", tmp_path / "adapter"))
    stated = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    write_json(adapter / "adapter_config.json", {**stated, "base_model_name_or_path": str(base)})
    export(adapter, "merged", tmp_path / "out", quiet)
    found = {name: json.loads((tmp_path / "out" / name).read_text(encoding="utf-8"))["eos_token_id"] for name in ends}
    assert found == {"generation_config.json": [0, told], "config.json": told}


def test_the_base_is_not_taken_for_the_trained_model(tiny: Path) -> None:
    source = export_source(tiny / "adapter")
    trained, base = ModelSpec(tiny / "base", tiny / "adapter", "t"), ModelSpec(tiny / "base", None, "b")
    with pytest.raises(UserError, match="isn't the trained one") as refused:
        verify_export("merged", trained, base, source.prompts())
    assert refused.value.exit_code == 13


def test_another_template_is_noticed(tiny: Path, tmp_path: Path) -> None:
    export(tiny / "adapter", "merged", tmp_path / "out", quiet)
    (tmp_path / "out" / "chat_template.jinja").write_text(TEMPLATE.replace("<s>{{", "{{"), encoding="utf-8")
    trained = ModelSpec(tiny / "base", tiny / "adapter", "t")
    with pytest.raises(UserError, match="other token ids"):
        verify_export(
            "merged", trained, ModelSpec(tmp_path / "out", None, "o"), export_source(tiny / "adapter").prompts()
        )


def test_a_failed_check_leaves_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(source: Any, folder: Path, kind: str) -> Any:
        (folder / "model.safetensors").write_bytes(b"half")
        raise UserError("not the same", 13)

    monkeypatch.setitem(export_module.WRITERS, "merged", wrong)
    api = Api()
    with pytest.raises(UserError, match="not the same"):
        export(tiny / "adapter", "hub", tmp_path / "out", quiet, repo="me/model", api=api)
    assert api.calls == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_a_target_that_is_there_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(UserError, match="exists; choose another --out"):
        export(tiny / "adapter", "adapter", tmp_path / "out", quiet)
    assert (tmp_path / "out" / "precious").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run"):
        export_source(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"adapter_config\.json: key 'base_model_name_or_path' is empty"):
        export_source(tmp_path)


@pytest.fixture
def full_run(tiny: Path, config: Path, tmp_path: Path) -> Path:
    """A run of all weights, after its SFT: tiny's base and adapter summed stand for what it trained."""
    import yaml
    from transformers import AutoTokenizer

    from toolkit.training.merge import merged_model

    run = tmp_path / "full"
    weights = run / "sft" / "weights"
    merged_model(tiny / "base", tiny / "adapter").save_pretrained(weights)
    AutoTokenizer.from_pretrained(str(tiny / "adapter")).save_pretrained(weights)
    write_json(weights / "trained_for.json", json.loads((tiny / "adapter" / "trained_for.json").read_text()))
    recipe = yaml.safe_load(config.read_text(encoding="utf-8"))
    recipe["model"] |= {"reference": str(tiny / "base"), "backend": "transformers", "tuning": "full"}
    recipe = {**{key: value for key, value in recipe.items() if key != "grpo"}, "output": str(run)}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return run


def test_a_run_of_all_weights_is_exported(full_run: Path, tmp_path: Path) -> None:
    check = export(full_run, "merged", tmp_path / "out", quiet)
    assert 0 <= check.mean <= 0.05
    assert {"model.safetensors", "trained_for.json", "README.md"} <= {
        each.name for each in (tmp_path / "out").iterdir()
    }
    assert "tuned from base" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_so_is_a_full_model_alone(full_run: Path, tmp_path: Path) -> None:
    check = export(full_run / "sft" / "weights", "merged", tmp_path / "out", quiet)
    assert 0 <= check.mean <= 0.05


@pytest.mark.parametrize(
    ("to", "way"),
    [({"to": "adapter"}, "--to merged"), ({"to": "hub", "repo": "me/m", "what": "adapter"}, "--what merged")],
)
def test_all_weights_have_no_adapter(full_run: Path, tmp_path: Path, to: dict[str, Any], way: str) -> None:
    with pytest.raises(UserError, match=f"there is no adapter; {way}"):
        export(full_run, out=tmp_path / "out", say=quiet, **to)


@pytest.mark.parametrize(("tuning", "says"), [("lora", "no trained adapter yet"), ("full", "no trained weights yet")])
@pytest.mark.parametrize("verb", [("export", "--to", "merged"), ("parity",)], ids=lambda verb: verb[0])
def test_a_run_that_has_trained_nothing_is_told(
    toolkit: Toolkit, config: Path, tmp_path: Path, verb: tuple[str, ...], tuning: str, says: str
) -> None:
    """Both verbs ask one function."""
    run = tmp_path / "run"
    run.mkdir()
    recipe = config.read_text(encoding="utf-8").replace("backend:", f"tuning: {tuning}\n  backend:")
    (run / "recipe.yaml").write_text(recipe, encoding="utf-8")
    done = toolkit(*verb, run, "--out", tmp_path / "out")
    assert done.code == 2
    assert done.error.startswith(f"{run}: this run ")
    assert says in done.error


# GGUF.


def test_without_a_converter_it_says_where_to_get_one(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "find_converter", lambda: None)
    with pytest.raises(UserError, match=r"llama\.cpp's converter") as refused:
        export(tiny / "adapter", "gguf", tmp_path / "out", quiet)
    assert "LLAMA_CPP_PATH" in str(refused.value)


def test_the_converter_is_found_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CPP_PATH", str(tmp_path))
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import sys; open(sys.argv[3], 'w').write(' '.join(sys.argv[1:]))", encoding="utf-8")
    assert gguf_module.find_converter() == script
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "merged" / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    file = gguf_module.convert(tmp_path / "merged", tmp_path / "m.gguf", "q8_0", tmp_path / "log")
    assert file.read_text() == f"{tmp_path}/merged --outfile {tmp_path}/m.gguf --outtype q8_0"
    told = json.loads((tmp_path / "merged" / "tokenizer_config.json").read_text())
    assert told == {"chat_template": "{{ messages }}", "eos_token": "</s>"}, "llama.cpp's converter reads it there"
    script.write_text("raise ValueError('no such architecture')", encoding="utf-8")
    with pytest.raises(UserError, match="ValueError: no such architecture") as failed:
        gguf_module.convert(tmp_path / "merged", tmp_path / "m2.gguf", "f16", tmp_path / "log")
    assert failed.value.exit_code == 14
    with pytest.raises(UserError, match="choose one of"):
        gguf_module.convert(tmp_path / "merged", tmp_path / "m.gguf", "q4_k_m", tmp_path / "log")


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}


@pytest.mark.parametrize(
    ("parameters", "older"),
    [
        ({"rope_theta": 1e5, "rope_type": "default"}, {"rope_theta": 1e5}),
        ({"rope_theta": 5e5, **LLAMA3}, {"rope_theta": 5e5, "rope_scaling": LLAMA3}),
        (
            {"full_attention": {"rope_theta": 1e6, "rope_type": "default"}, "sliding_attention": {"rope_theta": 1e4}},
            {"rope_theta": 1e6, "rope_local_base_freq": 1e4},
        ),
        (None, {}),
    ],
)
def test_rotary_settings_have_their_older_names(parameters: Any, older: dict[str, Any]) -> None:
    assert rotary({"rope_parameters": parameters}) == older


def test_a_merged_model_says_its_rotary_base_to_older_readers(tiny: Path, tmp_path: Path) -> None:
    export(tiny / "adapter", "merged", tmp_path / "out", quiet)
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000.0


def test_a_converter_that_loses_the_rotary_base_is_found_out(tmp_path: Path) -> None:
    """llama.cpp's of May 2025 under transformers 5: every file was of another model, by 0.03 to 0.07 nats a token."""
    for name, base in (("merged", 1e5), ("lost", 1e4), ("kept", 1e5)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "config.json", {"rope_parameters": {"rope_theta": base, "rope_type": "default"}})
    gguf_module.check_rotary(tmp_path / "merged", tmp_path / "kept")
    with pytest.raises(UserError, match=r"says a rotary base of 10000\.0, the model has 100000\.0") as found:
        gguf_module.check_rotary(tmp_path / "merged", tmp_path / "lost")
    assert found.value.exit_code == 14


@pytest.mark.slow
@pytest.mark.skipif(gguf_module.find_converter() is None, reason="needs llama.cpp's converter (LLAMA_CPP_PATH)")
@pytest.mark.parametrize(("kind", "apart"), [("f16", 1e-4), ("q8_0", 0.02)])
def test_a_real_converter_writes_the_same_model(smollm2_dir: Path, tmp_path: Path, kind: str, apart: float) -> None:
    export(smollm2_dir, "gguf", tmp_path / "out", quiet, gguf_type=kind)
    told = json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))
    assert told["mean"] < apart
    assert (tmp_path / "out" / f"model-{kind}.gguf").is_file()


# The hub.

TOKEN = "hf_" + "Zz9" * 12


class Api:
    """A hub that remembers what it was asked."""

    def __init__(self, private: bool = True, failure: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.private, self.failure = private, failure

    def create_repo(self, repo: str, **options: Any) -> None:
        self.calls.append(("create", {"repo": repo, **options}))
        if self.failure:
            raise self.failure

    def model_info(self, repo: str) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("upload", options))


def test_a_push_is_private_and_of_safe_files(tmp_path: Path) -> None:
    api = Api()
    assert push(tmp_path, "me/model", public=False, api=api) == "hub: me/model, private"
    (_, created), (_, uploaded) = api.calls
    assert created["private"] is True
    assert uploaded["folder_path"] == str(tmp_path)
    assert not {"*.bin", "*.pt", "*"} & set(uploaded["allow_patterns"])


def test_a_public_repository_needs_the_word(tmp_path: Path) -> None:
    api = Api(private=False)
    with pytest.raises(UserError, match="public already"):
        push(tmp_path, "me/model", public=False, api=api)
    assert [name for name, _ in api.calls] == ["create"]
    assert push(tmp_path, "me/model", public=True, api=api) == "hub: me/model, public"


def test_a_refusal_shows_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    api = Api(failure=ValueError(f"401 for Bearer {TOKEN}"))
    with pytest.raises(UserError, match="the hub refuses me/model") as refused:
        push(tmp_path, "me/model", public=False, api=api)
    assert TOKEN not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("repo", [None, "model", "a/b/c", "../x", "a/", "a b/c"])
def test_what_is_no_repository_is_refused(repo: str | None) -> None:
    with pytest.raises(UserError, match="owner/name"):
        check_repo(repo)


def test_a_dry_run_pushes_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    api, said = Api(), list[str]()
    export(tiny / "adapter", "hub", tmp_path / "out", said.append, repo="me/m", what="adapter", dry_run=True, api=api)
    assert api.calls == []
    assert said[-1].startswith("dry run: would push")
    for path in (tmp_path / "out").iterdir():
        assert TOKEN.encode() not in path.read_bytes()


# The card.

RECIPE = """\
task: datetime_extraction_plain
output: {run}
model: {{reference: {base}}}
data: {{sft: 1, grpo: 8, test: 1}}
sft: {{}}
"""


def test_the_card_is_made_of_the_run(tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "stages").mkdir(parents=True)
    (run / "sft").mkdir()
    (run / "sft" / "adapter").symlink_to(tiny / "adapter")
    (run / "recipe.yaml").write_text(RECIPE.format(run=run, base=tiny / "base"), encoding="utf-8")
    facts = {"sft": 1, "test": 1, "hashes": {"sft": "abc123"}}
    (run / "stages" / "data.json").write_text(json.dumps(facts), encoding="utf-8")
    check = {"tokens": 5, "prompts": 1, "mean": 0.01, "largest": 0.1, "greedy_agreement": 1.0, "template": "dd00"}
    card = model_card(export_source(run), "merged", check)
    assert card.startswith("---\nlibrary_name: transformers\n")
    for part in (
        "# datetime_extraction_plain, tuned from base\n",
        "`abc123`",
        "`dd00`",
        "its licence and terms",
        "rank: 32",
    ):
        assert part in card


def test_the_card_says_what_the_model_is_bad_at(tmp_path: Path) -> None:
    def record(n: int) -> Record:
        status: Status = "wrong" if n == 1 else "right"
        tags = {"phenomenon": "a|b" if n < 2 else "late"}
        return Record(f"{n}", 0, status, float(n != 1), "x", "x", None, "", "stop", 5, {}, f"{n}", "", tags)

    found = [record(n) for n in range(4)]
    folder = tmp_path / "eval" / "tuned"
    folder.mkdir(parents=True)
    write_json(folder / "summary.json", summarize("t", "tuned", found, 4, 1.0).to_json())
    lines = _phenomena(Run(tmp_path, recipe=None))  # type: ignore[arg-type]
    assert lines[-3].startswith(r"| a\|b | 2 | 50.0% | ")
    assert lines[-2].startswith("| late | 2 | 100.0% | ")
    assert _phenomena(Run(tmp_path / "none", recipe=None)) == []  # type: ignore[arg-type]
