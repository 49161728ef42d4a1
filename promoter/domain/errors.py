"""What can be wrong, said for people: in a file (`Fault`), or with the world (`TransientError`, `PermanentError`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

DocumentPath = tuple[str | int, ...]
"""Where in a document: the keys and the indexes that lead to a value."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a file, where it stands, and how to mend it.

    `path` is known to whoever finds the fault; `line` and `column` (both from 1) are filled in by the reader of the file.
    """

    message: str
    file: str = ""
    path: DocumentPath = field(default=(), compare=False)
    line: int | None = None
    column: int | None = None
    fix: str | None = None

    @property
    def location(self) -> str:
        """`file:line:column`, as far as it is known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part not in (None, ""))

    def __str__(self) -> str:
        """`file:line:column: message (fix)`."""
        text = f"{self.location}: {self.message}" if self.location else self.message
        return f"{text} ({self.fix})" if self.fix else text


class Faults(Exception):  # noqa: N818  # the word of the vocabulary; it carries every fault, not one error
    """A file, or several, that cannot be used: carries every fault at once, in the order of the files."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Sorts by place, and drops what was found twice."""
        unique = dict.fromkeys(faults)
        self.faults = tuple(sorted(unique, key=lambda fault: (fault.file, fault.line or 0, fault.column or 0)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class ExternalError(Exception):
    """The world did not do as asked. `what` names the part ("MLflow", "git", "ledger"); messages carry no secrets."""

    def __init__(self, what: str, message: str, fix: str | None = None) -> None:
        """Keeps the parts apart, so that each surface can lay them out."""
        self.what = what
        self.message = message
        self.fix = fix
        super().__init__(f"{what}: {message}" + (f" ({fix})" if fix else ""))


class TransientError(ExternalError):  # retryable
    """Worth another try by itself: unreachable, too slow, overloaded, answering 5xx."""


class PermanentError(ExternalError):  # not retryable
    """Another try gives the same answer until a person changes something: no permission, no such thing."""


class BranchProtected(PermanentError):  # noqa: N818  # the state of the branch, not a fault of ours
    """The branch takes no pushes from this account: what is to get there goes through a pull request."""


class Conflict(ExternalError):  # noqa: N818  # vocabulary
    """Somebody wrote first: read again, decide again."""
