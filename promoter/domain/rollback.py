"""Rollbacks, holds and quarantines by a person: what is asked for, what it means, and the proposal that puts it into git."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from unicodedata import normalize

from promoter.domain.audit import AuditRecord
from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.desired import DEFAULT_OVERRIDE_DURATION, LONGEST_OVERRIDE, AliasIntent, Hold, Override
from promoter.domain.errors import PermanentError
from promoter.domain.fields import format_utc
from promoter.domain.observed import ObservedModel
from promoter.domain.policy.guards import list_good_versions
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from promoter.domain.text import version_label

ROLLBACK_PART = "rollback"
_NAME_LIMIT, _REASON_LIMIT = 200, 1_000
"""The most characters of a name and of a reason: what a hold can say."""
_NO_PERSONS = frozenset({"promoter", "unknown", "somebody", "nobody"})
_SAME_REQUEST = timedelta(minutes=5)
"""So long after an override began, the same command with the same `--for` is taken for a repetition."""
NAME_VERSION_FIX = "name the version that is to return: --to N"
UNCHECKED_OPTION = "--without-artifact-check"


@dataclass(frozen=True)
class RollbackRequest:
    """What a person asks for."""

    model: str
    alias: str
    reason: str
    by: str
    to: int | None = None
    """The version that is to return; None: the one that last held the alias in good standing."""
    now: bool = False
    """Whether the alias moves at once under an override, where a commit has to wait for a pull request."""
    lasts: timedelta | None = None
    """How long such an override lasts at most; None: 24 hours, and one that is in force already keeps its end."""
    without_artifact_check: bool = False
    """Whether the version returns although its artifact may not pass its check: only one that is named, and that served."""

    @property
    def override_duration(self) -> timedelta:
        """Return how long a new override lasts."""
        return DEFAULT_OVERRIDE_DURATION if self.lasts is None else self.lasts

    def renews(self, override: Override, now: datetime) -> bool:
        """Return whether an override to the same version gets another end: `lasts` is given, and another one than before.

        To run the same command once more, as after a stop, is no renewal: its end would hardly be later.
        """
        if self.lasts is None:
            return False
        same = self.lasts == override.until - override.at
        return not same or now - override.at >= _SAME_REQUEST

    @property
    def alias_name(self) -> str:
        """`MODEL@ALIAS`."""
        return f"{self.model}@{self.alias}"


@dataclass(frozen=True)
class StandingRollback:
    """A hold that is in force on an alias, or waits to be: another rollback would take what it put back for the fault."""

    by: str
    """Who made it."""
    reason: str
    version: int | None
    """The version that it put there, or is to put there."""
    what: str
    """What was done, such as `put v3 there, by a commit`."""
    at: datetime | None
    """When; None: nobody knows."""
    way_out: str
    """How it ends; empty where nothing is left to end."""

    def is_asked_by(self, request: RollbackRequest) -> bool:
        """Return whether the request is the one that it came from: the same person, for the same reason."""
        return (self.by, self.reason) == (request.by, request.reason)

    def build_refusal(self, alias_name: str) -> PermanentError:
        """Return the error that says who did what when, and the ways on."""
        when = f" on {format_utc(self.at)}" if self.at else ""
        done = f"{self.by} {self.what}{when}: {self.reason}"
        ways = "; ".join(each for each in ("`--to N` goes on to a version that you name", self.way_out) if each)
        return PermanentError(ROLLBACK_PART, f"{alias_name} is rolled back already: {done}", ways)


@dataclass
class RollbackResult:
    """What a rollback, a hold or a quarantine did."""

    model: str
    alias: str
    from_version: int | None = None
    to_version: int | None = None
    path: str | None = None
    """How it got into git, or `override`; None: there was nothing to do."""
    revision: str | None = None
    pull_request: str | None = None
    override: Override | None = None
    messages: list[str] = field(default_factory=list)
    """What was done, one sentence each."""
    done: bool = True
    """Whether nothing is left to do; if something is, `messages` name it."""
    act: ProposalReason = ProposalReason.ROLL_BACK
    """What a person did."""
    version: int | None = None
    """The version that it is about: the one that returns, that is held, or that goes into quarantine or leaves it."""
    hold_end: datetime | None = None
    """When the hold ends that a person asked for; None: a person lifts it."""

    @property
    def until(self) -> datetime | None:
        """When it ends by itself: the override, or the hold; None: it does not."""
        return self.override.until if self.override else self.hold_end

    @property
    def title_line(self) -> str:
        """What happened, and by which path, in one line."""
        name = f"{self.model}@{self.alias}"
        if self.path is None:
            return f"{name} stays at v{self.to_version}" if self.act is ProposalReason.ROLL_BACK else f"{name}: {self._what}"
        through = {"commit": "commit", "pull-request": "pull request", "override": "override"}[self.path]
        left = "" if self.done else "; something is left to do"
        return f"{name}: {self._what}, by {through}{left}"

    @property
    def _what(self) -> str:
        match self.act:
            case ProposalReason.HOLD:
                return f"held at {version_label(self.version)}" if self.version else "held"
            case ProposalReason.RELEASE:
                return "released"
            case ProposalReason.QUARANTINE:
                return f"{version_label(self.version)} in quarantine"
            case ProposalReason.LIFT_QUARANTINE:
                return f"{version_label(self.version)} out of quarantine"
            case _:
                return f"{version_label(self.from_version)} -> {version_label(self.to_version)}"

    def record_failure(self, message: str) -> None:
        """Record that something is left to do."""
        self.done = False
        self.messages.append(message)


@dataclass(frozen=True)
class RollbackTarget:
    """The version that returns."""

    version: int
    why: str
    """Why it is this one."""
    passed_over: tuple[str, ...] = ()
    """Which versions were passed over and why, one sentence each."""


def find_latest_good_version(
    intent: AliasIntent, observed: ObservedModel, moves: Iterable[AuditRecord], ready: Callable[[int], RuleFinding]
) -> RollbackTarget:
    """Return the version that last held the alias in good standing and can serve. Raises `PermanentError` where none can.

    `ready` is called from the latest version on, until one is ready. The present holder is never chosen.
    """
    held, past = observed.aliases.get(intent.alias), tuple(moves)
    passed: list[str] = []
    for remembered in list_good_versions(past):
        version = remembered.number
        if version is None or version == held:
            continue
        if not observed.still_has(remembered):
            passed.append(f"v{version} is another one than the one that held {intent.alias}")
            continue
        why_not = _find_version_obstacle(intent, observed, version)
        why_not = why_not or _find_readiness_obstacle(version, ready(version), find_service_end(past, observed, version))
        if why_not is None:
            why = f"it held {intent.alias} last in good standing before v{held}" if held else f"it held {intent.alias} last"
            return RollbackTarget(version, why, tuple(passed))
        passed.append(why_not)
    passed_note = f" ({'; '.join(passed)})" if passed else ""
    raise PermanentError(
        ROLLBACK_PART,
        f"no earlier version of {intent.model}@{intent.alias} is known that could return{passed_note}",
        f"{NAME_VERSION_FIX}; with {UNCHECKED_OPTION}, one that served and is not ready" if passed else NAME_VERSION_FIX,
    )


@dataclass(frozen=True)
class PastService:
    """What the ledger tells of a version that a person named."""

    has_served: bool
    """Whether it held the alias, as the ledger knows."""
    until: datetime | None = None
    """Until when it held the alias last; None: unknown, or it holds the alias now."""


def check_named_version(  # what is known of the version, and what the person asked for
    intent: AliasIntent,
    observed: ObservedModel,
    version: int,
    finding: Callable[[int], RuleFinding],
    past: PastService,
    *,
    without_artifact_check: bool = False,
) -> RollbackTarget:
    """Return the version that a person named. Raises `PermanentError` where it cannot serve, or is in quarantine.

    `without_artifact_check`: a version that served returns, whatever became of its artifact since.
    """
    name = f"{intent.model}@{intent.alias}"
    if obstacle := _find_version_obstacle(intent, observed, version):
        quarantined = version in intent.quarantine
        out = f"if it is meant, `promoter quarantine {name} {version} --lift` takes it out first"
        fix = out if quarantined else "name another version"
        raise PermanentError(ROLLBACK_PART, f"{name}: {obstacle}", fix)
    if without_artifact_check and not past.has_served:
        message = f"{name}: v{version} never held it, as far as the ledger knows, so that its artifact has to be checked"
        raise PermanentError(ROLLBACK_PART, message, "leave out --without-artifact-check, or name a version that served")
    obstacle = _find_readiness_obstacle(version, finding(version), past.until)
    if obstacle is None:
        left_out = ", and its artifact passes its check here" if without_artifact_check else ""
        return RollbackTarget(version, f"you named it{left_out}")
    if without_artifact_check:
        return RollbackTarget(version, f"you named it, although {obstacle}; its record names you for that")
    served = f"`--to {version} {UNCHECKED_OPTION}` puts it back all the same, in your name; or " if past.has_served else ""
    raise PermanentError(ROLLBACK_PART, f"{name}: {obstacle}", f"{served}name another version")


def find_service_end(moves: Iterable[AuditRecord], observed: ObservedModel, version: int) -> datetime | None:
    """Return when the alias last moved away from the version; None where no record says so. `moves` are the alias's."""
    left = (each.fact.at for each in moves if each.fact.from_version == version and observed.still_has(each.fact.origin))
    return max(left, default=None)


