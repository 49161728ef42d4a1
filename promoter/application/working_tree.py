"""What `promoter apply` may do past the branch, and how a checkout differs from what the branch says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from promoter.application.ports import AuditLog, DeclarationDocuments, LastApplied, Repository, Sources
from promoter.application.revisions import requires_signed_commits
from promoter.domain.audit import AliasKey, RecordFilter, RecordKind, RevisionState
from promoter.domain.desired import Declaration
from promoter.domain.errors import ExternalError, Faults, PermanentError
from promoter.domain.text import format_count, version_label

_SHOWN_ALIASES = 10


def read_branch_declarations(
    repository: Repository, documents: DeclarationDocuments, ledger: LastApplied
) -> tuple[Declaration, ...]:
    """Read what the branch says now, and what it said when it was last in force, as far as these can be used.

    Raises `Faults` where neither can, and `TransientError` or `PermanentError` where the branch cannot be fetched.
    """
    head = repository.fetch_branch()
    found: list[Declaration] = []
    faults: Faults | None = None
    for revision in dict.fromkeys((head, ledger.find_last_revision(RevisionState.APPLIED))):
        if revision is None:
            continue
        try:
            found.append(documents.parse_declaration(repository.read_sources(revision), revision))
        except Faults as error:
            faults = faults or error
        except ExternalError:
            if revision == head:
                raise  # else the last good revision is gone with a rewritten history
    if not found and faults:
        raise faults
    return tuple(found)


@dataclass
class TreeGates:
    """Says which aliases a working tree may not move: those that a policy gates, whatever the tree itself says of them."""

    tree: Declaration
    branch: Sequence[Declaration]
    """What the branch says and said; empty where it is not known."""
    ledger: AuditLog
    _known: dict[AliasKey, str | None] = field(default_factory=dict)

    def require_unsigned(self) -> None:
        """Raise `PermanentError` where commits have to be signed: a working tree has no signature."""
        if requires_signed_commits(self.tree, *self.branch):
            message = "`require_signed_commits` is set, and a working tree has no signature"
            raise PermanentError("git", message, "commit and sign it, and let the branch be applied")

    def find_reason(self, model: str, alias: str) -> str | None:
        """Return why the alias stays as it is; None: it may move."""
        key = (model, alias)
        if key not in self._known:
            self._known[key] = next(self._list_reasons(model, alias), None)
        return self._known[key]

    def _list_reasons(self, model: str, alias: str) -> Iterator[str]:
        for declaration, where in ((self.tree, "here"), *((each, "on the branch") for each in self.branch)):
            declared = declaration.desired.find_alias_intent(model, alias)
            if declared and declared.policy:
                yield f"policy {declared.policy} gates it {where}: only what the branch says moves it, so merge the change"
        if not self.branch:
            changes = self.ledger.find_audit_records(RecordFilter(model=model, alias=alias, kind=RecordKind.CHANGE))
            policies = [each.fact.policy for each in changes if each.fact.policy]
            if policies:
                yield f"the ledger knows that policy {policies[-1]} gated it: only what the branch says moves it"


def describe_checkout(here: Sources, head: Declaration, branch: Sources, tree: Declaration | None) -> list[str]:
    """Describe how the files of a checkout differ from those of the branch: the files, and the aliases that they state.

    `tree` is the declaration of the checkout; None where that cannot be read. Nothing where they are the same.
    """
    paths = sorted(path for path in here.keys() | branch.keys() if here.get(path) != branch.get(path))
    if not paths:
        return []
    lines = [f"this checkout has another {', '.join(paths[:_SHOWN_ALIASES])}"]
    aliases = list(_list_differing_aliases(tree, head)) if tree else []
    lines += aliases[:_SHOWN_ALIASES]
    rest = len(aliases) - _SHOWN_ALIASES
    return [*lines, f"and {format_count(rest, 'more alias', 'more aliases')}"] if rest > 0 else lines


def _list_differing_aliases(tree: Declaration, head: Declaration) -> Iterator[str]:
    here, there = (
        {(each.model, each.alias): each.version for each in declaration.desired.stated_aliases} for declaration in (tree, head)
    )
    for model, alias in sorted(here.keys() | there.keys()):
        key = (model, alias)
        if (key in here, here.get(key)) != (key in there, there.get(key)):
            words = (version_label(side[key]) if key in side else "nothing stated" for side in (here, there))
            yield f"{model}@{alias}: {next(words)} here, {next(words)} on the branch"
