"""The body of a proposal's pull request, and its marker. Nothing in it changes by itself, such as times of evaluation."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from promoter.application.markdown.override import render_override
from promoter.application.markdown.plan import (
    code_span,
    inline_text,
    render_decision_markdown,
    render_table,
    table_cell,
)
from promoter.application.proposals.comparison import Differences, MetricRow, VersionComparison
from promoter.domain.decision import Verdict
from promoter.domain.observed import Unreadable
from promoter.domain.overrides import OverrideOutlook
from promoter.domain.proposal import Proposal, ProposalReason
from promoter.domain.refusals import REMEMBERED_BY_MARKERS, build_answer_key
from promoter.domain.text import format_number, version_label

MIN_POINTS = 2
"""The number of points from which on a chart is drawn."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_MARGIN = 0.1
_SMALLEST, _LARGEST = 1e-9, 1e12
"""The figures beyond which an axis gets too long: charts know no exponents."""
_CHART_STYLE = (
    '%%{init: {"xyChart": {"width": 900, "height": 300}, "themeVariables": {"xyChart": {"plotColorPalette": "#4c78d8"}}}}%%'
)
"""The width has room for the names of all versions; the default colour of lines is nearly white, on white."""
_TITLE = re.compile(r"[^\w .:/%()@+-]")

Points = Sequence[tuple[int, float]]
"""Pairs of version and value, ascending by version."""


def render_figure(value: float | None) -> str:
    """Write a figure with all its digits, since a bound may lie between two that look the same; without a figure, a dash."""
    return "-" if value is None else "NaN" if math.isnan(value) else format_number(value)


def render_metric_chart(metric: str, points: Points) -> list[str]:
    """Draw a fenced chart; nothing where there are too few points, or figures that it cannot draw."""
    values = [value for _, value in points]
    if len(values) < MIN_POINTS or not all(value == 0 or _SMALLEST <= abs(value) <= _LARGEST for value in values):
        return []
    low, high = min(values), max(values)
    margin = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    versions = ", ".join(f'"v{version}"' for version, _ in points)
    title = _TITLE.sub(" ", metric)[:100]
    return [
        "```mermaid",
        _CHART_STYLE,
        "xychart-beta",
        f'    title "{title}"',
        f"    x-axis [{versions}]",
        f"    y-axis {_render_decimal(low - margin)} --> {_render_decimal(high + margin)}",
        f"    line [{', '.join(map(_render_decimal, values))}]",
        "```",
    ]


def render_points_text(metric: str, points: Points, named: Mapping[int, str]) -> str:
    """Write the figures on a line, behind blocks of their heights. `named` has remarks on some versions."""
    parts = []
    for version, value in points:
        text = f"v{version} {render_figure(value)}"
        parts.append(f"**{text}** ({named[version]})" if version in named else text)
    return f"{inline_text(metric)}: {render_sparkline([value for _, value in points])} " + ", ".join(parts)


