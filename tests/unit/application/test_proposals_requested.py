"""What persons and guards ask for, and drift to adopt, on the same branch as rotation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.application.markdown.proposal import PullRequestMarker, insert_marker
from promoter.application.ports import PullRequest, PullRequestState
from promoter.application.proposals.branches import find_override_answer
from promoter.application.proposals.commits import BranchOpener
from promoter.application.proposals.overrides import OVERRIDE_MARK
from promoter.application.proposals.reconciler import ProposalOpener
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.desired import Hold
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from tests.support.app import App
from tests.support.proposals import BRANCH, RULES, aliases, only, propose, says, settle, told, writes

REASON = "bad recall on card-not-present"
BACK = Proposal(
    RegistryEdit("m", "champion", 1, Hold(reason=REASON, by="alice"), (2,)),
    2,
    None,
    ProposalReason.ROLL_BACK,
    by="alice",
    reason=REASON,
)
MARKER = PullRequestMarker(ProposalReason.ROLL_BACK, "m", "champion", 1)
RETURNED = {"version": 1, "quarantine": [2], "hold": REASON}


@pytest.fixture
def watched_app(app: App) -> App:
    """Version 2 was promoted, and is the champion."""
    propose(app, 0.8, 0.9)
    app.hub.merge(1)
    settle(app)
    assert app.aliases() == {"champion": 2}
    return app


@pytest.fixture
def protected(watched_app: App) -> App:
    """And the watched branch takes no pushes."""
    watched_app.git.protected = True
    return watched_app


def opener(app: App) -> ProposalOpener:
    """What `promoter rollback` opens with."""
    assert app.proposal_reconciler is not None
    return ProposalOpener(BranchOpener(app.git, app.documents), app.proposal_reconciler)


def override(app: App, until: float = 24) -> int:
    """Alice has put v1 back without git."""
    now = app.time.now()
    return app.ledger.record_override(
        NewAuditRecord(
            now, RecordKind.OVERRIDE, "m", "champion", 2, 1, actor="alice", reason=REASON, until=now + timedelta(hours=until)
        )
    )


def test_a_rollback_is_opened(protected: App) -> None:
    """Once, from the commit's own words; merged, v1 returns under its hold, and rotation leaves it alone."""
    opened = opener(protected)(BACK)
    pull = only(protected)
    assert opened.url == pull.url
    assert pull.title == "Roll back m@champion from v2 to v1"
    assert REASON in pull.body
    assert "alice" in pull.body
    assert says(protected, pull) == RETURNED
    before = writes(protected)
    assert opener(protected)(BACK).url == pull.url
    protected.propose()
    assert writes(protected) == before
    protected.hub.merge(pull.number)
    settle(protected)
    assert protected.aliases() == {"champion": 1}
    assert (protected.hub.open, [*protected.git.heads]) == ([], ["main"])


def test_a_rollback_with_the_forge_down(protected: App) -> None:
    """The branch is there, and that is told; the next look opens the pull request."""

    def down(_call: str) -> None:
        raise TransientError("forge", "gone")

    protected.hub.on = down
    opened = opener(protected)(BACK)
    assert (opened.url, opened.done, opened.revision) == (None, False, protected.git.heads[BRANCH])
    assert "gone" in opened.next_step
    protected.hub.on = lambda _: None
    settle(protected)
    assert says(protected, only(protected)) == RETURNED


def test_a_rollback_declined(protected: App) -> None:
    """The branch goes, and nothing is asked twice; asked anew, it is another commit, and another pull request."""
    opener(protected)(BACK)
    protected.hub.decline(2)
    settle(protected)
    assert (protected.hub.open, [*protected.git.heads]) == ([], ["main"])
    opener(protected)(BACK)
    assert only(protected).number == 3


