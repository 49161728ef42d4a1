"""SIGTERM: what has begun is finished and recorded, and the exit code is 0."""

from __future__ import annotations

import signal

import pytest

from promoter.domain.audit import ChangeOutcome
from tests.support.stage.proxy import Proxy, ProxyFault, alias_writes
from tests.support.stage.stage import Stage, assert_one_outcome_each, until


def test_a_look_that_is_writing(behind: Stage, proxy: Proxy, fresh_name: str) -> None:
    """The write that is under way arrives, is read back and recorded; what had not begun is left for the next start."""
    behind.version(fresh_name, 0.8)
    daemon = behind.daemon(MLFLOW_HTTP_REQUEST_TIMEOUT="20")
    with proxy.broken(ProxyFault.LATE, alias_writes):
        behind.commit(f"{fresh_name}: {{aliases: {{champion: 1}}}}")
        until(lambda: proxy.hits, "a write is under way", told=daemon.log)
        daemon.process.send_signal(signal.SIGTERM)
        until(lambda: daemon.ask("/healthz")[0] == 0, "it takes no more requests", told=daemon.log)
        assert daemon.process.poll() is None, "it did not wait for what it had begun"
    assert daemon.process.wait(20) == 0
    assert behind.aliases(fresh_name) == {"champion": 1}
    records = behind.records(fresh_name)
    assert_one_outcome_each(records)
    assert [each.fact.outcome for each in records][-2:] == [ChangeOutcome.INTENDED, ChangeOutcome.APPLIED]
    assert "Traceback" not in daemon.log()


@pytest.mark.slow
def test_idle(stage: Stage) -> None:
    """A daemon that has nothing to do, not even a repository that can be read, ends at once."""
    daemon = stage.daemon(cold=True)
    daemon.until_trouble("git")
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()
