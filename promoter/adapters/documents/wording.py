"""What the types complain about, in words and with places: one plain sentence for each value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ValidationError

from promoter.adapters.documents.nodes import Mapping, Node, Scalar, Sequence, find
from promoter.adapters.documents.schema import Trace, trace
from promoter.adapters.documents.text import FAULT_LIMIT, Lines
from promoter.adapters.documents.tree import in_words
from promoter.domain.faults import Fault
from promoter.domain.policy import PolicyDocument
from promoter.domain.rules import KINDS

_TIME = "a time with its zone, such as 2026-12-01T00:00:00Z"

_PER_CENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)

_NOUNS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "datetime_type": _TIME,
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_OTHER_WORDS = {
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
"""Keys that people try, and no spelling tells what they mean: where the other key is known, it is meant."""

_OF_A_POLICY = frozenset(PolicyDocument.model_fields) - {"version"}
_OF_THE_REGISTRY = ("defaults", "families", "models")
_ELSEWHERE = "it belongs in a policy, policies/NAME.yaml"

_EMPTY = {"a mapping": "write `{}` if there is nothing to say", "a list": "write `[]` if there is nothing to say"}

_KINDS = frozenset(rule.kind for rule in KINDS)

Words = tuple[str, str | None]
"""A message, and a fix."""

_LIMITS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda ctx: f"must be greater than {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"must not be less than {ctx['ge']}",
    "less_than_equal": lambda ctx: f"must not be greater than {ctx['le']}",
    "less_than": lambda ctx: f"must be less than {ctx['lt']}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda ctx: f"must not be longer than {ctx['max_length']} characters",
    "too_short": lambda ctx: f"must have at least {ctx['min_length']} item" + ("s" if ctx["min_length"] > 1 else ""),
    "too_long": lambda ctx: f"must have at most {ctx['max_length']} items",
    "finite_number": lambda _: "must be a finite number",
    "timezone_aware": lambda _: f"must be {_TIME}",
}


def type_faults(file: str, lines: Lines, root: Node, model: type[BaseModel], error: ValidationError) -> list[Fault]:
    """Every fault that the types found in a document, at the value (or the key) that it is about."""
    details = error.errors(include_url=False, include_input=False)
    traced = [(_trace(model, detail), detail) for detail in details[: 2 * FAULT_LIMIT]]
    faults: list[Fault] = []
    for _, group in groupby(traced, key=lambda pair: (pair[0].path, pair[1]["type"] == "missing")):
        members = list(group)
        faults += _fault(file, lines, root, members[0][0], [detail for _, detail in members])
        if len(faults) >= FAULT_LIMIT:
            break
    return faults


def meant(name: str, known: Iterable[str]) -> str | None:
    """`did you mean ...?`, where one of the known names is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None


def _trace(model: type[BaseModel], detail: Any) -> Trace:
    return trace(model, detail["loc"], unknown=detail["type"] == "extra_forbidden")


def _fault(file: str, lines: Lines, root: Node, where: Trace, details: list[Any]) -> list[Fault]:
    node = find(root, where.path)
    details = [detail for detail in details if not _follows(detail["type"], node.target)]
    if node.flawed or node.target.flawed or not details:
        return []
    about_key = where.on_key or details[0]["type"] == "extra_forbidden"
    message, fix = _words(where, node.target, details)
    line, column = lines.place(node.key if about_key and node.key is not None else node.start)
    return [Fault(message, file, where.path, line, column, fix)]


def _follows(kind: str, node: Node) -> bool:
    """Whether a complaint only follows from another: a list counts as too short when its items are wrong."""
    return kind == "too_short" and isinstance(node, Sequence) and bool(node.items)


