"""What somebody watching sees: who holds an alias, what the ledger says of it, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promoter.demo.system import System

APPLIED = ("applied", "recovered")


@dataclass(frozen=True)
class Effect:
    """An alias reached a version, so many seconds after the deed; the audit record that says so, and its decision."""

    seconds: float
    record: Mapping[str, Any]
    decision: Mapping[str, Any] | None


@dataclass
class Observer:
    """Watches one model through the registry and the daemon's API."""

    system: System
    model: str
    _seen: dict[str, int] = field(default_factory=dict)

    def aliases(self) -> dict[str, int]:
        """The registry, read now."""
        found = self.system.client.get_registered_model(self.model).aliases
        return {alias: int(version) for alias, version in found.items()}

    def records(self) -> list[dict[str, Any]]:
        """The whole ledger of the model, oldest first."""
        found: list[dict[str, Any]] = self.system.get_json(f"/api/v1/audit?model={self.model}&limit=1000")["records"]
        return found

    def alias_reaches(self, alias: str, version: int, since: float) -> Effect:
        """Wait until the registry shows it and the ledger says who did it. `since`: the moment of the deed."""
        expected = f"{alias} to be v{version}"
        self.system.until(expected, lambda: True if self.aliases().get(alias) == version else None, self.aliases)
        seconds = time.monotonic() - since
        record = self.system.until(f"the ledger to say why {expected}", lambda: self._change(alias, version), self.records)
        self._seen[alias] = record["id"]
        decision = next((each for each in self._decisions(alias) if each["id"] == record["decision"]), None)
        return Effect(seconds, record, decision)

    def decision(self, alias: str, version: int, verdict: str, since: float) -> tuple[float, Mapping[str, Any]]:
        """Wait until Promoter has decided so about the version; after how many seconds, and the decision."""

        def newest() -> dict[str, Any] | None:
            return next((each for each in self._decisions(alias) if each["version"] == version), None)

        def decided() -> dict[str, Any] | None:
            found = newest()
            return found if found and found["verdict"] == verdict else None

        found = self.system.until(f"the verdict {verdict} on v{version} for {alias}", decided, newest)
        return time.monotonic() - since, found

    def look(self, since: float) -> tuple[float, Mapping[str, Any]]:
        """Have the daemon look at everything once more; after how many seconds that was done, and what it says of each alias.

        The request puts its keys on the queue before it is answered, so an empty queue afterwards means that a look which
        began after this call is over.
        """
        self.system.post("/api/v1/reconcile")
        self.system.until("the daemon to have looked at everything", self._idle)
        seconds = time.monotonic() - since
        rows = self.system.get_json(f"/api/v1/models/{self.model}")["model"]["aliases"]
        return seconds, {row["alias"]: row for row in rows}

    def _idle(self) -> bool | None:
        lines = self.system.get("/metrics").splitlines()
        depth = next(line.split()[-1] for line in lines if line.startswith("promoter_queue_depth "))
        return True if float(depth) == 0 else None

    def _change(self, alias: str, version: int) -> dict[str, Any] | None:
        after = self._seen.get(alias, 0)
        found = [each for each in self.records() if each["alias"] == alias and each["outcome"] in APPLIED]
        return next((each for each in reversed(found) if each["to"] == version and each["id"] > after), None)

    def _decisions(self, alias: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.system.get_json(f"/api/v1/decisions?model={self.model}&alias={alias}")["decisions"]
        return found
