"""What scored an evaluation: its metric and its rewards, told apart by their options and by what they give.

Two evaluations of different answers can't show that their scorers differ, so each keeps what its own gave to a fixed
list of completions. A scorer that differs only elsewhere isn't seen; there the task's version has to say so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any

from eval.manifest import SCORERS
from eval.prompts import short_hash
from rewards.core import Example, Reward
from rewards.limits import OutOfTime, time_limit
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, render
from tasks.base import Task
from tasks.contract import BrokenReward, score_of

ASKED = 3  # examples whose answers the completions are made of
LONGEST = 5.0  # seconds for all calls of one scorer
UNKNOWN = "?"  # instead of a hash: the scorer takes longer, or answers otherwise each time
RESCORE = "`toolkit rescore` scores both evaluations as it does now"


def scorers(task: Task, examples: Sequence[Example]) -> dict[str, Any]:
    """The metric, and the rewards by name, each as "function(options) hash of its scores"."""
    asked = [(text, each) for each in examples[:ASKED] for text in _completions(each, examples[:ASKED])]
    metric = _told(task.metric, asked)
    rewards = {
        name: metric if reward is task.metric else _told(reward, asked) for name, (reward, _) in task.rewards.items()
    }
    return {"metric": metric, "rewards": rewards}


def _completions(example: Example, some: Sequence[Example]) -> Iterator[str]:
    """Right, nearly right, wrong and out of form. Another list makes evaluations with the old one not comparable.

    Not the cheats of `tasks.cheats`: those grow.
    """
    gold = example.answers[0]
    other = next((each.answers[0] for each in some if each.answers[0] != gold), "0")
    whole = render("so", gold)  # not the example's reasoning, which no answer depends on
    yield from (whole, gold, "", whole * 2, f"{ANSWER_OPEN}{gold}{ANSWER_CLOSE}")
    near = (f"{gold}.", gold.upper(), gold.lower(), gold[:-1], f"{gold}1", f"1{gold}", f"-{gold}", f"x {gold} x")
    for answer in (*near, other, f"{gold} {other}", f"{gold}\n{other}", *example.answers[1:3], "0", "{}"):
        yield render("", answer)


def _told(reward: Reward, asked: Sequence[tuple[str, Example]]) -> str:
    options: dict[str, Any] = {}
    function: Any = reward
    while isinstance(function, partial):
        options = {**{str(place): value for place, value in enumerate(function.args)}, **function.keywords, **options}
        function = function.func
    shown = ", ".join(f"{name}={_text(value)}" for name, value in sorted(options.items()))
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{name}({shown}) {_hash(reward, asked)}"


def _text(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """The same in each process, whatever it is: keys in order, and what isn't plain by its type."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, str | int | float) else type(value).__qualname__


def _hash(reward: Reward, asked: Sequence[tuple[str, Example]]) -> str:
    end = monotonic() + LONGEST
    try:
        scores = [_score(reward, each, end) for each in asked]
        again = [_score(reward, each, end) for each in asked[: len(asked) // ASKED]]
    except OutOfTime:
        return UNKNOWN
    return short_hash(json.dumps(scores)) if again == scores[: len(again)] else UNKNOWN


def _score(reward: Reward, asked: tuple[str, Example], end: float) -> float | str:
    """Raises OutOfTime."""
    try:
        with time_limit(max(0.001, end - monotonic())):
            return round(score_of(reward, *asked), 9)
    except BrokenReward as broken:
        return broken.kind


def changed(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, str]:
    """The scorers of two identities that differ, "metric" or, as gates say, "reward:NAME", to what each of the two is.

    None where an evaluation doesn't know its own, or was asked other examples: the scores are of other completions.
    """
    known = all(key in identity for key in SCORERS for identity in (ours, theirs))
    if not known or ours.get("examples") != theirs.get("examples"):
        return {}
    sides = [
        {"metric": each["metric"], **{f"reward:{name}": told for name, told in each["rewards"].items()}}
        for each in (ours, theirs)
    ]
    names = dict.fromkeys(name for side in sides for name in side)
    found = {name: (sides[0].get(name, "none"), sides[1].get(name, "none")) for name in names}
    return {name: f"{one} and {other}" for name, (one, other) in found.items() if not _same(one, other)}


def _same(one: str, other: str) -> bool:
    """Whether two scorers are one, as far as is known."""
    (function, _, scores), (others, _, theirs) = one.rpartition(" "), other.rpartition(" ")
    return function == others and (scores == theirs or UNKNOWN in (scores, theirs))


def other_scorers(ours: Mapping[str, Any], theirs: Mapping[str, Any], judged: Collection[str] = ()) -> list[str]:
    """Why two evaluations aren't comparable: the scorers that give the judged figures must be the same.

    judged: names as gates have them; the metric gives `exact`, which is what is judged without any.
    """
    found = changed(ours, theirs)
    return [f"{name}: {found[name]}: the scorer isn't the same; {RESCORE}" for name in _judged(found, judged)]


def other_rewards(ours: Mapping[str, Any], theirs: Mapping[str, Any], judged: Collection[str] = ()) -> list[str]:
    """What is worth a note: the scorers that differ beside those of `other_scorers`."""
    found = changed(ours, theirs)
    said = [found[name] for name in _judged(found, judged)]  # the metric is often one of the rewards
    return [f"{name} differs: {both}" for name, both in found.items() if both not in said]


def _judged(found: Collection[str], judged: Collection[str]) -> list[str]:
    names = {"metric" if name == "exact" else name for name in judged or ("exact",)}
    return [name for name in found if name in names]


def another_scorer(count: int) -> str:
    """The reason that so many examples were scored otherwise though the same was said."""
    return f"{count} examples have the same completion and another score: the scorer isn't the same; {RESCORE}"
