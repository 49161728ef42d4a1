"""Expressions in CEL, the Common Expression Language: compiled once, bounded in time and memory, described in words.

The library is Google's (C++), and an extra: `promoter[expressions]`. What is bounded how, and why, is in
docs/adr/0011-expressions.md. Variables have dots in their names (`metrics.val_auc`), so that the checker knows each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal

VariableKind = Literal["whole", "decimal", "flag", "text", "texts", "duration", "holder"]
"""The type of a variable. `texts` is a mapping of text to text, `holder` a version's number, or null."""

Variables = tuple[tuple[str, VariableKind], ...]

EXPRESSION_LIMIT = 1_000
MESSAGE_LIMIT = 160
MISSING_EXTRA = "expressions need the extra: pip install promoter[expressions]"

# No loops (`map`, `exists`, ...: thirty of them, one in the other, double a text thirty times), no regular expressions (one
# from a tag took 20 s), nothing that reads files (time zones do), nothing that hides a type from the checker (`dyn`), and no
# division of decimal numbers (by zero it is infinite, and an infinite number is more than any bound).
_OPERATORS = "_&&_ _||_ !_ _==_ _!=_ _<_ _<=_ _>_ _>=_ _+_ _-_ -_ _*_ _%_ _?_:_ @in _[_]".split()  # noqa: SIM905
_FUNCTIONS = ("size", "contains", "startsWith", "endsWith", "int", "double", "string", "bool", "duration")
_LIBRARY = (
    "stdlib:\n  include_macros: [has]\n  include_functions:\n    - {name: '_/_', overloads: [{id: divide_int64}]}\n"
) + "".join(f"    - name: '{name}'\n" for name in (*_OPERATORS, *_FUNCTIONS))
_LOOPS = frozenset(("all", "exists", "exists_one", "filter", "map"))

_FAULT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '(.+)' \(in container ''\)")
_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'")
_OPERANDS = re.compile(r"(?:[^,(]|\([^)]*\))+")
_OPERAND = re.compile(r"expression of type '(.+)' cannot be the operand of a select operation")
_UNSET = re.compile(r'No value with name "(.+)" found in Activation')
_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_FOLLOWS = "*error*"
_FAULTS_SHOWN = 3

_NOUNS = {
    "double": "a decimal number",
    "int": "a whole number",
    "string": "text",
    "bool": "true or false",
    "null": "null",
    "google.protobuf.Duration": "a duration",
    "wrapper(int)": "a holder",
    "map(string, string)": "a mapping of texts",
}
_RESULTS = {"DOUBLE": "double", "INT": "int", "STRING": "string", "DURATION": "google.protobuf.Duration", "NULL": "null"}

