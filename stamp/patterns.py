"""The eight kinds of sagas: how services talk, how consistent the whole is, who coordinates.

The names and the three dimensions are those of Ford, Richards, Sadalage and Dehghani, *Software Architecture: The Hard
Parts*, chapter 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Literal

from stamp.errors import DefinitionError

_DIMENSIONS = (
    {"s": "synchronous", "a": "asynchronous"},
    {"a": "atomic", "e": "eventual"},
    {"o": "orchestrated", "c": "choreographed"},
)


class Pattern(Enum):
    """One kind of saga, by its three letters: communication, consistency, coordination."""

    EPIC = "sao"
    PHONE_TAG = "sac"
    FAIRY_TALE = "seo"
    TIME_TRAVEL = "sec"
    FANTASY_FICTION = "aao"
    HORROR_STORY = "aac"
    PARALLEL = "aeo"
    ANTHOLOGY = "aec"

    @property
    def code(self) -> str:
        """Its three letters."""
        return self.value

    @property
    def title(self) -> str:
        """Its name: `Horror Story`."""
        return self.name.replace("_", " ").title()

    @property
    def label(self) -> str:
        """Name and what the letters mean, for people."""
        return f"{self.title} ({self.code}: {', '.join(self.words)})"

    @property
    def words(self) -> tuple[str, ...]:
        """What its three letters stand for."""
        return tuple(meaning[letter] for meaning, letter in zip(_DIMENSIONS, self.value, strict=True))

    def difference_from(self, other: Pattern) -> str:
        """Why this is not `other`, in words."""
        pairs = [(mine, theirs) for mine, theirs in zip(self.words, other.words, strict=True) if mine != theirs]
        return "; ".join(_WHY[mine] for mine, _ in pairs)

    @classmethod
    def named(cls, claim: str, *, where: str) -> Pattern:
        """The pattern of that code or name (`aec`, `Anthology`). Raises `DefinitionError` naming the eight."""
        wanted = claim.strip().lower().replace("_", " ").removesuffix(" saga")
        for pattern in cls:
            if wanted in {pattern.code, pattern.title.lower()}:
                return pattern
        known = ", ".join(f"{pattern.code} ({pattern.title})" for pattern in cls)
        raise DefinitionError(f"{where}: saga={claim!r} is no saga pattern", fix=f"one of {known}")


_WHY: Mapping[str, str] = {
    "asynchronous": "services talk by messages here and nobody waits for an answer",
    "synchronous": "services wait for one another",
    "atomic": "it has steps that can be undone, so the whole is done or taken back",
    "eventual": "nothing in it can be undone, so it only ever goes forward",
    "choreographed": "the stamp travels from service to service and nobody directs it",
    "orchestrated": "one service directs it",
}

DANGEROUS: Mapping[Pattern, str] = {
    Pattern.HORROR_STORY: "all or nothing, without anybody in charge: undo has to find its own way back, in any order",
    Pattern.FANTASY_FICTION: "all or nothing over messages, directed by one service: state is in flight everywhere",
}
"""The patterns that the book warns of, and why."""


def pattern_of(*, compensates: bool, coordination: Literal["choreographed", "orchestrated"]) -> Pattern:
    """The pattern that a table has: messages are asynchronous, undo makes it atomic, the style says who coordinates."""
    return Pattern(f"a{'a' if compensates else 'e'}{coordination[0]}")
