"""The numbers of a ledger's entries while they go by: which are missing, and which turn up where they are not due."""

from __future__ import annotations

from promoter.domain.ledger.problems import LedgerProblem, ProblemKind


class EntryNumbers:
    """What is missing so far, as stretches, and what stood where it did not belong, until it is known why."""

    def __init__(self, start: int) -> None:
        """`start`: the number before the first that is due."""
        self.displaced: set[int] = set()
        """What stood in the place of another one."""
        self._start = start
        self._missing: list[tuple[int, int]] = []
        self._intruders: list[tuple[int, int, str]] = []

    def record_gap(self, first: int, number: int) -> None:
        """The entry of that number came where the one of number `first` was due."""
        if number > first:
            self._missing.append((first, number - 1))

    def fill_missing_number(self, number: int) -> bool:
        """Whether a number that comes late was missing; it no longer is."""
        for index, (first, last) in enumerate(self._missing):
            if first <= number <= last:
                rest = [(first, number - 1), (number + 1, last)]
                self._missing[index : index + 1] = [each for each in rest if each[0] <= each[1]]
                return True
        return False

    def record_intruder(self, number: int, behind: int, about: str) -> None:
        """An entry of that number stands between two that follow each other, behind the first of which."""
        self._intruders.append((number, behind, about))

    def list_problems(self, end: int) -> list[LedgerProblem]:
        """What is missing, and what is too much, of a ledger that ends with that entry."""
        named = [self._build_intruder_problem(*each, end) for each in self._intruders]
        return named + [_build_dropped_problem(first, min(last, end)) for first, last in self._missing if first <= end]

    def _build_intruder_problem(self, number: int, behind: int, about: str, end: int) -> LedgerProblem:
        if self.fill_missing_number(number) or number == end + 1:
            return LedgerProblem(ProblemKind.REORDERED, number, f"it stands behind entry {behind}", about=about)
        if self._start < number <= end:
            return LedgerProblem(
                ProblemKind.SECOND,
                number,
                f"there is another entry of this number; this one stands behind entry {behind}",
                about=about,
            )
        return LedgerProblem(
            ProblemKind.INSERTED, behind, f"behind it stands one that calls itself number {number}", about=about
        )


def _build_dropped_problem(first: int, last: int) -> LedgerProblem:
    return LedgerProblem(
        ProblemKind.DROPPED, first, "it is not there" if first == last else f"they are not there: {last - first + 1}", last
    )
