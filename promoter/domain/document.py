"""What every parsed document has in common: strict, closed, frozen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A mapping in a file. An unknown key is a fault; a value of another type is never bent into shape."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
