"""Sightings: which tags were set after a version was there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from promoter.domain.evidence import TagObservation, find_first_seen_times, find_new_observations, find_witnessed_tags
from promoter.domain.observed import ModelVersion, is_copy_source
from tests.support.strategies.plans import NOW


def version(value: str | None, number: int = 3) -> ModelVersion:
    """A version with that value of the tag."""
    return ModelVersion(number, NOW, tags={} if value is None else {"approved_by": value})


def seen(*values: str | None) -> list[TagObservation]:
    """The tag as it was seen, one look after the other; what does not change is not seen anew."""
    known: list[TagObservation] = []
    for number, value in enumerate(values):
        known += find_new_observations("m", [version(value)], ["approved_by"], known, NOW + timedelta(minutes=number))
    return known


@pytest.mark.parametrize(
    ("past", "now", "counts"),
    [
        ([], "risk", False),
        (["risk"], "risk", False),
        ([None], None, False),
        ([None, "risk"], "risk", True),
        ([None], "risk", True),
        ([None, "risk", None], None, False),
        (["risk", None, "risk"], "risk", True),
        (["eve", "risk"], "risk", True),
        (["risk", "eve", "risk"], "risk", True),
        ([None, "risk", "eve"], "eve", True),
    ],
)
def test_a_tag_counts_if_it_was_seen_to_change(past: list[str | None], now: str | None, counts: bool) -> None:
    """What was there at the first look may have come with the registration, and does not count."""
    assert (find_witnessed_tags(version(now), seen(*past)) == {"approved_by"}) is counts


def test_what_was_seen_is_not_recorded_again() -> None:
    """Level by level: as many sightings as there were changes."""
    assert [each.value for each in seen(None, None, "risk", "risk", None)] == [None, "risk", None]


def test_that_a_tag_is_not_there_is_news_only_where_it_is_asked_for() -> None:
    """It is no news of a tag that nobody has seen; of one that was there before, it is."""
    assert not find_new_observations("m", [version(None)], ["approved_by"], (), NOW, missing=False)
    assert [each.value for each in find_new_observations("m", [version(None)], ["approved_by"], (), NOW)] == [None]
    assert [each.value for each in find_new_observations("m", [version("risk")], ["approved_by"], (), NOW, missing=False)] == [
        "risk"
    ]
    assert [
        each.value for each in find_new_observations("m", [version(None)], ["approved_by"], seen("risk"), NOW, missing=False)
    ] == [None]


@pytest.mark.parametrize(
    ("past", "now", "minute"),
    [
        ([], "risk", None),
        (["risk"], "risk", 0),
        ([None, "risk"], "risk", 1),
        (["risk", "risk", "risk"], "risk", 0),
        (["risk", "eve", "risk"], "risk", 2),
        (["risk", None], None, None),
        (["risk"], "eve", None),
    ],
)
def test_when_a_tag_was_first_seen(past: list[str | None], now: str | None, minute: int | None) -> None:
    """With the value that it has now, without a break; not of another version, nor of one that had the number before."""
    expected = {} if minute is None else {"approved_by": NOW + timedelta(minutes=minute)}
    assert find_first_seen_times(version(now), seen(*past)) == expected
    assert not find_first_seen_times(version(now, number=4), seen(*past))
    assert not find_first_seen_times(ModelVersion(3, NOW + timedelta(days=1), tags={"approved_by": "risk"}), seen(*past))


def test_a_version_that_is_registered_anew_under_its_old_number_begins_anew() -> None:
    """Its time of registration tells the two apart."""
    again = ModelVersion(3, NOW + timedelta(days=1), tags={"approved_by": "risk"})
    assert find_witnessed_tags(again, seen(None)) == frozenset()
    assert find_witnessed_tags(version("risk", number=4), seen(None)) == frozenset()


@pytest.mark.parametrize(
    ("source", "copied"),
    [
        ("models:/fraud/3", True),
        ("models:/m-0123456789abcdef0123456789abcdef", False),
        ("runs:/abc/model", False),
        ("s3://bucket/models:/fraud/3", False),
        ("models:/fraud@champion", False),
        (None, False),
        ("", False),
    ],
)
def test_what_is_a_copy(source: str | None, copied: bool) -> None:
    """By the source that `copy_model_version` leaves."""
    assert ModelVersion(1, NOW, source=source).is_copied is copied
    assert is_copy_source(source) is copied