def test_a_rollback_takes_the_place_of_a_rotation(protected: App) -> None:
    """The open pull request of the alias says the rollback from then on, whatever rotation finds."""
    protected.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)
    protected.propose()
    assert only(protected).title == "Rotate m@champion from v2 to v3"
    opener(protected)(BACK)
    protected.propose()
    assert only(protected).title == "Roll back m@champion from v2 to v1"
    assert says(protected, only(protected)) == RETURNED


def test_a_rollback_whose_branch_conflicts(protected: App) -> None:
    """It is made anew, and still asks for the same."""
    opener(protected)(BACK)
    protected.commit(aliases(2, more=", quarantine: [7]"))
    settle(protected)
    assert says(protected, only(protected)) == {**RETURNED, "quarantine": [2, 7]}
    assert REASON in only(protected).body


def test_a_release(protected: App) -> None:
    """Of a hold in git; with who asks, and why."""
    protected.commit(aliases(2, more=", hold: {reason: audit, by: bob}"))
    settle(protected)
    release = Proposal(
        RegistryEdit("m", "champion", None, release=True),
        None,
        None,
        ProposalReason.RELEASE,
        by="alice",
        reason="audit is over",
    )
    opener(protected)(release)
    pull = only(protected)
    assert (pull.title, says(protected, pull)["hold"]) == ("Release m@champion", None)
    assert protected.git.read_commit(pull.head).trailers["Promoter-Reason"] == "audit is over"
    assert "Asked for by alice" in pull.body
    protected.hub.merge(pull.number)
    settle(protected)
    assert protected.hub.open == []


def test_an_override_gets_a_pull_request(protected: App) -> None:
    """Where nothing but the ledger knows of it: branch and pull request are made, once."""
    override(protected)
    settle(protected)
    assert protected.aliases() == {"champion": 1}
    assert says(protected, only(protected)) == RETURNED
    assert protected.git.read_commit(only(protected).head).trailers["Promoter-By"] == "alice"
    before = writes(protected)
    protected.another().propose()
    assert writes(protected) == before


def test_an_override_merged(protected: App) -> None:
    """Git says so by now: it is settled, and nothing moves."""
    override(protected)
    settle(protected)
    moved = len(protected.mlflow.writes)
    protected.hub.merge(only(protected).number)
    settle(protected)
    assert (protected.ledger.find_open_overrides(), len(protected.mlflow.writes)) == ([], moved)
    assert protected.aliases() == {"champion": 1}


def look_into_a_merge(app: App) -> None:
    """One look, by a list from before another replica opened the pull request, which is merged once git was read."""
    assert app.proposal_reconciler is not None
    app.proposal_reconciler.find_models([], also={"m"})
    settle(app.another())
    pull, asked = only(app), app.hub.find_latest_pull_request

    def merged_first(branch: str) -> PullRequest | None:
        if app.hub.open:
            app.hub.merge(pull.number)
        return asked(branch)

    app.hub.find_latest_pull_request = merged_first  # type: ignore[method-assign]
    app.propose()
    assert app.hub.pulls[pull.number].state is PullRequestState.MERGED


def test_a_rotation_merged_in_the_middle_of_a_look(app: App) -> None:
    """The same: what was merged is not proposed a second time."""
    propose(app, 0.8)
    app.mlflow.version("m", auc=0.9, p99=30.0, live=0.9)
    look_into_a_merge(app)
    settle(app)
    assert app.aliases() == {"champion": 2}
    assert [each.state for each in app.hub.pulls.values()] == [PullRequestState.MERGED]


def test_a_rotation_declined_in_the_middle_of_a_look(app: App) -> None:
    """By a list from before it was opened, and answered right after it was seen open: not proposed a second time."""
    propose(app, 0.8)
    app.mlflow.version("m", auc=0.9, p99=30.0, live=0.9)
    assert app.proposal_reconciler is not None
    app.proposal_reconciler.find_models([], also={"m"})
    settle(app.another())
    asked = app.hub.find_latest_pull_request

    def declined_after(branch: str) -> PullRequest | None:
        found = asked(branch)
        if app.hub.open:
            app.hub.decline(1)
        return found

    app.hub.find_latest_pull_request = declined_after  # type: ignore[method-assign]
    app.propose()
    settle(app)
    assert [each.state for each in app.hub.pulls.values()] == [PullRequestState.CLOSED]


