"""What every parsed document has in common: strict, closed, frozen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Document(BaseModel):
    """A mapping in a file. An unknown key is a fault; a value of another type is never bent into shape."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _check_format_version(value: object) -> object:
    if value == 1 and type(value) is not int:  # to Python, and to pydantic's Literal, true and 1.0 are 1
        raise ValueError("must be the whole number `1`")
    return value


def _check_literal_true(value: object) -> object:
    if value == 1 and value is not True:
        raise ValueError("must be `true`")
    return value


FormatVersion = Annotated[Literal[1], BeforeValidator(_check_format_version)]
"""The version of a document's format."""
LiteralTrue = Annotated[Literal[True], BeforeValidator(_check_literal_true)]
"""What is said by being there."""
