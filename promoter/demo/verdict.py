"""What must hold at the end: registry, git and the ledger agree, and the champion can be loaded and predicts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promoter.adapters.documents import YamlDocuments
from promoter.adapters.git.worktree import WorkTree
from promoter.demo import training
from promoter.demo.observing import APPLIED_OUTCOMES, ModelObserver
from promoter.demo.remote_edits import WorkingClone
from promoter.domain.faults import ExternalError

CLOSING_OUTCOMES = (*APPLIED_OUTCOMES, "failed")


@dataclass(frozen=True)
class AgreementCheck:
    """One thing that was checked: whether it holds, and what was seen."""

    name: str
    good: bool
    seen: str


def run_final_checks(observer: ModelObserver) -> Iterator[AgreementCheck]:
    """Every check, whatever the others say. Reads a fresh clone, the registry, and the ledger through the command line."""
    clone = WorkingClone(observer.system.git.url, observer.system.folder / "verdict")
    records: list[dict[str, Any]] = json.loads(
        observer.system.run_promoter("audit", "list", "--format", "json", "--limit", "10000", cwd=clone.folder).output
    )["records"]
    yield _run_check_safely("registry = git", lambda: _check_registry_against_git(observer, clone))
    yield _run_check_safely("ledger = registry", lambda: _check_ledger_against_registry(observer, records))
    yield _run_check_safely("intents closed", lambda: _check_intents_closed(records))
    yield _run_check_safely("nothing to do", lambda: _check_plan_is_empty(observer, clone.folder))
    yield _run_check_safely("decisions again", lambda: _check_decisions_rerun(observer, clone.folder))
    yield _run_check_safely("chain holds", lambda: _check_ledger_chain(observer, clone.folder))
    yield _run_check_safely("champion predicts", lambda: _check_champion_predicts(observer))


def _run_check_safely(name: str, check: Callable[[], tuple[bool, str]]) -> AgreementCheck:
    try:
        return AgreementCheck(name, *check())
    except ExternalError as error:
        return AgreementCheck(name, good=False, seen=str(error))


def _check_registry_against_git(observer: ModelObserver, clone: WorkingClone) -> tuple[bool, str]:
    desired = YamlDocuments().parse_declaration(WorkTree(clone.folder).read_sources(), clone.head_revision).desired
    stated = {alias.alias: alias.version for alias in desired.stated_aliases if alias.model == observer.model}
    held = observer.read_aliases()
    return (
        bool(stated) and stated == held,
        f"registry {_format_alias_versions(held)}; registry.yaml at {clone.head_revision[:10]} {_format_alias_versions(stated)}",
    )


def _check_ledger_against_registry(observer: ModelObserver, records: list[dict[str, Any]]) -> tuple[bool, str]:
    moves = [each for each in records if each["kind"] == "observed" or each["outcome"] in APPLIED_OUTCOMES]
    known = {each["alias"]: each["to"] for each in moves if each["model"] == observer.model}
    held = observer.read_aliases()
    recorded = {alias: version for alias, version in known.items() if version is not None}
    return bool(recorded) and recorded == held, f"ledger {_format_alias_versions(recorded)}; {len(records)} records"


def _check_intents_closed(records: list[dict[str, Any]]) -> tuple[bool, str]:
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
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    rows, answers = training.load_training_data().validation, training.load_training_data().validation_answers
    uri = f"models:/{observer.model}@champion"
    try:
        predicted = [float(value) for value in mlflow.pyfunc.load_model(uri).predict(rows)]
    except (MlflowException, OSError, ValueError) as error:
        return False, f"{uri}: {error}"
    right = sum(value == answer for value, answer in zip(predicted, answers, strict=True))
    finite = all(math.isfinite(value) for value in predicted)
    return finite and len(predicted) == len(rows), f"{uri}: {right} of {len(rows)} rows right"


def _format_alias_versions(aliases: dict[str, int] | dict[str, int | None]) -> str:
    return ", ".join(f"{alias} {'absent' if version is None else f'v{version}'}" for alias, version in sorted(aliases.items()))
