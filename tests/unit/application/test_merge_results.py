"""What came of a merge is reported on fakes: a status on the commit, one comment on its pull request."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.application.controller import Controller
from promoter.application.markdown.merge_result import RESULT_MARKER, render_merge_result_markdown
from promoter.application.ports import CommitStatus, PullRequestState
from promoter.application.rollback import RollbackRequest
from promoter.application.work_items import GIT, PULLS, REGISTRY, RESULTS
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.merge_result import AliasOutcome, AliasResult, AliasStatement, MergeResult, sort_alias_results
from tests.support.app import POLICY, App
from tests.support.fakes.repository import START
from tests.support.pull_request_app import GATED, PullRequestApp, standing

REVIEWED = b"version: 1\nrules: [{review: {at_least: 2, from: [ada, bob]}}]\n"
TAGGED = b"version: 1\nrules: [{tag: approved_by, one_of: [risk]}]\n"
BROKEN = {"registry.yaml": b"version: 1\nmodels: {m: {aliases: {champion: two, shadow: zero}}}\n"}


@pytest.fixture
def merging(app: App) -> PullRequestApp:
    """Three versions of a model, v1 is champion and shadow, and git says so; v2 is better, v3 is worse."""
    return standing(app)


@pytest.fixture
def watch(merging: PullRequestApp) -> Controller:
    """A daemon that has looked at everything."""
    made = merging.app.build_controller(float)
    poll(merging.app, made)
    merging.app.hub.calls.clear()
    return made


def poll(app: App, watch: Controller) -> None:
    """Let the daemon look at everything, a minute later."""
    app.time.pass_time(minutes=1)
    app.run_all(watch, "poll", GIT, REGISTRY, PULLS, RESULTS)


def comment(app: App, number: int) -> str:
    """The one closing comment on the pull request."""
    (found,) = [each for each in app.hub.bodies(number) if each.startswith(RESULT_MARKER)]
    return found


def applied(app: App, revision: str) -> tuple[str, str]:
    """State and description of `promoter/applied`."""
    has = app.hub.applied[revision]
    return has.state.value, has.description


def merge(merging: PullRequestApp, models: str, branch: str = "change", **policies: bytes) -> tuple[int, str]:
    """Somebody proposes that, and merges it; its number, and the merge commit."""
    number = merging.propose(models, branch=branch, **policies)
    return number, merging.app.hub.merge(number)


def test_a_merge_that_moves_an_alias(merging: PullRequestApp, watch: Controller) -> None:
    """Status and comment say from where to where, since when, and which entry of the ledger says so; once."""
    app = merging.app
    number, commit = merge(merging, GATED.format(2, 1))
    poll(app, watch)
    (record,) = [each for each in app.records(alias="champion") if each.fact.outcome == "applied"]
    at = "2026-11-23 12:02:00 UTC"
    assert applied(app, commit) == ("success", f"m@champion v1 → v2 at {at}, ledger entry {record.id}")
    assert comment(app, number) == (
        "<!-- promoter:result -->\n### ✓ Promoter: carried out\n\n"
        f"`m@champion` moved from v1 to v2, where it is since {at}. Ledger entry {record.id}.\n"
    )
    app.hub.calls.clear()
    for _ in range(3):
        poll(app, watch)
    poll(app, app.another().build_controller(float))
    assert app.hub.writes == []


def test_the_calls_of_a_merge_are_few(merging: PullRequestApp, watch: Controller) -> None:
    """Six calls for a merge that moves an alias, one for a push that changes nothing of Promoter's, none without news."""
    app = merging.app

    def calls() -> list[object]:
        own = ("status", "set_status", "brought", "comments", "comment", "edit_comment")
        found = [each[0] for each in app.hub.calls if each[0] in own]
        app.hub.calls.clear()
        return found

    _, commit = merge(merging, "m: {aliases: {champion: {version: 2}, shadow: {version: 1}}}")
    poll(app, watch)
    assert [each for each in calls() if each != "brought"] == ["status", "comments", "comment", "comments", "set_status"]
    assert applied(app, commit)[0] == "success"
    for _ in range(5):
        poll(app, watch)
    assert calls() == []
    head = app.git.push({"README.md": b"Read me."})
    poll(app, watch)
    assert calls() == ["status", "brought", "set_status"]
    assert applied(app, head) == ("success", "in force; it changes no file that Promoter reads")


