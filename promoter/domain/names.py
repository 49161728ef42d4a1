"""The names that MLflow accepts, checked before they travel (MLflow itself lets a trailing newline through)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

CHAMPION = "champion"
"""The alias that production loads: moved after its supports, and never left empty on the way."""

_ALIAS_PATTERN = re.compile(r"[\w-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_POLICY_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_APPROVER_PATTERN = re.compile(r"[A-Za-z0-9][\w.@-]{0,99}", re.ASCII)
_MODEL_FORBIDDEN = re.compile(r"[/:\x00-\x1f\x7f]")
_MODEL_LIMIT = 256


def validate_alias_name(name: str) -> str:
    """The name itself. Raises ValueError, in words, where MLflow would refuse or reinterpret it."""
    if _RESERVED_ALIAS.fullmatch(name):
        raise ValueError(f"`{name}` is reserved by MLflow and cannot be an alias")
    if not _ALIAS_PATTERN.fullmatch(name):
        raise ValueError(f"`{name!s:.60}` is not an alias name: use letters, digits, `_` and `-`, at most 255")
    return name


def validate_model_name(name: str) -> str:
    """The name itself. Raises ValueError, in words, where MLflow could not have registered it."""
    if not name.strip() or len(name) > _MODEL_LIMIT or _MODEL_FORBIDDEN.search(name):
        raise ValueError(f"{name!r:.60} is not a model name: not empty, no `/`, no `:`, at most {_MODEL_LIMIT} characters")
    return name


def validate_policy_name(name: str) -> str:
    """The name itself. Raises ValueError where it could not be the stem of a file in `policies/`."""
    if not _POLICY_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r:.60} is not a policy name: use letters, digits, `_`, `.` and `-`")
    return name


def validate_approver_name(name: str) -> str:
    """The name itself. Raises ValueError where it could not be part of a tag's key."""
    if not _APPROVER_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r:.60} is not an approver's or a group's name: use letters, digits, `_`, `.`, `@` and `-`")
    return name


AliasName = Annotated[str, AfterValidator(validate_alias_name)]
ApproverName = Annotated[str, AfterValidator(validate_approver_name)]
ModelName = Annotated[str, AfterValidator(validate_model_name)]
PolicyName = Annotated[str, AfterValidator(validate_policy_name)]
VersionNumber = Annotated[int, Field(strict=True, gt=0, le=2**31 - 1)]
