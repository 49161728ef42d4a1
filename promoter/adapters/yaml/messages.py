"""Messages of validation: each complaint of pydantic becomes one plain sentence with a place in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from promoter.adapters.yaml.tree import (
    FAULT_LIMIT,
    LineIndex,
    MappingNode,
    ScalarNode,
    SequenceNode,
    YamlNode,
    describe_value_type,
    find_node,
)
from promoter.domain.errors import DocumentPath, Fault
from promoter.domain.policy.document import PolicyDocument
from promoter.domain.policy.rules import RULES
from promoter.domain.text import suggest_known_name

KEY_MARKER = "[key]"


@dataclass(frozen=True)
class LocationTrace:
    """A location of pydantic's, translated to the document as it is written."""

    path: DocumentPath
    on_key: bool
    """Whether the key itself is at fault."""
    keys: tuple[str, ...]
    """The keys that its mapping knows."""


def trace_location(model: type[BaseModel], location: tuple[str | int, ...], *, unknown: bool) -> LocationTrace:
    """Translate a location of pydantic's, in which the members of a union are parts of their own.

    `unknown`: it ends with a key that its mapping does not know.
    """
    options: list[Any] = [model]
    path: list[str | int] = []
    keys: tuple[str, ...] = ()
    on_key = False
    for number, part in enumerate(location, start=1):
        if part == KEY_MARKER and number == len(location):
            on_key = True
            continue
        members = [option for option in options if part in (getattr(option, "kind", None), getattr(option, "__name__", None))]
        if len(options) > 1 and members:
            options = members
            continue
        inside = [found for option in options if (found := _find_part_type(option, part)) is not None]
        if inside:
            path.append(part)
            keys = inside[0][1]
            options = [choice for found, _ in inside for choice in _list_type_choices(found)]
        elif unknown and number == len(location):
            path.append(part)
            keys = tuple(key for option in options if _is_model_type(option) for key in list_known_keys(option))
    return LocationTrace(tuple(path), on_key, keys)


def list_known_keys(model: type[BaseModel]) -> Iterator[str]:
    """Return the keys that a mapping may have, as they are written."""
    return (field.alias or name for name, field in model.model_fields.items() if not field.exclude)


def _find_part_type(kind: Any, part: str | int) -> tuple[Any, tuple[str, ...]] | None:
    """Return the type of one part, and the keys beside it; None where there is no such part."""
    if _is_model_type(kind):
        fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        return (fields[str(part)], tuple(list_known_keys(kind))) if part in fields else None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is dict and isinstance(part, str):
        return arguments[1], ()
    return (arguments[0], ()) if origin is tuple and isinstance(part, int) else None


def _list_type_choices(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _list_type_choices(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for member in get_args(kind):
            yield from _list_type_choices(member)
    elif kind is not type(None):
        yield kind


def _is_model_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


_TIME_NOUN = "a time with its zone, such as 2026-12-01T00:00:00Z"

_PER_CENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)

_TYPE_NOUNS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "datetime_type": _TIME_NOUN,
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_KEY_SYNONYMS = {
    "all": "all_of",
    "and": "all_of",
    "any": "any_of",
    "or": "any_of",
    "expires": "until",
    "expiry": "until",
    "max": "at_most",
    "min": "at_least",
    "tz": "timezone",
    "user": "by",
    "value": "equals",
}
"""Keys that people try and no spelling suggests; the other key is suggested where the mapping knows it."""

_POLICY_KEYS = frozenset(PolicyDocument.model_fields) - {"version"}
_REGISTRY_KEYS = ("defaults", "families", "models")
_POLICY_KEY_FIX = "it belongs in a policy, policies/NAME.yaml"

_EMPTY_VALUE_FIXES = {"a mapping": "write `{}` if there is nothing to say", "a list": "write `[]` if there is nothing to say"}

_RULE_KINDS = frozenset(rule.kind for rule in RULES)

MessageAndFix = tuple[str, str | None]
"""A message, and a fix."""

_LIMIT_MESSAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda ctx: f"must be greater than {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"must not be less than {ctx['ge']}",
    "less_than_equal": lambda ctx: f"must not be greater than {ctx['le']}",
    "less_than": lambda ctx: f"must be less than {ctx['lt']}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda ctx: f"must not be longer than {ctx['max_length']} characters",
    "too_short": lambda ctx: f"must have at least {ctx['min_length']} item" + ("s" if ctx["min_length"] > 1 else ""),
    "too_long": lambda ctx: f"must have at most {ctx['max_length']} items",
    "finite_number": lambda _: "must be a finite number",
    "timezone_aware": lambda _: f"must be {_TIME_NOUN}",
}


def convert_validation_error(
    file: str, lines: LineIndex, root: YamlNode, model: type[BaseModel], error: ValidationError
) -> list[Fault]:
    """Return every fault that the types found in a document, at the value (or the key) that it is about."""
    details = error.errors(include_url=False, include_input=False)
    traced = [(_trace_detail(model, detail), detail) for detail in details[: 2 * FAULT_LIMIT]]
    faults: list[Fault] = []
    for _, group in groupby(traced, key=lambda pair: (pair[0].path, pair[1]["type"] == "missing")):
        members = list(group)
        faults += _build_value_faults(file, lines, root, members[0][0], [detail for _, detail in members])
        if len(faults) >= FAULT_LIMIT:
            break
    return faults


def _trace_detail(model: type[BaseModel], detail: Any) -> LocationTrace:
    return trace_location(model, detail["loc"], unknown=detail["type"] == "extra_forbidden")


