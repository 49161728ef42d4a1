"""What git and the registry last agreed on, in SQL, and the states of git's revisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_, select

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.database import SqlRepository, appending, reading
from promoter.adapters.ledger.schema import (
    build_equality_condition,
    fetch_last_versions,
    last_applied,
    revisions,
)
from promoter.domain.audit import RevisionState
from promoter.domain.identity import RememberedVersion

Agreement = tuple[str, str, RememberedVersion]
"""Model, alias and version (its number None: the alias is absent)."""

_UNDECLARED = 0
"""In place of a version: git no longer declares the alias, and what was agreed on counts no more."""


class SqlLastApplied(SqlRepository):
    """The port `LastApplied` on a SQL database."""

    def record_last_applied(
        self,
        statements: Mapping[str, Mapping[str, RememberedVersion]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Append the agreements that say something else than the last one of their alias."""

        def select_new(connection: Connection, agreements: Iterable[Agreement]) -> list[Agreement]:
            return _select_new_agreements(connection, list(agreements), only_first=only_first)

        self.append_if_new(
            [(model, alias, version) for model, versions in statements.items() for alias, version in versions.items()],
            select_new,
            lambda chain, agreements: _append_agreements(chain, agreements, revision, at),
        )

    @appending
    def forget_last_applied(
        self, chain: ChainWriter, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime
    ) -> None:
        """Append an entry for each of these aliases that an agreement is known of."""
        known = _find_last_applied(chain.connection, set(aliases))
        names = ((model, alias) for model, of_model in aliases.items() for alias in of_model if alias in known.get(model, {}))
        _append_agreements(chain, ((model, alias, RememberedVersion(_UNDECLARED)) for model, alias in names), revision, at)

    @reading
    def read_last_applied(
        self, connection: Connection, models: Collection[str] | None = None
    ) -> Mapping[str, Mapping[str, RememberedVersion]]:
        """Read the last agreement on each alias that git still declares."""
        return _find_last_applied(connection, models)

    @reading
    def last_applied_revision(self, connection: Connection, model: str, alias: str) -> str | None:
        """Return the revision of the last agreement, also of an alias that git no longer declares."""
        of_alias = build_equality_condition((last_applied.c.model, model), (last_applied.c.alias, alias))
        declared = or_(last_applied.c.version.is_(None), last_applied.c.version != _UNDECLARED)
        last = select(last_applied.c.revision).where(of_alias, declared).order_by(last_applied.c.id.desc()).limit(1)
        found: str | None = connection.scalar(last)
        return found

    def record_revision_state(
        self, revision: str, state: RevisionState, at: datetime, detail: str | None = None, *, trigger: str | None = None
    ) -> None:
        """Append the state, unless it is the revision's last one, and the revision the last one of that state."""

        def select_new(connection: Connection, candidates: Iterable[str]) -> Sequence[str]:
            query = select(revisions).where(revisions.c.revision == revision).order_by(revisions.c.id.desc()).limit(1)
            last = connection.execute(query).one_or_none()
            repeated = last is not None and (last.state, last.detail) == (state.value, detail)
            return [] if repeated and _find_last_revision(connection, state) == revision else list(candidates)

        facts = {"revision": revision, "state": state.value, "at": at, "detail": detail, "trigger": trigger}
        self.append_if_new([revision], select_new, lambda chain, new: chain.append_entries(revisions, [facts] if new else []))

    @reading
    def find_last_revision(self, connection: Connection, state: RevisionState) -> str | None:
        """Find the revision of the last entry with that state."""
        return _find_last_revision(connection, state)


def append_new_agreement(chain: ChainWriter, agreement: Agreement, revision: str | None, at: datetime) -> None:
    """Append an agreement, unless it repeats the last one of its alias."""
    _append_agreements(chain, _select_new_agreements(chain.connection, [agreement], only_first=False), revision, at)


def _append_agreements(chain: ChainWriter, agreements: Iterable[Agreement], revision: str | None, at: datetime) -> None:
    common: dict[str, Any] = {"revision": revision, "at": at}
    facts = (
        {"model": model, "alias": alias, "version": version.number, "identity": version.identity} | common
        for model, alias, version in agreements
    )
    chain.append_entries(last_applied, facts)


def _select_new_agreements(connection: Connection, agreements: Collection[Agreement], *, only_first: bool) -> list[Agreement]:
    """Select those that differ from the last one of their alias; with `only_first`, those that only add to what is known.

    That is the first agreement on an alias, and the identity of the version that was agreed on before identities were recorded.
    """
    known = _find_last_applied(connection, {model for model, _, _ in agreements})
    return [
        (model, alias, version)
        for model, alias, version in agreements
        if _is_new(known.get(model, {}).get(alias), version, only_first=only_first)
    ]


def _is_new(last: RememberedVersion | None, version: RememberedVersion, *, only_first: bool) -> bool:
    if last is None:
        return True
    if last.number != version.number:
        return not only_first
    learned = version.identity is not None and last.identity is None
    return learned or not (version.may_be(last) or only_first)


def _find_last_applied(connection: Connection, models: Collection[str] | None) -> dict[str, dict[str, RememberedVersion]]:
    last = fetch_last_versions(connection, last_applied.c.version, "identity", models)
    declared = {
        model: {alias: version for alias, version in versions.items() if version.number != _UNDECLARED}
        for model, versions in last.items()
    }
    return {model: versions for model, versions in declared.items() if versions}


def _find_last_revision(connection: Connection, state: RevisionState) -> str | None:
    newest = select(revisions.c.revision).where(revisions.c.state == state.value).order_by(revisions.c.id.desc())
    found: str | None = connection.scalar(newest.limit(1))
    return found
