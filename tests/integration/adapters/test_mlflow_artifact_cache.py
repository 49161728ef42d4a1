"""What is kept of what was found out."""

from __future__ import annotations

from promoter.adapters.mlflow.artifacts import ExpiringCache


def test_what_was_not_used_for_longest_is_dropped() -> None:
    """Being read counts as being used."""
    memory: ExpiringCache[str, int] = ExpiringCache(2)
    memory.put("a", 0)
    memory.put("b", 1)
    assert memory.get("a") == 0
    memory.put("c", 2)

    assert {key: memory.get(key) for key in "abc"} == {"a": 0, "b": None, "c": 2}


def test_what_is_kept_for_a_time_is_gone_after_it() -> None:
    """And can be put there again."""
    memory: ExpiringCache[str, int] = ExpiringCache(2)
    memory.put("a", 0, seconds=0)
    assert memory.get("a") is None
    memory.put("a", 1)
    assert memory.get("a") == 1
