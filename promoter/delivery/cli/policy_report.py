"""How the results of `promoter policy test` look: for people, and as Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from promoter.application.policy_tests import Report, Told
from promoter.delivery.cli.render import STYLE, WIDE, table
from promoter.domain.case_runs import Mismatch
from promoter.domain.verdict import visible


def as_text(console: Console, report: Report) -> None:
    """What did not go as expected, what was never seen, and one line that sums up."""
    if report.failed and console.width >= WIDE:
        console.print(table(["CASE", "RULE", "EXPECTED", "GOT", "SEEN"], _rows(report)))
        console.print()
    elif report.failed:
        for line in _lines(report):
            console.print(line)
        console.print()
    gaps = [(never, Text(policy), Text(rule)) for never, policy, rule in _gaps(report)]
    if gaps:
        console.print(table(["NEVER SEEN TO", "POLICY", "RULE"], gaps))
        console.print()
    console.print(Text(summary(report), style="red" if report.failed else "green" if report.cases else ""))


def as_markdown(report: Report) -> str:
    """For a pull request."""
    lines = [f"**{summary(report)}**"]
    if report.failed:
        lines += ["", "| case | rule | expected | got | seen |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {_quoted(_called(policy, told))} {_quoted(_place(told))} | {_quoted(rule_of(each))} "
            f"| {each.expected} | {each.got} | {_quoted(each.seen)} |"
            for policy, told, each in _mismatches(report)
        ]
    gaps = list(_gaps(report))
    if gaps:
        lines += ["", "| never seen to | policy | rule |", "| --- | --- | --- |"]
        lines += [f"| {never} | {_quoted(policy)} | {_quoted(rule)} |" for never, policy, rule in gaps]
    return "\n".join(lines) + "\n"


def summary(report: Report) -> str:
    """One line: how many cases, how many went wrong, and how much of the policies they cover."""
    policies = _count(len(report.suites), "policy", "policies")
    if not report.cases:
        return f"{policies}, no cases: add them in policies/tests/NAME.yaml."
    good = report.cases - report.failed
    told = "all as expected" if not report.failed else f"{good} as expected, {report.failed} not"
    untested = f" Without a case: {', '.join(report.untested)}." if report.untested else ""
    covered = f"{report.covered} of {_count(report.rules, 'rule')} seen both to pass and not to"
    return f"{policies}, {_count(report.cases, 'case')}: {told}. {covered}.{untested}"


def rule_of(mismatch: Mismatch) -> str:
    """The rule, and whether it is a guard."""
    return visible(f"guard: {mismatch.rule}" if mismatch.part == "guards" else mismatch.rule)


def _mismatches(report: Report) -> Iterator[tuple[str, Told, Mismatch]]:
    for suite in report.suites:
        for told in suite.failed:
            for each in told.run.mismatches:
                yield suite.policy, told, each


def _rows(report: Report) -> Iterator[tuple[Text, ...]]:
    """One row a verdict; the case stands in the first of its rows."""
    before = None
    for policy, told, each in _mismatches(report):
        case = f"{_called(policy, told)}\n{_place(told)}" if told is not before else ""
        before = told
        verdicts = (Text(verdict, style=STYLE[verdict]) for verdict in (each.expected, each.got))
        yield (Text(case), Text(rule_of(each)), *verdicts, Text(visible(each.seen)))


def _lines(report: Report) -> Iterator[Text | Padding]:
    """The same for narrow terminals, where columns would break every word."""
    before = None
    for policy, told, each in _mismatches(report):
        if told is not before:
            yield Text(f"{_called(policy, told)} ({_place(told)})", style="bold")
        before = told
        verdicts = ("expected ", (each.expected, STYLE[each.expected]), ", got ", (each.got, STYLE[each.got]))
        yield Padding(Text.assemble(f"{rule_of(each)}: ", *verdicts), (0, 0, 0, 2))
        yield Padding(Text(visible(each.seen), style="dim"), (0, 0, 0, 4))


def _gaps(report: Report) -> Iterator[tuple[str, str, str]]:
    for suite in report.suites:
        for each in suite.gaps if suite.tested else ():
            rule = f"guard: {each.target}" if each.target.part == "guards" else str(each.target)
            yield " or ".join(each.never), suite.policy, visible(rule)


def _called(policy: str, told: Told) -> str:
    return f"{policy}: {told.run.case.name}"


def _place(told: Told) -> str:
    return f"{visible(told.file)}:{told.line}"


def _quoted(text: str) -> str:
    """As code in a cell of a table, whatever is in it."""
    told = visible(text).replace("`", "'").replace("|", "\\|")
    return f"`{told}`"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
