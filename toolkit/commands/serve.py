"""toolkit serve: a tuned model behind an OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.shared import say

app = typer.Typer()


@app.command("serve")
def serve_model(
    model: Annotated[
        str, typer.Argument(help="hub id, directory (model, adapter or run), .gguf file, or package:NAME")
    ],
    host: Annotated[
        str, typer.Option(help="an address of this machine; others than loopback need a key")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    api_key_file: Annotated[Path | None, typer.Option(help="holds the key; default: $VLLM_API_KEY, else none")] = None,
    name: Annotated[str | None, typer.Option(help="the model's name in requests; default: the end of MODEL")] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="tokens of prompt and completion together")] = None,
    dtype: Annotated[str, typer.Option(help="of the weights: auto, float32, bfloat16, float16")] = "auto",
) -> None:
    """Serve a model with vLLM, its own chat template included, until Ctrl-C."""
    from toolkit.models import resolve_model
    from toolkit.serve import Serving, api_key, check_exposure, serve

    key = api_key(api_key_file)
    check_exposure(host, key)
    resolved = resolve_model(model)
    serve(Serving(resolved, name or Path(model).name, host, port, max_model_len, dtype), key, say)
