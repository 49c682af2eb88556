"""What stands around an answer: fillers, greetings, thanks, an event's name, and numbers that aren't the time."""

from __future__ import annotations

from random import Random
from types import ModuleType

from tasks.datetime_extraction.chance import pick

FILLER, GREETING, THANKS, EVENT, ASIDE = 0.12, 0.06, 0.06, 0.05, 0.12


def surround(text: str, rng: Random, words: ModuleType) -> tuple[str, str]:
    """The text with what stands around it, and the name of the kind: `aside`, `event`, `polite`, `filler` or `none`.

    One kind at most: an answer is short.
    """
    chance = rng.random()
    if chance < ASIDE:
        return _aside(text, rng, words), "aside"
    chance -= ASIDE
    if chance < EVENT:
        event = pick(words.EVENTS, rng)
        return (f"{text} {event}" if rng.random() < 0.6 else f"{event} {text}"), "event"
    chance -= EVENT
    if chance < FILLER:
        return pick(words.FILLERS, rng) + text, "filler"
    chance -= FILLER
    if chance < GREETING:
        return pick(words.GREETINGS, rng) + text, "polite"
    if chance < GREETING + THANKS:
        return text.rstrip("?!. ") + pick(words.THANKS, rng), "polite"
    return text, "none"


def _aside(text: str, rng: Random, words: ModuleType) -> str:
    aside = pick(words.ASIDES, rng).format(
        n=5 + int(rng.random() * 5),
        few=2 + int(rng.random() * 3),
        age=25 + int(rng.random() * 25) // 5 * 5,
        pct=5 + 5 * int(rng.random() * 6),
        price=500 + 100 * int(rng.random() * 30),
        code=100 + int(rng.random() * 8900),
        name=pick(words.NAMES, rng),
    )
    return f"{aside}, {text}" if rng.random() < 0.5 else f"{text.rstrip('?!. ')}, {aside}"
