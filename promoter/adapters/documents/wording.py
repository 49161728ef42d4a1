"""What the types complain about, in words and with places: one plain sentence for each value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ValidationError

from promoter.adapters.documents.nodes import Mapping, Node, Scalar, Sequence, find
from promoter.adapters.documents.schema import Trace, trace
from promoter.adapters.documents.text import FAULT_LIMIT, Lines
from promoter.adapters.documents.tree import in_words
from promoter.domain.faults import Fault
from promoter.domain.rules import KINDS

LATER = "this version of Promoter does not know it yet"
_LATER_KEYS = frozenset(
    ("soak", "confidence", "age", "signature", "loads", "expression", "approval", "guards", "limits", "freeze", "dataset")
)
_LATER_VALUES = frozenset((("enforcement", "audit"), ("source", "logged_model")))
_TIME = "a time with its zone, such as 2026-12-01T00:00:00Z"

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

_EMPTY = {"a mapping": "write `{}` if there is nothing to say", "a list": "write `[]` if there is nothing to say"}

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
    traced = [(trace(model, detail["loc"]), detail) for detail in details[: 2 * FAULT_LIMIT]]
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
    return f"unknown key `{name:.60}`", LATER if name in _LATER_KEYS else meant(name, where.keys)


def _own_words(where: Trace, node: Node, context: dict[str, Any]) -> Words:
    message = str(context["error"])
    return _wrong_type(where, ["a number"], node) if message == "this is a number" else (message, None)


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
        return f"{message}, not text", "take the quotes away" if quotes else None
    fix = f'quote it: "{node.text:.40}"' if nouns == ["text"] else None
    return f"{message}, and YAML reads `{node.text:.40}` as {in_words(node.value)}", fix


def _wrong_word(where: Trace, node: Node, context: dict[str, Any]) -> Words:
    words = str(context["expected"]).replace("'", "").replace("True", "true").replace(" or ", ", ").split(", ")
    message = f"{_subject(where)} must be " + " or ".join(", ".join(f"`{word}`" for word in words).rsplit(", ", 1))
    if not isinstance(node, Scalar):
        return message, None
    if (where.path[-1], node.text) in _LATER_VALUES:
        return f"`{where.path[-1]}: {node.text}` cannot be used", LATER
    if node.text in words:
        return f"{message}, not text", "take the quotes away"
    return message, meant(node.text, words)


def _unknown_rule(_where: Trace, node: Node, _context: dict[str, Any]) -> Words:
    kinds = [rule.kind for rule in KINDS]
    if not isinstance(node, Mapping):
        return "a rule is a mapping such as {metric: val_auc, at_least: 0.9}", None
    later = next((key for key in node.pairs if key in _LATER_KEYS), None)
    if later:
        return f"unknown rule `{later}`", LATER
    close = next((fix for key in node.pairs if (fix := meant(key, kinds))), None)
    return "not a rule: none of its keys is one of " + ", ".join(f"`{kind}`" for kind in kinds), close


_TELLERS: dict[str, Callable[[Trace, Node, dict[str, Any]], Words]] = {
    "extra_forbidden": _unknown_key,
    "missing": lambda where, _node, _context: (f"`{where.path[-1]}` is missing", None),
    "unknown_rule": _unknown_rule,
    "literal_error": _wrong_word,
    "value_error": _own_words,
}
