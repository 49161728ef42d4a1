"""The identity of a version: a number alone may stand for another version than the one that somebody approved.

A model that is deleted and registered anew counts from 1 again, and so does a registry that was restored from a backup. What
Promoter remembers of a version it remembers of one identity: the creation of its model, its number, its own creation, its run
and its source. A model that is renamed, away and back, keeps all of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from promoter.domain.fields import format_utc
from promoter.domain.text import version_label

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_DIGITS = 12
_ABSENT = "-"
UNIDENTIFIED = "unidentified"
"""In the place of an identity: whatever version was meant, it is none of the present registry's."""
_PARTS = 5
_TIMES = 3
"""How many parts of a text are the times and the number, which no answer lacks."""


@dataclass(frozen=True)
class VersionIdentity:
    """What makes a version of a registered model that version, and no other."""

    model_created_at: datetime
    """When its model was registered, to the millisecond."""
    number: int
    created_at: datetime
    """When it was registered itself, to the millisecond."""
    run_id: str | None = None
    source: str | None = None

    @property
    def text(self) -> str:
        """The identity in one short line, as the ledger keeps it: two times in milliseconds, the number, and two digests."""
        times = f"{_to_milliseconds(self.model_created_at)}.{self.number}.{_to_milliseconds(self.created_at)}"
        return f"{times}.{_digest(self.run_id)}.{_digest(self.source)}"


@dataclass(frozen=True)
class IdentityTimes:
    """The times that the text of an identity names."""

    model_created_at: datetime
    """When the model was registered."""
    created_at: datetime
    """When the version was registered."""

    @classmethod
    def parse(cls, text: str | None) -> IdentityTimes | None:
        """Read the text of an identity; None for anything else."""
        parts = (text or "").split(".")
        if len(parts) != _PARTS or not all(part.lstrip("-").isdigit() for part in parts[:_TIMES]):
            return None
        return cls(*(_EPOCH + timedelta(milliseconds=int(part)) for part in (parts[0], parts[2])))


@dataclass(frozen=True)
class PresentVersion:
    """A version as the registry shows it now."""

    number: int
    created_at: datetime
    """When it was registered."""
    identity: str | None
    """The text of its identity; None where the registry does not tell when its model was registered."""


@dataclass(frozen=True)
class RememberedVersion:
    """A version as a record remembers it."""

    number: int | None
    """Its number; None: the alias was absent."""
    identity: str | None = None
    """The text of its identity; None: the record is older than identities, or there was no version."""
    at: datetime | None = None
    """The moment of the record; None: unknown."""

    def is_still(self, present: PresentVersion | None) -> bool:
        """Whether the version that has the number now is the one that was remembered; true where none has it.

        A record without an identity cannot mean a version that was registered after it.
        """
        if present is None or self.number is None:
            return True
        if self.identity is not None and present.identity is not None:
            return is_same_identity(self.identity, present.identity)
        return self.at is None or present.created_at <= self.at

    def may_be(self, other: RememberedVersion) -> bool:
        """Whether both may mean one version: the same number, and not two identities."""
        if self.identity is None or other.identity is None:
            return self.number == other.number
        return self.number == other.number and is_same_identity(self.identity, other.identity)

    def needs_identity(self, present: PresentVersion | None) -> bool:
        """Whether the version is still the same, and its identity can be learned now."""
        unknown = self.identity is None and present is not None and present.identity is not None
        return unknown and self.number is not None and self.is_still(present)


def is_same_identity(one: str, other: str) -> bool:
    """Return whether two texts are of one version.

    A run or a source that one of them lacks tells nothing: MLflow leaves out what is empty, and so does an answer that lost a
    field on its way. The times tell versions apart anyway.
    """
    ours, theirs = one.split("."), other.split(".")
    if len(ours) != _PARTS or len(theirs) != _PARTS:
        return one == other
    pairs = zip(ours[_TIMES:], theirs[_TIMES:], strict=True)
    return ours[:_TIMES] == theirs[:_TIMES] and all(a == b or _ABSENT in (a, b) for a, b in pairs)


def describe_replacement(remembered: RememberedVersion, present: PresentVersion | None, model: datetime | None) -> str:
    """Return the sentence that a number stands for another version now, or for none. `model`: when the model was registered."""
    label, when = version_label(remembered.number), f" on {format_utc(remembered.at)}" if remembered.at else ""
    was = IdentityTimes.parse(remembered.identity)
    anew = was is not None and model is not None and was.model_created_at != model
    cause = f"the model was registered anew on {format_utc(model)}" if anew and model else "the registry may have been restored"
    if present is None:
        gone = cause if anew else "somebody deleted it, or the registry was restored from a backup"
        return f"{label} that was recorded{when} is gone: {gone}"
    registered = f"registered {format_utc(present.created_at)}"
    return f"{label} is another one ({registered}) than the one that was recorded{when}: {cause}"


def _digest(text: str | None) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS] if text else _ABSENT


def _to_milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