def render_sparkline(values: Sequence[float]) -> str:
    """Write a block for each value, as high as it lies between the lowest and the highest."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    reach = (high - low) if math.isfinite(high - low) else 0.0
    steps = [round((value - low) / reach * (len(_BLOCKS) - 1)) if reach else 0 for value in values]
    return "".join(_BLOCKS[step] for step in steps)


def _render_decimal(value: float) -> str:
    """Write a figure without an exponent."""
    return f"{Decimal(f'{value:.6g}'):f}"


MAX_BODY_LENGTH = 60_000
"""The number of characters of a body: GitHub takes 65,536, and the marker needs some."""
MAX_DIFFERENCES = 100
"""The number of differences of signatures, and of dependencies, that are shown."""
_RESERVED_LENGTH = 200
_FENCE = "```"

Block = Sequence[str]
"""Lines under a heading of their own."""


def render_proposal_markdown(
    proposal: Proposal, comparison: VersionComparison | None, outlook: OverrideOutlook | None = None
) -> str:
    """Write the body, cut to what a forge takes, with a note where it is cut; `outlook` is of an override in force."""
    opening, ending = _render_opening(proposal, outlook), _render_ending(proposal, outlook)
    blocks = [opening, *_render_evidence(proposal, comparison, outlook), ending]
    size = sum(_measure_block(block) for block in (blocks[0], blocks[-1]))
    shown, cut = [blocks[0]], False
    for block in blocks[1:-1]:
        kept = _cut_block(block, MAX_BODY_LENGTH - _RESERVED_LENGTH - size)
        cut |= len(kept) < len(block)
        size += _measure_block(kept)
        shown += [kept] if kept else []
    shown += [["It is cut here, since a pull request has an end: `promoter explain` shows all."]] if cut else []
    return "\n\n".join("\n".join(block) for block in (*shown, blocks[-1]) if block) + "\n"


def _render_opening(proposal: Proposal, outlook: OverrideOutlook | None) -> Block:
    edit = proposal.edit
    name, to, was = code_span(f"{edit.model}@{edit.alias}"), version_label(edit.version), version_label(proposal.replaces)
    held = f"It is at {was}." if proposal.replaces else "Nobody holds it."
    match proposal.aim:
        case ProposalReason.ROTATE:
            return [f"{name} is to move to **{to}**. {held} {_render_candidate(proposal)}"]
        case ProposalReason.GUARD:
            why = f": {inline_text(edit.hold.reason)}" if edit.hold else ""
            return [
                f"{name} is to go back to **{to}**. {was} no longer holds what its guards say{why}.",
                "",
                *_render_hold_notice(proposal),
            ]
        case ProposalReason.ROLL_BACK:
            return [
                *(render_override(proposal, outlook) if outlook else [f"{name} is to go back to **{to}**. {held}"]),
                "",
                _render_requester(proposal),
                "",
                *_render_hold_notice(proposal),
            ]
        case ProposalReason.RELEASE:
            sentence = f"The hold on {name} is to be lifted: rotation may move it again."
            return [sentence, "", _render_requester(proposal)]
        case ProposalReason.PUT_BACK:
            merged = f"{was} was merged without the reviews that its policy asks for. Nobody can give them after the merge."
            return [f"Git is to say **{to}** for {name} again, as the registry does. {merged} The alias is still at {to}."]
        case ProposalReason.ADOPT:
            declared = f"says {was}" if proposal.replaces else "says nothing of it, or that it must not exist"
            return [f"Somebody moved {name} to **{to}** in the registry, and git {declared}. Is it to stay there?"]


def _render_requester(proposal: Proposal) -> str:
    return f"Asked for by {inline_text(proposal.by or 'somebody')}: {inline_text(proposal.reason or 'no reason given')}"


def _render_candidate(proposal: Proposal) -> str:
    decision = proposal.decision
    under = f" policy {code_span(decision.policy)}" if decision and decision.policy else " its policy"
    if decision and decision.verdict is not Verdict.PASS:
        return f"{version_label(proposal.edit.version)} is the best candidate: all that{under} still waits for is reviews."
    return f"{version_label(proposal.edit.version)} is the best candidate that passes{under}."


def _render_hold_notice(proposal: Proposal) -> list[str]:
    bad = ", ".join(version_label(each) for each in proposal.edit.quarantine)
    stays = f" {bad} is in quarantine from then on, and never proposed for this alias." if bad else ""
    lines = [f"With it comes a hold, which keeps rotation away until a person lifts it.{stays}"]
    unchecked = inline_text(proposal.unchecked_note)
    return [*lines, "", f"**{unchecked}.** Nobody knows whether it loads."] if unchecked else lines


def _render_ending(proposal: Proposal, outlook: OverrideOutlook | None) -> Block:
    to = version_label(proposal.edit.version)
    if outlook and proposal.aim is ProposalReason.ROLL_BACK:
        return []  # the opening says it
    match proposal.aim:
        case ProposalReason.ROTATE:
            sentence = f"Merged, the policy is asked once more, and the alias moves. Closed, {to} is not proposed again."
        case ProposalReason.GUARD:
            sentence = "Merged, the alias moves as soon as the version is found to load. Closed, this is not proposed again."
        case ProposalReason.ROLL_BACK:
            stays = f"{version_label(proposal.replaces)} stays" if proposal.replaces else "nothing moves"
            when = f"to {to} at once" if proposal.unchecked_note else f"as soon as {to} is found to load"
            sentence = f"Merged, the alias moves {when}. Closed, or without an answer, {stays}."
        case ProposalReason.RELEASE:
            sentence = "Closed, the hold stays."
        case ProposalReason.PUT_BACK:
            was = version_label(proposal.replaces)
            sentence = (
                f"Merged, no alias moves: git and the registry agree on {to}, and rotation proposes {was} anew if it is still "
                f"the best candidate, so that it can be reviewed before the merge. Closed, git goes on saying {was}, the alias "
                f"stays at {to}, and rotation waits until a person changes git. As long as nobody decides, it is the same."
            )
        case ProposalReason.ADOPT:
            sentence = (
                "Merged, git says so too. Closed, this is only reported. When the alias goes back, it is closed by itself."
            )
    return ["---", sentence]


def _render_evidence(
    proposal: Proposal, comparison: VersionComparison | None, outlook: OverrideOutlook | None
) -> Iterator[Block]:
    if proposal.decision:
        yield ["### Decision", "", *render_decision_markdown(proposal.decision, guards=proposal.aim is ProposalReason.GUARD)]
    if comparison is None or proposal.aim is ProposalReason.PUT_BACK:  # no version moves, so that there is none to compare
        return
    if comparison.metrics:
        yield _render_metrics(comparison)
    if comparison.past and comparison.past.points:
        serves = outlook is not None and outlook.is_serving and outlook.override.version == comparison.version
        yield _render_history_chart(comparison, ("rolled back", "serves") if serves else ("now", "proposed"))
    if comparison.replaces is not None:
        yield ["### Signature", "", *_render_differences(comparison.signature, comparison.replaces)]
        yield ["### Dependencies", "", *_render_differences(comparison.requirements, comparison.replaces)]


def _render_metrics(comparison: VersionComparison) -> Block:
    to, was = version_label(comparison.version), version_label(comparison.replaces)
    if comparison.replaces is None:
        rows = [[table_cell(row.metric), render_figure(row.value)] for row in comparison.metrics]
        lines = render_table(["metric", to], rows)
    else:
        lines = render_table(["metric", to, was, "difference"], [_render_metric_row(row) for row in comparison.metrics])
    more = ["", f"And {comparison.more} more."] if comparison.more else []
    return ["### Metrics", "", *lines, *more]


def _render_metric_row(row: MetricRow) -> list[str]:
    apart = math.nan if row.value is None or row.was is None else row.value - row.was
    return [
        table_cell(row.metric),
        render_figure(row.value),
        render_figure(row.was),
        f"{apart:+.6g}" if math.isfinite(apart) else "-",
    ]


def _render_history_chart(comparison: VersionComparison, remarks: tuple[str, str]) -> Block:
    past = comparison.past
    if past is None:
        return []
    drawn = render_metric_chart(str(past.metric), past.points)
    named = dict(zip((comparison.replaces or 0, comparison.version), remarks, strict=True))
    space = [""] if drawn else []
    return ["### Over the versions", "", *drawn, *space, render_points_text(str(past.metric), past.points, named)]


def _render_differences(found: Differences | None, was: int) -> list[str]:
    if found is None or isinstance(found, Unreadable):
        return [f"Cannot be compared: {inline_text(found.reason if found else 'it was not read')}"]
    if not found:
        return [f"As that of {version_label(was)}."]
    more = [f"- and {len(found) - MAX_DIFFERENCES} more"] if len(found) > MAX_DIFFERENCES else []
    return [*(f"- {inline_text(each)}" for each in found[:MAX_DIFFERENCES]), *more]


def _cut_block(block: Block, room: int) -> Block:
    """Keep as many lines as there is room for; a block with a fence is kept whole, or not at all."""
    if _measure_block(block) <= room:
        return block
    if any(line.startswith(_FENCE) for line in block):
        return []
    kept: list[str] = []
    for line in block:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def _measure_block(block: Block) -> int:
    return sum(len(line) + 1 for line in block) + 1


_MARKER = re.compile(r"<!-- promoter:proposal (\{[^<>]*?\}) -->")
_MAX_MARKER_LENGTH = 20_000
_MAX_APPROVALS = 50
"""The number of accounts that a marker keeps."""


@dataclass(frozen=True)
class PullRequestMarker:
    """What Promoter writes into the body of a pull request to know it again: what is proposed, and what became of it."""

    aim: ProposalReason
    model: str
    alias: str
    version: int | None = None
    replaces: int | None = None
    head: str | None = None
    """The commit, if a person made the proposal."""
    digest: str = ""
    """A digest of title and body."""
    settings: str = ""
    """A digest of labels, reviewers and auto-merge, once all of them were requested."""
    withdrawn: str | None = None
    """Why Promoter closes it."""
    declined: tuple[str, ...] = ()
    """The keys of what persons refused for the alias, as far as the ledger knew when this was written."""
    override: int | None = None
    """The number of the override that the body is about: the record of the ledger that began it."""
    note: str = ""
    """A digest of Promoter's note on the pull request; empty: it has none."""
    approvals: tuple[str, ...] = ()
    """The accounts that approved the pull request at an earlier commit of the branch."""
    approved_version: int | None = None
    """The version that those accounts approved."""
    approved_head: str | None = None
    """The commit that those accounts approved."""
    announced: bool = False
    """Whether they were told that the branch was made again."""

    @property
    def answer_key(self) -> str:
        """The key of what a person declines who closes it: a version, and for a guard's rollback the version that broke too."""
        return build_answer_key(self.aim, self.version, self.replaces)

    def __str__(self) -> str:
        """Write it as it stands in a body. Nothing in it can end the comment."""
        fields = {
            "aim": self.aim.value,
            "model": self.model,
            "alias": self.alias,
            "version": self.version,
            "replaces": self.replaces,
            "head": self.head,
            "digest": self.digest,
            "settings": self.settings,
            "override": self.override,
            "withdrawn": self.withdrawn,
            "declined": list(self.declined[-REMEMBERED_BY_MARKERS:]),
            "note": self.note,
            "approvals": list(self.approvals[:_MAX_APPROVALS]),
            "approved_version": self.approved_version,
            "approved_head": self.approved_head,
            "announced": self.announced or None,
        }
        text = json.dumps({key: value for key, value in fields.items() if value not in (None, [], "")})
        return f"<!-- promoter:proposal {_escape_comment(text)} -->"