def _find_version_obstacle(intent: AliasIntent, observed: ObservedModel, version: int) -> str | None:
    if version in intent.quarantine:
        return f"v{version} is in quarantine"
    if version not in observed.versions:
        return f"the registry has no v{version}"
    return None if observed.versions[version].ready else f"v{version} is still being registered, or its registration failed"


def _find_readiness_obstacle(version: int, found: RuleFinding, served_until: datetime | None) -> str | None:
    if found.verdict is Verdict.PASS:
        return None
    served = f"served until {format_utc(served_until)}, and " if served_until else ""
    return f"v{version} {served}is not ready ({found.value or found.verdict})"


def propose_rollback(  # what is known of the alias, and what the person asked for
    declared: AliasIntent,
    held: int | None,
    version: int,
    reason: str,
    by: str,
    *,
    goes_past: bool = False,
    without_artifact_check: bool = False,
) -> Proposal:
    """Return the proposal: that version under a hold, and what git says and what serves now in quarantine.

    `declared` is what git itself says, `held` what the registry has; `goes_past` as in `Proposal`. The hold names the version
    whose artifact is not checked, so that it means no other one.
    """
    bad = sorted({each for each in (declared.version, held) if each and each != version})
    hold = Hold(reason=reason, by=by, without_artifact_check=version if without_artifact_check else None)
    edit = RegistryEdit(declared.model, declared.alias, version, hold, tuple(bad))
    return Proposal(edit, declared.version or held, None, ProposalReason.ROLL_BACK, by, reason, goes_past=goes_past)


