"""Approvers: whose signature counts, and for which groups. `approvers.yaml` beside `registry.yaml`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from promoter.domain.document import Document, FormatVersion
from promoter.domain.moment import Moment
from promoter.domain.names import ApproverName

PUBLIC_KEY_PREFIX = "ed25519:"
"""What a public key begins with."""
_KEY_BYTES = 32


def _validate_public_key(text: str) -> str:
    try:
        raw = base64.b64decode(text.removeprefix(PUBLIC_KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(PUBLIC_KEY_PREFIX) or len(raw) != _KEY_BYTES:
        raise ValueError("a public key is `ed25519:` and 32 bytes in base64; `promoter approve --new-key FILE` makes a pair")
    return text


class Approver(Document):
    """One person: a public key, the groups that they speak for, and until when."""

    key: Annotated[str, AfterValidator(_validate_public_key)]
    groups: tuple[ApproverName, ...] = Field(default=(), max_length=100, strict=False)
    until: Moment | None = None

    @property
    def raw_key(self) -> bytes:
        """The 32 bytes of the key."""
        return base64.b64decode(self.key.removeprefix(PUBLIC_KEY_PREFIX))

    def is_key_valid(self, now: datetime) -> bool:
        """Whether their word counts at that moment."""
        return self.until is None or now < self.until


class ApproversDocument(Document):
    """`approvers.yaml` as it is written."""

    version: FormatVersion
    approvers: dict[ApproverName, Approver]


@dataclass(frozen=True)
class ApproverDirectory:
    """Who may approve, by name. Empty where the repository has no `approvers.yaml`."""

    known: Mapping[str, Approver] = field(default_factory=dict)

    def find_matching_names(self, wanted: tuple[str, ...]) -> frozenset[str]:
        """The names of those that are named, or belong to a group that is."""
        return frozenset(name for name, each in self.known.items() if name in wanted or set(each.groups) & set(wanted))

    @property
    def names_and_groups(self) -> frozenset[str]:
        """Every name and every group."""
        return frozenset(self.known) | {group for each in self.known.values() for group in each.groups}


NO_APPROVERS = ApproverDirectory()
