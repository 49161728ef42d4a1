"""What a hosted forge keeps: accounts, pull requests and what hangs on them. Plain values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Refusal(StrEnum):
    """Why a forge does not do as asked; each face has its own status code for it."""

    MISSING = "missing"
    DUPLICATE = "duplicate"
    INVALID = "invalid"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"


class ForgeRefusal(Exception):  # noqa: N818  # what it is
    """The forge does not do as asked."""

    def __init__(self, why: Refusal, message: str) -> None:
        """`message` is the forge's, in words."""
        self.why = why
        self.message = message
        super().__init__(message)


@dataclass(frozen=True)
class ForgeAccount:
    """Somebody on the forge. An `installation` acts for an app: it has no user of its own to ask about."""

    login: str
    id: int
    token: str = field(repr=False)
    email: str = ""
    installation: bool = False


@dataclass
class ForgeReview:
    """One thing that a reviewer said: `approved`, `changes_requested`, `commented`, or `dismissed` (what was taken back)."""

    id: int
    by: str
    verdict: str
    commit: str
    at: datetime
    body: str = ""


@dataclass(frozen=True)
class ForgeVersion:
    """A head that a pull request had, since when. Ids are given in the order of time, also within one second."""

    id: int
    head: str
    at: datetime


@dataclass
class ForgeRemark:
    """A comment."""

    id: int
    by: str
    body: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class HostedStatus:
    """A commit status; a later one of the same context replaces an earlier one."""

    id: int
    by: str
    context: str
    state: str
    description: str | None
    url: str | None
    at: datetime


@dataclass
class Pull:
    """A pull request. `head_repository`: OWNER/NAME that the branch lies in. `state`: open, closed or merged.

    `start` is the base's commit that it was opened on, `brought` what its merge brought to the base, merge commit included.
    """

    number: int
    id: int
    title: str
    body: str
    author: str
    branch: str
    head_repository: str
    head: str
    base: str
    start: str
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    review_teams: list[str] = field(default_factory=list)
    auto_merge: str | None = None
    auto_merge_method: str = "merge"
    closed_at: datetime | None = None
    closed_by: str | None = None
    turns: list[tuple[int, str, str, datetime]] = field(default_factory=list)
    """When it was closed and opened again: an id, `close` or `reopen`, by whom, and when."""
    merged_by: str | None = None
    merge_commit: str | None = None
    brought: frozenset[str] = frozenset()
    reviews: list[ForgeReview] = field(default_factory=list)
    remarks: list[ForgeRemark] = field(default_factory=list)
    versions: list[ForgeVersion] = field(default_factory=list)


@dataclass(frozen=True)
class Hook:
    """Where the forge announces what happened."""

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class ForgeEvent:
    """What a webhook tells. `kind`: `push`, `pull` or `review`.

    `action` of a pull: opened, synchronize, reopened, closed or merged.
    `action` of a review, whose id is `review`: submitted or dismissed.

    For a push, `ref` is a full name; `before` or `after` are zeros where the ref was made or deleted.
    """

    kind: str
    repository: str
    by: str
    action: str = ""
    number: int = 0
    ref: str = ""
    before: str = ""
    after: str = ""
    review: int = 0


@dataclass(frozen=True)
class HostedDelivery:
    """A webhook as the face words it, signature included."""

    headers: dict[str, str]
    body: bytes
