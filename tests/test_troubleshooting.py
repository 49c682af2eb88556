"""docs/troubleshooting.md has cause and cure for everything that the preflight and the doctor can say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from toolkit.doctor.findings import MESSAGES as DOCTORS
from toolkit.training.preflight_messages import MESSAGES as PREFLIGHTS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = {**PREFLIGHTS, **DOCTORS}
SECTIONS = {
    match[1]: match[2]
    for match in re.finditer(r"^### `([\w-]+)` \(\w+\)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def test_the_page_names_no_other_message() -> None:
    assert list(SECTIONS) == list(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_each_message_has_cause_and_cure(name: str) -> None:
    """The words of the message itself, so that a search for what the terminal showed finds it."""
    message = MESSAGES[name]
    assert f"### `{name}` ({message.level})" in PAGE
    for text in (message.cause, message.fix):
        for piece in re.split(r"\{[^}]*\}", text):
            assert piece in SECTIONS[name]
