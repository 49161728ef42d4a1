"""What an observer sees: who holds an alias, what the ledger recorded, and whether all parts agree at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promoter.adapters.git.checkout import WorkTree
from promoter.adapters.yaml import YamlDocuments
from promoter.demo.git_edits import WorkingClone
from promoter.demo.scoring import score_payments
from promoter.demo.system import DemoSystem
from promoter.domain.errors import ExternalError

APPLIED_OUTCOMES = ("applied", "recovered")


@dataclass(frozen=True)
class ObservedEffect:
    """An alias that reached a version."""

    seconds: float
    """The seconds since the deed."""
    record: Mapping[str, Any]
    """The audit record of the move."""
    decision: Mapping[str, Any] | None
    """The decision behind it."""


@dataclass
class ModelObserver:
    """Observes one model through the registry and the daemon's API."""

    system: DemoSystem
    """The servers."""
    model: str
    """The registered model."""
    _seen: dict[str, int] = field(default_factory=dict)

    def read_aliases(self) -> dict[str, int]:
        """Return the aliases that the registry has now."""
        found = self.system.mlflow_client.get_registered_model(self.model).aliases
        return {alias: int(version) for alias, version in found.items()}

    def fetch_audit_records(self) -> list[dict[str, Any]]:
        """Return all audit records of the model, oldest first."""
        found: list[dict[str, Any]] = self.system.fetch_json(f"/api/v1/audit?model={self.model}&limit=1000")["records"]
        return found

    def wait_for_alias(self, alias: str, version: int, since: float) -> ObservedEffect:
        """Wait until the registry and the ledger show the move. `since` is the moment of the deed."""
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
        """Wait for a decision with that verdict on the version. Return the seconds since the deed, and the decision."""

        def newest() -> dict[str, Any] | None:
            return next((each for each in self._fetch_decisions(alias) if each["version"] == version), None)

        def decided() -> dict[str, Any] | None:
            found = newest()
            return found if found and found["verdict"] == verdict else None

        found = self.system.wait_for_value(f"the verdict {verdict} on v{version} for {alias}", decided, newest)
        return time.monotonic() - since, found

    def reconcile_and_wait(self, since: float) -> tuple[float, Mapping[str, Any]]:
        """Let the daemon reconcile everything, and wait for the end.

        Return the seconds since the deed, and the aliases' states. The request is queued before it is answered. So an empty
        queue afterwards means that a run which began after this call is over.
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


CLOSING_OUTCOMES = (*APPLIED_OUTCOMES, "failed")
CHECKS_AT_A_TIME = 2


@dataclass(frozen=True)
class AgreementCheck:
    """One check at the end of the story."""

    name: str
    """What is checked."""
    good: bool
    """Whether it holds."""
    seen: str
    """What was found."""


def run_final_checks(observer: ModelObserver) -> list[AgreementCheck]:
    """Run every check, some of them at a time. They read a fresh clone, the registry, and the ledger."""
    clone = WorkingClone(observer.system.git.url, observer.system.folder / "verdict")
    with ThreadPoolExecutor(CHECKS_AT_A_TIME) as pool:
        checks: Mapping[str, Callable[[], tuple[bool, str]]] = {
            "registry = git": lambda: _check_registry_against_git(observer, clone),
            "ledger = registry": lambda: _check_ledger_against_registry(observer),
            "intents closed": lambda: _check_intents_closed(observer),
            "nothing to do": lambda: _check_plan_is_empty(observer, clone.folder),
            "decisions again": lambda: _check_decisions_rerun(observer, clone.folder),
            "chain holds": lambda: _check_ledger_chain(observer, clone.folder),
            "champion predicts": lambda: _check_champion_predicts(observer),
        }
        return list(pool.map(_run_check_safely, checks, checks.values()))


def _run_check_safely(name: str, check: Callable[[], tuple[bool, str]]) -> AgreementCheck:
    try:
        return AgreementCheck(name, *check())
    except ExternalError as error:
        return AgreementCheck(name, good=False, seen=str(error))


def _check_registry_against_git(observer: ModelObserver, clone: WorkingClone) -> tuple[bool, str]:
    desired = YamlDocuments().parse_declaration(WorkTree(clone.folder).read_sources(), clone.head_revision).desired
    stated = {alias.alias: alias.version for alias in desired.stated_aliases if alias.model == observer.model}
    held, head = observer.read_aliases(), clone.head_revision
    return (
        bool(stated) and stated == held,
        f"registry {_format_alias_versions(held)}; registry.yaml at {head[:10]} {_format_alias_versions(stated)}",
    )


def _check_ledger_against_registry(observer: ModelObserver) -> tuple[bool, str]:
    records = observer.fetch_audit_records()
    moves = [each for each in records if each["kind"] == "observed" or each["outcome"] in APPLIED_OUTCOMES]
    known = {each["alias"]: each["to"] for each in moves}
    held = observer.read_aliases()
    recorded = {alias: version for alias, version in known.items() if version is not None}
    return bool(recorded) and recorded == held, f"ledger {_format_alias_versions(recorded)}; {len(records)} records"


def _check_intents_closed(observer: ModelObserver) -> tuple[bool, str]:
    records = observer.fetch_audit_records()
    intents = [each["id"] for each in records if each["outcome"] == "intended"]
    outcomes = [each["intent"] for each in records if each["outcome"] in CLOSING_OUTCOMES]
    failed = sum(each["outcome"] == "failed" for each in records)
    seen = f"{len(intents)} intents, {len(outcomes)} outcomes, {failed} of them failed"
    return bool(intents) and sorted(intents) == sorted(outcomes), seen


def _check_plan_is_empty(observer: ModelObserver, folder: Path) -> tuple[bool, str]:
    result = observer.system.run_promoter("plan", cwd=folder, codes=(0, 2, 3))
    return result.code == 0, f"promoter plan: {result.output.strip().splitlines()[-1]} Exit code {result.code}."


def _check_decisions_rerun(observer: ModelObserver, folder: Path) -> tuple[bool, str]:
    result = observer.system.run_promoter("audit", "rerun", "--all", cwd=folder, codes=(0, 1))
    return result.code == 0, f"promoter audit rerun --all: {result.output.strip().splitlines()[-1]}"


def _check_ledger_chain(observer: ModelObserver, folder: Path) -> tuple[bool, str]:
    result = observer.system.run_promoter("audit", "verify", "--format", "json", cwd=folder, codes=(0, 1))
    report = json.loads(result.output)
    wrong, vouching = len(report["problems"]), report["vouching"]["commit"]
    seen = f"promoter audit verify: {report['entries']} entries, {vouching} commits vouch for them, {wrong} problems"
    return result.code == 0 and vouching > 0, seen


def _check_champion_predicts(observer: ModelObserver) -> tuple[bool, str]:
    scored = score_payments(observer.system.mlflow_client, observer.model, "@champion")
    return scored.is_complete, f"{scored.address}: {scored.summary}"


def _format_alias_versions(aliases: dict[str, int] | dict[str, int | None]) -> str:
    return ", ".join(f"{alias} {'absent' if version is None else f'v{version}'}" for alias, version in sorted(aliases.items()))
