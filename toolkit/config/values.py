"""Whether a value is of a kind that its key takes, before pydantic sees it: it reads "yes" and 1 as true, "8" as 8.

Editors check recipes against schemas/recipe.schema.json, which knows no such kindness: what they mark is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator, Field

# Numbers to people, editors and YAML 1.2, but texts to PyYAML, whose YAML 1.1 wants a dot and a sign in them.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", re.ASCII)


def as_written(value: Any, annotation: Any) -> Any:
    """The value of a field of that type, a number as a number. Raises ValueError for a kind that the type lacks.

    What a list or a mapping holds is not looked at: their types are Weight and Share.
    """
    allowed = set(_choices(annotation))
    if Any in allowed:
        return value
    if isinstance(value, bool):
        if bool not in allowed:
            raise ValueError("true and false mean nothing here")
    elif isinstance(value, int | float):
        if bool in allowed and not allowed & {int, float}:
            raise ValueError(f"want {_named(allowed)}")
    elif isinstance(value, str) and not allowed & {str, value}:
        return _from_text(value, allowed)
    return value  # what else is wrong with it, pydantic says


_Number = BeforeValidator(lambda value: as_written(value, float))
Weight = Annotated[float, Field(ge=0), _Number]
Share = Annotated[float, Field(ge=0, le=1), _Number]


def _from_text(text: str, allowed: set[Any]) -> Any:
    """A text for a key that doesn't take it as such."""
    if bool in allowed:
        raise ValueError(f"want {_named(allowed)}")
    if not allowed & {int, float}:
        return text
    if _EXPONENT.fullmatch(text):
        return float(text)
    try:
        float(text)
    except ValueError:
        return text
    raise ValueError("want a number, this is a text: leave the quotes out")


def _named(allowed: set[Any]) -> str:
    return " or ".join(["true", "false", *sorted(each for each in allowed if isinstance(each, str))])


def _choices(annotation: Any) -> Iterator[Any]:
    """The types and literal values that a field's type is a choice of."""
    if get_origin(annotation) is Literal or annotation is Any:
        yield from get_args(annotation) or (Any,)
    elif isinstance(annotation, type):
        yield annotation
    elif get_origin(annotation) not in (dict, tuple):
        for part in get_args(annotation):
            yield from _choices(part)
