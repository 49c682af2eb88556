"""Rule-based date parsers as engines: the same examples through the same scorer, to set beside a model.

A parser reads neither the system prompt nor its policy: it gets the text, the reference moment (midnight where the
prompt states no time) and the language. A date without a time gets the default hour of
the task, so that no parser loses for that.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any

from eval.engines.base import Completion, ModelSpec, Request, Sampling, engine_options
from rewards.core import Example, UserError
from rewards.datetimes import NONE
from rewards.response import render
from tasks.base import SPLITS, Task
from tasks.datetime_extraction import PLAIN, TASK
from tasks.datetime_extraction.clocks import DEFAULT_HOUR

Parser = Callable[[str, datetime, str], datetime | None]
"""(text, reference in local time with its offset, "ru" or "en") -> the local moment, or None."""

INSTALL = "pip install reasoning-toolkit[peers]"
_ID = re.compile(r"(train|validation|test)-(\d+)-(\d+)")


def _at_default_hour(then: date) -> datetime:
    return datetime.combine(then, time(DEFAULT_HOUR))


def timesense() -> Parser:
    """timesense, which converts time zones and tells a point (datetime_at) from a period (start_at)."""
    parser = importlib.import_module("timesense").TimeSenseParser()

    def parse(text: str, now: datetime, lang: str) -> datetime | None:
        result = parser.parse(text, now=now, language=lang)
        then = getattr(result, "datetime_at", None) or getattr(result, "start_at", None)
        if then is None:
            return None
        has_time = getattr(result, "datetime_at", None) is not None
        return then.replace(tzinfo=None) if has_time or then.time() != time() else _at_default_hour(then)

    return parse


def dateparser() -> Parser:
    """dateparser: the whole text, or else the last date found in it. It fills a missing time from the reference."""
    parse_whole = importlib.import_module("dateparser").parse
    search = importlib.import_module("dateparser.search").search_dates

    def parse(text: str, now: datetime, lang: str) -> datetime | None:
        local = now.replace(tzinfo=None)
        settings = {"RELATIVE_BASE": local, "PREFER_DATES_FROM": "future", "RETURN_AS_TIMEZONE_AWARE": False}
        then = parse_whole(text, languages=[lang], settings=settings)
        if then is None:
            found = search(text, languages=[lang], settings=settings)
            then = found[-1][1] if found else None
        return _at_default_hour(then) if then is not None and then.time() == local.time() else then

    return parse


def parsedatetime() -> Parser:
    """parsedatetime, with its own tables for Russian."""
    module = importlib.import_module("parsedatetime")
    calendars = {
        lang: module.Calendar(module.Constants(locale, usePyICU=False), version=module.VERSION_CONTEXT_STYLE)
        for lang, locale in (("ru", "ru_RU"), ("en", "en_US"))
    }

    def parse(text: str, now: datetime, lang: str) -> datetime | None:
        then, context = calendars[lang].parseDT(text, sourceTime=now.replace(tzinfo=None))
        if not context.hasDateOrTime:
            return None
        return then.replace(microsecond=0) if context.hasTime else _at_default_hour(then)

    return parse


def duckling() -> Parser:
    """Duckling: of the times it finds, the longest text; the start of an interval."""
    module = importlib.import_module("duckling")
    zones = module.load_time_zones("/usr/share/zoneinfo")
    dimensions = module.parse_dimensions(["time"])
    locales = {}
    for lang in ("ru", "en"):
        name = module.parse_lang(lang.upper())
        locales[lang] = module.parse_locale(lang.upper(), module.default_locale_lang(name))

    def parse(text: str, now: datetime, lang: str) -> datetime | None:
        # Told that it is in UTC, it answers in the local time that we gave.
        seconds = int(now.replace(tzinfo=UTC).timestamp())
        context = module.Context(module.parse_ref_time(zones, "UTC", seconds), locales[lang])
        found = module.parse(text, context, dimensions, False)
        if not found:
            return None
        value = max(found, key=lambda entity: entity["end"] - entity["start"])["value"]
        value = value.get("from") or value.get("to") or value
        then = datetime.fromisoformat(value["value"]).replace(tzinfo=None)
        return then if value["grain"] in ("hour", "minute", "second") else _at_default_hour(then)

    return parse


def rutimeparser() -> Parser:
    """rutimeparser, for Russian only: it gives a date where it read no time."""
    module = importlib.import_module("rutimeparser")

    def parse(text: str, now: datetime, lang: str) -> datetime | None:
        if lang != "ru":
            return None
        then = module.parse(text, now=now.replace(tzinfo=None))
        if then is None or isinstance(then, datetime):
            return then
        return _at_default_hour(then)

    return parse


PARSERS: dict[str, Callable[[], Parser]] = {
    "timesense": timesense,
    "dateparser": dateparser,
    "parsedatetime": parsedatetime,
    "duckling": duckling,
    "rutimeparser": rutimeparser,
}


def ask(parser: Parser, text: str, now: datetime, lang: str) -> datetime | None:
    """The parser's answer in local time; None also when it raises, as some do on texts they can't read."""
    try:
        return parser(text, now, lang)
    except Exception:  # a stranger's parser on a stranger's text: any failure of it is «no answer»
        return None


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine that answers the datetime tasks by rules."""

    parser: Parser

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """One answer an example, sampling.n times over, without reasoning. Raises UserError for other tasks."""
        for request, example in zip(requests, _examples(requests), strict=True):
            text = render(None, answer_of(self.parser, example))
            for index in range(sampling.n):
                yield Completion(request.id, index, text, "stop", 1)

    def close(self) -> None:
        """Nothing to free."""


def answer_of(parser: Parser, example: Example) -> str:
    """The parser's answer in the form of the task, with the offset of the prompt."""
    context = example.context
    offset = str(context.get("offset", "+03:00"))
    now = datetime.fromisoformat(
        f"{context['today']}T{context.get('now') or '00:00'}:00{offset.replace('Z', '+00:00')}"
    )
    then = ask(parser, str(context["text"]), now, example.tags["lang"])
    return NONE if then is None else f"{then.isoformat(timespec='seconds')}{offset}"


def _examples(requests: Sequence[Request]) -> list[Example]:
    """The examples behind the requests, built again from their ids: a request has only the prompt."""
    for task in (TASK, PLAIN):
        known = _rebuilt(task, requests)
        if all(request.id in known and known[request.id].messages == request.messages for request in requests):
            return [known[request.id] for request in requests]
    raise UserError(f"the peer engines answer the tasks {TASK.name} and {PLAIN.name} only")


def _rebuilt(task: Task, requests: Sequence[Request]) -> dict[str, Example]:
    sizes: dict[tuple[str, int], int] = {}
    for request in requests:
        if match := _ID.fullmatch(request.id):
            key = (match[1], int(match[2]))
            sizes[key] = max(sizes.get(key, 0), int(match[3]) + 1)
    wanted = {request.id for request in requests}
    built: dict[str, Example] = {}
    for split in SPLITS:
        for (name, seed), n in sizes.items():
            if name == split:
                built |= {example.id: example for example in task.examples(split, n, seed) if example.id in wanted}
    return built


def _load(name: str, model: ModelSpec, options: Mapping[str, Any]) -> Peer:
    """The engine `peer:NAME`."""
    engine_options(f"peer:{name}", {}, options)
    return Peer(PARSERS[name]())


load_timesense = partial(_load, "timesense")
load_dateparser = partial(_load, "dateparser")
load_parsedatetime = partial(_load, "parsedatetime")
load_duckling = partial(_load, "duckling")
load_rutimeparser = partial(_load, "rutimeparser")
