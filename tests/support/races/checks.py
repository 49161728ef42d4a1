"""What must hold of a race, checked on git, on the forge's own log, on the registry and on the ledgers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from promoter.application.markdown.proposal import parse_marker
from promoter.application.markdown.pull_plan import COMMENT_MARKER
from promoter.container import Container
from promoter.domain.audit import RecordFilter, is_alias_move
from promoter.domain.folder import RepositoryFolder
from tests.support.forges.under_test import ForgeUnderTest
from tests.support.races.person import RacePerson
from tests.support.stage.stage import assert_one_outcome_each, assert_unbroken

EXPECTED = ("has commits that are not Promoter's, and no pull request",)
"""Errors that tell a person what to do, where that is so."""


def lost_edits(scene: ForgeUnderTest, person: RacePerson) -> Iterator[str]:
    """Each edit is in the branch's history and in its head; the branch only ever went forward."""
    git, heads = scene.home.git, scene.home.git.heads()
    history = set(git.run("rev-list", "main").splitlines())
    text = git.run("show", f"main:{person.place.locate('registry.yaml')}")
    lines = text.splitlines()
    merged = [work for number, own in person.pulls.items() if scene.home.pulls[number].state == "merged" for work in own]
    for work in (*person.edits, *merged, *(each for each in person.on_proposals if each.revision in history)):
        if work.revision not in history or lines.count(work.line) != 1:
            yield f"lost edit: {work.line!r} of {work.revision[:10]} on {work.branch}"
    for model, version in person.shadows.items():
        if f"shadow: {version}" not in text.partition(f"  {model}:\n")[2].partition("\n  race-")[0]:
            yield f"lost edit: the shadow of {model} is not v{version} any more"
    for each in scene.forge.happened:
        if each.kind == "push" and each.ref == "refs/heads/main" and not {each.before, each.after} <= history:
            yield f"the watched branch went back from {each.before[:10]}"
    for work in person.on_proposals:
        there = heads.get(work.branch)
        if work.revision not in history | person.gave_up and not (there and git.contains(there, work.revision)):
            yield f"forced over: {work.line!r} of {work.revision[:10]} on {work.branch}"


def duplicates(scene: ForgeUnderTest, person: RacePerson) -> Iterator[str]:
    """Never two open pull requests from one branch, or for one model and alias; what was declined is not asked again."""
    opened: dict[str, int] = {}
    told = {number: parse_marker(pull.body) for number, pull in scene.home.pulls.items()}
    for each in scene.forge.happened:
        if each.kind != "pull" or each.number in person.pulls:
            continue
        marker = told[each.number]
        keys = [each.ref, *([f"{marker.model}@{marker.alias}"] if marker else [])]
        for key in keys:
            if each.action in ("opened", "reopened"):
                if key in opened:
                    yield f"#{opened[key]} and #{each.number} were open at once for {key}"
                opened[key] = each.number
            elif each.action in ("closed", "merged") and opened.get(key) == each.number:
                del opened[key]
    for number, body in person.said_no:
        no = parse_marker(body)
        for later, pull in scene.home.pulls.items():
            again = told[later]
            if (
                no
                and again
                and later > number
                and pull.branch == scene.home.pulls[number].branch
                and again.answer_key == no.answer_key
            ):
                yield f"#{later} asks again what was declined with #{number}: {no.answer_key}"
    subjects = Counter(scene.home.git.run("log", "--no-merges", "--format=%s", "main").splitlines())
    yield from (
        f"committed {count} times: {subject}"
        for subject, count in subjects.items()
        if count > 1 and subject.startswith("Rotate")
    )


def comments(scene: ForgeUnderTest, person: RacePerson) -> Iterator[str]:
    """One plan on each open pull request of the person's, and nothing twice anywhere that is open."""
    for pull in scene.home.pulls.values():
        bodies = [each.body.lstrip() for each in pull.remarks if each.by == "promoter-bot"]
        plans = sum(body.startswith(person.place.mark_comment(COMMENT_MARKER)) for body in bodies)
        if pull.state == "open" and pull.number in person.pulls and plans != 1:
            yield f"#{pull.number} has {plans} plans"
        firsts = Counter(body.partition("\n")[0] for body in bodies)
        if pull.state == "open" and any(count > 1 for count in firsts.values()):
            yield f"#{pull.number} has a comment twice: {dict(firsts)}"


def apart(
    world: Container, aliases: Callable[[str], Mapping[str, int]]
) -> dict[tuple[str, str], tuple[int | None, str | None]]:
    """Where registry and git differ: what git says, and what keeps it so (None: nothing that anybody could name)."""
    declaration = world.revisions.refresh_head().declaration
    assert declaration is not None
    view = world.planner(declaration)
    found: dict[tuple[str, str], tuple[int | None, str | None]] = {}
    for name, model in view.models.items():
        held = aliases(name)
        reported = {each.alias for each in model.compared.reported}
        for alias, intent in model.intent.aliases.items():
            if intent.has_declared_target and held.get(alias) != intent.version:
                blocked = [
                    each.reason for each in view.plan.blocked if (each.model, each.alias) in ((name, alias), (name, None))
                ]
                why = blocked[0] if blocked else "reported, to be adopted or not" if alias in reported else None
                found[name, alias] = intent.version, why
    return found


def ledgers(worlds: Collection[Container], models: Collection[str]) -> Iterator[str]:
    """No intent is open; each has one outcome; no move of an alias went without a record."""
    for number, world in enumerate(worlds):
        for intent in world.ledger.find_open_intents():
            yield f"ledger {number}: the intent {intent.id} of {intent.fact.model}@{intent.fact.alias} is open"
        for model in models:
            records = list(world.ledger.find_audit_records(RecordFilter(model=model, limit=100_000)))
            try:
                assert_one_outcome_each(records)
                for alias in {each.fact.alias for each in records}:
                    of_alias = [each for each in records if each.fact.alias == alias and is_alias_move(each)]
                    assert_unbroken([(each.fact.from_version, each.fact.to_version) for each in of_alias])
            except AssertionError as error:
                yield f"ledger {number}, {model}: {str(error)[:300]}"


def complaints(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Errors that were logged, but for those that a person brought about and has to mend."""
    for event in events:
        told = str(dict(event))
        if event["level"] in ("error", "critical") and not any(words in told for words in EXPECTED):
            yield f"logged: {told[:1500]}"


def branches_left(scene: ForgeUnderTest, place: RepositoryFolder) -> Iterator[str]:
    """A branch for proposals without an open pull request."""
    opened = {pull.branch for pull in scene.home.pulls.values() if pull.state == "open"}
    for branch in scene.home.git.heads():
        if branch.startswith(place.branch_prefix) and branch not in opened:
            yield f"{branch} was left behind"
