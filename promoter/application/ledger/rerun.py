"""Rerun: fetch what the ledger kept of a decision, and make it again. Reads only, and asks nobody but the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from promoter.application.ports import Documents, Ledger
from promoter.domain.audit import RecordedDecision
from promoter.domain.evidence import Evidence
from promoter.domain.faults import Faults, Refused
from promoter.domain.ledger.chain import digest_of
from promoter.domain.ledger.retention import Retention, last_retention
from promoter.domain.policy import Policy
from promoter.domain.proposal import REGISTRY_FILE
from promoter.domain.rerun import Ending, Rerun, again, differences
from promoter.domain.verdict import Purpose

_NOTHING = b"version: 1\nmodels: {}\n"
_POLICIES = 256


class _Unmade(Exception):  # noqa: N818  # says how a rerun ended
    def __init__(self, ending: Ending, why: str) -> None:
        super().__init__(why)
        self.ending, self.why = ending, why


@dataclass(frozen=True)
class _Asked:
    """A policy as it was: its name, and the digests of the texts."""

    name: str
    policy: str
    approvers: str | None


class Rerunner:
    """Makes recorded decisions again."""

    def __init__(self, ledger: Ledger, documents: Documents) -> None:
        """Takes the ledger, and what reads policies."""
        self._ledger = ledger
        self._documents = documents
        self._policy = lru_cache(maxsize=_POLICIES)(self._read_policy)

    def one(self, number: int) -> Rerun:
        """The decision of that number, or the one behind the record of that number. Raises `Refused` where there is none."""
        recorded = self._ledger.decision(number)
        if recorded is None:
            fix = "`promoter audit list` shows records: those of gated changes have a decision behind them"
            raise Refused("ledger", f"entry {number} is no decision, and no record with a decision behind it", fix)
        return self._made(recorded)

    def all(self) -> Iterator[Rerun]:
        """Every decision that the ledger has, oldest first, one at a time."""
        for recorded in self._ledger.every_decision():
            yield self._made(recorded)

    def _made(self, recorded: RecordedDecision) -> Rerun:
        try:
            return self._rerun(recorded)
        except _Unmade as unmade:
            return Rerun(recorded, unmade.ending, why=unmade.why)

    def _rerun(self, recorded: RecordedDecision) -> Rerun:
        evidence = self._evidence(recorded)
        policy = self._policy_of(recorded)
        if isinstance(policy, str):
            raise _Unmade(Ending.BROKEN, policy)
        try:
            decision = again(recorded, policy, evidence)
            found = differences(recorded.tree, decision)
        except ValueError as error:
            raise _Unmade(Ending.BROKEN, f"it cannot be made again: {error}") from None
        return Rerun(recorded, Ending.DIFFERENT if found else Ending.SAME, decision, found)

    def _evidence(self, recorded: RecordedDecision) -> Evidence:
        """Raises `_Unmade` where it is not there, is not what its digest says, or cannot be read."""
        told, digest = recorded.evidence, recorded.evidence_digest
        if digest is not None and told is None:
            dropped = self._dropped
            if dropped and recorded.at < dropped.before:
                raise _Unmade(Ending.DROPPED, f"its evidence was dropped by {dropped}; its digest is {digest}")
            raise _Unmade(Ending.BROKEN, f"its evidence is not there, and no retention dropped it (its digest is {digest})")
        if told is None or recorded.purpose is None or recorded.purpose not in set(Purpose):
            raise _Unmade(Ending.OLDER, "it was recorded before Promoter kept what a rerun takes")
        if digest_of(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()) != digest:
            raise _Unmade(Ending.BROKEN, f"its evidence was altered: it does not have the digest {digest}")
        try:
            return Evidence.from_json(told)
        except ValueError:
            raise _Unmade(Ending.BROKEN, "its evidence is in a form that this version of Promoter cannot read") from None

    @cached_property
    def _dropped(self) -> Retention | None:
        return last_retention(self._ledger.milestones())

    def _policy_of(self, recorded: RecordedDecision) -> Policy | str | None:
        """None for a decision that no policy made; in words where its text cannot be had."""
        name, digest = recorded.tree.get("policy"), recorded.tree.get("policy_digest")
        if name is None or digest is None:
            return None
        return self._policy(_Asked(str(name), str(digest), recorded.approvers))

    def _read_policy(self, asked: _Asked) -> Policy | str:
        texts = {REGISTRY_FILE: _NOTHING}
        for file, digest in ((f"policies/{asked.name}.yaml", asked.policy), ("approvers.yaml", asked.approvers)):
            if digest is None:
                continue
            text = self._ledger.content(digest)
            if text is None:
                return f"the text of {file} is not there (its digest is {digest})"
            if digest_of(text.encode()) != digest:
                return f"the text of {file} was altered: it does not have the digest {digest}"
            texts[file] = text.encode()
        try:
            return self._documents.parse(texts, None).policies[asked.name]
        except Faults as faults:
            return f"this version of Promoter does not take its files: {faults}"