@dataclass(frozen=True)
class HoldRequest:
    """What a person asks for of the hold or the quarantine of an alias."""

    act: ProposalReason
    """HOLD, RELEASE, QUARANTINE or LIFT_QUARANTINE."""
    model: str
    alias: str
    by: str
    reason: str | None = None
    """Why; a hold needs one."""
    version: int | None = None
    """The version that goes into quarantine, or leaves it."""
    until: datetime | None = None
    """When a hold ends; None: once a person lifts it."""

    @property
    def alias_name(self) -> str:
        """`MODEL@ALIAS`."""
        return f"{self.model}@{self.alias}"


def validate_hold_request(request: HoldRequest, now: datetime) -> HoldRequest:
    """Return the request with reason and name in one line each. Raises `PermanentError` for what cannot be written down."""
    part = request.act.value
    reason = parse_reason(request.reason, part)
    if reason is None and request.act is ProposalReason.HOLD:
        raise PermanentError(part, f"a {part} needs a reason of 1 to {_REASON_LIMIT:,} characters", "--reason TEXT")
    if request.until is not None and request.until <= now:
        raise PermanentError(part, f"{format_utc(request.until)} is over: it is {format_utc(now)}", "give --until a later time")
    return replace(request, reason=reason, by=parse_person(request.by, part))


