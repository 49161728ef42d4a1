"""What a poll costs of the forge's calls: about one, however much is open; and that what is written is read again before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.application.comments import LEFT_ALONE
from promoter.application.controller import Controller
from promoter.application.markdown.pull_plan import COMMENT_MARKER
from promoter.application.ports import CommitStatus, PullRequestState
from promoter.application.work_items import GIT, PULLS, REGISTRY, RESULTS, WorkItem, WorkKind
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.commit_status import CommitStatusState
from tests.support.app import App
from tests.support.proposals import BRANCH, RULES, aliases, only, propose, told

MANY = 5
PROPOSALS = WorkItem(WorkKind.PROPOSALS, "m")
ROW = "{name}: {{aliases: {{champion: {{version: 1, policy: champion, rotation: pull-request}}}}}}"


class Poller:
    """A daemon that stays: it polls, and does all that follows."""

    def __init__(self, app: App) -> None:
        """Started, and at rest."""
        self.app = app
        self.watch: Controller = app.build_controller(float)

    def poll(self, *items: WorkItem) -> list[tuple[object, ...]]:
        """The calls to the forge that polling once makes."""
        calls = self.app.hub.calls
        calls.clear()
        self.app.run_all(self.watch, "poll", *(items or (GIT, REGISTRY, PULLS)))
        assert self.watch.health.current_problems == {}
        return list(calls)


@pytest.fixture
def poller(app: App) -> Iterator[Poller]:
    """Five proposals of Promoter's, one that a person committed to, five changes of people's; all is said on them."""
    names = [f"m{number}" for number in range(MANY)]
    for name in names:
        for auc in (0.8, 0.9):
            app.mlflow.version(name, auc=auc, p99=30.0, live=0.9)
        app.mlflow.place(name, "champion", 1)
    app.commit("\n".join(ROW.format(name=name) for name in names), champion=RULES)
    made = Poller(app)
    made.poll()
    app.time.pass_time(minutes=2)  # by then the forge knows what brought a commit, and it is asked no more
    app.git.push({"notes.md": b"wait"}, branch="promoter/m0/champion")
    for number in range(MANY):
        app.git.push({f"{number}.md": b"x", "policies/champion.yaml": RULES + b"# %d\n" % number}, branch=f"change-{number}")
        app.hub.opened(f"change-{number}")
    made.poll()
    yield made
    app.close()


def test_a_quiet_poll(poller: Poller) -> None:
    """One list of what is open serves all of it: nobody's proposals and nobody's plans are read again."""
    assert len(poller.app.hub.open) == 2 * MANY
    for _ in range(3):
        poller.app.time.pass_time(minutes=1)
        assert poller.poll() == [("open_pull_requests",)]


def test_after_ten_minutes(poller: Poller) -> None:
    """What somebody else took away is put back; and then it is quiet again."""
    hub = poller.app.hub
    number = next(each.number for each in hub.open if each.branch == "change-1")
    hub.statuses[hub.pulls[number].head] = CommitStatus(CommitStatusState.FAILURE, "no")
    hub.threads[number].remarks.clear()
    poller.app.time.pass_time(minutes=9, seconds=59)
    assert poller.poll() == [("open_pull_requests",)]
    poller.app.time.pass_time(seconds=1)
    poller.poll()
    assert hub.statuses[hub.pulls[number].head].state is CommitStatusState.SUCCESS
    assert hub.bodies(number)[0].startswith(COMMENT_MARKER)
    assert poller.poll() == [("open_pull_requests",)]


def test_an_event_reads_all(poller: Poller) -> None:
    """What a webhook asks for is not a poll: whatever is missing there is put back at once."""
    hub = poller.app.hub
    number = next(each.number for each in hub.open if each.branch == "change-1")
    hub.threads[number].remarks.clear()
    poller.poll(WorkItem(WorkKind.PULL, str(number)))
    assert hub.bodies(number)[0].startswith(COMMENT_MARKER)


def test_news_are_said_at_once(poller: Poller) -> None:
    """A push to one branch, and a better candidate of one model: each is told by the same poll; the others stay quiet."""
    app = poller.app
    app.git.push({"policies/champion.yaml": b"version: 2\n"}, branch="change-1")
    app.mlflow.version("m1", auc=0.95, p99=30.0, live=0.9)
    calls = poller.poll()
    number = next(each.number for each in app.hub.open if each.branch == "change-1")
    assert app.hub.statuses[app.hub.pulls[number].head].state is CommitStatusState.FAILURE
    assert next(told(each).version for each in app.hub.open if each.branch == "promoter/m1/champion") == 3
    touched = {call[1] for call in calls if call[0] in ("comment", "edit_comment", "revise", "pull_request")}
    proposal = next(each.number for each in app.hub.open if each.branch == "promoter/m1/champion")
    assert touched == {number, proposal}
    poller.poll()
    assert poller.poll() == [("open_pull_requests",)]


def test_closed_since_it_was_listed(poller: Poller) -> None:
    """Its state is read again before anything is said on it."""
    hub = poller.app.hub
    pull = next(each for each in hub.open if each.branch == "change-1")
    poller.app.git.push({"policies/champion.yaml": b"version: 2\n"}, branch="change-1")
    poller.watch.run_work_item(PULLS, "poll")
    hub.decline(pull.number)
    before = list(hub.writes)
    poller.watch.run_work_item(WorkItem(WorkKind.PULL, str(pull.number)), "poll")
    assert hub.writes == before


def test_a_note_on_what_was_closed_since(app: App) -> None:
    """Where a person committed to the branch and closed its pull request, no note is written there any more."""
    propose(app, 0.8, 0.9)
    number = only(app).number
    watch = app.build_controller(float)
    app.git.push({"notes.md": b"wait"}, branch=BRANCH)
    watch.run_work_item(PULLS, "poll")
    app.hub.decline(number)
    watch.run_work_item(PROPOSALS, "poll")
    assert not [body for body in app.hub.bodies(number) if LEFT_ALONE in body]


def test_a_branch_that_was_opened_since(app: App) -> None:
    """It is not cleared away as one without a pull request: the forge would close that with it, as if a person said no."""
    propose(app, 0.8, 0.9)
    thread = app.hub.threads[1]
    app.hub.threads.clear()
    watch = app.build_controller(float)
    watch.run_work_item(PULLS, "poll")  # the list has nothing, the remote has a branch
    app.hub.threads[1] = replace(thread)
    app.commit(aliases(2))
    watch.run_work_item(PROPOSALS, "poll")
    assert app.hub.pulls[1].state is PullRequestState.CLOSED
    assert told(app.hub.pulls[1]).withdrawn == "git says v2 already"
    assert [*app.git.heads] == ["main"]


def test_only_the_first_look_goes_by_the_list(app: App) -> None:
    """What comes after it, by a webhook or as it has to begin again, lists anew."""
    propose(app, 0.8, 0.9)
    watch = app.build_controller(float)
    watch.run_work_item(PULLS, "poll")
    app.hub.calls.clear()
    watch.run_work_item(PROPOSALS, "poll")
    assert app.hub.calls == []
    watch.run_work_item(PROPOSALS, "webhook")
    assert app.hub.calls == [("open_pull_requests",)]


def test_the_same_news_are_put_once(app: App) -> None:
    """A survey asks for a look at what it finds anew; what it found before is left to the poll of pull requests."""
    propose(app, 0.8, 0.9)
    app.requested.clear()
    watch = app.build_controller(float)
    watch.run_work_item(REGISTRY, "poll")
    watch.run_work_item(REGISTRY, "poll")
    assert app.asked.count(PROPOSALS) == 1
    app.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)
    watch.run_work_item(REGISTRY, "poll")
    assert app.asked.count(PROPOSALS) == 2
    at = app.time.at
    until = at + timedelta(hours=24)
    for count, version in enumerate((2, 3), 3):
        app.ledger.record_override(
            NewAuditRecord(at, RecordKind.OVERRIDE, "m", "champion", 1, version, actor="ada", reason="bad", until=until)
        )
        watch.run_work_item(REGISTRY, "poll")
        assert app.asked.count(PROPOSALS) == count


def test_what_was_found_before_is_not_forgotten(app: App) -> None:
    """A candidate that is not open yet, as the look at it was refused: each poll of pull requests looks again."""
    for auc in (0.8, 0.9):
        app.mlflow.version("m", auc=auc, p99=30.0, live=0.9)
    app.commit(aliases(), champion=RULES)
    app.look()
    app.requested.clear()
    watch = app.build_controller(float)
    watch.run_work_item(REGISTRY, "poll")
    for _ in range(2):
        watch.run_work_item(PULLS, "poll")
    assert [each for each in app.asked if each != RESULTS] == [PROPOSALS] * 3
    app.hub.calls.clear()
    watch.run_work_item(PROPOSALS, "poll")
    assert [call[0] for call in app.hub.calls] == ["latest_from", "latest_from", "propose"]
