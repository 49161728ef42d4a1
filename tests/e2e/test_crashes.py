"""Killed with SIGKILL at each boundary of a write: a restart converges, and the ledger accounts for every alias change."""

from __future__ import annotations

import signal

import pytest

from promoter.domain.audit import ChangeOutcome, RecordKind, is_alias_move
from tests.support.driven import DrivenContainer
from tests.support.kills.killed_reconcile import BOUNDARIES
from tests.support.stage.proxy import AliasWrite, Proxy
from tests.support.stage.stage import POLICY, Stage, assert_one_outcome_each, assert_unbroken, converge

ALIASES = """
{model}:
  aliases:
    shadow: {number}
    champion: {{version: {number}, policy: champion, rotation: {rotation}}}
    legacy: {legacy}
"""


def die(stage: Stage, boundary: str, model: str) -> None:
    """Run a look that dies there."""
    done = stage.warm.run("tests.support.kills.killed_reconcile", [boundary, model], stage.folder, stage.environment())
    assert done.returncode == -signal.SIGKILL, done.stderr


def assert_accounted(stage: Stage, proxy: Proxy, model: str) -> None:
    """What Promoter wrote is what the ledger says that it moved, in that order; each intent has one outcome."""
    records = stage.records(model)
    assert_one_outcome_each(records)
    told = [
        AliasWrite(model, each.fact.alias, each.fact.to_version)
        for each in records
        if is_alias_move(each) and each.fact.kind is RecordKind.CHANGE
    ]
    assert told == [write for write in proxy.writes if write.model == model]
    for alias in ("shadow", "champion", "legacy"):
        assert_unbroken(stage.moves(model, alias))


@pytest.mark.slow_except("after-write")
@pytest.mark.parametrize("boundary", [name for name in BOUNDARIES if not name.endswith("push")])
def test_write_boundary(boundary: str, behind: Stage, proxy: Proxy, fresh_name: str) -> None:
    """Whatever was half done is finished once, and recorded once."""
    behind.version(fresh_name, 0.8)
    behind.version(fresh_name, 0.9)
    behind.by_hand(fresh_name, "legacy", 1)
    behind.commit(ALIASES.format(model=fresh_name, number=1, legacy=1, rotation="off"), champion=POLICY)
    converge(DrivenContainer(behind.settings()))
    assert behind.aliases(fresh_name) == {"shadow": 1, "champion": 1, "legacy": 1}
    behind.commit(ALIASES.format(model=fresh_name, number=2, legacy="absent", rotation="off"))

    die(behind, boundary, fresh_name)
    left = behind.aliases(fresh_name)
    assert "champion" in left, "there was a champion, and none is left"
    assert left["champion"] == 1 or left["shadow"] == 2, "the champion went before its support"
    assert left["champion"] == 2 or "legacy" in left, "a delete went before the champion"
    watch = converge(DrivenContainer(behind.settings()))

    assert behind.aliases(fresh_name) == {"shadow": 2, "champion": 2}
    assert not watch.health.current_problems
    assert_accounted(behind, proxy, fresh_name)
    closed_late = [
        each for each in behind.records(fresh_name) if each.fact.outcome in (ChangeOutcome.RECOVERED, ChangeOutcome.FAILED)
    ]
    assert bool(closed_late) == (boundary not in ("before-intent", "after-outcome"))


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["before-push", "after-push"])
def test_push_of_a_rotation(boundary: str, behind: Stage, proxy: Proxy, fresh_name: str) -> None:
    """Before the push nothing has happened; after it the next reconcile finishes the promotion. Never two commits."""
    behind.version(fresh_name, 0.8)
    first = behind.commit(ALIASES.format(model=fresh_name, number=1, legacy="absent", rotation="commit"), champion=POLICY)
    converge(DrivenContainer(behind.settings()))
    behind.version(fresh_name, 0.9)

    die(behind, boundary, fresh_name)
    assert behind.aliases(fresh_name)["champion"] == 1, "rotation moved the alias by itself"
    assert (behind.head() == first) == (boundary == "before-push")
    converge(DrivenContainer(behind.settings()))

    assert behind.aliases(fresh_name) == {"shadow": 1, "champion": 2}
    subjects = behind.git("log", "--format=%s", f"{first}..main").splitlines()
    assert subjects == [f"Rotate {fresh_name}@champion from v1 to v2"]
    assert behind.moves(fresh_name, "champion") == [(None, 1), (1, 2)]
    assert_accounted(behind, proxy, fresh_name)
