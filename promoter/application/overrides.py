"""Overrides: whether the commit behind a change takes it past a freeze, and for which reason."""

from __future__ import annotations

from promoter.application.attribution import attribute
from promoter.application.ports import Documents, Ledger, Repository
from promoter.domain.declaration import Declaration
from promoter.domain.limits import OVERRIDE
from promoter.domain.plan import Difference

LIMIT = 500


class Overrides:
    """Asks git. Only a change that a freeze stands against is asked about."""

    def __init__(self, repository: Repository, documents: Documents, ledger: Ledger) -> None:
        """Takes the ports that it reads."""
        self._repository = repository
        self._documents = documents
        self._ledger = ledger

    def __call__(self, difference: Difference, declaration: Declaration) -> str | None:
        """The reason in the trailer of the commit that brought the change; None where it has none.

        Looked for since the revision at which git and the registry last agreed on the alias: other commits may have followed.
        """
        base = self._ledger.settled_at(difference.model, difference.alias)
        commit = attribute(difference, declaration, base, self._repository, self._documents)
        trailers = {key.lower(): value for key, value in commit.trailers.items()} if commit else {}
        reason = " ".join(trailers.get(OVERRIDE.lower(), "").split())
        return reason[:LIMIT] or None