def _words(where: Trace, node: Node, details: list[Any]) -> Words:
    """A value that fits none of several types has a complaint for each; one that is about more than the type tells more."""
    telling = next((detail for detail in details if detail["type"] not in _NOUNS), None)
    if telling is None:
        return _wrong_type(where, list(dict.fromkeys(_NOUNS[detail["type"]] for detail in details)), node)
    kind, context = telling["type"], telling.get("ctx", {})
    if kind in _LIMITS:
        return f"{_subject(where)} {_LIMITS[kind](context)}", None
    tell = _TELLERS.get(kind)
    return tell(where, node, context) if tell else (f"{_subject(where)} cannot be used", None)


def _unknown_key(where: Trace, _node: Node, _context: dict[str, Any]) -> Words:
    name = str(where.path[-1])
    message = f"unknown key `{name:.60}`"
    if name in _KINDS and not _KINDS.isdisjoint(where.keys):
        return message, "a rule is of one kind: make it a rule of its own"
    elsewhere = _ELSEWHERE if name in _OF_A_POLICY and where.path[0] in _OF_THE_REGISTRY else None
    return message, _other_word(name, where.keys) or meant(name, where.keys) or elsewhere


def _own_words(where: Trace, node: Node, context: dict[str, Any]) -> Words:
    message = str(context["error"])
    if message == "this is a number":
        return _wrong_type(where, ["a number"], node)
    return f"{_subject(where)} {message}" if message.startswith("must be ") else message, None


def _subject(where: Trace) -> str:
    if not where.path:
        return "the file"
    last = where.path[-1]
    if isinstance(last, str):
        return f"`{last:.60}`"
    holder = next((part for part in reversed(where.path) if isinstance(part, str)), "")
    return f"item {last + 1} of `{holder}`"


def _wrong_type(where: Trace, nouns: list[str], node: Node) -> Words:
    message = f"{_subject(where)} must be {' or '.join(nouns)}"
    if not isinstance(node, Scalar):
        return f"{message}, not {in_words(node.value)}", None
    if node.value is None:
        return f"{message}, and there is nothing", _EMPTY.get(nouns[0])
    if isinstance(node.value, str):
        quotes = node.style in ("'", '"') and nouns[0] != "a list"
        share = _PER_CENT.fullmatch(node.value) if "a number" in nouns else None
        fix = f"write {float(share[1]) / 100:g}" if share else "take the quotes away" if quotes else None
        return f"{message}, not text", fix
    fix = f'quote it: "{node.text:.40}"' if nouns == ["text"] else None
    return f"{message}, and YAML reads `{node.text:.40}` as {in_words(node.value)}", fix


def _wrong_word(where: Trace, node: Node, context: dict[str, Any]) -> Words:
    words = str(context["expected"]).replace("'", "").replace("True", "true").replace(" or ", ", ").split(", ")
    message = f"{_subject(where)} must be " + " or ".join(", ".join(f"`{word}`" for word in words).rsplit(", ", 1))
    if not isinstance(node, Scalar):
        return message, None
    if node.text in words:
        return f"{message}, not text", "take the quotes away"
    return message, meant(node.text, words)


def _unknown_rule(_where: Trace, node: Node, _context: dict[str, Any]) -> Words:
    if not isinstance(node, Mapping):
        return "a rule is a mapping such as {metric: val_auc, at_least: 0.9}", None
    kinds = [rule.kind for rule in KINDS]
    fixes = (fix for key in node.pairs if (fix := _other_word(key, kinds) or meant(key, kinds)))
    return "not a rule: none of its keys is one of " + ", ".join(f"`{kind}`" for kind in kinds), next(fixes, None)


def _other_word(name: str, known: Collection[str]) -> str | None:
    other = _OTHER_WORDS.get(name)
    return f"did you mean `{other}`?" if other and other in known else None


_TELLERS: dict[str, Callable[[Trace, Node, dict[str, Any]], Words]] = {
    "extra_forbidden": _unknown_key,
    "missing": lambda where, _node, _context: (f"`{where.path[-1]}` is missing", None),
    "unknown_rule": _unknown_rule,
    "literal_error": _wrong_word,
    "value_error": _own_words,
}