def _build_value_faults(file: str, lines: LineIndex, root: YamlNode, where: LocationTrace, details: list[Any]) -> list[Fault]:
    node = find_node(root, where.path)
    details = [detail for detail in details if not _is_consequence(detail["type"], node.target)]
    if node.flawed or node.target.flawed or not details:
        return []
    about_key = where.on_key or details[0]["type"] == "extra_forbidden"
    message, fix = _explain_details(where, node.target, details)
    line, column = lines.line_and_column(node.key if about_key and node.key is not None else node.start)
    return [Fault(message, file, where.path, line, column, fix)]


def _is_consequence(kind: str, node: YamlNode) -> bool:
    """Return whether a complaint only follows from another: a list counts as too short when its items are wrong."""
    return kind == "too_short" and isinstance(node, SequenceNode) and bool(node.items)


def _explain_details(where: LocationTrace, node: YamlNode, details: list[Any]) -> MessageAndFix:
    """Explain the most telling complaint: a value that fits none of several types has one for each of them."""
    decisive = next((detail for detail in details if detail["type"] not in _TYPE_NOUNS), None)
    if decisive is None:
        return _explain_wrong_type(where, list(dict.fromkeys(_TYPE_NOUNS[detail["type"]] for detail in details)), node)
    kind, context = decisive["type"], decisive.get("ctx", {})
    if kind in _LIMIT_MESSAGES:
        return f"{_describe_subject(where)} {_LIMIT_MESSAGES[kind](context)}", None
    explain = _EXPLANATIONS.get(kind)
    return explain(where, node, context) if explain else (f"{_describe_subject(where)} cannot be used", None)


def _explain_unknown_key(where: LocationTrace, _node: YamlNode, _context: dict[str, Any]) -> MessageAndFix:
    name = str(where.path[-1])
    message = f"unknown key `{name:.60}`"
    if name in _RULE_KINDS and not (_RULE_KINDS.isdisjoint(where.keys) or set(where.keys) >= _POLICY_KEYS):
        return message, "a rule is of one kind: make it a rule of its own"
    elsewhere = _POLICY_KEY_FIX if name in _POLICY_KEYS and where.path[0] in _REGISTRY_KEYS else None
    return message, _suggest_synonym(name, where.keys) or suggest_known_name(name, where.keys) or elsewhere


def _explain_value_error(where: LocationTrace, node: YamlNode, context: dict[str, Any]) -> MessageAndFix:
    message = str(context["error"])
    if message == "this is a number":
        return _explain_wrong_type(where, ["a number"], node)
    return f"{_describe_subject(where)} {message}" if message.startswith("must be ") else message, None


def _describe_subject(where: LocationTrace) -> str:
    if not where.path:
        return "the file"
    last = where.path[-1]
    if isinstance(last, str):
        return f"`{last:.60}`"
    holder = next((part for part in reversed(where.path) if isinstance(part, str)), "")
    return f"item {last + 1} of `{holder}`"


def _explain_wrong_type(where: LocationTrace, nouns: list[str], node: YamlNode) -> MessageAndFix:
    message = f"{_describe_subject(where)} must be {' or '.join(nouns)}"
    if not isinstance(node, ScalarNode):
        return f"{message}, not {describe_value_type(node.value)}", None
    if node.value is None:
        return f"{message}, and there is nothing", _EMPTY_VALUE_FIXES.get(nouns[0])
    if isinstance(node.value, str):
        quotes = node.style in ("'", '"') and nouns[0] != "a list"
        share = _PER_CENT.fullmatch(node.value) if "a number" in nouns else None
        fix = f"write {float(share[1]) / 100:g}" if share else "take the quotes away" if quotes else None
        return f"{message}, not text", fix
    fix = f'quote it: "{node.text:.40}"' if nouns == ["text"] else None
    return f"{message}, and YAML reads `{node.text:.40}` as {describe_value_type(node.value)}", fix


def _explain_wrong_word(where: LocationTrace, node: YamlNode, context: dict[str, Any]) -> MessageAndFix:
    words = str(context["expected"]).replace("'", "").replace("True", "true").replace(" or ", ", ").split(", ")
    message = f"{_describe_subject(where)} must be " + " or ".join(", ".join(f"`{word}`" for word in words).rsplit(", ", 1))
    if not isinstance(node, ScalarNode):
        return message, None
    if node.text in words:
        return f"{message}, not text", "take the quotes away"
    return message, suggest_known_name(node.text, words)


def _explain_unknown_rule(_where: LocationTrace, node: YamlNode, _context: dict[str, Any]) -> MessageAndFix:
    if not isinstance(node, MappingNode):
        return "a rule is a mapping such as {metric: val_auc, at_least: 0.9}", None
    kinds = [rule.kind for rule in RULES]
    fixes = (fix for key in node.pairs if (fix := _suggest_synonym(key, kinds) or suggest_known_name(key, kinds)))
    return "not a rule: none of its keys is one of " + ", ".join(f"`{kind}`" for kind in kinds), next(fixes, None)


def _suggest_synonym(name: str, known: Collection[str]) -> str | None:
    other = _KEY_SYNONYMS.get(name)
    return f"did you mean `{other}`?" if other and other in known else None


_EXPLANATIONS: dict[str, Callable[[LocationTrace, YamlNode, dict[str, Any]], MessageAndFix]] = {
    "extra_forbidden": _explain_unknown_key,
    "missing": lambda where, _node, _context: (f"`{where.path[-1]}` is missing", None),
    "unknown_rule": _explain_unknown_rule,
    "literal_error": _explain_wrong_word,
    "value_error": _explain_value_error,
}
