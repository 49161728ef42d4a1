"""What commits say never changes: answers about them are kept, the newest used ones, within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from cachetools import LRUCache

from promoter.application.ports import GitCommit, MergePreview

Answer = TypeVar("Answer")

CACHE_BYTES = 64 * 2**20
_ANSWER_OVERHEAD_BYTES = 1_000
"""Bytes that any answer takes besides what is counted, roughly."""


class GitAnswerCache:
    """Answers by question. A question names whole object ids, never a ref; what is no answer (a fault, None) is asked again.

    Whether a commit is in the mirror is no such question: it may come, and be dropped once nothing leads to it.

    Not safe to use from several threads at once: its user holds a lock anyway.
    """

    def __init__(self, bound: int = CACHE_BYTES) -> None:
        """`bound` in bytes; an answer that alone is larger is not kept."""
        self._answers: LRUCache[tuple[str, ...], Any] = LRUCache(bound, getsizeof=_estimate_memory)

    def get_or_compute(self, question: tuple[str, ...], compute: Callable[[], Answer]) -> Answer:
        """The answer, which is worked out where it is not known."""
        if question in self._answers:
            return cast("Answer", self._answers[question])
        answer = compute()
        if answer is not None and _estimate_memory(answer) <= self._answers.maxsize:
            self._answers[question] = answer
        return answer


def _estimate_memory(answer: object) -> int:
    """Bytes that it takes in memory, roughly."""
    if isinstance(answer, list):
        return _ANSWER_OVERHEAD_BYTES + sum(map(_estimate_memory, answer))
    if isinstance(answer, MergePreview):
        answer = answer.sources
    elif isinstance(answer, GitCommit):
        answer = {answer.subject: answer.author, **answer.trailers}
    sizes = (len(key) + len(value) for key, value in answer.items()) if isinstance(answer, Mapping) else ()
    return _ANSWER_OVERHEAD_BYTES + sum(sizes)
