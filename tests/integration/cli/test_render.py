"""How audit records look in terminals of two widths, compared whole."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from promoter.application.markdown.report import Facts, Heading, Paragraph, StyledText, Table, Title
from promoter.cli.common import OutputFormat
from promoter.cli.render import build_records_table, print_report, render_report_text
from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind
from promoter.web.dashboard import describe_cause

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHANGED = NewAuditRecord(
    AT, RecordKind.CHANGE, "fraud-detector", "champion", 1, 2, "55aa4f9de8" * 4, "Ada <ada@example.org>", "git", "champion",
    "pass", ChangeOutcome.APPLIED, "Promote v2",
    review={"number": 12, "author": "bot[bot]", "reviewers": ["al"], "merged_by": None},
)  # fmt: skip
MOVED = NewAuditRecord(AT, RecordKind.OBSERVED, "fraud-detector", "champion", 2, None, reason="moved outside Promoter")

NARROW = """\
ID  RECORD
6   2026-11-23 12:00:00  fraud-detector@champion  v1 -> v2  applied
    Promote v2, by Ada (#12 by bot[bot], reviewed by al) at 55aa4f9de8 under
    policy champion
7   2026-11-23 12:00:00  fraud-detector@champion  v2 -> none  observed
    moved outside Promoter, by unknown
"""
WIDE = """\
ID  AT                   MODEL@ALIAS              FROM  TO    OUTCOME   ACTOR    REVISION    POLICY    REASON
6   2026-11-23 12:00:00  fraud-detector@champion  v1    v2    applied   Ada      55aa4f9de8  champion  Promote v2; \
#12 by bot[bot], reviewed by al
7   2026-11-23 12:00:00  fraud-detector@champion  v2    none  observed  unknown  -           -         moved outside Promoter
"""


@pytest.mark.parametrize(("width", "expected"), [(80, NARROW), (160, WIDE)])
def test_audit_records_are_readable_at_any_width(width: int, expected: str) -> None:
    """No word is broken: where a line is too short for all columns, a record takes two."""
    told = io.StringIO()
    render_report_text(Console(file=told, width=width), [build_records_table([AuditRecord(6, CHANGED), AuditRecord(7, MOVED)])])
    assert "".join(f"{line.rstrip()}\n" for line in told.getvalue().splitlines()) == expected


def test_the_page_names_who_reviewed_a_change() -> None:
    """Where a pull request brought it."""
    assert describe_cause(AuditRecord(6, CHANGED)) == "Promote v2, by Ada; #12 by bot[bot], reviewed by al"
    assert describe_cause(AuditRecord(7, MOVED)) == "moved outside Promoter"


def test_no_line_of_a_table_ends_with_spaces(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither those that are shorter than the longest one, nor those that fold, nor the column's title."""
    monkeypatch.setenv("COLUMNS", "30")
    rows = [("a", "short"), ("b", "much longer, so that it has to fold at this width"), ("c", "")]
    print_report(OutputFormat.TEXT, [Table(["name", "value"], rows), Facts([("x", "y"), ("longer", "")])])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > len(rows) + 2
    assert [line for line in lines if line != line.rstrip()] == []


def test_no_line_of_running_text_ends_with_a_space(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a title, a heading or a paragraph that takes several lines; an empty one is an empty line."""
    monkeypatch.setenv("COLUMNS", "20")
    words = "nine words that do not fit on one line"
    print_report(
        OutputFormat.TEXT, [Title(f"{words}: ", StyledText(words, "bold")), Heading(words), Paragraph(""), Paragraph(words)]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert " ".join(filter(None, lines)) == f"{words}: {words} {words} {words}"
    assert lines.count("") == 1