def find_answer_key(proposal: Proposal) -> str:
    """Build the key of a proposal that is not written yet."""
    return build_answer_key(proposal.aim, proposal.edit.version, proposal.replaces)


def parse_marker(body: str) -> PullRequestMarker | None:
    """Find the first marker in a body; None where there is no valid one."""
    found = _MARKER.search(body)
    if found is None or len(found[1]) > _MAX_MARKER_LENGTH:
        return None
    try:
        fields = json.loads(found[1])
        return _parse_marker_fields(fields) if isinstance(fields, Mapping) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def insert_marker(body: str, marker: PullRequestMarker) -> str:
    """Put the marker in the place of the body's own; at the beginning where the body has none."""
    if _MARKER.search(body):
        return _MARKER.sub(lambda _: str(marker), body, count=1)
    return f"{marker}\n{body}"


def remove_marker(body: str) -> str:
    """Return the body without its marker."""
    return _MARKER.sub("", body, count=1)


def _parse_marker_fields(fields: Mapping[str, Any]) -> PullRequestMarker:
    return PullRequestMarker(
        ProposalReason(fields["aim"]),
        _require_text(fields["model"]) or "",
        _require_text(fields["alias"]) or "",
        _require_number(fields.get("version")),
        _require_number(fields.get("replaces")),
        _require_text(fields.get("head")),
        _require_text(fields.get("digest")) or "",
        _require_text(fields.get("settings")) or "",
        _require_text(fields.get("withdrawn")),
        tuple(each for each in fields.get("declined", ()) if isinstance(each, str)),
        _require_number(fields.get("override")),
        _require_text(fields.get("note")) or "",
        tuple(each for each in fields.get("approvals", ()) if isinstance(each, str))[:_MAX_APPROVALS],
        _require_number(fields.get("approved_version")),
        _require_text(fields.get("approved_head")),
        fields.get("announced") is True,
    )


def _require_text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value


def _require_number(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise TypeError(value)
    return value


def _escape_comment(text: str) -> str:
    """Escape JSON so that no two hyphens meet, and no bracket of a tag is left."""
    return text.replace("--", "-\\u002d").replace("<", "\\u003c").replace(">", "\\u003e")
