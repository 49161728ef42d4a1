"""The body of a proposal's pull request. No times of evaluation, and nothing else that changes by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from promoter.application.markdown.chart import chart, figure, in_words
from promoter.application.markdown.decision import decision_markdown
from promoter.application.markdown.text import cell, code, inline, table, version
from promoter.application.proposals.evidence import Comparison, Differences, MetricRow
from promoter.domain.observed import Unread
from promoter.domain.proposal import Aim, Proposal
from promoter.domain.verdict import Verdict

LIMIT = 60_000
"""Characters: GitHub takes 65,536, and the marker needs some."""
LINES = 100
"""So many differences of signatures, or of dependencies, are shown."""
_ROOM = 200
_FENCE = "```"

Block = Sequence[str]
"""Lines under a heading of their own."""


def proposal_markdown(proposal: Proposal, comparison: Comparison | None) -> str:
    """The whole of it, cut to what a forge takes, with a note."""
    blocks = [_opening(proposal), *_evidence(proposal, comparison), _ending(proposal)]
    size = sum(_length(block) for block in (blocks[0], blocks[-1]))
    shown, cut = [blocks[0]], False
    for block in blocks[1:-1]:
        kept = _fitting(block, LIMIT - _ROOM - size)
        cut |= len(kept) < len(block)
        size += _length(kept)
        shown += [kept] if kept else []
    shown += [["It is cut here, since a pull request has an end: `promoter explain` shows all."]] if cut else []
    return "\n\n".join("\n".join(block) for block in (*shown, blocks[-1])) + "\n"


def _opening(proposal: Proposal) -> Block:
    edit = proposal.edit
    name, to, was = code(f"{edit.model}@{edit.alias}"), version(edit.version), version(proposal.replaces)
    held = f"It is at {was}." if proposal.replaces else "Nobody holds it."
    match proposal.aim:
        case Aim.ROTATE:
            return [f"{name} is to move to **{to}**. {held} {_candidate(proposal)}"]
        case Aim.GUARD:
            why = f": {inline(edit.hold.reason)}" if edit.hold else ""
            return [
                f"{name} is to go back to **{to}**. {was} no longer holds what its guards say{why}.",
                "",
                *_kept_away(proposal),
            ]
        case Aim.ROLL_BACK:
            return [f"{name} is to go back to **{to}**. {held}", "", _asked(proposal), "", *_kept_away(proposal)]
        case Aim.RELEASE:
            told = f"The hold on {name} is to be lifted: rotation may move it again."
            return [told, "", _asked(proposal)]
        case Aim.ADOPT:
            said = f"says {was}" if proposal.replaces else "says nothing of it, or that it must not exist"
            return [f"Somebody moved {name} to **{to}** in the registry, and git {said}. Is it to stay there?"]


def _asked(proposal: Proposal) -> str:
    return f"Asked for by {inline(proposal.by or 'somebody')}: {inline(proposal.reason or 'no reason given')}"


def _candidate(proposal: Proposal) -> str:
    decision = proposal.decision
    under = f" policy {code(decision.policy)}" if decision and decision.policy else " its policy"
    if decision and decision.verdict is not Verdict.PASS:
        return f"{version(proposal.edit.version)} is the best candidate: all that{under} still waits for is reviews."
    return f"{version(proposal.edit.version)} is the best candidate that passes{under}."


def _kept_away(proposal: Proposal) -> list[str]:
    bad = ", ".join(version(each) for each in proposal.edit.quarantine)
    stays = f" {bad} is in quarantine from then on, and never proposed for this alias." if bad else ""
    return [f"With it comes a hold, which keeps rotation away until a person lifts it.{stays}"]


def _ending(proposal: Proposal) -> Block:
    to = version(proposal.edit.version)
    match proposal.aim:
        case Aim.ROTATE:
            told = f"Merged, the policy is asked once more, and the alias moves. Closed, {to} is not proposed again."
        case Aim.GUARD:
            told = "Merged, the alias moves as soon as the version is found to load. Closed, this is not proposed again."
        case Aim.ROLL_BACK:
            told = "Merged, the alias moves as soon as the version is found to load. Closed, git's word stays as it is."
        case Aim.RELEASE:
            told = "Closed, the hold stays."
        case Aim.ADOPT:
            told = "Merged, git says so too. Closed, this is only reported. When the alias goes back, it is closed by itself."
    return ["---", told]


def _evidence(proposal: Proposal, comparison: Comparison | None) -> Iterator[Block]:
    if proposal.decision:
        yield ["### Decision", "", *decision_markdown(proposal.decision, guards=proposal.aim is Aim.GUARD)]
    if comparison is None:
        return
    if comparison.metrics:
        yield _metrics(comparison)
    if comparison.past and comparison.past.points:
        yield _picture(comparison)
    if comparison.replaces is not None:
        yield ["### Signature", "", *_differences(comparison.signature, comparison.replaces)]
        yield ["### Dependencies", "", *_differences(comparison.requirements, comparison.replaces)]


def _metrics(comparison: Comparison) -> Block:
    to, was = version(comparison.version), version(comparison.replaces)
    if comparison.replaces is None:
        rows = [[cell(row.metric), figure(row.value)] for row in comparison.metrics]
        lines = table(["metric", to], rows)
    else:
        lines = table(["metric", to, was, "difference"], [_row(row) for row in comparison.metrics])
    more = ["", f"And {comparison.more} more."] if comparison.more else []
    return ["### Metrics", "", *lines, *more]


def _row(row: MetricRow) -> list[str]:
    apart = math.nan if row.value is None or row.was is None else row.value - row.was
    return [cell(row.metric), figure(row.value), figure(row.was), f"{apart:+.6g}" if math.isfinite(apart) else "-"]


def _picture(comparison: Comparison) -> Block:
    past = comparison.past
    if past is None:
        return []
    drawn = chart(str(past.metric), past.points)
    named = {comparison.replaces or 0: "now", comparison.version: "proposed"}
    space = [""] if drawn else []
    return ["### Over the versions", "", *drawn, *space, in_words(str(past.metric), past.points, named)]


def _differences(found: Differences | None, was: int) -> list[str]:
    if found is None or isinstance(found, Unread):
        return [f"Cannot be compared: {inline(found.reason if found else 'it was not read')}"]
    if not found:
        return [f"As that of {version(was)}."]
    more = [f"- and {len(found) - LINES} more"] if len(found) > LINES else []
    return [*(f"- {inline(each)}" for each in found[:LINES]), *more]


def _fitting(block: Block, room: int) -> Block:
    """As many of its lines as there is room for; all or none of them where there is a fence."""
    if _length(block) <= room:
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


def _length(block: Block) -> int:
    return sum(len(line) + 1 for line in block) + 1