def propose_hold_request(asked: HoldRequest, declared: AliasIntent, now: datetime) -> Proposal:
    """Return the proposal that puts the request into git and leaves the rest of the alias as it is.

    A hold that takes the place of one in force keeps its word on the check of an artifact.
    """
    hold, lifted = None, None
    bad: tuple[int, ...] = ()
    match asked.act, asked.version:
        case ProposalReason.HOLD, _:
            present = declared.hold if declared.hold and declared.hold.is_in_force(now) else None
            unchecked = present.without_artifact_check if present else None
            hold = Hold(reason=asked.reason or "", by=asked.by, until=asked.until, without_artifact_check=unchecked)
        case ProposalReason.QUARANTINE, int(version):
            bad = (version,)
        case _:
            lifted = asked.version
    release = asked.act is ProposalReason.RELEASE
    edit = RegistryEdit(declared.model, declared.alias, None, hold, bad, release=release, lifted=lifted)
    return Proposal(edit, declared.version, None, asked.act, asked.by, asked.reason)


def parse_person(by: str, part: str) -> str:
    """Return the name of who asks for something, in one line.

    Raises `PermanentError` where it is empty or too long, and for a name that records give to Promoter itself, or to nobody.
    """
    name = " ".join(by.split())
    if not 1 <= len(name) <= _NAME_LIMIT:
        raise PermanentError(part, f"it needs the name of who asks for it, of 1 to {_NAME_LIMIT} characters", "--by NAME")
    seen = "".join(each for each in normalize("NFKC", name) if each.isprintable())  # as a reader sees it
    if seen.partition("<")[0].strip(" .,:;'\"").casefold() in _NO_PERSONS:
        raise PermanentError(part, f"`{name}` is no person: records of Promoter's own have that name", "give --by NAME")
    return name


def parse_reason(reason: str | None, part: str) -> str | None:
    """Return the reason in one line; None where there is none. Raises `PermanentError` where it is too long."""
    text = " ".join((reason or "").split())
    if len(text) > _REASON_LIMIT:
        raise PermanentError(part, f"a reason has at most {_REASON_LIMIT:,} characters", "--reason TEXT")
    return text or None


def validate_rollback_request(request: RollbackRequest) -> RollbackRequest:
    """Return the request with reason and name in one line each. Raises `PermanentError` for what cannot be written down."""
    reason = parse_reason(request.reason, ROLLBACK_PART)
    if reason is None:
        raise PermanentError(ROLLBACK_PART, f"a rollback needs a reason of 1 to {_REASON_LIMIT:,} characters", "--reason TEXT")
    by = parse_person(request.by, ROLLBACK_PART)
    if request.without_artifact_check and request.to is None:
        raise PermanentError(ROLLBACK_PART, f"{UNCHECKED_OPTION} is for a version that you name", "--to N")
    if not timedelta(0) < request.override_duration <= LONGEST_OVERRIDE:
        raise PermanentError(ROLLBACK_PART, f"an override lasts for up to {LONGEST_OVERRIDE.days} days", "--for 24h")
    return replace(request, reason=reason, by=by)
