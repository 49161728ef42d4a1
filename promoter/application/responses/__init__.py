"""Responses: the shape of every JSON that users read, as pydantic models for the API, its OpenAPI document and `--format json`.

Each model reads its fields from the attributes of one value of the domain or the application (`SpanResponse` from an
`AliasSpan`). `registry` is about models and aliases, `ledger` about records, decisions and their verification,
`plans` about plans and what carries them out, `policies` about their tests and replays, `operations` about files, webhooks,
deliveries and health.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    SkipValidation,
    WithJsonSchema,
    model_serializer,
)
from pydantic_core import PydanticUndefined

SCHEMA = 1
"""The version of every JSON output."""


class Response(BaseModel):
    """A JSON object that users read, or a part of one."""

    model_config = ConfigDict(
        from_attributes=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Read the fields from the attributes of the value."""
        return cls.model_validate(value)

    @classmethod
    def from_values(cls, **values: object) -> Self:
        """Read each field from the value of that name; those that are responses themselves from its attributes."""
        return cls.model_validate(values)

    def to_json(self) -> dict[str, Any]:
        """Return the object as JSON, its fields in the order in which they are declared."""
        return self.model_dump(mode="json", by_alias=True)


class Answer(Response):
    """The whole of an answer, with the version of its form in front."""

    schema_version: Annotated[int, WithJsonSchema({"const": SCHEMA})] = Field(default=SCHEMA, serialization_alias="schema")
    """The version of this form."""


class Inlined(Response):
    """A response whose first field beside the version is an object of which the fields stand in its own place."""

    @model_serializer(mode="wrap")
    def _inline_object(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        version = {"schema": fields.pop("schema")} if "schema" in fields else {}
        whole = fields.pop(next(iter(fields)))
        return {**version, **whole, **fields}


class ErrorResponse(Answer):
    """The answer."""

    error: str
    """What is wrong, in words."""


def attribute(path: str, name: str | None = None, *, default: Any = PydanticUndefined, left_out: bool = False) -> Any:
    """Declare a field that is read from that attribute (dots lead into it), and that JSON calls `name`.

    The `default` is for a path that ends at a None. `left_out`: the field is not there where its value is None.
    """
    without = {"default": None, "exclude_if": lambda value: value is None} if left_out else {"default": default}
    return Field(validation_alias=AliasPath(*path.split(".")), serialization_alias=name, **without)


def left_out() -> Any:
    """Declare a field that is not there at all where there is nothing to say."""
    return Field(default=None, exclude_if=lambda value: value is None)


def enum_words(of: Iterable[str]) -> WithJsonSchema:
    """Describe text that is one of these words. Nothing checks it: the ledger may hold the words of another version."""
    return WithJsonSchema({"type": "string", "enum": [str(each) for each in of]})


class ReconcileResponse(Answer):
    """That a look was asked for."""

    result: Annotated[str, enum_words(("accepted",))] = "accepted"


Moment = Annotated[
    datetime, PlainSerializer(datetime.isoformat, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]

Shape = TypeVar("Shape")
Recorded = Annotated[Shape, SkipValidation(), PlainSerializer(lambda tree: tree)]
"""JSON that is given out as it is, such as a tree that the ledger has hashed. Only its description is that model's."""

Tree = Annotated[dict[str, Any], BeforeValidator(lambda value: value.to_json())]
"""A decision or a finding, in the form in which the ledger keeps it."""
TextOrNull = Annotated[str | None, BeforeValidator(lambda text: text or None)]
"""Text that is null where it is empty."""
