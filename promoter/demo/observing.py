"""What somebody watching sees: who holds an alias, what the ledger says of it, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promoter.demo.system import DemoSystem

APPLIED_OUTCOMES = ("applied", "recovered")


@dataclass(frozen=True)
class ObservedEffect:
    """An alias reached a version, so many seconds after the deed; the audit record that says so, and its decision."""

    seconds: float
    record: Mapping[str, Any]
    decision: Mapping[str, Any] | None


@dataclass
class ModelObserver:
    """Watches one model through the registry and the daemon's API."""

    system: DemoSystem
    model: str
    _seen: dict[str, int] = field(default_factory=dict)

    def read_aliases(self) -> dict[str, int]:
        """The registry, read now."""
        found = self.system.mlflow_client.get_registered_model(self.model).aliases
        return {alias: int(version) for alias, version in found.items()}

    def fetch_audit_records(self) -> list[dict[str, Any]]:
        """The whole ledger of the model, oldest first."""
        found: list[dict[str, Any]] = self.system.fetch_json(f"/api/v1/audit?model={self.model}&limit=1000")["records"]
        return found

    def wait_for_alias(self, alias: str, version: int, since: float) -> ObservedEffect:
        """Wait until the registry shows it and the ledger says who did it. `since`: the moment of the deed."""
        expected = f"{alias} to be v{version}"
        self.system.wait_for_value(
            expected, lambda: True if self.read_aliases().get(alias) == version else None, self.read_aliases
        )
        seconds = time.monotonic() - since
        record = self.system.wait_for_value(
            f"the ledger to say why {expected}", lambda: self._find_applied_change(alias, version), self.fetch_audit_records
        )
        self._seen[alias] = record["id"]
        decision = next((each for each in self._fetch_decisions(alias) if each["id"] == record["decision"]), None)
        return ObservedEffect(seconds, record, decision)

    def wait_for_decision(self, alias: str, version: int, verdict: str, since: float) -> tuple[float, Mapping[str, Any]]:
        """Wait until Promoter has decided so about the version; after how many seconds, and the decision."""

        def newest() -> dict[str, Any] | None:
            return next((each for each in self._fetch_decisions(alias) if each["version"] == version), None)

        def decided() -> dict[str, Any] | None:
            found = newest()
            return found if found and found["verdict"] == verdict else None

        found = self.system.wait_for_value(f"the verdict {verdict} on v{version} for {alias}", decided, newest)
        return time.monotonic() - since, found

    def reconcile_and_wait(self, since: float) -> tuple[float, Mapping[str, Any]]:
        """Have the daemon look at everything once more; after how many seconds that was done, and what it says of each alias.

        The request puts its keys on the queue before it is answered, so an empty queue afterwards means that a look which
        began after this call is over.
        """
        self.system.post_request("/api/v1/reconcile")
        self.system.wait_for_value("the daemon to have looked at everything", self._is_queue_empty)
        seconds = time.monotonic() - since
        rows = self.system.fetch_json(f"/api/v1/models/{self.model}")["model"]["aliases"]
        return seconds, {row["alias"]: row for row in rows}

    def _is_queue_empty(self) -> bool | None:
        lines = self.system.fetch_text("/metrics").splitlines()
        depth = next(line.split()[-1] for line in lines if line.startswith("promoter_queue_depth "))
        return True if float(depth) == 0 else None

    def _find_applied_change(self, alias: str, version: int) -> dict[str, Any] | None:
        after = self._seen.get(alias, 0)
        found = [each for each in self.fetch_audit_records() if each["alias"] == alias and each["outcome"] in APPLIED_OUTCOMES]
        return next((each for each in reversed(found) if each["to"] == version and each["id"] > after), None)

    def _fetch_decisions(self, alias: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.system.fetch_json(f"/api/v1/decisions?model={self.model}&alias={alias}")["decisions"]
        return found
