"""Allowances for large changes: which commits ask for one, who gave it, and the ledger's record of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import structlog

from promoter.application.ports import Clock, GitCommit, LastApplied, ObservationLog, Repository
from promoter.application.provenance import NO_FORGE, GitProvenance
from promoter.domain.allowance import (
    AllowancePowers,
    AllowanceRequest,
    ChangeAllowance,
    parse_allowed_changes,
    select_largest_request,
)
from promoter.domain.audit import RevisionState
from promoter.domain.desired import Declaration
from promoter.domain.errors import ExternalError, TransientError
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import Unreadable
from promoter.domain.plan import MASS_CHANGE_FLOOR, Plan
from promoter.domain.review import ChangeOrigin

log = structlog.get_logger(__name__)

_COMMIT_LIMIT = 50
"""Commits of the branch that are searched for trailers, the newest; and requests of which the forge is asked."""
_FORGE_DELAY = timedelta(minutes=10)
"""So long after a commit, a forge that knows no pull request for it may not know it yet."""


class CommitLister(Protocol):
    """The part of a repository that has commits."""

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """As in `Repository`."""
        ...


class AllowanceLedger(LastApplied, ObservationLog, Protocol):
    """The parts of the ledger that know revisions and allowances."""


def find_last_allowance(ledger: ObservationLog) -> ChangeAllowance | None:
    """Find the allowance that was recorded last; None where there is none."""
    event = ledger.find_last_lifecycle_event(LifecycleEventType.ALLOWED)
    return ChangeAllowance.from_event_facts(event.facts, event.at) if event else None


def list_requests(commits: CommitLister, base: str, head: str) -> list[AllowanceRequest]:
    """List the requests in the commits after `base` up to `head` that change `registry.yaml`, also in what was merged there."""
    found = []
    for commit in commits.list_commits(base, head, REGISTRY_FILE)[-_COMMIT_LIMIT:]:
        for each in (commit, *_list_merged(commits, commit)):
            changes = parse_allowed_changes(each.trailers)
            if changes is not None:
                found.append(AllowanceRequest(each.revision, commit.revision, changes))
    return found


def _list_merged(commits: CommitLister, commit: GitCommit) -> Iterator[GitCommit]:
    if len(commit.parents) > 1:
        first, second, *_ = commit.parents
        yield from commits.list_commits(first, second, REGISTRY_FILE)[-_COMMIT_LIMIT:]


def explain_refusal(refused: str, request: AllowanceRequest | None, count: int, powers: AllowancePowers) -> str | None:
    """Return the refusal with what is wrong with the request, or how one is made; None: the request only has to be given."""
    if request is None:
        return f"{refused}{powers.way_out}"
    if request.changes < count:
        return f"{refused}; {request} allows fewer"
    if not powers.names:
        return f"{refused}; {request} counts for nothing: no `review` rule of a policy in force names anybody under `from`"
    return None


@dataclass(frozen=True)
class LargePlan:
    """A plan, and what a pull request with it waits for where it is over the mass-change limit."""

    plan: Plan
    """The plan; where the allowance is given, or may still come, it is not refused."""
    awaited: str | None = None
    """What may still come, in words that fit into a status."""
    notes: tuple[str, ...] = ()
    """Who gave the allowance, or what follows without it."""


def weigh_large_plan(
    plan: Plan,
    requests: Sequence[AllowanceRequest],
    base: Declaration,
    limit: str | int,
    read_origin: Callable[[frozenset[str]], ChangeOrigin] | None,
) -> LargePlan:
    """Weigh the plan of an open pull request over that limit, given the requests in its commits.

    The policies of the base say who may. `read_origin` reads the pull request with the members of the teams; None: there is
    none yet. A forge that does not answer gives no allowance.
    """
    if plan.refused is None:
        return LargePlan(plan)
    powers, request = AllowancePowers.from_declaration(base), select_largest_request(requests)
    why = explain_refusal(plan.refused, request, plan.counted_changes, powers)
    if why is not None:
        return LargePlan(replace(plan, refused=why))
    large = f"{plan.counted_changes} changes at once are over `max_changes: {limit}`"
    givers, trouble = _find_open_givers(powers, read_origin)
    if givers:
        given = f"{large}, and allowed: {request} asks for it, and {', '.join(givers)} approved that"
        return LargePlan(replace(plan, refused=None), notes=(given,))
    if read_origin is None:
        return LargePlan(
            replace(plan, refused=f"{plan.refused}; {request} counts once {powers} approves its pull request, or merges it")
        )
    then = (
        f"{large}, and {request} asks to allow that{trouble}. It is carried out if {powers} approves this "
        "pull request, or merges it. If others merge it without that approval, the whole revision is refused, and nothing "
        "of it moves"
    )
    return LargePlan(replace(plan, refused=None), f"waits for {powers} to approve: {large}", (then,))


def _find_open_givers(
    powers: AllowancePowers, read_origin: Callable[[frozenset[str]], ChangeOrigin] | None
) -> tuple[tuple[str, ...], str]:
    """Return who gives the allowance so far, and what keeps that from being known, in words that follow a sentence."""
    if read_origin is None:
        return (), ""
    try:
        origin = read_origin(powers.teams)
    except ExternalError as error:
        return (), f" (who approves it cannot be read: {error.message})"
    unknown = sorted(powers.teams - origin.teams.keys())
    return powers.find_givers(origin), f" (who is in {', '.join(unknown)} cannot be read)" if unknown else ""


class ChangeAllowances:
    """Gives allowances to revisions of the branch, and remembers them."""

    def __init__(self, repository: Repository, provenance: GitProvenance, ledger: AllowanceLedger, clock: Clock) -> None:
        self._repository = repository
        self._provenance = provenance
        self._ledger = ledger
        self._clock = clock

    def attach_allowance(self, declaration: Declaration) -> Declaration:
        """Return the declaration with the recorded allowance that covers it.

        That is one of this very revision. Where the revision is the last one in force, and so was held against the limit on its
        own, it is also one of an earlier revision, for what is left of its changes.
        """
        found = find_last_allowance(self._ledger)
        if found is None or declaration.revision is None or not found.is_in_force(self._clock.now()):
            return declaration
        if found.revision == declaration.revision:
            return replace(declaration, allowance=found)
        is_last = declaration.revision == self._ledger.find_last_revision(RevisionState.APPLIED)
        if is_last and self._repository.is_ancestor(found.revision, declaration.revision):
            return replace(declaration, allowance=replace(found, spare=MASS_CHANGE_FLOOR))
        return declaration

    def has_requests(self, last: Declaration, declaration: Declaration) -> bool:
        """Return whether a commit since the last revision in force asks for an allowance."""
        base, head = last.revision, declaration.revision
        return bool(base and head and list_requests(self._repository, base, head))

    def decide_refused_plan(self, last: Declaration, declaration: Declaration, plan: Plan) -> str | None:
        """Record the allowance that lets the refused plan through, and return None; else return why it stays refused.

        `last` is the revision in force: its policies say who may. Raises `TransientError` where that cannot be known yet.
        """
        refused, head = plan.refused or "", declaration.revision
        if last.revision is None or head is None:
            return refused
        requests = list_requests(self._repository, last.revision, head)
        powers = AllowancePowers.from_declaration(last)
        why = explain_refusal(refused, select_largest_request(requests), plan.counted_changes, powers)
        if why is not None:
            return why
        reasons = []
        for request in [each for each in requests if each.changes >= plan.counted_changes][-_COMMIT_LIMIT:]:
            origin, reason = self._find_giving_origin(request, powers)
            if origin:
                limit = str(declaration.desired.document.safety.max_changes)
                by, count, now = powers.find_givers(origin), plan.counted_changes, self._clock.now()
                self._record_allowance(
                    ChangeAllowance(head, request.revision, request.changes, count, limit, by, origin.url, now)
                )
                return None
            reasons.append(f"{request}: {reason}")
        return f"{refused}; {'; '.join(dict.fromkeys(reasons))}"

    def _find_giving_origin(self, request: AllowanceRequest, powers: AllowancePowers) -> tuple[ChangeOrigin | None, str]:
        """Return the pull request that gives the allowance; else None and the reason."""
        commit = self._repository.read_commit(request.brought_by)
        origin = self._provenance.find_commit_origin(commit, powers.teams)
        if origin is NO_FORGE:
            return None, f"who approved it is not known, since {NO_FORGE.reason}"
        if isinstance(origin, Unreadable):
            raise TransientError("forge", f"who approved {request} is not known: {origin.reason}")
        if origin is None:
            if commit.at + _FORGE_DELAY > self._clock.now():
                raise TransientError("forge", f"who approved {request} is not known yet: no pull request brought it so far")
            return None, "it was pushed without a pull request"
        if powers.find_givers(origin):
            return origin, ""
        unknown = sorted(powers.teams - origin.teams.keys())
        if unknown:
            raise TransientError("forge", f"whether {request} counts is not known: {', '.join(unknown)} cannot be read")
        return None, f"neither approved nor merged by {powers} ({origin.url})"

    def _record_allowance(self, given: ChangeAllowance) -> None:
        self._ledger.record_lifecycle_event(LifecycleEvent(given.at, LifecycleEventType.ALLOWED, given.event_facts))
        log.warning("a large change is allowed", revision=given.revision, changes=given.changes, why=str(given))
