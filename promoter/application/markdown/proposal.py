"""The body of a proposal's pull request, and its marker. Nothing in it changes by itself, such as times of evaluation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from promoter.application.markdown.comparison import (
    Block,
    render_copy_origin,
    render_file_differences,
    render_history_chart,
    render_metrics,
    render_versions,
)
from promoter.application.markdown.override import render_override
from promoter.application.markdown.plan import code_span, inline_text, render_decision_markdown
from promoter.domain.comparison import VersionComparison
from promoter.domain.decision import Decision, Verdict
from promoter.domain.links import NO_PAGES, PageAddresses
from promoter.domain.overrides import OverrideOutlook
from promoter.domain.policy.rules.review import describe_within_pull_request
from promoter.domain.proposal import Proposal, ProposalReason
from promoter.domain.refusals import REMEMBERED_BY_MARKERS, build_answer_key
from promoter.domain.text import format_count, version_label

_IN_GIT = ("in git", "in the registry")
"""What the two versions are where somebody moved the alias past git."""
MAX_BODY_LENGTH = 60_000
"""The number of characters of a body: GitHub takes 65,536, and the marker needs some."""
_RESERVED_LENGTH = 500
_WHOLE = ("```", "<details>")
"""How lines begin that make their block a whole: it is shown with its end, or not at all."""


def render_proposal_markdown(
    proposal: Proposal,
    comparison: VersionComparison | None,
    outlook: OverrideOutlook | None = None,
    pages: PageAddresses = NO_PAGES,
    *,
    auto_merge: bool = False,
) -> str:
    """Write the body, cut to what a forge takes, with a note that names what is left out.

    `outlook` is of an override in force; `auto_merge`: whether the forge is to merge it by itself.
    """
    opening = _render_opening(proposal, outlook, _render_copy_notice(comparison, pages))
    ending = _render_ending(proposal, outlook, auto_merge=auto_merge)
    size = sum(_measure_block(block) for block in (opening, ending))
    shown, left = [opening], []
    for block in _render_evidence(proposal, comparison, outlook, pages):
        kept = _cut_block(block, MAX_BODY_LENGTH - _RESERVED_LENGTH - size)
        if len(kept) < len(block):
            left.append(_name_left_part(block, kept))
        size += _measure_block(kept)
        shown += [kept] if kept else []
    if left:
        shown += [[f"A pull request has an end: {'; '.join(left)} left out. `promoter explain` shows all rules."]]
    return "\n\n".join("\n".join(block) for block in (*shown, ending) if block) + "\n"


def _name_left_part(block: Block, kept: Block) -> str:
    """Name what is left out of a block, or the whole block."""
    title = block[0].removeprefix("### ") if block[0].startswith("#") else "other metrics"
    return f"{format_count(len(block) - len(kept), 'line')} of \u201c{title}\u201d" if kept else f"\u201c{title}\u201d"


def _render_opening(proposal: Proposal, outlook: OverrideOutlook | None, copied: str) -> Block:
    edit = proposal.edit
    name, to, was = code_span(f"{edit.model}@{edit.alias}"), version_label(edit.version), version_label(proposal.replaces)
    held = f"It is at {was}." if proposal.replaces else "Nobody holds it."
    match proposal.aim:
        case ProposalReason.ROTATE:
            return [f"{name} is to move to **{to}**. {held} {_render_candidate(proposal)}{copied}"]
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
        case ProposalReason.HOLD | ProposalReason.RELEASE | ProposalReason.QUARANTINE | ProposalReason.LIFT_QUARANTINE:
            return [_render_hold_opening(proposal, name), "", _render_requester(proposal)]
        case ProposalReason.PUT_BACK:
            merged = f"{was} was merged without the reviews that its policy asks for. Nobody can give them after the merge."
            return [f"Git is to say **{to}** for {name} again, as the registry does. {merged} The alias is still at {to}."]
        case ProposalReason.ADOPT:
            declared = f"says {was}" if proposal.replaces else "says nothing of it, or that it must not exist"
            return [f"Somebody moved {name} to **{to}** in the registry, and git {declared}. Is it to stay there?"]


def _render_hold_opening(proposal: Proposal, name: str) -> str:
    """Return what a hold or a quarantine is to bring, and that nothing moves."""
    bad, held = version_label(proposal.edit.quarantined), version_label(proposal.replaces)
    match proposal.aim:
        case ProposalReason.RELEASE:
            return f"The hold on {name} is to be lifted: rotation may move it again."
        case ProposalReason.HOLD:
            what = f"{name} is to be held{f' at **{held}**' if proposal.replaces else ''}."
        case ProposalReason.QUARANTINE:
            what = f"**{bad}** is to go into quarantine for {name}."
        case _:
            what = f"**{bad}** is to leave the quarantine of {name}."
    return f"{what} No alias moves."


def _render_copy_notice(comparison: VersionComparison | None, pages: PageAddresses) -> str:
    origin = comparison.origin.copied_from if comparison else None
    return f" It is a copy of {render_copy_origin(origin, pages)}." if origin else ""


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


def _render_ending(proposal: Proposal, outlook: OverrideOutlook | None, *, auto_merge: bool) -> Block:
    """Write what follows a merge, a closing, and no answer."""
    if outlook and proposal.aim is ProposalReason.ROLL_BACK:
        return []  # the opening says it
    merged, closed, nobody = _describe_answers(proposal)
    if auto_merge:
        nobody = "the forge merges this by itself as soon as its own rules let it (`auto_merge`)."
    return ["---", f"- **Merged**: {merged}", f"- **Closed**: {closed}", f"- **Nobody decides**: {nobody}"]


def _describe_answers(proposal: Proposal) -> tuple[str, str, str]:
    """Return what follows a merge, a closing, and no answer."""
    edit, to, was = proposal.edit, version_label(proposal.edit.version), version_label(proposal.replaces)
    stays = f"{was} stays" if proposal.replaces else "the alias stays as it is"
    loads = f"the alias moves to {to} as soon as {to} is found to load."
    match proposal.aim:
        case ProposalReason.ROTATE:
            back = code_span(f"promoter reconsider {edit.model}@{edit.alias} {edit.version}")
            judged = f"the policy judges {to} once more. If it passes, the alias moves; if not, {stays}."
            refused = (
                f"that means no to {to}: {stays}, and the next best candidate that passes is proposed. {back} takes it back."
            )
            return judged, refused, f"{stays}, and this stays open."
        case ProposalReason.GUARD:
            serves = f"{was} goes on serving, although it does not hold what its guards say"
            return loads, f"{serves}. This is not proposed again.", f"{serves}."
        case ProposalReason.ROLL_BACK:
            moves = f"the alias moves to {to} at once." if proposal.unchecked_note else loads
            return moves, f"{stays}.", f"{stays}, and this stays open."
        case ProposalReason.HOLD | ProposalReason.RELEASE | ProposalReason.QUARANTINE | ProposalReason.LIFT_QUARANTINE:
            return _describe_hold_answers(proposal)
        case ProposalReason.PUT_BACK:
            agree = f"no alias moves: git and the registry agree on {to}. Rotation proposes {was} anew if it is still the best"
            waits = f"git goes on stating {was}, the alias stays at {to}, and rotation waits until a person changes git."
            return f"{agree} candidate, so that it can be reviewed before the merge.", waits, waits
        case ProposalReason.ADOPT:
            differs = f"the registry keeps {to}, git does not state it, and Promoter only reports that"
            return f"git states {to} too, and nothing moves.", f"{differs}.", f"{differs}. If the alias goes back, this closes."


def _describe_hold_answers(proposal: Proposal) -> tuple[str, str, str]:
    if proposal.aim is ProposalReason.RELEASE:
        return "the hold is lifted, and rotation may move the alias again.", "the hold stays.", "the hold stays."
    effect = inline_text(proposal.effect)
    return f"{effect[0].lower()}{effect[1:]}.", "nothing changes.", "nothing changes, and this stays open."


def _render_evidence(
    proposal: Proposal, comparison: VersionComparison | None, outlook: OverrideOutlook | None, pages: PageAddresses
) -> Iterator[Block]:
    if proposal.aim is ProposalReason.PUT_BACK:
        comparison = None  # no version moves, so that there is none to compare
    if comparison is not None:
        adopted = proposal.aim is ProposalReason.ADOPT
        words = _IN_GIT if adopted else ("replaced", "proposed")
        yield ["### Versions", "", *render_versions(proposal.edit.model, comparison, pages, words)]
    if proposal.decision:
        shown = _describe_for_readers(proposal.decision)
        yield ["### Decision", "", *render_decision_markdown(shown, guards=proposal.aim is ProposalReason.GUARD)]
    if comparison is None:
        return
    yield from render_metrics(comparison)
    if comparison.past and comparison.past.points:
        yield render_history_chart(comparison, _name_chart_versions(proposal, comparison, outlook))
    yield from render_file_differences(comparison)


def _name_chart_versions(proposal: Proposal, comparison: VersionComparison, outlook: OverrideOutlook | None) -> tuple[str, str]:
    """Return what the chart says of the version that is replaced, and of the other."""
    if proposal.aim is ProposalReason.ADOPT:
        return _IN_GIT
    serves = outlook is not None and outlook.is_serving and outlook.override.version == comparison.version
    return ("rolled back", "serves") if serves else ("now", "proposed")


def _describe_for_readers(decision: Decision) -> Decision:
    """Return the decision in the words that are right inside the pull request, which was not there when it was made."""
    return replace(decision, findings=describe_within_pull_request(decision.findings))


def _cut_block(block: Block, room: int) -> Block:
    """Keep as many lines as there is room for; a block with an end of its own is kept whole, or not at all."""
    if _measure_block(block) <= room:
        return block
    if any(line.startswith(_WHOLE) for line in block):
        return []
    kept: list[str] = []
    for line in block:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept if len(kept) > len(block[:2]) else []


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
