"""Where a change comes from: the pull request behind its commit gates it where a rule asks, and goes into its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from promoter.application.provenance import WALK_LIMIT
from promoter.domain.decision import Verdict
from promoter.domain.errors import TransientError
from promoter.domain.review import ChangeOrigin, PullRequestReview
from tests.support.app import App

REVIEWED = b"""version: 1
rules: [{review: {at_least: 2, from: [alice, bob, acme/risk]}}]
"""
PLAIN = b"version: 1\nrules: [{metric: auc, at_least: 0.1}]\n"
MODEL = "m: {{aliases: {{champion: {{version: {}, policy: p}}}}}}"
Brought = Callable[[str, frozenset[str]], ChangeOrigin | None]


def merged(*by: str, **changed: object) -> ChangeOrigin:
    """A merged pull request of dan's that these accounts approved."""
    given = {
        "authors": frozenset({"dan"}),
        "merged": True,
        "merge_commit": "c" * 40,
        "merged_by": "erin",
        "teams": {"acme/risk": frozenset({"carol"})},
    }
    reviews = tuple(PullRequestReview(name) for name in by)
    return ChangeOrigin(12, "https://forge.example/12", "dan", reviews=reviews, **{**given, **changed})  # type: ignore[arg-type]


@pytest.fixture
def told(app: App, monkeypatch: pytest.MonkeyPatch) -> Callable[[Brought], list[tuple[str, frozenset[str]]]]:
    """Makes the forge answer so of every commit; what it is asked is listed."""

    def tell(brought: Brought) -> list[tuple[str, frozenset[str]]]:
        asked: list[tuple[str, frozenset[str]]] = []

        def answer(revision: str, teams: frozenset[str] = frozenset()) -> ChangeOrigin | None:
            asked.append((revision, teams))
            return brought(revision, teams)

        monkeypatch.setattr(app.hub, "find_commit_origin", answer)
        return asked

    return tell