def test_a_request_that_is_opened_and_declined_in_the_middle_of_a_look(protected: App) -> None:
    """By another replica and a person, once this one has seen that there is none: not opened a second time."""
    BranchOpener(protected.git, protected.documents)(BACK)
    asked = protected.hub.find_latest_pull_request

    def opened_after(branch: str) -> PullRequest | None:
        found = asked(branch)
        if found is None or found.number == 1:
            protected.hub.find_latest_pull_request = asked  # type: ignore[method-assign]
            protected.another().propose()
            protected.hub.decline(2)
        return found

    protected.hub.find_latest_pull_request = opened_after  # type: ignore[method-assign]
    protected.propose()
    settle(protected)
    assert [each.state for each in protected.hub.pulls.values()] == [PullRequestState.MERGED, PullRequestState.CLOSED]


def test_an_override_merged_in_the_middle_of_a_look(protected: App) -> None:
    """The list of what is open is from before its pull request, git from before the merge: the look begins again."""
    override(protected)
    look_into_a_merge(protected)
    settle(protected)
    assert (protected.ledger.find_open_overrides(), protected.aliases()) == ([], {"champion": 1})
    assert not [each for each in protected.records() if "declined" in (each.fact.reason or "")]


def test_an_override_declined(protected: App) -> None:
    """Git's word counts again, and the model is to be looked at for that."""
    override(protected)
    settle(protected)
    protected.hub.decline(only(protected).number)
    assert protected.propose() is True
    assert protected.ledger.find_open_overrides() == []
    settle(protected)
    assert protected.aliases() == {"champion": 2}
    assert (protected.hub.open, [*protected.git.heads]) == ([], ["main"])
    (ended,) = [each.fact.reason for each in protected.records() if each.fact.reason and "declined" in each.fact.reason]
    assert "was closed unmerged" in ended


def test_an_override_decided_otherwise(protected: App) -> None:
    """Merged with another version than it was opened with: git's word counts, at once."""
    override(protected)
    settle(protected)
    protected.git.push({"registry.yaml": protected.git.read_sources(protected.git.head)["registry.yaml"]}, branch=BRANCH)
    protected.hub.merge(only(protected).number)
    settle(protected)
    assert protected.ledger.find_open_overrides() == []
    assert protected.aliases() == {"champion": 2}


def test_an_override_after_a_no(protected: App) -> None:
    """A pull request that was declined before the override began says nothing of it."""
    opener(protected)(BACK)
    protected.hub.decline(2)
    settle(protected)
    protected.time.pass_time(hours=1)
    override(protected)
    settle(protected)
    assert says(protected, only(protected)) == RETURNED
    assert len(protected.ledger.find_open_overrides()) == 1


@pytest.mark.parametrize(
    ("state", "marker", "told"),
    [
        (PullRequestState.CLOSED, MARKER, "https://forge.example/models/pull/1 was closed unmerged"),
        (PullRequestState.MERGED, MARKER, "https://forge.example/models/pull/1 was merged, and says otherwise"),
        (PullRequestState.OPEN, MARKER, None),
        (PullRequestState.CLOSED, replace(MARKER, withdrawn="held"), None),
        (PullRequestState.CLOSED, replace(MARKER, version=2), None),
        (PullRequestState.CLOSED, replace(MARKER, aim=ProposalReason.ROTATE), None),
        (PullRequestState.CLOSED, None, None),
    ],
)
def test_what_answers_an_override(
    state: PullRequestState, marker: PullRequestMarker | None, told: str | None, watched_app: App
) -> None:
    """A person's decision on what it is for; not what Promoter closed, nor what was about something else."""
    override(watched_app)
    (standing,) = watched_app.ledger.find_open_overrides()
    pull = replace(watched_app.hub.pulls[1], state=state, body=str(marker or ""), closed_at=None)
    assert find_override_answer(standing, pull) == told
    assert find_override_answer(standing, None) is None