def test_a_merge_without_the_reviews(merging: PullRequestApp, watch: Controller) -> None:
    """Failure: who approved, that it is too late now, and how to have it reviewed after all; the revert ends it."""
    app = merging.app
    app.commit(GATED.format(1, 1), champion=REVIEWED)
    poll(app, watch)
    number = merging.propose(GATED.format(2, 1))
    app.hub.approve(number, "bob")
    commit = app.hub.merge(number, "cy")
    poll(app, watch)
    state, description = applied(app, commit)
    assert state == "failure"
    assert description.startswith(
        "m@champion stays at v1, not v2: review at_least 2 from [ada, bob] is fail (saw 1 of 2 approve #1"
    )
    text = comment(app, number)
    for part in (
        "### ✗ Promoter: not carried out",
        "`m@champion` stays at v1, and has not moved to v2.",
        "Why: policy `champion` does not let v2 pass.",
        "- ✗ fail: `review at_least 2 from [ada, bob]`",
        "- Revert it, propose the same by a pull request, and merge that once it has the approvals",
        f"- Or take it back: revert `{commit[:10]}`, so that git states v1 of the alias again.",
        "If nobody does anything, v1 goes on serving, and git states v2 all the same.",
    ):
        assert part in text, text
    app.hub.calls.clear()
    for _ in range(3):
        poll(app, watch)
    assert app.hub.writes == []
    app.commit(GATED.format(1, 1))
    poll(app, watch)
    assert applied(app, commit) == ("failure", "m@champion stays at v1, not v2: a later commit states v1")
    assert "What to do" not in comment(app, number)


def test_a_tag_that_is_set_later(merging: PullRequestApp, watch: Controller) -> None:
    """Pending, with the tag to set; once it is set, the same comment and status say when it moved, also after a restart."""
    app = merging.app
    app.commit(GATED.format(1, 1), champion=TAGGED)
    poll(app, watch)
    number, commit = merge(merging, GATED.format(2, 1))
    poll(app, watch)
    assert applied(app, commit) == (
        "pending",
        "m@champion waits at v1 for v2: tag approved_by one_of [risk] is pending (nothing seen)",
    )
    assert "- Set the tag `approved_by` of version 2 of m to one of [risk]." in comment(app, number)
    again = app.another()
    again.time.pass_time(days=40)
    app.hub.calls.clear()
    watch = again.build_controller(float)
    poll(again, watch)
    assert app.hub.writes == []
    app.mlflow.tag("m", 2, approved_by="risk")
    poll(again, watch)
    assert applied(app, commit)[0] == "success"
    assert comment(app, number).startswith("<!-- promoter:result -->\n### ✓ Promoter: carried out")


def test_several_models_have_one_comment(merging: PullRequestApp, watch: Controller) -> None:
    """A table, what did not move first, and its reasons below; what moved is told beside it."""
    app = merging.app
    for name in ("b", "c"):
        app.mlflow.version(name, auc=0.5)
    number, commit = merge(merging, GATED.format(3, 2) + "\nb: {aliases: {champion: 1}}\nc: {aliases: {champion: 4}}")
    poll(app, watch)
    state, description = applied(app, commit)
    assert (state, description[:58]) == ("failure", "2 of 4 changes not carried out: c@champion stays at none, ")
    lines = comment(app, number).splitlines()
    assert lines[1] == "### ✗ Promoter: 2 of 4 changes not carried out"
    assert [line.split(" | ")[:2] for line in lines[5:9]] == [
        ["| c", "champion"],
        ["| m", "champion"],
        ["| b", "champion"],
        ["| m", "shadow"],
    ]
    assert "#### `c@champion`" in lines
    assert any(line.startswith("Why: the registry has no version 4 of this model") for line in lines)
    assert "If nobody does anything, nobody holds it, and git states v4 all the same." in comment(app, number)
    assert "reverting" not in comment(app, number)


def test_a_version_that_is_missing_holds_up_its_model(merging: PullRequestApp, watch: Controller) -> None:
    """The other aliases of the model wait as well, and each says for what; registered later, all is carried out."""
    app = merging.app
    app.mlflow.version("b", auc=0.5)
    number, commit = merge(merging, GATED.format(1, 1) + "\nb: {aliases: {champion: 1, next: 2}}")
    poll(app, watch)
    assert applied(app, commit)[0] == "failure"
    assert "all of the model waits for next: the registry has no version 2 of this model" in comment(app, number)
    app.mlflow.version("b", auc=0.6)
    writes = len(app.hub.writes)
    poll(app, watch)
    assert applied(app, commit)[0] == "success"
    assert [each[0] for each in app.hub.writes[writes:]] == ["edit_comment", "set_status"]


