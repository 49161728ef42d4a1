"""What vanished between two looks, or against the ledger, is confirmed before anything follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.application.absences import AbsenceMemory, find_absences
from promoter.application.ports import Absence
from promoter.domain.errors import TransientError
from promoter.domain.observed import ModelVersion, ObservedModel
from tests.support.fakes.registry import START, FakeRegistry


def model(*numbers: int, tags: dict[str, str] | None = None, **aliases: int) -> ObservedModel:
    """A model with these versions and aliases."""
    return ObservedModel("m", aliases, {number: ModelVersion(number, START, tags=tags or {}) for number in numbers})


@pytest.mark.parametrize(
    ("before", "known", "now", "absences"),
    [
        (None, {}, None, []),
        (None, {"champion": None}, None, []),
        (None, {}, model(1), []),
        (None, {"champion": 1}, None, [Absence("m")]),
        (model(1), {}, None, [Absence("m")]),
        (None, {"champion": 1}, model(1), [Absence("m", "champion")]),
        (None, {"champion": 1}, model(2, champion=2), [Absence("m", version=1)]),
        (model(1, 2, shadow=1), {}, model(2), [Absence("m", "shadow"), Absence("m", version=1)]),
        (model(1), {}, model(1, 2, champion=2), []),
        (model(1, tags={"a": "b"}), {}, model(1), [Absence("m", version=1, tag="a", value="b")]),
        (model(1, tags={"a": "b"}), {}, model(1, tags={"a": "c"}), []),
    ],
)
def test_what_was_there_and_is_not_is_an_absence(
    before: ObservedModel | None, known: dict[str, int | None], now: ObservedModel | None, absences: list[Absence]
) -> None:
    """By the last look and by the ledger; what never was there, and what only changed, is none."""
    assert list(find_absences("m", before, known, now)) == absences


def test_tags_of_another_version_with_the_same_number_are_not_lost() -> None:
    """A version that was registered anew has its own tags."""
    anew = model(1)
    versions = {1: replace(anew.versions[1], created_at=START.replace(year=START.year + 1))}

    assert list(find_absences("m", model(1, tags={"a": "b"}), {}, replace(anew, versions=versions))) == []


def test_an_answer_that_lost_an_alias_is_refused_and_one_that_tells_the_truth_is_asked_about_once() -> None:
    """The registry is asked by name for what is missing; what is gone indeed is not asked for again at each look."""
    registry = FakeRegistry()
    registry.version("m")
    registry.place("m", "champion", 1)
    asked: list[Absence] = []
    confirm = registry.confirm_absences

    class Listening(FakeRegistry):
        def confirm_absences(self, absences: object) -> None:
            asked.extend(absences)  # type: ignore[call-overload]
            confirm(absences)  # type: ignore[arg-type]

    memory = AbsenceMemory(Listening())
    memory.check(registry.models, {}, None)
    memory.remember(registry.models, ["m"])

    lost = {"m": replace(registry.models["m"], aliases={})}
    with pytest.raises(TransientError, match="m@champion was missing"):
        memory.check(lost, {"m": {"champion": 1}}, None)
    with pytest.raises(TransientError, match="model m was missing"):
        memory.check({}, {"m": {"champion": 1}}, ["m"])

    registry.place("m", "champion", None)
    asked.clear()
    for _ in range(3):
        memory.check(registry.models, {"m": {"champion": 1}}, None)
        memory.remember(registry.models, ["m"])
    assert asked == [Absence("m", "champion")]
