"""Requirements: the lines of a `requirements.txt`, and what changed between two of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_REQUIREMENT_LINE = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)")
_NAME_SEPARATORS = re.compile(r"[-_.]+")


def describe_requirement_changes(ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """What changed from `theirs` to `ours`, in words, in order of the names.

    Lines without the name of a package (options, addresses) count as a whole.
    """
    now, was = _index_by_package(ours), _index_by_package(theirs)
    sentences = []
    for name in sorted(now.keys() | was.keys()):
        mine, other = now.get(name), was.get(name)
        if mine == other:
            continue
        sentences.append(
            f"{name} is new{_format_constraint(mine)}"
            if other is None
            else f"{name} is gone{_format_constraint(other, 'it was ')}"
            if mine is None
            else f"{name} is {mine or 'any'}, was {other or 'any'}"
        )
    return sentences


def _index_by_package(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        text = re.sub(r"(?:^|\s)#.*", "", line).strip()
        match = _REQUIREMENT_LINE.fullmatch(text)
        if match and not text.startswith("-") and "://" not in match[3].partition("@")[0]:
            found[_NAME_SEPARATORS.sub("-", match[1]).lower() + (match[2] or "")] = match[3].strip()
        elif text:
            found[text] = ""
    return found


def _format_constraint(constraint: str | None, words: str = "") -> str:
    return f" ({words}{constraint})" if constraint else ""