def test_a_guard(watched_app: App) -> None:
    """Breaks: the way back is proposed; holds again: closed; declined: not asked again for this version."""
    run = watched_app.mlflow.all_runs["m-2"]
    watched_app.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, {**run.metrics, "live": 0.5})
    settle(watched_app)
    pull = only(watched_app)
    assert told(pull).aim is ProposalReason.GUARD
    assert says(watched_app, pull) == {
        "version": 1,
        "quarantine": [2],
        "hold": "guard metric live at_least 0.8 failed 1 times in a row",
    }
    watched_app.mlflow.all_runs["m-2"] = run
    settle(watched_app)
    assert told(watched_app.hub.pulls[pull.number]).withdrawn == "no guard is broken any more"
    assert (watched_app.hub.open, [*watched_app.git.heads]) == ([], ["main"])


def test_a_guard_merged(watched_app: App) -> None:
    """The alias goes back."""
    run = watched_app.mlflow.all_runs["m-2"]
    watched_app.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, {**run.metrics, "live": 0.5})
    settle(watched_app)
    watched_app.hub.merge(only(watched_app).number)
    settle(watched_app)
    assert watched_app.aliases() == {"champion": 1}
    assert watched_app.hub.open == []


@pytest.fixture
def adopting(app: App) -> App:
    """Drift is to be adopted; git says v1, and somebody has moved the alias to v2."""
    for auc in (0.8, 0.9):
        app.mlflow.version("m", auc=auc, p99=30.0)
    app.commit(aliases(rotation="off", model="on_drift: adopt, proposals: {auto_merge: true}, "), champion=RULES)
    settle(app)
    app.mlflow.place("m", "champion", 2)
    settle(app)
    return app


def test_drift_is_proposed(adopting: App) -> None:
    """To make git say so; never merged by a setting; merged by a person, git and the registry agree."""
    pull = only(adopting)
    assert (pull.title, says(adopting, pull)["version"]) == ("Adopt v2 as m@champion, from v1", 2)
    assert adopting.hub.threads[1].auto_merge is False
    adopting.hub.merge(pull.number)
    settle(adopting)
    assert (adopting.aliases(), adopting.hub.open) == ({"champion": 2}, [])
    assert adopting.mlflow.writes == [("set_alias", "m", "champion", 1)]


def test_drift_that_goes_back(adopting: App) -> None:
    """Closed; and it was nobody's no."""
    adopting.mlflow.place("m", "champion", 1)
    settle(adopting)
    assert adopting.hub.pulls[1].state is PullRequestState.CLOSED
    adopting.mlflow.place("m", "champion", 2)
    settle(adopting)
    assert only(adopting).number == 2


def test_drift_declined(adopting: App) -> None:
    """It is only reported from then on."""
    adopting.hub.decline(1)
    settle(adopting)
    assert (adopting.hub.open, adopting.aliases()) == ([], {"champion": 2})


def test_a_deletion_by_hand(adopting: App) -> None:
    """Is only reported: git cannot say that nobody is to have it for now."""
    adopting.mlflow.place("m", "champion", None)
    settle(adopting)
    assert adopting.hub.open == []


END = "2026-11-24 12:00 UTC"
RETURNS = "v2 returns, the version that was rolled back"


def words(app: App, number: int) -> list[str]:
    """The comments on overrides, each without its marks."""
    found = [each for each in app.hub.bodies(number) if each.startswith(OVERRIDE_MARK)]
    return ["\n".join(each.splitlines()[2:]) for each in found]


