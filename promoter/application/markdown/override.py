"""What a pull request, and the comments on it, say of an override: what serves until when, and what follows each answer."""

from __future__ import annotations

from promoter.application.markdown.plan import code_span, inline_text
from promoter.domain.fields import format_utc_minute
from promoter.domain.overrides import DECLINED, EXPIRED, OverrideEnd, OverrideOutlook
from promoter.domain.proposal import Proposal
from promoter.domain.text import version_label


def render_override(proposal: Proposal, outlook: OverrideOutlook) -> list[str]:
    """Write what serves under an override, and what follows each answer to the pull request, none among them."""
    return [*_render_opening(proposal, outlook), "", *_render_answers(proposal, outlook)]


def _render_opening(proposal: Proposal, outlook: OverrideOutlook) -> list[str]:
    """Write the first lines of a rollback's pull request while an override is in force: what serves, and since when git knows.

    The override may be another one than the rollback's own: somebody may ask for a further version without `--now`.
    """
    override, edit = outlook.override, proposal.edit
    name, version = code_span(f"{edit.model}@{edit.alias}"), version_label(override.version)
    serves = "serves" if outlook.is_serving else "is to serve"
    held = "" if outlook.is_serving else f" The registry still has {version_label(outlook.held)} there."
    stated = _describe_stated(outlook)
    first = f"**{version} {serves} {name} under an override until {format_utc_minute(override.until)}.** {stated}{held}"
    if override.version == edit.version:
        return [first]
    by = inline_text(override.by)
    return [f"{name} is to go back to **{version_label(edit.version)}**.", "", f"{first} That override is {by}'s."]


def _describe_stated(outlook: OverrideOutlook) -> str:
    declared = outlook.declared
    if declared.absent:
        return "Git still states that the alias must not exist."
    if declared.version is None:
        return "Git states no version of the alias."
    bad = ", which was rolled back" if declared.version == outlook.override.replaces else ""
    return f"Git still states {version_label(declared.version)}{bad}."


def _render_answers(proposal: Proposal, outlook: OverrideOutlook) -> list[str]:
    """Write what follows a merge, a closing, and no answer, while the override is in force."""
    override, edit = outlook.override, proposal.edit
    version, end, then = version_label(override.version), format_utc_minute(override.until), inline_text(outlook.consequence)
    if override.version != edit.version:
        target = version_label(edit.version)
        loads = "" if proposal.unchecked_note else ", as soon as it is found to load"
        return [
            f"- **Merged**: git states {target}. It follows once the override ends{loads}.",
            f"- **Closed**: git stays as it is, and so does the override: {version} serves until {end}.",
            f"- **Nobody decides**: at {end} the override ends, and {then}. This stays open.",
        ]
    when = "at once" if override.without_artifact_check else "as soon as that is found to load"
    moves = "nothing moves" if outlook.is_serving else f"the alias moves to {version} {when}"
    return [
        f"- **Merged**: git states {version}, and {moves}.",
        f"- **Closed**: the override ends at once, and **{then}**.",
        f"- **Nobody decides by {end}**: the override ends, and **{then}**. This stays open, and can still be merged.",
    ]


def render_started_comment(outlook: OverrideOutlook) -> str:
    """Write the comment that an override began, or took the place of another one, on a pull request that is open already."""
    override, then = outlook.override, inline_text(outlook.consequence)
    by, reason = inline_text(override.by), inline_text(override.reason)
    name, version, end = _name_alias(outlook), version_label(override.version), format_utc_minute(override.until)
    return "\n".join(
        [
            f"**{version} serves {name} under an override until {end}**, by {by}: {reason}",
            "",
            f"- **Merged**: git states {version}, and nothing moves.",
            f"- **Closed, or nobody decides until then**: the override ends, and **{then}**.",
        ]
    )


def render_expiring_comment(outlook: OverrideOutlook) -> str:
    """Write the comment that an override ends soon."""
    override, then = outlook.override, inline_text(outlook.consequence)
    name, version, end = _name_alias(outlook), version_label(override.version), format_utc_minute(override.until)
    return "\n".join(
        [
            f"**The override of {name} ends at {end}, and nobody has decided.** {version} serves until then.",
            "",
            f"- **Merged**: git states {version}, and nothing moves.",
            f"- **Closed**: the override ends at once, and **{then}**.",
            f"- **Nobody does anything**: at {end}, **{then}**.",
            "",
            f"{inline_text(override.by)} can prolong it: `promoter rollback` with the same reason, `--now` and `--for 24h`.",
        ]
    )


def render_ended_comment(name: str, end: OverrideEnd) -> str:
    """Write the comment that an override has ended; `name` is the alias's."""
    version, then = version_label(end.version), inline_text(end.aftermath)
    closed = (
        "this was closed unmerged" if end.clause.endswith("was closed unmerged") else "this was merged with another version"
    )
    why = closed if end.outcome == DECLINED else end.clause
    follows = f" So **{then}**." if then else ""
    lines = [f"**The override of {code_span(name)} to {version} has ended: {inline_text(why)}.**{follows}"]
    if end.outcome == EXPIRED:
        when = "at once" if end.without_artifact_check else "as soon as that is found to load"
        lines += [
            "",
            f"- **Merged**: git states {version}, and the alias moves to it {when}.",
            "- **Closed, or nobody does anything**: nothing more moves.",
        ]
    return "\n".join(lines)


def _name_alias(outlook: OverrideOutlook) -> str:
    return code_span(f"{outlook.override.model}@{outlook.override.alias}")
