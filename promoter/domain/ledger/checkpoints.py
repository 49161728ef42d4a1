"""Checkpoints, by which a key attests the ledger up to an entry; lifecycle events, which record them; and retention.

The key signs the RFC 8785 form of the ledger's name, the entry's number and its hash, behind a text that no other use of the
key begins with (Ed25519, RFC 8032). Whoever rewrites earlier entries cannot sign them again without the key.
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
"""How long the daemon waits after a checkpoint before it makes the next one."""
_CHECKPOINT_CONTEXT = b"promoter checkpoint of a ledger, format 1\n"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class LedgerCheckpoint:
    """A key's signature over a head of the ledger."""

    head: LedgerHead
    """The head that is attested."""
    key: str
    """The public key, in the form of `approvers.yaml`."""
    signature: str
    """The signature in Base64."""

    @classmethod
    def sign_head(cls, head: LedgerHead, signer: SigningKey) -> LedgerCheckpoint:
        """Sign a head, and with it every entry up to it."""
        return cls(head, signer.public_key, base64.b64encode(signer.sign_bytes(build_signed_bytes(head))).decode())

    @classmethod
    def from_event_facts(cls, ledger: str, facts: Mapping[str, Any]) -> LedgerCheckpoint | None:
        """Read the facts of a lifecycle event of that ledger; None where they are no checkpoint."""
        entry, found, key, signature = (facts.get(name) for name in ("entry", "hash", "key", "signature"))
        if not isinstance(entry, int) or not (isinstance(found, str) and isinstance(key, str) and isinstance(signature, str)):
            return None
        return cls(LedgerHead(ledger, entry, found), key, signature)

    @property
    def event_facts(self) -> dict[str, Any]:
        """The facts of the lifecycle event that records the checkpoint."""
        return {"entry": self.head.entry, "hash": self.head.hash, "key": self.key, "signature": self.signature}

    @property
    def has_valid_signature(self) -> bool:
        """Whether the named key signed exactly this head."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            signature = base64.b64decode(self.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(decode_public_key(self.key)).verify(signature, build_signed_bytes(self.head))
        except (InvalidSignature, ValueError):
            return False
        return len(signature) == _SIGNATURE_BYTES


def build_signed_bytes(head: LedgerHead) -> bytes:
    """Build the bytes that a checkpoint of the head signs."""
    return _CHECKPOINT_CONTEXT + rfc8785.dumps({"entry": head.entry, "hash": head.hash, "ledger": head.ledger})


def decode_public_key(text: str) -> bytes:
    """Decode the 32 bytes of a public key in the form of `approvers.yaml`. Raises ValueError for anything else."""
    if not text.startswith(PUBLIC_KEY_PREFIX):
        raise ValueError(f"a public key begins with {PUBLIC_KEY_PREFIX}")
    found = base64.b64decode(text.removeprefix(PUBLIC_KEY_PREFIX), validate=True)
    if len(found) != _KEY_BYTES:
        raise ValueError(f"a public key has {_KEY_BYTES} bytes")
    return found


HEARTBEAT_INTERVAL = timedelta(hours=1)
"""How often a watching daemon records that it does: one entry an hour, and never more than an hour in doubt."""


class LifecycleEventType(StrEnum):
    """What can happen to the ledger itself, or to a daemon that watches the registry."""

    OPENED = "opened"
    """The ledger was created."""
    STARTED = "started"
    """A daemon began to watch."""
    WATCHING = "watching"
    """A daemon still watches."""
    STOPPED = "stopped"
    """A daemon watches no more."""
    RETENTION = "retention"
    """Old evidence was dropped."""
    CHECKPOINT = "checkpoint"
    """A key attested the chain up to an entry."""
    SUCCEEDED = "succeeded"
    """A person stated that the ledger follows another one, or stands beside it, for which commits vouch as well."""
    REQUESTED = "requested"
    """A person asked for a commit, which Promoter made, and is about to push."""
    REGISTRY = "registry"
    """The ledger is about that registry from now on."""
    REPOSITORY = "repository"
    """The ledger is about that folder of that repository from now on."""
    ALLOWED = "allowed"
    """A revision was let past the mass-change limit: somebody whom a `review` rule names allowed it."""
    REWRITTEN = "rewritten"
    """Somebody forced a push: the branch's head does not follow the one that was known before."""
    REFUSED = "refused"
    """A person closed a proposal's pull request without merging it: a no to that version for that alias."""
    RECONSIDERED = "reconsidered"
    """A person took such a no back."""
    OVERRIDE_EXPIRING = "override-expiring"
    """An override ends soon, and nobody has decided."""
    REVISION_REFUSED = "revision-refused"
    """The branch's head cannot be in force."""


