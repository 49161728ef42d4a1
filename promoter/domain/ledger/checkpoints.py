"""Checkpoints: a key vouches for the ledger up to an entry.

Signed is the RFC 8785 form of the ledger's name, the entry's number and its hash, behind a text that no other use of the key
begins with (Ed25519, RFC 8032). Whoever rewrites what was written before cannot sign it anew without the key.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import rfc8785

from promoter.domain.approvals import PUBLIC_KEY_PREFIX
from promoter.domain.fields import format_utc
from promoter.domain.ledger.chain import LedgerHead

if TYPE_CHECKING:
    from promoter.domain.approvals import SigningKey


CHECKPOINT_INTERVAL = timedelta(hours=1)
"""How long the daemon lets a checkpoint stand before it makes the next one."""
_CHECKPOINT_CONTEXT = b"promoter checkpoint of a ledger, format 1\n"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class LedgerCheckpoint:
    """The head that was vouched for, the public key as `approvers.yaml` writes it, and the signature in Base64."""

    head: LedgerHead
    key: str
    signature: str

    @classmethod
    def sign_head(cls, head: LedgerHead, signer: SigningKey) -> LedgerCheckpoint:
        """The key vouches for everything up to that head."""
        return cls(head, signer.public_key, base64.b64encode(signer.sign_bytes(build_signed_bytes(head))).decode())

    @classmethod
    def from_event_facts(cls, ledger: str, facts: Mapping[str, Any]) -> LedgerCheckpoint | None:
        """What a milestone of that ledger told; None where that is no checkpoint."""
        entry, found, key, signature = (facts.get(name) for name in ("entry", "hash", "key", "signature"))
        if not isinstance(entry, int) or not (isinstance(found, str) and isinstance(key, str) and isinstance(signature, str)):
            return None
        return cls(LedgerHead(ledger, entry, found), key, signature)

    @property
    def event_facts(self) -> dict[str, Any]:
        """As a milestone tells it."""
        return {"entry": self.head.entry, "hash": self.head.hash, "key": self.key, "signature": self.signature}

    @property
    def has_valid_signature(self) -> bool:
        """Whether the owner of the key that it names signed exactly this."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            signature = base64.b64decode(self.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(decode_public_key(self.key)).verify(signature, build_signed_bytes(self.head))
        except (InvalidSignature, ValueError):
            return False
        return len(signature) == _SIGNATURE_BYTES


def build_signed_bytes(head: LedgerHead) -> bytes:
    """What the signature is over."""
    return _CHECKPOINT_CONTEXT + rfc8785.dumps({"entry": head.entry, "hash": head.hash, "ledger": head.ledger})


def decode_public_key(text: str) -> bytes:
    """The 32 bytes of a public key as it is written. Raises ValueError for anything else."""
    if not text.startswith(PUBLIC_KEY_PREFIX):
        raise ValueError(f"a public key begins with {PUBLIC_KEY_PREFIX}")
    found = base64.b64decode(text.removeprefix(PUBLIC_KEY_PREFIX), validate=True)
    if len(found) != _KEY_BYTES:
        raise ValueError(f"a public key has {_KEY_BYTES} bytes")
    return found


HEARTBEAT_INTERVAL = timedelta(hours=1)
"""How often a daemon that watches says so: what it says is worth one entry, and never more than an hour is in doubt."""


class LifecycleEventType(StrEnum):
    """OPENED: the ledger began. STARTED, WATCHING, STOPPED: a daemon began to watch, still does, and does no more.

    RETENTION: evidence was dropped. CHECKPOINT: a key vouches for the chain up to an entry.
    """

    OPENED = "opened"
    STARTED = "started"
    WATCHING = "watching"
    STOPPED = "stopped"
    RETENTION = "retention"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class LifecycleEvent:
    """One of them. `told` depends on the event; `id` is its entry's number, 0 before it has one.

    OPENED: `ledger` (its name), `tool`. STARTED, WATCHING, STOPPED: `run` (one name for each start), `tool`, `looked` (an ISO
    8601 moment: what moved before it is recorded). RETENTION: `before`, `dropped` (how many texts), `actor`.
    CHECKPOINT: `entry`, `hash`, `key`, `signature`.
    """

    at: datetime
    event: LifecycleEventType
    facts: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0


YOUNGEST_DROPPABLE = timedelta(days=1)
"""What is younger is never dropped: a slip of the finger must not empty a ledger."""


@dataclass(frozen=True)
class EvidenceRetention:
    """Evidence of decisions before that moment was dropped; by whom, when, and in which entry of the ledger."""

    before: datetime
    actor: str
    at: datetime
    entry: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.actor} on {format_utc(self.at)} (all from before {format_utc(self.before)}; entry {self.entry})"


def find_last_retention(milestones: Iterable[LifecycleEvent]) -> EvidenceRetention | None:
    """The one that reaches furthest; None where nothing was ever dropped."""
    found = [
        EvidenceRetention(datetime.fromisoformat(str(each.facts["before"])), str(each.facts.get("actor")), each.at, each.id)
        for each in milestones
        if each.event is LifecycleEventType.RETENTION
    ]
    return max(found, key=lambda each: each.before, default=None)
