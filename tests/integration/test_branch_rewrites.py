"""A forced push is an event of the ledger, recorded once: `audit list`, the API and the page show it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from promoter.__main__ import main
from promoter.adapters.git.repository import GitRepository
from promoter.adapters.ledger import SqlLedger
from promoter.container import Container
from promoter.domain.ledger.checkpoints import BranchRewrite
from promoter.settings import Settings
from tests.support.fakes.registry import FakeClock, FakeRegistry
from tests.support.fixtures.git import git
from tests.support.web_site import WebSite

EMPTY = "version: 1\nmodels: {}\n"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Somebody's clone of a bare remote, with two commits on main."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "remote.git"))
    git(tmp_path, "clone", "--quiet", str(tmp_path / "remote.git"), str(tmp_path / "work"))
    git(tmp_path / "work", "symbolic-ref", "HEAD", "refs/heads/main")
    for text in ("a", "b"):
        commit(tmp_path / "work", text)
    return tmp_path / "work"


def commit(folder: Path, text: str) -> str:
    """Commit, and push by force; the new revision."""
    (folder / "registry.yaml").write_text(EMPTY)
    (folder / "note").write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", text)
    git(folder, "push", "--quiet", "--force", "origin", "HEAD:main")
    return git(folder, "rev-parse", "HEAD")


def unrelated(folder: Path, text: str) -> str:
    """Replace the branch by a history of its own."""
    git(folder, "checkout", "--quiet", "--orphan", f"fresh-{text}")
    return commit(folder, text)


def started(tmp_path: Path, mirror: str = "mirror.git") -> Container:
    """A Promoter that starts on that ledger, with that mirror."""
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'promoter.db'}", repo=str(tmp_path / "remote.git"))
    repository = GitRepository(str(tmp_path / "remote.git"), "main", tmp_path / mirror)
    return Container(settings, registry=FakeRegistry(), repository=repository, clock=FakeClock())


def rewrites(container: Container) -> list[tuple[str, str, bool, int | None]]:
    """What the ledger has of them."""
    found = map(BranchRewrite.from_event, container.ledger.find_rewrites())
    return [(each.before, each.after, each.is_unrelated, each.dropped) for each in found]


def test_an_unrelated_history_is_an_event(work: Path, tmp_path: Path) -> None:
    """Once, with what is gone; commits on top of it are none, and the way back is another."""
    container = started(tmp_path)
    before = container.revisions.refresh_head().declaration
    assert before is not None
    assert before.revision is not None
    assert rewrites(container) == []
    after = unrelated(work, "theirs")
    container.revisions.refresh_head()
    assert rewrites(container) == [(before.revision, after, True, 2)]
    commit(work, "more")
    container.revisions.refresh_head()
    assert len(rewrites(container)) == 1
    git(work, "push", "--quiet", "--force", "origin", f"{before.revision}:main")
    container.revisions.refresh_head()
    assert len(rewrites(container)) == 2


def test_a_forced_push_that_is_related(work: Path, tmp_path: Path) -> None:
    """A commit that was taken back counts as gone."""
    container = started(tmp_path)
    before = container.revisions.refresh_head().declaration
    git(work, "reset", "--quiet", "--hard", "HEAD~1")
    after = commit(work, "instead")
    container.revisions.refresh_head()
    assert before is not None
    assert rewrites(container) == [(before.revision, after, False, 1)]


def test_nobody_watched_and_the_mirror_is_lost(work: Path, tmp_path: Path) -> None:
    """The ledger remembers what was in force: a daemon that starts later finds it, and a second daemon records it once."""
    before = started(tmp_path).revisions.refresh_head().declaration
    assert before is not None
    after = unrelated(work, "theirs")
    late, other = started(tmp_path, "fresh.git"), started(tmp_path, "other.git")
    late.revisions.refresh_head()
    other.revisions.refresh_head()
    assert rewrites(late) == [(before.revision, after, True, None)]


def test_a_head_that_is_refused_is_told_once(work: Path, tmp_path: Path) -> None:
    """An unrelated history with faults, and commits on top of it: the last good revision stays, and there is one event."""
    container = started(tmp_path)
    good = container.revisions.refresh_head().declaration
    git(work, "checkout", "--quiet", "--orphan", "broken")
    for text in ("one", "two", "three"):
        (work / "registry.yaml").write_text("models: [\n")
        (work / "note").write_text(text)
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "--message", text)
        git(work, "push", "--quiet", "--force", "origin", "HEAD:main")
        assert container.revisions.refresh_head().refused
    assert container.revisions.declaration_in_force == good
    assert len(rewrites(container)) == 1


def test_it_is_told_everywhere(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`audit list` in each form; not where a filter asks for something else."""
    container = started(tmp_path)
    container.revisions.refresh_head()
    after = unrelated(work, "theirs")
    container.revisions.refresh_head()
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / 'promoter.db'}")
    told = {}
    for words in ((), ("--format", "json"), ("--format", "markdown"), ("--model", "m", "--format", "json")):
        monkeypatch.setattr(sys, "argv", ["promoter", "audit", "list", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main()
        told[words] = capsys.readouterr().out
    assert "the branch was rewritten by an unrelated history" in told[()]
    assert "the branch was rewritten by an unrelated history" in told["--format", "markdown"]
    (event,) = json.loads(told["--format", "json"])["rewrites"]
    assert (event["after"], event["unrelated"], event["dropped"]) == (after, True, 2)
    assert "rewrites" not in json.loads(told["--model", "m", "--format", "json"])


def test_the_page_and_the_api_show_it(web_site: WebSite) -> None:
    """For a week on the page, for ever in the API."""
    from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType

    found = BranchRewrite("a" * 40, "b" * 40, is_unrelated=True, dropped=7)
    web_site.ledger.record_lifecycle_event(
        LifecycleEvent(web_site.clock.now(), LifecycleEventType.REWRITTEN, found.event_facts)
    )
    assert isinstance(web_site.ledger, SqlLedger)
    sentence = "the branch was rewritten by an unrelated history: aaaaaaaaaa became bbbbbbbbbb, 7 commits are gone"
    assert sentence in web_site.ask("/").text
    assert [each["description"] for each in web_site.ask("/api/v1/audit").json["rewrites"]] == [sentence]
