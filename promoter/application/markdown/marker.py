"""The marker: what a pull request of Promoter's says of itself, as a comment in its body that no page shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promoter.domain.proposal import ProposalReason, Proposal

_MARKER = re.compile(r"<!-- promoter:proposal (\{[^<>]*?\}) -->")
_MAX_MARKER_LENGTH = 20_000
_MAX_DECLINED = 100
"""So many answers of "no" are kept: the newest."""


@dataclass(frozen=True)
class PullRequestMarker:
    """What is proposed; `head` is the commit, of a person's proposal; `digest` is of title and body.

    `settings` is a digest of labels, reviewers and auto-merge, once all of them were asked for.

    `withdrawn`: Promoter closes it, and why. `declined`: what persons said no to on this branch, as `answer` has it.
    """

    aim: ProposalReason
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
    def answer_key(self) -> str:
        """What a person says no to who closes it: a version; of a guard's rollback, for this one that broke."""
        return build_answer_key(self.aim, self.version, self.replaces)

    @property
    def declined_answers(self) -> tuple[str, ...]:
        """What was declined, once it is closed."""
        more = () if self.withdrawn or self.answer_key in self.declined else (self.answer_key,)
        return (*self.declined, *more)[-_MAX_DECLINED:]

    def __str__(self) -> str:
        """As it stands in a body. Nothing in it can end the comment."""
        fields = {
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
        text = json.dumps({key: value for key, value in fields.items() if value not in (None, [], "")})
        return f"<!-- promoter:proposal {_escape_comment(text)} -->"


def build_answer_key(aim: ProposalReason, version: int | None, replaces: int | None) -> str:
    """A proposal, for the memory of what was declined."""
    return f"{aim}:{version}" + (f":{replaces}" if aim is ProposalReason.GUARD else "")


def find_answer_key(proposal: Proposal) -> str:
    """The same of a proposal."""
    return build_answer_key(proposal.aim, proposal.edit.version, proposal.replaces)


def parse_marker(body: str) -> PullRequestMarker | None:
    """The first one in a body; None where there is none that makes sense."""
    found = _MARKER.search(body)
    if found is None or len(found[1]) > _MAX_MARKER_LENGTH:
        return None
    try:
        fields = json.loads(found[1])
        return _parse_marker_fields(fields) if isinstance(fields, Mapping) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def insert_marker(body: str, marker: PullRequestMarker) -> str:
    """The body with this marker in the place of the one that it has; at its beginning where it has none."""
    if _MARKER.search(body):
        return _MARKER.sub(lambda _: str(marker), body, count=1)
    return f"{marker}\n{body}"


def remove_marker(body: str) -> str:
    """The rest."""
    return _MARKER.sub("", body, count=1)


def _parse_marker_fields(fields: Mapping[str, Any]) -> PullRequestMarker:
    return PullRequestMarker(
        ProposalReason(fields["aim"]),
        _require_text(fields["model"]) or "",
        _require_text(fields["alias"]) or "",
        _require_number(fields.get("version")),
        _require_number(fields.get("replaces")),
        _require_text(fields.get("head")),
        _require_text(fields.get("digest")) or "",
        _require_text(fields.get("settings")) or "",
        _require_text(fields.get("withdrawn")),
        tuple(each for each in fields.get("declined", ()) if isinstance(each, str)),
    )


def _require_text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value


def _require_number(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise TypeError(value)
    return value


def _escape_comment(text: str) -> str:
    """JSON in which no two hyphens meet, and no bracket of a tag is left."""
    return text.replace("--", "-\\u002d").replace("<", "\\u003c").replace(">", "\\u003e")
