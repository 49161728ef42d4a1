"""The body of a proposal's pull request. No times of evaluation, and nothing else that changes by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from promoter.application.markdown.chart import render_metric_chart, render_figure, render_points_text
from promoter.application.markdown.decision import render_decision_markdown
from promoter.application.markdown.text import table_cell, code_span, inline_text, render_table, version_label
from promoter.application.proposals.evidence import VersionComparison, Differences, MetricRow
from promoter.domain.observed import Unreadable
from promoter.domain.proposal import ProposalReason, Proposal
from promoter.domain.verdict import Verdict

MAX_BODY_LENGTH = 60_000
"""Characters: GitHub takes 65,536, and the marker needs some."""
MAX_DIFFERENCES = 100
"""So many differences of signatures, or of dependencies, are shown."""
_RESERVED_LENGTH = 200
_FENCE = "```"

Block = Sequence[str]
"""Lines under a heading of their own."""


def render_proposal_markdown(proposal: Proposal, comparison: VersionComparison | None) -> str:
    """The whole of it, cut to what a forge takes, with a note."""
    blocks = [_render_opening(proposal), *_render_evidence(proposal, comparison), _render_ending(proposal)]
    size = sum(_measure_block(block) for block in (blocks[0], blocks[-1]))
    shown, cut = [blocks[0]], False
    for block in blocks[1:-1]:
        kept = _cut_block(block, MAX_BODY_LENGTH - _RESERVED_LENGTH - size)
        cut |= len(kept) < len(block)
        size += _measure_block(kept)
        shown += [kept] if kept else []
    shown += [["It is cut here, since a pull request has an end: `promoter explain` shows all."]] if cut else []
    return "\n\n".join("\n".join(block) for block in (*shown, blocks[-1])) + "\n"


def _render_opening(proposal: Proposal) -> Block:
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
                f"{name} is to go back to **{to}**. {held}",
                "",
                _render_requester(proposal),
                "",
                *_render_hold_notice(proposal),
            ]
        case ProposalReason.RELEASE:
            sentence = f"The hold on {name} is to be lifted: rotation may move it again."
            return [sentence, "", _render_requester(proposal)]
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
    return [f"With it comes a hold, which keeps rotation away until a person lifts it.{stays}"]


def _render_ending(proposal: Proposal) -> Block:
    to = version_label(proposal.edit.version)
    match proposal.aim:
        case ProposalReason.ROTATE:
            sentence = f"Merged, the policy is asked once more, and the alias moves. Closed, {to} is not proposed again."
        case ProposalReason.GUARD:
            sentence = "Merged, the alias moves as soon as the version is found to load. Closed, this is not proposed again."
        case ProposalReason.ROLL_BACK:
            sentence = "Merged, the alias moves as soon as the version is found to load. Closed, git's word stays as it is."
        case ProposalReason.RELEASE:
            sentence = "Closed, the hold stays."
        case ProposalReason.ADOPT:
            sentence = (
                "Merged, git says so too. Closed, this is only reported. When the alias goes back, it is closed by itself."
            )
    return ["---", sentence]


def _render_evidence(proposal: Proposal, comparison: VersionComparison | None) -> Iterator[Block]:
    if proposal.decision:
        yield ["### Decision", "", *render_decision_markdown(proposal.decision, guards=proposal.aim is ProposalReason.GUARD)]
    if comparison is None:
        return
    if comparison.metrics:
        yield _render_metrics(comparison)
    if comparison.past and comparison.past.points:
        yield _render_history_chart(comparison)
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


def _render_history_chart(comparison: VersionComparison) -> Block:
    past = comparison.past
    if past is None:
        return []
    drawn = render_metric_chart(str(past.metric), past.points)
    named = {comparison.replaces or 0: "now", comparison.version: "proposed"}
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
    """As many of its lines as there is room for; all or none of them where there is a fence."""
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
