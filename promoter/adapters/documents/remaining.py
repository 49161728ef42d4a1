"""What holds between the parts of a policy that has faults: told beside them, so that nobody mends a file twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from promoter.adapters.documents.nodes import MappingNode
from promoter.domain.faults import Fault, DocumentPath
from promoter.domain.policy import PolicyDocument

_LIST_PARTS = ("rules", "guards", "waivers")
_SETTING_PARTS = ("candidates", "metrics")
UNEXPECTED_ERRORS = (ArithmeticError, LookupError, TypeError, RecursionError)
"""What a type may raise over a value that it was not written for."""

_STAND_IN_RULES = ({"run": {"status": "FINISHED"}},)
"""The rules of a policy none of whose rules can be used, so that its guards are looked at all the same."""


def find_remaining_faults(root: MappingNode, faults: Iterable[Fault]) -> list[tuple[DocumentPath, str]]:
    """What a policy shows without the parts that have faults: where, and what is wrong.

    Where it is not known how candidates compare or where metrics are read, too little is known to tell anything.
    """
    faulty = {fault.path[:2] for fault in faults}
    if any(path[:1] == (part,) for part in _SETTING_PARTS for path in faulty):
        return []
    sound: dict[str, Any] = {"version": 1, **{key: root.value[key] for key in _SETTING_PARTS if key in root.value}}
    kept: dict[str, list[int]] = {}
    for part in _LIST_PARTS:
        items = root.value.get(part)
        items = items if isinstance(items, list) and (part,) not in faulty else []
        kept[part] = [index for index in range(len(items)) if (part, index) not in faulty]
        sound[part] = [items[index] for index in kept[part]]
    if not _is_list_sound(root, "rules", kept):
        sound["waivers"] = []  # whether they name a rule is not known
    sound["rules"] = sound["rules"] or _STAND_IN_RULES
    try:
        part_faults = PolicyDocument.model_validate(sound).find_faults()
    except (ValidationError, *UNEXPECTED_ERRORS):
        return []
    return [((path[0], kept[str(path[0])][int(path[1])], *path[2:]), message) for path, message in part_faults]


def _is_list_sound(root: MappingNode, part: str, kept: dict[str, list[int]]) -> bool:
    """Whether every item of a list can be used."""
    items = root.value.get(part)
    return isinstance(items, list) and len(kept[part]) == len(items) > 0