_TOKEN = re.compile(
    r"""//[^\n]* | \s+
    | (?P<text>"(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
    | (?P<other>`[^`]*` | \w+ | .)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class ExpressionResult:
    """The result of an expression: a value, a variable that it needs, or an error."""

    value: object = None
    unset: str | None = None
    """The variable that it needed and that had no value."""
    error: str | None = None
    """Why it has no value."""


@dataclass(frozen=True, eq=False)
class CompiledExpression:
    """A compiled expression. Several threads may evaluate it at once."""

    expression: Any

    def evaluate_with(self, values: Mapping[str, object]) -> ExpressionResult:
        """Return the result for these values by variable. A missing one is an error only where the result hinges on it."""
        try:
            result = self.expression.eval(data=dict(values))
            failed = result.type() == _import_cel_library().Type.ERROR
            value = result.value()
        except (RuntimeError, TypeError, ValueError) as error:
            return ExpressionResult(error=_clean_error_line(str(error)))
        if not failed:
            return ExpressionResult(value)
        message = str(value)
        unset = _UNSET.search(message)
        return ExpressionResult(unset=unset[1]) if unset else ExpressionResult(error=_clean_error_line(message))


@dataclass(frozen=True)
class NamedReading:
    """A tag or a parameter that an expression reads by name."""

    whose: str | None
    """The alias whose holder has it; None: the version itself."""
    part: str
    """`tags` or `params`."""
    name: str


@lru_cache(maxsize=1_000)
def compile_expression(source: str, variables: Variables) -> CompiledExpression:
    """Return the compiled expression. Raises ValueError, with the column, where it is no condition on these variables."""
    if len(source) > EXPRESSION_LIMIT:
        raise ValueError(f"an expression has at most {EXPRESSION_LIMIT:,} characters")
    checking, running = _build_cel_environments(variables)
    try:
        checked = checking.compile(source)
        program = running.compile(source)
    except RuntimeError as error:
        raise ValueError(_describe_compile_error(str(error), variables)) from None
    except TypeError:
        raise ValueError("an expression is text that can be written in UTF-8") from None
    result = checked.return_type()
    if result not in (_import_cel_library().Type.BOOL, _import_cel_library().Type.DYN):
        noun = _describe_type(_RESULTS.get(result.name(), result.name().lower()))
        raise ValueError(f"an expression is a condition, true or false; this one gives {noun}")
    return CompiledExpression(program)


def find_named_readings(source: str) -> frozenset[NamedReading]:
    """Return the tags and parameters that an expression reads. Raises ValueError where a name is computed."""
    tokens = [(found.lastgroup, found[0]) for found in _TOKEN.finditer(source) if found.lastgroup]
    words = [text if kind == "other" else "" for kind, text in tokens] + [""] * 3
    found = set()
    for index in range(len(tokens)):
        path = words[index - 2 : index + 1] if index > 1 else []
        longer = words[index - 4 : index + 1] if index > 3 else []  # noqa: PLR2004  # holders . ALIAS . tags
        if words[index] not in ("tags", "params") or path[1:2] != ["."]:
            continue
        if longer[:2] == ["holders", "."]:
            whose, start = longer[2].strip("`"), index - 4
        elif path[0] == "version":
            whose, start = None, index - 2
        else:
            continue
        name = _read_name_at(tokens, words, start, index)
        if name is None:
            mapping = f"`{'version' if whose is None else f'holders.{whose}'}.{words[index]}"
            raise ValueError(
                f'{words[index]} are read by name: {mapping}.NAME`, {mapping}["NAME"]`, or `"NAME" in {mapping[1:]}`'
            )
        found.add(NamedReading(whose, words[index], name))
    return frozenset(found)


def _read_name_at(tokens: Sequence[tuple[str | None, str]], words: Sequence[str], start: int, index: int) -> str | None:
    """Return the name that is read from the mapping whose path goes from `start` to `index`."""
    if words[index + 1] == ".":
        return words[index + 2].strip("`")
    at = start - 2
    if words[index + 1] == "[" and words[index + 3] == "]":
        at = index + 2
    elif start < 2 or words[start - 1] != "in":  # noqa: PLR2004  # `"NAME" in` before it
        return None
    kind, text = tokens[at]
    return text[1:-1] if kind == "text" and "\\" not in text else None


def _import_cel_library() -> ModuleType:
    try:
        from cel_expr_python import cel
    except ImportError:
        raise ValueError(MISSING_EXTRA) from None
    module: ModuleType = cel
    return module


@lru_cache(maxsize=100)
def _build_cel_environments(variables: Variables) -> tuple[Any, Any]:
    """Return an environment to check with, and one to run with.

    A holder is checked as a nullable number, of which any part that is not declared is a fault. The library takes no such
    value from Python, so that it runs as a value of any type.
    """
    cel = _import_cel_library()
    types = {
        "whole": cel.Type.INT,
        "decimal": cel.Type.DOUBLE,
        "flag": cel.Type.BOOL,
        "text": cel.Type.STRING,
        "texts": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "duration": cel.Type.DURATION,
        "holder": cel.Type("google.protobuf.Int64Value"),
    }
    checked = {name: types[kind] for name, kind in variables}
    run = {name: cel.Type.DYN if kind == "holder" else types[kind] for name, kind in variables}
    checking = cel.NewEnv(config=_build_cel_config(), variables=checked)
    return checking, checking if run == checked else cel.NewEnv(config=_build_cel_config(), variables=run)


@lru_cache(maxsize=1)
def _build_cel_config() -> Any:
    return _import_cel_library().NewEnvConfigFromYaml(_LIBRARY)


def _describe_compile_error(message: str, variables: Variables) -> str:
    if "recursion" in message:
        return "the expression is nested too deeply, or has too many terms in one sum: at most 30"
    found = [each for each in _FAULT.findall(message) if _FOLLOWS not in each[2]]
    loops = [each for each in found if (undeclared := _UNDECLARED.fullmatch(each[2])) and undeclared[1] in _LOOPS]
    messages: dict[str, None] = {}
    for line, column, text in loops or found:  # the variable of a loop is not known either, and says nothing
        where = f"line {line}, column {column}" if line != "1" else f"column {column}"
        messages[f"{where} of the expression: {_explain_error_text(text, variables)}"] = None
    return "; ".join(list(messages)[:_FAULTS_SHOWN]) or f"not an expression: {_clean_error_line(message)}"


def _explain_error_text(text: str, variables: Variables) -> str:
    if found := _UNDECLARED.fullmatch(text):
        return _describe_undeclared_name(found[1], variables)
    if found := _OVERLOAD.fullmatch(text):
        return _describe_operator_mismatch(
            found[1].strip("_@").replace("_", " "), [each.strip() for each in _OPERANDS.findall(found[2])]
        )
    if found := _OPERAND.fullmatch(text):
        parts = "`version`, `tags`, `params`, `run` and those `metrics` that the rule names under `metrics:`"
        return f"a holder has {parts}" if found[1] == "wrapper(int)" else f"{_describe_type(found[1])} has no parts"
    text = text.removeprefix("Syntax error: ").partition(" expecting ")[0]
    return "the expression ends too early" if "'<EOF>'" in text else _clean_error_line(text)


def _describe_operator_mismatch(operator: str, operands: list[str]) -> str:
    hint = ""
    if {"double", "int"} <= set(operands):
        hint = " (a decimal number has a point: `1.0`)"
    elif (operator, *operands) == ("/", "double", "double"):
        hint = " (by zero it were infinite: multiply the other side instead)"
    return f"`{operator}` does not go with {' and '.join(_describe_type(each) for each in operands)}{hint}"


def _describe_undeclared_name(name: str, variables: Variables) -> str:
    head, _, rest = name.lstrip(".").partition(".")
    if head == "metrics":
        return f"`{name:.100}` is not given: name the metric under `metrics:`" if rest else "metrics are read as `metrics.NAME`"
    if head == "holders":
        return f"`{name:.100}` is not given: name the alias under `holders:`" if rest else "holders are read as `holders.ALIAS`"
    if name in _LOOPS:
        return f"`{name}` is left out: an expression has no loops"
    if name == "matches":
        return "`matches` is left out: the rule `{tag: NAME, matches: PATTERN}` does that"
    if head == "version":
        parts = [known.partition(".")[2] for known, _ in variables if known.startswith("version.")]
        return f"`{name:.100}` is not known: a version has {', '.join(f'`{part}`' for part in parts)}"
    heads = dict.fromkeys(known.partition(".")[0] for known, _ in variables)
    known_names = [f"`{each}`" for each in (*heads, "has", *_FUNCTIONS)]
    return f"`{name:.100}` is not known: there are {', '.join(known_names)}"


def _describe_type(kind: str) -> str:
    return _NOUNS.get(kind, f"a value of type {kind:.40}")


def _clean_error_line(message: str) -> str:
    """Return the library's message as one printable line without its codes."""
    line = next(iter(message.strip().splitlines()), "")
    line = "".join(each if each.isprintable() else " " for each in line)
    while line != (bare := _CODE.sub("", line)):
        line = bare
    return line[: MESSAGE_LIMIT - 3] + "..." if len(line) > MESSAGE_LIMIT else line