@pytest.fixture
def gated(app: App) -> App:
    """Two versions; git says the first, and the registry has it."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.mlflow.place("m", "champion", 1)
    app.commit(MODEL.format(1), p=REVIEWED)
    app.converge()
    return app


def champion(app: App) -> int:
    """Where it is, once all is quiet."""
    app.converge()
    return app.aliases()["champion"]


def test_two_reviews_let_the_change_through(gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]) -> None:
    """They are those of the pull request that brought the commit, and its record names all who had a part in it."""
    asked = told(lambda *_: merged("alice", "carol"))
    revision = gated.commit(MODEL.format(2))
    assert champion(gated) == 2
    assert set(asked) == {(revision, frozenset({"acme/risk"}))}
    review = {
        "pull_request": "https://forge.example/12",
        "number": 12,
        "author": "dan",
        "reviewers": ["alice", "carol"],
        "merged_by": "erin",
        "merge_commit": "c" * 40,
    }
    closed = gated.records()[-1].fact
    assert (closed.revision, closed.cause, closed.review) == (revision, "commit", review)


@pytest.mark.parametrize(
    ("brought", "verdict"),
    [
        (merged("alice", "dan", "stranger"), Verdict.FAIL),
        (merged("alice", "bob", authors=frozenset({"dan", "bob"})), Verdict.FAIL),
        (None, Verdict.FAIL),
        (TransientError("Forge", "does not answer"), Verdict.ERROR),
    ],
    ids=["too few", "an author's own", "pushed", "forge down"],
)
def test_anything_else_blocks_it(
    gated: App,
    told: Callable[[Brought], list[tuple[str, frozenset[str]]]],
    brought: ChangeOrigin | Exception | None,
    verdict: Verdict,
) -> None:
    """And is told; a forge that answers again lets it through."""

    def answer(*_: object) -> ChangeOrigin | None:
        if isinstance(brought, Exception):
            raise brought
        return brought

    told(answer)
    gated.commit(MODEL.format(2))
    assert champion(gated) == 1
    (change,) = gated.model_reconciler.plan_all().plan.changes  # type: ignore[union-attr]
    assert change.gate_verdict is verdict
    told(lambda *_: merged("alice", "bob"))
    gated.time.pass_time(minutes=1)
    assert champion(gated) == 2


def test_without_a_forge_a_review_cannot_be_read(gated: App) -> None:
    """Fail closed, with what to set."""
    gated.forge = None
    gated.commit(MODEL.format(2))
    again = gated.another()
    again.forge = None
    assert champion(again) == 1
    (change,) = again.model_reconciler.plan_all().plan.changes  # type: ignore[union-attr]
    assert "PROMOTER_FORGE" in str(change.decision.findings)  # type: ignore[union-attr]


def test_no_rule_no_wait(gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]) -> None:
    """The record asks who brought the change; a forge that does not answer is asked once, and stops nothing."""

    def down(*_: object) -> ChangeOrigin | None:
        raise TransientError("Forge", "does not answer")

    asked = told(down)
    revision = gated.commit(MODEL.format(2), p=PLAIN)
    assert champion(gated) == 2
    assert asked == [(revision, frozenset())]
    assert gated.records()[-1].fact.review is None


def test_drift_is_nobodys_pull_request(gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]) -> None:
    """What git has said all along needs no review again."""
    asked = told(lambda *_: merged("alice", "bob"))
    gated.mlflow.place("m", "champion", 2)
    assert champion(gated) == 1
    assert asked == []
    assert gated.records()[-1].fact.review is None


def test_the_commit_that_brought_it_is_the_one_that_is_asked_about(
    gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]
) -> None:
    """Not a later one, whoever reviewed that."""
    asked = told(lambda *_: None)
    revision = gated.commit(MODEL.format(2))
    follow(gated, 1)
    assert champion(gated) == 1
    assert {each for each, _ in asked} == {revision}


def test_a_commit_that_cannot_be_read_hides_nothing(
    gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]
) -> None:
    """Pushed unreviewed and broken, then mended by a reviewed pull request: whoever mended it did not bring the change."""
    asked = told(lambda *_: merged("alice", "bob"))
    text = f"version: 1\nmodels:\n  {MODEL.format(2)}\n".encode()
    gated.git.push({"registry.yaml": text + b"surprise: 1\n"}, "Eve moves it")
    gated.git.push({"registry.yaml": text}, "Mend the file (#7)")
    assert champion(gated) == 1
    assert asked == []
    (change,) = gated.model_reconciler.plan_all().plan.changes  # type: ignore[union-attr]
    assert change.gate_verdict is Verdict.ERROR


def test_a_broken_file_in_between_changes_nothing(
    gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]
) -> None:
    """What said so before it, and says so after it, was brought before it."""
    asked = told(lambda *_: None)
    revision = gated.commit(MODEL.format(2))
    good = gated.git.read_sources(revision)["registry.yaml"]
    gated.git.push({"registry.yaml": good + b"surprise: 1\n"})
    gated.git.push({"registry.yaml": good})
    assert champion(gated) == 1
    assert {each for each, _ in asked} == {revision}


def follow(app: App, count: int) -> str:
    """So many commits that say nothing of the alias; the last of them."""
    for number in range(count):
        app.git.push({"registry.yaml": app.git.read_sources(app.git.head)["registry.yaml"] + b"# %d\n" % number})
    return app.git.head


def test_an_alias_that_was_never_agreed_on_has_its_own_commit_too(
    gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]
) -> None:
    """Nor does a later review vouch for what git never said of it before; and once that was said anew, it counts."""
    pushed = gated.commit("m: {aliases: {champion: 1, next: {version: 2, policy: p}}}")
    asked = told(lambda revision, _teams: None if revision == pushed else merged("alice", "bob"))
    follow(gated, 2)
    gated.converge()
    assert gated.aliases() == {"champion": 1}
    assert {each for each, _ in asked} == {pushed}
    gated.commit("m: {aliases: {champion: 1}}")
    gated.commit("m: {aliases: {champion: 1, next: {version: 2, policy: p}}}", subject="Reviewed")
    gated.converge()
    assert gated.aliases() == {"champion": 1, "next": 2}


@pytest.mark.parametrize("agreed", [True, False])
def test_beyond_the_commits_that_are_read_nobody_is_named(
    gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]], agreed: bool
) -> None:
    """Whoever came after so many others answers for nothing but his own."""
    asked = told(lambda *_: merged("alice", "bob"))
    alias = "champion" if agreed else "next"
    others = "" if agreed else "champion: 1, "
    gated.commit(f"m: {{aliases: {{{others}{alias}: {{version: 2, policy: p}}}}}}")
    follow(gated, WALK_LIMIT)
    gated.converge()
    assert (gated.aliases(), asked) == ({"champion": 1}, [])
    (change,) = gated.model_reconciler.plan_all().plan.changes  # type: ignore[union-attr]
    assert "state it anew" in str(change.decision.findings)  # type: ignore[union-attr]


def test_a_record_names_who_brought_a_change_that_had_to_wait(
    gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]
) -> None:
    """Not who came after, when at last it may."""
    told(lambda *_: None)
    revision = gated.commit(MODEL.format(2))
    gated.converge()
    follow(gated, 1)
    gated.converge()
    told(lambda *_: merged("alice", "bob"))
    gated.time.pass_time(minutes=1)
    assert champion(gated) == 2
    assert gated.records()[-1].fact.revision == revision


def test_many_changes_read_the_commits_before_them_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit moves them all, others followed before anybody looked, and each change has to be told from those."""
    names = [f"m{number}" for number in range(6)]
    for name in names:
        app.mlflow.version(name, auc=0.8)
        app.mlflow.place(name, "champion", 1)
        app.mlflow.version(name, auc=0.9)
    app.commit("".join(f"{name}: {{aliases: {{champion: 1}}}}\n" for name in names))
    app.converge()
    moving = app.commit("".join(f"{name}: {{aliases: {{champion: 2}}}}\n" for name in names))
    follow(app, 3)
    read: list[str] = []
    usual = app.git.read_sources

    def noted(revision: str) -> Mapping[str, bytes]:
        read.append(revision)
        return usual(revision)

    monkeypatch.setattr(app.git, "read_sources", noted)
    app.converge()
    assert [app.records(name)[-1].fact.revision for name in names] == [moving] * 6
    assert read.count(moving) <= 2, "once for all changes, and once for what is reported of the commit"


def test_a_silent_forge_is_left_alone_for_a_while(
    gated: App, told: Callable[[Brought], list[tuple[str, frozenset[str]]]]
) -> None:
    """Many changes do not wait for it one after the other; soon it is asked again."""
    outage: list[Exception] = [TransientError("Forge", "does not answer")]

    def answer(*_: object) -> ChangeOrigin | None:
        for error in outage:
            raise error
        return merged("alice", "bob")

    asked = told(answer)
    gated.commit("m: {aliases: {champion: {version: 2, policy: p}, next: {version: 2, policy: p}}}")
    gated.converge()
    gated.commit("m: {aliases: {champion: {version: 2, policy: p}, next: {version: 1, policy: p}}}")
    gated.converge()
    assert (len(asked), gated.aliases()) == (1, {"champion": 1})
    outage.clear()
    gated.time.pass_time(minutes=1)
    gated.converge()
    assert gated.aliases() == {"champion": 2, "next": 1}