def test_drift_that_is_only_reported(merging: PullRequestApp, watch: Controller) -> None:
    """Taken back to the version of before, while somebody has moved the alias: what is not put back is said."""
    app = merging.app
    rows = "m: {{on_drift: report, aliases: {{champion: {{version: {}, policy: champion}}}}}}"
    app.commit(rows.format(1), champion=TAGGED)
    poll(app, watch)
    app.commit(rows.format(2), champion=TAGGED)
    poll(app, watch)
    app.mlflow.place("m", "champion", 3)
    number, commit = merge(merging, rows.format(1))
    poll(app, watch)
    state, description = applied(app, commit)
    assert (state, description[:65]) == ("failure", "m@champion stays at v3, not v1: somebody moved it outside of Prom")
    assert "`on_drift` says" in comment(app, number)


def test_a_refused_head(merging: PullRequestApp, watch: Controller) -> None:
    """Every fault, and that the last good revision stays; the commit that mends it is judged by itself."""
    app = merging.app
    good = app.git.head
    app.git.push(BROKEN, branch="change")
    number = app.hub.opened("change")
    commit = app.hub.merge(number)
    poll(app, watch)
    state, description = applied(app, commit)
    assert state == "failure"
    assert description.startswith("refused, nothing of it is carried out: registry.yaml:2:")
    assert description.endswith(("and 1 more", "…"))
    text = comment(app, number)
    assert "### ✗ Promoter: refused" in text
    assert f"Revision `{good[:10]}`, the last good one, stays in force." in text
    assert text.count("- registry.yaml:2:") == 2
    mended, head = merge(merging, GATED.format(2, 1), branch="mend")
    poll(app, watch)
    assert applied(app, head)[0] == "success"
    assert "moved from v1 to v2" in comment(app, mended)
    assert f"`{head[:10]}`, a later commit, is in force." in comment(app, number)
    app.hub.calls.clear()
    poll(app, watch)
    assert app.hub.writes == []


def test_a_change_that_came_true_before(merging: PullRequestApp, watch: Controller) -> None:
    """Somebody moved the alias first: nothing had to move, and since when it is there is said."""
    app = merging.app
    app.mlflow.place("m", "shadow", 2)
    number, commit = merge(merging, GATED.format(1, 2))
    poll(app, watch)
    assert applied(app, commit)[0] == "success"
    assert "nothing had to move" in comment(app, number)


def test_settings_move_nothing(merging: PullRequestApp, watch: Controller) -> None:
    """A policy that changes is in force, and moves no alias."""
    app = merging.app
    number = merging.propose(champion=POLICY.replace(b"0.005", b"0.5"))
    commit = app.hub.merge(number)
    poll(app, watch)
    assert applied(app, commit) == ("success", "in force; it moves no alias")
    assert "It is in force, and moves no alias by itself." in comment(app, number)


def test_a_deletion_and_a_prune(merging: PullRequestApp, watch: Controller) -> None:
    """What is deleted is told like any move, also where git only does not list it any more."""
    app = merging.app
    number, commit = merge(merging, "m: {prune: true, aliases: {champion: {version: 1, policy: champion}}}")
    poll(app, watch)
    assert applied(app, commit)[1].startswith("m@shadow v1 → none at ")
    assert "`m@shadow` moved from v1 to none" in comment(app, number)


def test_pushed_without_a_pull_request(merging: PullRequestApp, watch: Controller) -> None:
    """The status alone says it, and each of several commits that came at once has its own."""
    app = merging.app
    first = app.commit(GATED.format(1, 2))
    second = app.commit(GATED.format(2, 2))
    poll(app, watch)
    assert applied(app, first)[1].startswith("m@shadow v1 → v2 at ")
    assert applied(app, second)[1].startswith("m@champion v1 → v2 at ")
    assert not any(call[0] == "comment" for call in app.hub.calls)


def test_a_merge_by_rebase(merging: PullRequestApp, watch: Controller) -> None:
    """Several commits of one pull request: one comment, and the last of them has the status for all."""
    app = merging.app
    number = merging.propose(GATED.format(2, 2))
    first, second = app.commit(GATED.format(2, 1)), app.commit(GATED.format(2, 2))
    thread = app.hub.threads[number]
    thread.brought = frozenset({first, second})
    thread.pull = replace(
        thread.pull, state=PullRequestState.MERGED, merge_commit=second, merged_by="bob", closed_at=app.time.at
    )
    poll(app, watch)
    assert first not in app.hub.applied
    assert applied(app, second)[1].startswith("2 changes carried out, the last at 2026-")
    assert comment(app, number).count("| moved |") == 2


