"""The models of every JSON output: their order, their version, and what they leave as it is."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from promoter.application import responses
from promoter.application.responses import Answer, Inlined, Moment, Recorded, Response, TextOrNull, attribute, left_out
from promoter.application.responses.ledger import RerunResponse


class PartResponse(Response):
    """A part."""

    number: int
    note: str | None = left_out()


class WholeResponse(Answer):
    """A whole."""

    at: Moment = attribute("when.begin", "from")
    holder: int | None = attribute("held.number", default=None)
    text: TextOrNull
    tree: Recorded[PartResponse] | None
    parts: list[PartResponse]


@dataclass
class Value:
    """Whatever has attributes."""

    begin: Any = None
    when: Any = None
    held: Any = None
    text: str = ""
    tree: Any = None
    parts: Any = ()
    number: Any = 0
    note: Any = None


AT = datetime(2026, 11, 30, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))


def models(kind: type[Response] = Response) -> Iterator[type[Response]]:
    """Every model of that kind."""
    for each in kind.__subclasses__():
        if each.__module__.startswith(responses.__name__):
            yield each
            yield from models(each)


def test_fields_are_read_from_attributes() -> None:
    """By path, in the declared order, under the names of JSON; times keep their zone, trees their keys and their order."""
    tree = {"zebra": 1, "ant": [1.0, True, "\ud800"], "number": "no number"}
    found = WholeResponse.from_value(Value(when=Value(begin=AT), tree=tree, parts=(Value(number=3),))).to_json()
    assert list(found) == ["schema", "from", "holder", "text", "tree", "parts"]
    assert found["from"] == "2026-11-30T12:00:00.000005+02:00"
    assert (found["schema"], found["holder"], found["text"], found["parts"]) == (1, None, None, [{"number": 3}])
    assert (found["tree"], list(found["tree"])) == (tree, list(tree))
    held = WholeResponse.from_value(Value(when=Value(begin=AT), held=Value(number=7), text="x", parts=[Value(note="n")]))
    assert (held.holder, held.text, held.to_json()["parts"]) == (7, "x", [{"number": 0, "note": "n"}])


def test_an_attribute_that_is_missing_is_an_error() -> None:
    """Only a path with a default may end early."""
    with pytest.raises(ValidationError, match="when"):
        WholeResponse.from_value(Value(when=None))


def test_an_inlined_object_stands_first() -> None:
    """Behind the version; what is said again keeps its place, and takes the new value."""

    class OuterResponse(Inlined, Answer):
        """A whole with more."""

        whole: WholeResponse
        text: str
        more: int

    whole = WholeResponse.from_value(Value(when=Value(begin=datetime(2026, 1, 1, tzinfo=UTC))))
    found = OuterResponse.from_values(whole=whole, text="again", more=1).to_json()
    assert list(found) == ["schema", "from", "holder", "text", "tree", "parts", "more"]
    assert found["text"] == "again"


def test_the_version_is_said_once() -> None:
    """No answer has another one inside, but for one that is inlined."""
    for package in pkgutil.iter_modules(responses.__path__, responses.__name__ + "."):
        importlib.import_module(package.name)
    known = list(models())
    assert RerunResponse in known
    inside = []
    for model in known:
        for number, (name, field) in enumerate(model.model_fields.items()):
            kinds = [field.annotation, *get_args(field.annotation)]
            inlined = issubclass(model, Inlined) and number <= 1
            inside += [
                f"{model.__name__}.{name}"
                for kind in kinds
                if isinstance(kind, type) and issubclass(kind, Answer) and not inlined
            ]
    assert inside == []
