"""Errors for people: faults in a file (`Fault`), and failures of other systems (`TransientError`, `PermanentError`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

DocumentPath = tuple[str | int, ...]
"""Where in a document: the keys and the indexes that lead to a value."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a file, where it is, and how to mend it."""

    message: str
    file: str = ""
    path: DocumentPath = field(default=(), compare=False)
    """The keys and indexes that lead to the value, for whoever finds the fault without its line."""
    line: int | None = None
    """The line, from 1; the reader of the file fills it in."""
    column: int | None = None
    """The column, from 1."""
    fix: str | None = None
    """How to mend it."""

    @property
    def location(self) -> str:
        """`file:line:column`, as far as these are known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part not in (None, ""))

    def __str__(self) -> str:
        text = f"{self.location}: {self.message}" if self.location else self.message
        return f"{text} ({self.fix})" if self.fix else text


class Faults(Exception):  # noqa: N818  # the word of the vocabulary; it carries every fault, not one error
    """One or several files that cannot be used: carries every fault at once, in the order of the files."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Sort the faults by place, and drop duplicates."""
        unique = dict.fromkeys(faults)
        self.faults = tuple(sorted(unique, key=lambda fault: (fault.file, fault.line or 0, fault.column or 0)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class ExternalError(Exception):
    """Another system did not do as it was asked. `what` names it ("MLflow", "git", "ledger"); messages carry no secrets."""

    def __init__(self, what: str, message: str, fix: str | None = None, *, about_one_model: bool = False) -> None:
        """`about_one_model`: whoever may write that model can bring it about, and the work on others goes on."""
        self.what = what
        self.message = message
        self.fix = fix
        self.about_one_model = about_one_model
        super().__init__(f"{what}: {message}" + (f" ({fix})" if fix else ""))


class TransientError(ExternalError):  # retryable
    """The same attempt may succeed later: the system is unreachable, too slow, overloaded, or answers 5xx."""


class TimeLimitError(TransientError):  # retryable
    """The system did not answer in time: it may be busy, or hang for this one request."""


class PermanentError(ExternalError):  # not retryable
    """The same attempt fails until a person changes something: no permission, no such object."""


class RightMissing(PermanentError):  # noqa: N818  # it says what is so
    """The system knows Promoter's user, and does not let it do this one thing."""


class ModelsWithheld(PermanentError):  # noqa: N818  # it says what is so
    """The registry does not let Promoter read these models: nothing is known of them, not even that they are gone."""

    def __init__(self, what: str, models: Iterable[str], fix: str | None = None) -> None:
        """`models`: their names."""
        self.models = frozenset(models)
        message = f"it does not let Promoter read {', '.join(sorted(self.models))}"
        super().__init__(what, message, fix, about_one_model=True)


class BranchProtected(PermanentError):  # noqa: N818  # the state of the branch, not a fault of ours
    """The branch takes no pushes from this account: changes have to go through a pull request."""


class Conflict(ExternalError):  # noqa: N818  # vocabulary
    """Somebody else wrote first: the caller has to read and decide again."""