def test_a_mass_of_changes_has_an_end() -> None:
    """3,000 aliases that stay, with long reasons: what a forge takes, and a note on what is left out."""
    statements = [AliasStatement("m" * 200, f"alias-{each}", 2, 1) for each in range(3_000)]
    stay = [AliasResult(each, AliasOutcome.BLOCKED, 1, reason="because " * 100) for each in statements]
    result = MergeResult("c" * 40, aliases=sort_alias_results(stay))
    text = render_merge_result_markdown(result, {})
    assert len(text) <= 65_536
    assert text.count("**not moved**") == 93
    assert "2907 aliases more." in text
    assert len(result.description) <= 140


def test_a_forge_that_does_not_know_yet(merging: PullRequestApp, watch: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after the merge, a forge may say that no pull request brought the commit: it is asked again once, a minute later."""
    app = merging.app
    number, commit = merge(merging, GATED.format(2, 1))
    app.time.at = START - timedelta(minutes=1)
    usual = app.hub.find_introducing_number
    with monkeypatch.context() as patched:
        patched.setattr(app.hub, "find_introducing_number", lambda _revision: None)
        poll(app, watch)
    assert applied(app, commit)[0] == "success"
    assert app.hub.bodies(number) == []
    poll(app, watch)
    assert "moved from v1 to v2" in comment(app, number)
    asked: list[str] = []
    monkeypatch.setattr(app.hub, "find_introducing_number", lambda revision: asked.append(revision) or usual(revision))
    for _ in range(3):
        poll(app, watch)
    assert asked == []


def test_a_forge_that_is_down_holds_up_nothing(merging: PullRequestApp, watch: Controller) -> None:
    """The alias moves; what came of it is reported once the forge answers, also by a process that has just started."""
    app = merging.app
    number, commit = merge(merging, GATED.format(2, 1))

    def down(_call: str) -> None:
        raise TransientError("Fake", "cannot be reached")

    app.hub.on = down
    poll(app, watch)
    assert app.aliases()["champion"] == 2
    assert watch.run_work_item(RESULTS, "poll") is not None, "it is tried again"
    app.hub.on = lambda _call: None
    again = app.another()
    poll(again, again.build_controller(float))
    assert applied(app, commit)[0] == "success"
    assert "moved from v1 to v2" in comment(app, number)


@pytest.mark.parametrize("call", ["comment", "set_status"])
def test_a_stop_between_comment_and_status(merging: PullRequestApp, watch: Controller, call: str) -> None:
    """Whoever goes on finds what is there: one comment, and the status in the end."""
    app = merging.app
    number, commit = merge(merging, GATED.format(2, 1))

    def stopped(name: str) -> None:
        if name == call:
            raise TransientError("Fake", "stopped")

    app.hub.after = stopped
    poll(app, watch)
    app.hub.after = lambda _name: None
    again = app.another()
    poll(again, again.build_controller(float))
    assert applied(app, commit)[0] == "success"
    assert "moved from v1 to v2" in comment(app, number)


def test_a_comment_that_the_forge_refuses(merging: PullRequestApp, watch: Controller) -> None:
    """A conversation that is locked: the status says it all the same, a person hears of it, and it is left alone then."""
    app = merging.app
    number, commit = merge(merging, GATED.format(2, 1))

    def locked(name: str) -> None:
        if name == "comment":
            raise PermanentError("Fake", f"pull request #{number} is locked")

    app.hub.on = locked
    poll(app, watch)
    assert applied(app, commit)[0] == "success"
    app.hub.calls.clear()
    poll(app, watch)
    assert [each for each in app.hub.calls if each[0] == "comment"] == []


def test_two_promoters_report_once(merging: PullRequestApp, watch: Controller) -> None:
    """The other one finds status and comment, and writes nothing."""
    app = merging.app
    other = app.another()
    theirs = other.build_controller(float)
    poll(other, theirs)
    app.hub.calls.clear()
    number, _ = merge(merging, GATED.format(2, 1))
    poll(app, watch)
    poll(other, theirs)
    poll(app, watch)
    assert [each[0] for each in app.hub.writes] == ["comment", "set_status"]
    assert comment(app, number)


def test_a_success_of_before_is_never_taken_back(merging: PullRequestApp, watch: Controller) -> None:
    """Moved, and moved on since: a restart leaves what was said of the first merge as it is."""
    app = merging.app
    number, commit = merge(merging, GATED.format(2, 1))
    poll(app, watch)
    said = applied(app, commit), comment(app, number)
    app.commit(GATED.format(1, 1), champion=b"version: 1\nrules: [{metric: auc, at_least: 0.1}]\n")
    poll(app, watch)
    again = app.another()
    poll(again, again.build_controller(float))
    assert (applied(app, commit), comment(app, number)) == said


def test_a_success_that_somebody_else_wrote(merging: PullRequestApp, watch: Controller) -> None:
    """Whoever may write statuses may write this one: where the alias has not moved, it is put right, also after a restart."""
    app = merging.app
    app.commit(GATED.format(1, 1), champion=REVIEWED)
    poll(app, watch)
    number, commit = merge(merging, GATED.format(2, 1))
    app.hub.applied[commit] = CommitStatus(CommitStatusState.SUCCESS, "m@champion v1 → v2, all is well")
    poll(app, watch)
    assert applied(app, commit)[0] == "failure"
    assert "not carried out" in comment(app, number)
    app.hub.applied[commit] = CommitStatus(CommitStatusState.SUCCESS, "m@champion v1 → v2, all is well")
    again = app.another()
    poll(again, again.build_controller(float))
    assert applied(app, commit)[0] == "failure"


def test_words_from_outside_stay_words(merging: PullRequestApp, watch: Controller) -> None:
    """Tags and names neither notify, link nor break the table; nothing invisible reaches the status."""
    app = merging.app
    app.mlflow.version("x", auc=0.5, tags={"approved_by": "<script> @everyone [l](http://e) \u202e | #1"})
    models = 'x: {aliases: {champion: {version: 1, policy: champion}, "shadow": 1}}'
    number, commit = merge(merging, models, champion=TAGGED)
    poll(app, watch)
    text, (_, description) = comment(app, number), applied(app, commit)
    for bad in ("<script>", "@everyone", "\u202e", "[l](", " #1"):
        assert bad not in text, text
    assert "\u202e" not in description
    assert len(description) <= 140


def test_what_is_old_is_left_alone(merging: PullRequestApp) -> None:
    """A Promoter that reports for the first time reports the head, and comments on nothing else from before yesterday."""
    app = merging.app
    numbers = []
    for each in (2, 3):
        numbers.append(merge(merging, GATED.format(2, each), branch=f"b{each}")[0])
        app.look()
    again = app.another()
    again.time.pass_time(days=3)
    poll(again, again.build_controller(float))
    assert [each for each in app.hub.writes if each[0] == "comment"] == [("comment", numbers[-1])]
    assert applied(app, app.git.head)[1].startswith("m@shadow v2 → v3 at ")


def test_an_override_stands_in(merging: PullRequestApp, watch: Controller) -> None:
    """A merge during an override moves nothing yet, and says what stands in for it, until when."""
    app = merging.app
    merge(merging, GATED.format(2, 1))
    poll(app, watch)
    app.git.protected = True
    app.alias_rollback(RollbackRequest("m", "champion", "bad", by="alice", now=True, lasts=timedelta(hours=1)))
    assert app.aliases()["champion"] == 1
    number, commit = merge(merging, "m: {aliases: {champion: {version: 3}, shadow: {version: 1}}}", branch="third")
    poll(app, watch)
    state, description = applied(app, commit)
    assert (state, description[:76]) == (
        "pending",
        "m@champion waits at v1 for v3: an override stands in for git: v1 until 2026-",
    ), description
    assert "Why: an override stands in for git" in comment(app, number)


def test_a_registry_that_is_down_is_named(merging: PullRequestApp, watch: Controller) -> None:
    """Merged while MLflow does not answer: pending, so that nobody takes silence for success; carried out afterwards."""
    app = merging.app
    number, commit = merge(merging, GATED.format(2, 1))

    def down(_call: str) -> None:
        raise TransientError("MLflow", "cannot be reached")

    app.mlflow.on = down
    for _ in range(3):
        poll(app, watch)
    assert applied(app, commit) == ("pending", "m@champion → v2 is being carried out")
    assert app.hub.bodies(number) == []
    app.mlflow.on = lambda _call: None
    poll(app, watch)
    assert applied(app, commit)[0] == "success"


def test_a_status_of_somebody_else_is_replaced(merging: PullRequestApp, watch: Controller) -> None:
    """A pending status of before a crash becomes what is true."""
    app = merging.app
    _, commit = merge(merging, GATED.format(2, 1))
    app.hub.applied[commit] = CommitStatus(CommitStatusState.PENDING, "m@champion → v2 is being carried out")
    poll(app, watch)
    assert applied(app, commit)[0] == "success"
