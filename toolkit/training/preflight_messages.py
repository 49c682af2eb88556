"""What the preflight can say: preflight.toml, in the doctor's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.doctor.findings import Finding, messages_of
from toolkit.doctor.findings import found as found_in

MESSAGES = messages_of(Path(__file__).with_name("preflight.toml"))


def found(check: str, message_id: str, **values: Any) -> Finding:
    """The finding for a message of the preflight, its texts filled in."""
    return found_in(check, message_id, MESSAGES, **values)