@dataclass(frozen=True)
class LifecycleEvent:
    """An event in the life of the ledger or of a daemon."""

    at: datetime
    """When it happened."""
    event: LifecycleEventType
    """What happened."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More about it, by its type.

    OPENED: `ledger` (its name), `tool`. STARTED, WATCHING, STOPPED: `run` (one name for each start), `tool`, `looked` (an ISO
    8601 moment: every move before it is recorded), `host`, `process` (its number there), `since` (an ISO 8601 moment: when it
    started; older Promoters wrote none of these three). RETENTION: `before`, `dropped` (how many texts), `actor`.
    SUCCEEDED: `other` (the name of the other ledger), `actor`, `reason`. CHECKPOINT: `entry`, `hash`, `key`, `signature`.
    REQUESTED: the fields of `CommitRequest`. REWRITTEN: the facts of a `BranchRewrite`. REGISTRY: `server` (when it was set
    up), `address`, `workspace` (only where the server has workspaces); where a person accepted it in the place of another one,
    `actor` and `reason`. REPOSITORY: `address` (without
    credentials), `folder` (empty: the top); where a person accepted it, `actor` and `reason`. ALLOWED: the facts of a
    `ChangeAllowance`. OVERRIDE_EXPIRING: `override` (the number of its record), `model`, `alias`, `version`, `replaces`,
    `until` (an ISO 8601 moment), `by`, `reason`, `then` (what follows, in a clause). REVISION_REFUSED: `revision`, `reason`
    (every fault, one a line), `in_force` (the revision that stays in force; None: none does), `author` (`Name <mail>`; None
    where git does not say).
    REFUSED: the fields of a `ProposalRefusal`, its moment as `closed`. RECONSIDERED: `model`, `alias`, `version`,
    `answer_key`, and where they are known `by` and `reason`.
    """
    id: int = 0
    """The number of its entry; 0 before it is recorded."""


@dataclass(frozen=True)
class DaemonPresence:
    """A daemon that has started to work on the ledger and has not said that it stopped."""

    run: str
    """The name of this start of it."""
    host: str
    """The name of its host; empty where an older Promoter did not record it."""
    process: int
    """The number of its process on that host; 0 where it is not known."""
    since: datetime
    """When it started, as far as the events tell."""
    last_seen_at: datetime
    """When it last recorded that it runs."""


def find_present_daemons(events: Iterable[LifecycleEvent], now: datetime) -> list[DaemonPresence]:
    """Find the daemons whose last event is no stop and not older than two heartbeats, the newest start last."""
    found: dict[str, DaemonPresence] = {}
    for each in sorted(events, key=lambda event: event.id):
        run, host, process = (each.facts.get(name) for name in ("run", "host", "process"))
        if each.event in (LifecycleEventType.STARTED, LifecycleEventType.WATCHING) and isinstance(run, str):
            since = found[run].since if run in found else _parse_moment(each.facts.get("since")) or each.at
            number = process if isinstance(process, int) else 0
            found[run] = DaemonPresence(run, host if isinstance(host, str) else "", number, since, each.at)
        elif each.event is LifecycleEventType.STOPPED:
            found.pop(str(run), None)
    alive = [each for each in found.values() if now - each.last_seen_at <= 2 * HEARTBEAT_INTERVAL]
    return sorted(alive, key=lambda each: each.since)


def _parse_moment(fact: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(fact))
    except ValueError:
        return None
    return found if found.tzinfo else None


@dataclass(frozen=True)
class BranchRewrite:
    """A branch whose head does not follow the one that was known before: somebody forced a push, or replaced the repository."""

    before: str
    """The revision that was known before."""
    after: str
    """The head that was found."""
    is_unrelated: bool
    """Whether the two have no commit in common, as far as can be seen."""
    dropped: int | None
    """How many commits the branch has lost; None where that cannot be seen."""
    at: datetime | None = None
    """When it was found; None before it is recorded."""

    @classmethod
    def from_event(cls, event: LifecycleEvent) -> BranchRewrite:
        """Read a lifecycle event of the type REWRITTEN."""
        facts = event.facts
        dropped = facts.get("dropped")
        return cls(
            str(facts.get("before")),
            str(facts.get("after")),
            bool(facts.get("unrelated")),
            dropped if isinstance(dropped, int) else None,
            event.at,
        )

    @property
    def event_facts(self) -> dict[str, Any]:
        """The facts of the lifecycle event that records it."""
        return {"before": self.before, "after": self.after, "unrelated": self.is_unrelated, "dropped": self.dropped}

    @property
    def description(self) -> str:
        """What happened, in one line."""
        lost = "" if self.dropped is None else f", {self.dropped} commits are gone"
        what = "an unrelated history" if self.is_unrelated else "a forced push"
        return f"the branch was rewritten by {what}: {self.before[:10]} became {self.after[:10]}{lost}"


YOUNGEST_DROPPABLE = timedelta(days=1)
"""Evidence that is younger is never dropped: a typing error must not empty a ledger."""


@dataclass(frozen=True)
class EvidenceRetention:
    """A dropping of old evidence, as the ledger records it."""

    before: datetime
    """Evidence that only decisions before this moment referred to was dropped."""
    actor: str
    """Who dropped it."""
    at: datetime
    """When it was dropped."""
    entry: int
    """The number of the entry that records it."""

    def __str__(self) -> str:
        return f"{self.actor} on {format_utc(self.at)} (all from before {format_utc(self.before)}; entry {self.entry})"


def find_last_retention(events: Iterable[LifecycleEvent]) -> EvidenceRetention | None:
    """Find the retention that reaches furthest; None where nothing was ever dropped."""
    found = [
        EvidenceRetention(datetime.fromisoformat(str(each.facts["before"])), str(each.facts.get("actor")), each.at, each.id)
        for each in events
        if each.event is LifecycleEventType.RETENTION
    ]
    return max(found, key=lambda each: each.before, default=None)
