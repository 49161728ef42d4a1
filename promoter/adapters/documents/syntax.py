"""What the YAML parser complains about, in words that help."""

from __future__ import annotations

from yaml import MarkedYAMLError, YAMLError

from promoter.adapters.documents.text import LineIndex
from promoter.domain.faults import Fault

_COLON = ("a `:` where none can stand", "quote a value that has `: ` in it, and see whether the line before lacks its own")
_INDENTED = (
    "this line does not belong to what is above it",
    "line it up with its neighbours, and close every quote",
)
_NAMELESS = ("`*` and `&` need a name", "quote the value if it is text")
_ESCAPE = ("a `\\` escape that YAML does not know", "write `\\\\` for a backslash, or use single quotes")
_DIRECTIVE = ("a `%` line that YAML does not know", "quote the value if it is text")

_PARSER_MESSAGES: dict[str, tuple[str, str]] = {
    "mapping values are not allowed in this context": _COLON,
    "mapping keys are not allowed in this context": ("a key where none can stand", "quote a value that begins with `? `"),
    "block sequence entries are not allowed in this context": ("a list where none can stand", "begin it on a line of its own"),
    "could not find expected ':'": ("a key without `: ` after it", "write `key: value`, or check the indentation"),
    "did not find expected key": _INDENTED,
    "did not find expected '-' indicator": _INDENTED,
    "did not find expected <document start>": _INDENTED,
    "did not find expected node content": ("no value can begin here", "quote it if it is text, and close every bracket"),
    "found unexpected document indicator": ("`---` or `...` inside quotes", "close the quote before it"),
    "did not find expected alphabetic or numeric character": _NAMELESS,
    "found unknown escape character": _ESCAPE,
    "did not find expected hexdecimal number": _ESCAPE,
    "found invalid Unicode character escape code": _ESCAPE,
    "found unknown directive name": _DIRECTIVE,
    "could not find expected directive name": _DIRECTIVE,
    "found incompatible YAML document": ("a YAML version that is not supported", "take the `%YAML` line out"),
    "found undefined tag handle": ("tags are not allowed", "take it out, or quote the value if it is text"),
    "found a tab character where an indentation space is expected": ("a tab as indentation", "indent with spaces"),
    "found a tab character that violates indentation": ("a tab as indentation", "indent with spaces"),
    "did not find expected comment or line break": ("text where the line should end", "begin the text on the next line"),
}
_UNREADABLE_MESSAGE = "this is not YAML that can be read"


def convert_syntax_error(file: str, text: str, error: YAMLError) -> Fault:
    """The fault that stopped the parser. A file has at most one of them: what follows cannot be told."""
    if not isinstance(error, MarkedYAMLError) or (mark := error.problem_mark or error.context_mark) is None:
        return Fault(_UNREADABLE_MESSAGE, file)
    problem, begin = error.problem or "", error.context_mark
    message, fix = _PARSER_MESSAGES.get(problem, (_UNREADABLE_MESSAGE, None))
    if problem == "found character that cannot start any token":
        message, fix = _explain_bad_start(text[mark.index : mark.index + 1])
    elif problem == "could not find expected ':'" and begin:
        mark = begin
    elif problem == "found unexpected end of stream" and begin:
        message, fix, mark = "a quote that is never closed", "close it", begin
    elif problem.startswith("did not find expected ',' or ") and begin:
        closing = problem[-2:-1]
        message = f"`,` or `{closing}` is missing before this: the bracket was opened in line {begin.line + 1}"
        fix = f"close it with `{closing}`"
        if mark.index >= len(text):
            message, mark = "a bracket that is never closed", begin
    # At the end of a file without a last line break the parser counts a line too many: its index is right.
    line, column = LineIndex(text).line_and_column(min(mark.index, len(text)))
    return Fault(message, file, line=line, column=column, fix=fix)


def _explain_bad_start(character: str) -> tuple[str, str]:
    if character == "\t":
        return "a tab as indentation", "indent with spaces"
    return f"a value cannot begin with `{character}`", "quote it"
