"""A declaration: everything that one revision says, desired state and policies together, so that they are never mixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from promoter.domain.desired import DesiredState
from promoter.domain.faults import DocumentPath
from promoter.domain.policy import Policy


@dataclass(frozen=True)
class Declaration:
    """`revision` is None for a working tree that differs from every commit."""

    revision: str | None
    desired: DesiredState
    policies: Mapping[str, Policy]

    def find_missing_policies(self) -> list[tuple[DocumentPath, str]]:
        """Where `registry.yaml` names a policy that there is no file for, and the name."""
        return [(path, name) for path, name in self.desired.list_policy_uses() if name not in self.policies]

    def find_changed_models(self, other: Declaration) -> frozenset[str]:
        """The listed models whose effective settings differ between the two."""
        names = self.desired.listed.keys() | other.desired.listed.keys()
        return frozenset(
            name for name in names if self.desired.find_model_intent(name) != other.desired.find_model_intent(name)
        )

    def count_changed_statements(self, other: Declaration) -> int:
        """How many aliases the two place differently: the most changes that going from one to the other can plan."""

        def stated(declaration: Declaration) -> dict[tuple[str, str], int | None]:
            return {(intent.model, intent.alias): intent.version for intent in declaration.desired.stated_aliases}

        mine, theirs = stated(self), stated(other)
        return sum(mine.get(key, 0) != theirs.get(key, 0) for key in mine.keys() | theirs.keys())
