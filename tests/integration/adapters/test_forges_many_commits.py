"""Pull requests with more commits than GitHub lists: not all of their authors are known, so that no review can count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from promoter.application.provenance import OpenProvenance
from promoter.domain.decision import Verdict
from promoter.domain.desired import Declaration, DesiredState, RegistryDocument
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import Unreadable
from promoter.domain.plan import AliasDifference, ChangeCause
from promoter.domain.policy.rules.base import RuleContext
from promoter.domain.policy.rules.review import ReviewRule
from tests.support.forges.faults import FaultyAnswer
from tests.support.forges.under_test import BRANCH, ForgeUnderTest, hosted


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[ForgeUnderTest]:
    """A scene on GitHub."""
    with hosted("github", tmp_path) as made:
        yield made


def test_more_commits_than_are_listed(forge: ForgeUnderTest) -> None:
    """GitHub lists 250 and says no more: whoever wrote the last one might approve, so that nothing can be decided."""
    made = forge.port.open_pull_request(forge.draft())
    stream = [f"commit refs/heads/{BRANCH}", "committer Bob <bob@example.org> 1790000000 +0000", "data 1", "x"]
    last = [line.replace("Bob", "Ada").replace("bob", "ada") for line in stream]
    forge.home.git.run("fast-import", "--quiet", stdin="\n".join([*stream, f"from {made.head}", *stream * 248, *last, ""]))
    forge.home.review(made.number, "ada", "approved")
    with pytest.raises(PermanentError, match="has 251 commits, and GitHub lists the first 250") as caught:
        forge.port.read_pull_request_origin(made.number)
    assert caught.value.fix == "squash its commits, or bring the change in smaller ones"
    declaration = Declaration(None, DesiredState.from_document(RegistryDocument(version=1, models={})), {})
    provenance = OpenProvenance(lambda teams: forge.port.read_pull_request_origin(made.number, teams))
    found = provenance.find_change_origin(AliasDifference("m", "champion", 1, 2, ChangeCause.COMMIT), declaration, frozenset())
    assert isinstance(found, Unreadable)
    rule = ReviewRule.model_validate({"review": {"at_least": 1}})
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert rule.evaluate(Evidence(now, VersionEvidence(2), origin=found), RuleContext()).verdict is Verdict.ERROR


def test_as_many_commits_as_are_listed(forge: ForgeUnderTest) -> None:
    """With 250 commits all authors are known."""
    made = forge.port.open_pull_request(forge.draft())
    row = forge.face._json.whole_pull_request(forge.home, forge.home.pull(made.number)) | {"commits": 250}
    forge.forge.faults.answer(
        lambda call: call.path.endswith(f"/pulls/{made.number}"), FaultyAnswer(200, json.dumps(row).encode())
    )
    assert forge.port.read_pull_request_origin(made.number).authors == {"promoter-bot"}
