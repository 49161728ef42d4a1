"""Milestones: what happened to the ledger itself, and when somebody watched the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

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