def test_its_pull_request_says_what_serves_and_what_follows_each_answer(protected: App) -> None:
    """Until when v1 serves, and that v2 returns where it is closed or nobody decides; nothing of it changes by itself."""
    number = override(protected)
    settle(protected)
    pull = only(protected)
    for text in (
        f"**v1 serves `m@champion` under an override until {END}.** Git still states v2, which was rolled back.",
        "- **Merged**: git states v1, and nothing moves.",
        f"- **Closed**: the override ends at once, and **{RETURNS}**.",
        f"- **Nobody decides by {END}**: the override ends, and **{RETURNS}**. This stays open, and can still be merged.",
    ):
        assert text in pull.body
    assert (told(pull).override, words(protected, pull.number)) == (number, [])
    protected.time.pass_time(hours=22)
    settle(protected)
    protected.another().propose()
    assert (only(protected).body, words(protected, pull.number)) == (pull.body, [])


@pytest.mark.parametrize(
    ("on_drift", "follows"),
    [
        ("report", "v1 stays, and is shown as drift from v2, which git states (`on_drift: report`)"),
        ("adopt", "v1 stays, and a pull request asks whether git adopts it in place of v2 (`on_drift: adopt`)"),
    ],
)
def test_where_drift_is_not_put_back_nothing_else_is_promised(protected: App, on_drift: str, follows: str) -> None:
    """What the body says of a closing is what comes of it."""
    protected.git.protected = False
    protected.commit(aliases(2, model=f"on_drift: {on_drift}, "))
    protected.git.protected = True
    override(protected)
    settle(protected)
    pull = only(protected)
    assert f"- **Closed**: the override ends at once, and **{follows}**." in pull.body
    protected.hub.decline(pull.number)
    settle(protected)
    assert protected.aliases() == {"champion": 1}
    assert words(protected, pull.number) == [
        f"**The override of `m@champion` to v1 has ended: this was closed unmerged.** So **{follows}**."
    ]


def test_an_hour_before_its_end_a_comment_says_so_once(protected: App) -> None:
    """A new comment, since an edited one notifies nobody; not again by a restart."""
    override(protected)
    settle(protected)
    pull, body = only(protected), only(protected).body
    protected.time.pass_time(hours=23)
    settle(protected)
    settle(protected.another())
    (said,) = words(protected, pull.number)
    assert said.splitlines() == [
        f"**The override of `m@champion` ends at {END}, and nobody has decided.** v1 serves until then.",
        "",
        "- **Merged**: git states v1, and nothing moves.",
        f"- **Closed**: the override ends at once, and **{RETURNS}**.",
        f"- **Nobody does anything**: at {END}, **{RETURNS}**.",
        "",
        "alice can prolong it: `promoter rollback` with the same reason, `--now` and `--for 24h`.",
    ]
    assert only(protected).body == body


def test_after_its_end_the_pull_request_says_what_returned(protected: App) -> None:
    """A comment, once; then a body without the override, which is true again."""
    override(protected)
    settle(protected)
    pull = only(protected)
    protected.time.pass_time(hours=25)
    settle(protected)
    settle(protected.another())
    assert protected.aliases() == {"champion": 2}
    (said,) = words(protected, pull.number)
    assert said.splitlines()[0] == (
        "**The override of `m@champion` to v1 has ended: nobody decided.** So **v2 returns, the version that was rolled back**."
    )
    again = only(protected)
    assert "override" not in again.body
    assert "is to go back to **v1**. It is at v2." in again.body
    assert "- **Closed**: v2 stays.\n- **Nobody decides**: v2 stays, and this stays open.\n" in again.body
    protected.hub.merge(again.number)
    settle(protected)
    assert protected.aliases() == {"champion": 1}


def test_its_end_waits_on_the_pull_request_until_the_ledger_has_it(protected: App) -> None:
    """A look at proposals between the moment of its end and the record of it loses no comment."""
    override(protected)
    settle(protected)
    protected.time.pass_time(hours=25)
    assert protected.propose() is True
    assert (words(protected, only(protected).number), told(only(protected)).override is not None) == ([], True)
    settle(protected)
    assert len(words(protected, only(protected).number)) == 1


