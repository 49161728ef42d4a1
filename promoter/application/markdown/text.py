"""Words from outside in Markdown: visible, and nothing but words on the page that a forge makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from promoter.domain.verdict import escape_invisible

APART = "&#8203;"
"""A space without width: between `@` and a name, it keeps a forge from telling anybody."""
_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"([\\`*~]|^\[|\](?=[(\[])|(?<!\w)_|_(?!\w))")
_REFERENCE = re.compile(r"@|#|!(?=\d)|\b[A-Z][A-Z0-9]+-(?=\d)|\b(?:issues|pulls?|merge_requests|work_items|discussions)/(?=\d)")
"""What forges take for a person, a team, an issue or another pull request, and would tell, link or close."""


def inline_text(text: str) -> str:
    """In running text. What stands between backticks is code, and stays it; all else is neither markup nor a reference."""
    parts = _CODE.split(escape_invisible(text))
    return "".join(part if index % 2 else _escape_markup(part) for index, part in enumerate(parts))


def table_cell(text: str) -> str:
    """In a cell of a table."""
    return inline_text(text.replace("\n", " ")).replace("|", "\\|")


def code_span(text: str) -> str:
    """As code, whatever is in it."""
    shown = escape_invisible(text) or " "
    fence = "`" * (max((len(run) for run in re.findall(r"`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def version_label(number: int | None) -> str:
    """`v7`, or a dash."""
    return "-" if number is None else f"v{number}"


def render_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table. The cells are Markdown already."""
    return [_render_table_row(columns), _render_table_row("---" for _ in columns), *(_render_table_row(row) for row in rows)]


def _escape_markup(text: str) -> str:
    text = _MARKUP.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    return _REFERENCE.sub(lambda match: match[0] + APART, text)


def _render_table_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
