"""What the tickets say and who handles them. Needs nothing but Python, so that every contender can use it."""

from __future__ import annotations

DESCRIPTION = 950
"""Characters of the ticket's text: they make the body of each message about 1 KiB."""

SERVICES = ("tickets", "assignment", "resolution", "notification")


def problem(number: int = 1) -> str:
    """A ticket's text of `DESCRIPTION` characters."""
    sentence = f"Ticket {number}: the light blinks twice, then the line is gone until the next restart. "
    return (sentence * (DESCRIPTION // len(sentence) + 1))[:DESCRIPTION]