def test_a_closed_pull_request_says_that_its_override_is_over(protected: App) -> None:
    """Before the other version returns, and once; a forge that takes no comment keeps nothing back."""
    override(protected)
    settle(protected)
    pull = only(protected)
    protected.hub.decline(pull.number)

    def silent(call: str) -> None:
        if call == "comment":
            raise PermanentError("forge", "the conversation is locked")

    protected.hub.on = silent
    settle(protected)
    assert (protected.aliases(), words(protected, pull.number)) == ({"champion": 2}, [])


def test_another_override_of_the_alias_is_told_on_the_open_pull_request(protected: App) -> None:
    """A later end: the body has it, and a comment, since a changed body notifies nobody."""
    override(protected)
    settle(protected)
    pull = only(protected)
    second = override(protected, until=48)
    settle(protected)
    later = "2026-11-25 12:00 UTC"
    assert only(protected).number == pull.number
    assert later in only(protected).body
    assert END not in only(protected).body
    assert told(only(protected)).override == second
    (said,) = words(protected, pull.number)
    assert said.startswith(f"**v1 serves `m@champion` under an override until {later}**, by alice: {REASON}")


def test_words_of_persons_in_comments_are_only_words(protected: App) -> None:
    """A reason is no HTML, no mention and no mark."""
    hostile = "<!-- promoter:plan --> @acme/risk </details><script>"
    at = protected.time.now()
    for hours in (2, 3):
        protected.ledger.record_override(
            NewAuditRecord(
                at, RecordKind.OVERRIDE, "m", "champion", 2, 1, actor="<b>al", reason=hostile, until=at + timedelta(hours=hours)
            )
        )
        settle(protected)
    texts = [only(protected).body.partition("\n")[2], *words(protected, only(protected).number)]
    assert len(texts) == 2
    for each in texts:
        assert "<script>" not in each
        assert "@acme" not in each
        assert "<!--" not in each


def test_where_a_person_has_the_branch_the_comments_come_all_the_same(protected: App) -> None:
    """What the body says stays as it is, and who reads the pull request still hears of the end."""
    override(protected)
    settle(protected)
    pull = only(protected)
    protected.git.push({"notes.md": b"wait"}, branch=BRANCH)
    protected.time.pass_time(hours=23)
    settle(protected)
    protected.time.pass_time(hours=2)
    settle(protected)
    settle(protected.another())
    first, second = words(protected, pull.number)
    assert ("ends at" in first, "has ended" in second, only(protected).body) == (True, True, pull.body)
    assert protected.aliases() == {"champion": 2}


def test_a_marker_that_names_no_override_of_this_ledger_stops_nothing(protected: App) -> None:
    """The ledger was lost, or somebody wrote a number: the body becomes what is so."""
    override(protected)
    settle(protected)
    pull = only(protected)
    forged = insert_marker(pull.body, replace(told(pull), override=999))
    protected.hub.threads[pull.number].pull = replace(pull, body=forged)
    settle(protected)
    assert told(only(protected)).override != 999


def test_a_rollback_to_another_version_decides_on_no_override(protected: App) -> None:
    """Its body says what it does to the override, and no comment says that a closing ends it."""
    protected.mlflow.version("m", auc=0.7, p99=30.0, live=0.9)
    override(protected)
    settle(protected)
    further = replace(BACK, edit=replace(BACK.edit, version=3, quarantine=(1, 2)), goes_past=True)
    opener(protected)(further)
    settle(protected)
    pull = only(protected)
    assert "is to go back to **v3**" in pull.body
    assert f"- **Closed**: git stays as it is, and so does the override: v1 serves until {END}." in pull.body
    protected.time.pass_time(hours=23)
    settle(protected)
    assert words(protected, pull.number) == []
    protected.hub.decline(pull.number)
    settle(protected)
    assert (protected.aliases(), len(protected.ledger.find_open_overrides())) == ({"champion": 1}, 1)
