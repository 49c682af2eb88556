"""GGUF through llama.cpp's own converter, which no Python package carries: found where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from eval.engines.vllm_child import last_reason
from eval.files import read_json
from rewards.core import ExitCode, UserError
from toolkit.export.write import rotary

SCRIPTS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf.py")
PATH_VARIABLE = "LLAMA_CPP_PATH"
TYPES = ("f16", "bf16", "f32", "q8_0")  # what the converter itself writes; smaller ones are llama-quantize's
MISSING = (
    "GGUF needs llama.cpp's converter (convert_hf_to_gguf.py), and it isn't here. Get llama.cpp's source, set "
    f"{PATH_VARIABLE} to its folder, and try again; or install llama.cpp with unsloth (its save_pretrained_gguf does), "
    "which puts it where this command looks. The merged model (--to merged) needs none of it"
)


def find_converter() -> Path | None:
    """The converter: in LLAMA_CPP_PATH, where unsloth installs it, on PATH, or in a llama.cpp folder nearby."""
    for folder in _folders():
        for name in SCRIPTS:
            if (folder / name).is_file():
                return folder / name
    on_path = next(filter(None, map(shutil.which, (*SCRIPTS, "convert_hf_to_gguf"))), None)
    return Path(on_path) if on_path else None


def _folders() -> Iterator[Path]:
    for variable in (PATH_VARIABLE, "UNSLOTH_LLAMA_CPP_PATH", "UNSLOTH_LLAMA_CPP_SCRIPTS_DIR"):
        if value := os.environ.get(variable):
            yield Path(value).expanduser()
    for parent in (Path.cwd(), Path.home(), Path.home() / ".unsloth", Path("/opt"), Path("/usr/local/share")):
        yield parent / "llama.cpp"


def convert(merged: Path, target: Path, kind: str, log: Path) -> Path:
    """Write the merged model as `target`. Raises UserError without a converter, and with exit code 14 when it fails."""
    if kind not in TYPES:
        raise UserError(f"--gguf-type {kind!r}: choose one of {', '.join(TYPES)}")
    converter = find_converter()
    if converter is None:
        raise UserError(MISSING)
    _name_template(merged)
    line = [sys.executable, str(converter), str(merged), "--outfile", str(target), "--outtype", kind]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(line, stdout=file, stderr=file, check=False)
    if done.returncode != 0 or not target.is_file():
        raise UserError(
            f"{converter} failed with status {done.returncode}: {last_reason(log)} (its log: {log})", ExitCode.FAILED
        )
    return target


def check_rotary(merged: Path, back: Path) -> None:
    """Compare the rotary base of the merged model with that of the file read back.

    A converter from before transformers 5 finds no rope_theta in its config and writes none, which readers take for
    10000. Raises UserError, exit code 14.
    """
    wanted, found = (rotary(read_json(folder / "config.json", "export again")) for folder in (merged, back))
    if wanted.get("rope_theta") != found.get("rope_theta"):
        raise UserError(
            f"the GGUF file says a rotary base of {found.get('rope_theta')}, the model has {wanted.get('rope_theta')}: "
            f"{find_converter()} is too old for transformers 5. Name a llama.cpp of 2026 in LLAMA_CPP_PATH",
            ExitCode.FAILED,
        )


def _name_template(merged: Path) -> None:
    """Put the chat template into tokenizer_config.json too: not every converter reads the file that it has now."""
    template, config = merged / "chat_template.jinja", merged / "tokenizer_config.json"
    if template.is_file() and config.is_file():
        settings = read_json(config, "export again")
        named = {"chat_template": template.read_text(encoding="utf-8"), **settings}
        config.write_text(json.dumps(named, ensure_ascii=False), encoding="utf-8")  # write_json masks what is a *_token
