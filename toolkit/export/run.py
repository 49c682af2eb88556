"""One export from end to end: write, check, describe, and push where wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval.engines.base import ModelSpec
from eval.files import write_atomically, write_json
from rewards.core import UserError
from toolkit.export.card import model_card
from toolkit.export.gguf import MISSING, check_rotary, convert, find_converter
from toolkit.export.hub import check_repo, push
from toolkit.export.source import ExportSource, export_source
from toolkit.export.verify import Verification, verify_export
from toolkit.export.write import new_directory, write_adapter, write_merged
from toolkit.models import cache_dir, convert_gguf
from toolkit.quiet import output_to

KINDS = ("adapter", "merged", "gguf", "hub")
CHECK = "export.json"
HAS_NONE = {"adapter": "--to merged", "hub": "--what merged"}  # instead of an adapter


def export(
    path: Path, to: str, out: Path, say: Callable[[str], None], *, gguf_type: str = "f16", repo: str | None = None,
    what: str = "merged", public: bool = False, dry_run: bool = False, api: Any = None,
) -> Verification:  # fmt: skip
    """Export a run, an adapter or a full model into the new directory `out`; give how it compares with the trained one.

    Nothing is left in `out`, or pushed, unless the check holds. Raises UserError for bad input, exit code 13 when the
    exported model isn't the trained one, 14 when a converter or the hub fails.
    """
    if to not in KINDS or what not in ("adapter", "merged"):
        raise UserError(f"--to {to!r}: choose one of {', '.join(KINDS)} (and --what adapter or merged)")
    if to == "hub":
        repo = check_repo(repo)
    if to == "gguf" and find_converter() is None:
        raise UserError(MISSING)
    source = export_source(path)
    kind = what if to == "hub" else to
    if kind == "adapter" and source.model.adapter is None:
        raise UserError(f"{path}: all weights were trained, so there is no adapter; {HAS_NONE[to]}")
    with new_directory(out) as folder:
        say(f"{kind}: writing")
        with output_to(cache_dir() / "export.log"):
            check = WRITERS[kind](source, folder, gguf_type)
        write_json(folder / CHECK, check.to_json())
        write_atomically(folder / "README.md", model_card(source, kind, check.to_json()))
    say(f"{out}: the trained model, {check.mean:.2g} nats off on average over {check.tokens} tokens")
    if to == "hub":
        assert repo is not None  # checked above
        say(f"dry run: would push {out} to {repo}" if dry_run else push(out, repo, public, api))
    return check


def _adapter(source: ExportSource, folder: Path, gguf_type: str) -> Verification:
    write_adapter(source, folder)
    return verify_export("adapter", source.model, ModelSpec(source.model.path, folder, "exported"), source.prompts())


def _merged(source: ExportSource, folder: Path, gguf_type: str) -> Verification:
    write_merged(source, folder)
    return verify_export("merged", source.model, ModelSpec(folder, None, "exported"), source.prompts())


def _gguf(source: ExportSource, folder: Path, gguf_type: str) -> Verification:
    """Through a merged model in a temporary directory; checked by reading the GGUF file back."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".merged-") as scratch:
        merged, back = Path(scratch) / "merged", Path(scratch) / "back"
        write_merged(source, merged)
        file = convert(merged, folder / f"model-{gguf_type}.gguf", gguf_type, cache_dir() / "gguf.log")
        convert_gguf(file, back)
        check_rotary(merged, back)
        return verify_export("gguf", source.model, ModelSpec(back, None, "exported"), source.prompts())


WRITERS: dict[str, Callable[[ExportSource, Path, str], Verification]] = {
    "adapter": _adapter,
    "merged": _merged,
    "gguf": _gguf,
}
