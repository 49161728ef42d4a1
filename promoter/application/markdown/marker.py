"""The marker: what a pull request of Promoter's says of itself, as a comment in its body that no page shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promoter.domain.proposal import Aim, Proposal

_MARKER = re.compile(r"<!-- promoter:proposal (\{[^<>]*?\}) -->")
_LIMIT = 20_000
_DECLINED = 100
"""So many answers of "no" are kept: the newest."""


@dataclass(frozen=True)
class Marker:
    """What is proposed; `head` is the commit, of a person's proposal; `digest` is of title and body.

    `settings` is a digest of labels, reviewers and auto-merge, once all of them were asked for.

    `withdrawn`: Promoter closes it, and why. `declined`: what persons said no to on this branch, as `answer` has it.
    """

    aim: Aim
    model: str
    alias: str
    version: int | None = None
    replaces: int | None = None
    head: str | None = None
    digest: str = ""
    settings: str = ""
    withdrawn: str | None = None
    declined: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """What a person says no to who closes it: a version; of a guard's rollback, for this one that broke."""
        return answer(self.aim, self.version, self.replaces)

    @property
    def refusals(self) -> tuple[str, ...]:
        """What was declined, once it is closed."""
        more = () if self.withdrawn or self.answer in self.declined else (self.answer,)
        return (*self.declined, *more)[-_DECLINED:]

    def __str__(self) -> str:
        """As it stands in a body. Nothing in it can end the comment."""
        told = {
            "aim": self.aim.value,
            "model": self.model,
            "alias": self.alias,
            "version": self.version,
            "replaces": self.replaces,
            "head": self.head,
            "digest": self.digest,
            "settings": self.settings,
            "withdrawn": self.withdrawn,
            "declined": list(self.declined),
        }
        text = json.dumps({key: value for key, value in told.items() if value not in (None, [], "")})
        return f"<!-- promoter:proposal {_inert(text)} -->"


def answer(aim: Aim, version: int | None, replaces: int | None) -> str:
    """A proposal, for the memory of what was declined."""
    return f"{aim}:{version}" + (f":{replaces}" if aim is Aim.GUARD else "")


def answer_of(proposal: Proposal) -> str:
    """The same of a proposal."""
    return answer(proposal.aim, proposal.edit.version, proposal.replaces)


def read_marker(body: str) -> Marker | None:
    """The first one in a body; None where there is none that makes sense."""
    found = _MARKER.search(body)
    if found is None or len(found[1]) > _LIMIT:
        return None
    try:
        told = json.loads(found[1])
        return _marker(told) if isinstance(told, Mapping) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def with_marker(body: str, marker: Marker) -> str:
    """The body with this marker in the place of the one that it has; at its beginning where it has none."""
    if _MARKER.search(body):
        return _MARKER.sub(lambda _: str(marker), body, count=1)
    return f"{marker}\n{body}"


def without_marker(body: str) -> str:
    """The rest."""
    return _MARKER.sub("", body, count=1)


def _marker(told: Mapping[str, Any]) -> Marker:
    return Marker(
        Aim(told["aim"]),
        _text(told["model"]) or "",
        _text(told["alias"]) or "",
        _number(told.get("version")),
        _number(told.get("replaces")),
        _text(told.get("head")),
        _text(told.get("digest")) or "",
        _text(told.get("settings")) or "",
        _text(told.get("withdrawn")),
        tuple(each for each in told.get("declined", ()) if isinstance(each, str)),
    )


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise TypeError(value)
    return value


def _inert(text: str) -> str:
    """JSON in which no two hyphens meet, and no bracket of a tag is left."""
    return text.replace("--", "-\\u002d").replace("<", "\\u003c").replace(">", "\\u003e")
