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
from promoter.demo.observing import APPLIED, Observer
from promoter.demo.remote_edits import Clone
from promoter.domain.faults import OutsideError

CLOSED = (*APPLIED, "failed")


@dataclass(frozen=True)
class Check:
    """One thing that was checked: whether it holds, and what was seen."""

    name: str
    good: bool
    seen: str


def checks(observer: Observer) -> Iterator[Check]:
    """Every check, whatever the others say. Reads a fresh clone, the registry, and the ledger through the command line."""
    clone = Clone(observer.system.git.url, observer.system.folder / "verdict")
    records: list[dict[str, Any]] = json.loads(
        observer.system.promoter("audit", "list", "--format", "json", "--limit", "10000", cwd=clone.folder).output
    )["records"]
    yield _safely("registry = git", lambda: _registry_and_git(observer, clone))
    yield _safely("ledger = registry", lambda: _ledger_and_registry(observer, records))
    yield _safely("intents closed", lambda: _intents(records))
    yield _safely("nothing to do", lambda: _plan(observer, clone.folder))
    yield _safely("decisions again", lambda: _decisions(observer, clone.folder))
    yield _safely("chain holds", lambda: _chain(observer, clone.folder))
    yield _safely("champion predicts", lambda: _champion(observer))


def _safely(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *check())
    except OutsideError as error:
        return Check(name, good=False, seen=str(error))


def _registry_and_git(observer: Observer, clone: Clone) -> tuple[bool, str]:
    said = YamlDocuments().parse(WorkTree(clone.folder).sources(), clone.head).desired
    stated = {alias.alias: alias.version for alias in said.statements if alias.model == observer.model}
    held = observer.aliases()
    return bool(stated) and stated == held, f"registry {_told(held)}; registry.yaml at {clone.head[:10]} {_told(stated)}"


def _ledger_and_registry(observer: Observer, records: list[dict[str, Any]]) -> tuple[bool, str]:
    moves = [each for each in records if each["kind"] == "observed" or each["outcome"] in APPLIED]
    known = {each["alias"]: each["to"] for each in moves if each["model"] == observer.model}
    held = observer.aliases()
    told = {alias: version for alias, version in known.items() if version is not None}
    return bool(told) and told == held, f"ledger {_told(told)}; {len(records)} records"


def _intents(records: list[dict[str, Any]]) -> tuple[bool, str]:
    intents = [each["id"] for each in records if each["outcome"] == "intended"]
    outcomes = [each["intent"] for each in records if each["outcome"] in CLOSED]
    failed = sum(each["outcome"] == "failed" for each in records)
    seen = f"{len(intents)} intents, {len(outcomes)} outcomes, {failed} of them failed"
    return bool(intents) and sorted(intents) == sorted(outcomes), seen


def _plan(observer: Observer, folder: Path) -> tuple[bool, str]:
    said = observer.system.promoter("plan", cwd=folder, codes=(0, 2, 3))
    return said.code == 0, f"promoter plan: {said.output.strip().splitlines()[-1]} Exit code {said.code}."


def _decisions(observer: Observer, folder: Path) -> tuple[bool, str]:
    said = observer.system.promoter("audit", "rerun", "--all", cwd=folder, codes=(0, 1))
    return said.code == 0, f"promoter audit rerun --all: {said.output.strip().splitlines()[-1]}"


def _chain(observer: Observer, folder: Path) -> tuple[bool, str]:
    said = observer.system.promoter("audit", "verify", "--format", "json", cwd=folder, codes=(0, 1))
    told = json.loads(said.output)
    wrong, vouching = len(told["problems"]), told["vouching"]["commit"]
    seen = f"promoter audit verify: {told['entries']} entries, {vouching} commits vouch for them, {wrong} problems"
    return said.code == 0 and vouching > 0, seen


def _champion(observer: Observer) -> tuple[bool, str]:
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    rows, answers = training.data().validation, training.data().validation_answers
    uri = f"models:/{observer.model}@champion"
    try:
        predicted = [float(value) for value in mlflow.pyfunc.load_model(uri).predict(rows)]
    except (MlflowException, OSError, ValueError) as error:
        return False, f"{uri}: {error}"
    right = sum(value == answer for value, answer in zip(predicted, answers, strict=True))
    finite = all(math.isfinite(value) for value in predicted)
    return finite and len(predicted) == len(rows), f"{uri}: {right} of {len(rows)} rows right"


def _told(aliases: dict[str, int] | dict[str, int | None]) -> str:
    return ", ".join(f"{alias} {'absent' if version is None else f'v{version}'}" for alias, version in sorted(aliases.items()))
