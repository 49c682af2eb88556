"""Any server that speaks OpenAI's API: `vllm serve`, SGLang, llama.cpp. Prompts go to /v1/completions as token ids.

A chat endpoint applies the server's own template, which nobody here has checked: ids keep the prompt ours. For a server
that takes no ids there is --option api=chat, which is part of the evaluation's identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from eval.engines.base import Completion, FinishReason, ModelSpec, Request, Sampling, engine_options, sample_seed
from eval.redaction import redact_text
from rewards.core import ExitCode, UserError, with_type

if TYPE_CHECKING:
    from openai import OpenAI

DEFAULTS: dict[str, Any] = {
    "base_url": "http://localhost:8000/v1",
    "api": "completions",  # our token ids; or chat: messages, through the server's own template
    "api_key_env": "OPENAI_API_KEY",  # the variable that holds the key; local servers need none
    "concurrency": 32,
    "retries": 4,  # with exponential backoff: no connection, no answer in time, RETRIED and 5xx
    "timeout": 600.0,  # seconds a request
}
# What ends an answer, by OpenAI, Together AI (eos) and TGI; a filter or an abort leaves a fragment, which is no answer.
FINISHED = ("stop", "length", "eos", "eos_token", "stop_sequence", None)
REFUSED = (400, 413, 422)  # this prompt only: for instance, longer than the model takes
RETRIED = (408, 409, 429)
LONGEST = 500  # characters of a reason; a gateway's error is a page


@dataclass(slots=True)
class Server:
    """A client and how many requests it keeps in flight."""

    client: OpenAI
    model: str
    concurrency: int
    chat: bool = False

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """One HTTP request a sample, each with its own seed.

        What the server refuses, fails at after all retries, or replies so that it can't be read, is that sample's
        error; a server that is gone ends all, and so does one that has no such model or refuses the key.
        """
        asked: SimpleQueue[tuple[Request, int]] = SimpleQueue()
        for request in requests:
            for index in range(sampling.n):
                asked.put((request, index))
        total, given_up = asked.qsize(), Event()
        found: SimpleQueue[Completion | Exception] = SimpleQueue()

        def work() -> None:
            while not given_up.is_set():
                try:
                    request, index = asked.get_nowait()
                except Empty:
                    return
                try:
                    found.put(self._complete(request, index, sampling))
                except Exception as error:
                    found.put(error)

        # Not a pool of futures: at Ctrl-C, Python would wait for its open requests, ten minutes each.
        for _ in range(min(self.concurrency, total)):
            Thread(target=work, daemon=True).start()
        try:
            for _ in range(total):
                completion = found.get()
                if isinstance(completion, Exception):
                    raise completion
                yield completion if completion.finish_reason != "error" else self._without_key(completion)
        finally:
            given_up.set()

    def _without_key(self, failed: Completion) -> Completion:
        """A failed sample, its reason in one line and without secrets: a server may repeat the headers that it got."""
        reason = redact_text(" ".join(failed.text.split()), self.client.api_key)
        return replace(failed, text=reason[:LONGEST])

    def _complete(self, request: Request, index: int, sampling: Sampling) -> Completion:
        import openai

        tries = self.client.max_retries + 1
        try:
            reply = self._ask(request, sampling, sample_seed(sampling, request.id, index))
            return _read(reply, request, index, self.chat)
        except openai.APITimeoutError as error:
            return _failed(request, index, f"the server failed {tries} times: {error.message}")
        except openai.APIStatusError as error:
            if error.status_code in REFUSED:
                return _failed(request, index, f"the server refused the request: {error.message}")
            if error.status_code in RETRIED or error.status_code >= 500:
                return _failed(request, index, f"the server failed {tries} times: {error.message}")
            raise explain(error, self.client, self.model) from error
        except openai.APIError as error:
            raise explain(error, self.client, self.model) from error
        except UnicodeEncodeError as error:  # half a surrogate pair
            return _failed(request, index, f"the request can't be sent: {with_type(error)}")
        except (
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
        ) as error:  # the client takes any reply of status 200
            return _failed(request, index, f"the server's reply can't be read: {with_type(error)}")

    def _ask(self, request: Request, sampling: Sampling, seed: int | None) -> Any:
        shared = {
            "model": self.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "n": 1,
            **({} if seed is None else {"seed": seed}),
        }
        if self.chat:
            return self.client.chat.completions.create(messages=list(request.messages), **shared)
        ours = {"stop_token_ids": list(sampling.stop_token_ids), "skip_special_tokens": True}
        return self.client.completions.create(prompt=list(request.prompt_ids), extra_body=ours, **shared)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def _read(reply: Any, request: Request, index: int, chat: bool) -> Completion:
    """The first choice of a reply. Raises what Python does when the reply has another form."""
    choices = getattr(reply, "choices", None)
    if not choices:
        return _failed(request, index, f"the server's reply holds no choices: {reply!s}")
    choice = choices[0]
    text = (choice.message.content or "") if chat else choice.text
    if not isinstance(text, str):
        return _failed(request, index, f"the server's reply holds no text: {choice!s}")
    counted = getattr(getattr(reply, "usage", None), "completion_tokens", None)
    tokens = counted if isinstance(counted, int) else 0
    if choice.finish_reason not in FINISHED:
        return _failed(request, index, f"the server ended it: {choice.finish_reason}, after {text[:80]!r}", tokens)
    reason: FinishReason = "length" if choice.finish_reason == "length" else "stop"
    return Completion(request.id, index, text, reason, tokens)


def _failed(request: Request, index: int, why: str, tokens: int = 0) -> Completion:
    return Completion(request.id, index, why, "error", tokens)


def explain(error: Exception, client: OpenAI, model: str) -> UserError:
    """A client error as one line that says what to do, without secrets."""
    import openai

    where = str(client.base_url)
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        text = f"{where} refuses the API key ({error.status_code}): set it in the variable that api_key_env names"
    elif isinstance(error, openai.NotFoundError):
        text = f"{where} has no model {model!r} or no such endpoint (404): {error.message}; try --option api=chat"
    elif isinstance(error, openai.APIConnectionError):
        text = f"{where} can't be reached ({error.__cause__ or error}): is the server running, is base_url right?"
    else:
        text = f"{where} failed: {error}"
    return UserError(redact_text(text, client.api_key), ExitCode.FAILED)


def load(model: ModelSpec, options: Mapping[str, Any]) -> Server:
    """Options: see DEFAULTS. Asks the server for its models, so that a wrong address, key or name shows at once."""
    chosen = engine_options("server", DEFAULTS, options)
    if chosen["api"] not in ("completions", "chat"):
        raise UserError(f"option api: choose completions or chat, got {chosen['api']!r}")
    if model.adapter is not None:
        raise UserError(
            "the server engine can't load an adapter: serve it, then give its served name as the model's name"
        )
    key = os.environ.get(chosen["api_key_env"]) or "none"
    if not (key.isascii() and key.isprintable()):  # no header holds it, and the client's error would blame the address
        raise UserError(f"${chosen['api_key_env']}: an API key is printable ASCII, without line breaks; set it again")
    import openai

    client = openai.OpenAI(
        base_url=chosen["base_url"],
        api_key=key,
        max_retries=int(chosen["retries"]),
        timeout=float(chosen["timeout"]),
    )
    try:
        served = [entry.id for entry in client.models.list()]
    except openai.NotFoundError:
        served = []  # no /models: the first request will tell
    except openai.APIError as error:
        raise explain(error, client, model.name) from error
    except (AttributeError, TypeError, ValueError) as error:  # the client takes any reply of status 200
        text = f"{client.base_url} answers, but not as an OpenAI server does: is base_url right? It often ends in /v1"
        raise UserError(text, ExitCode.FAILED) from error
    if served and model.name not in served:
        raise UserError(f"{client.base_url} serves no model {model.name!r}; it serves: {', '.join(served)}")
    return Server(client, model.name, int(chosen["concurrency"]), chosen["api"] == "chat")
