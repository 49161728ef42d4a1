"""The keyed queue: one run of a key at a time, none lost, none stopped by another."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from promoter.adapters import work_queue
from promoter.adapters.work_queue import FIRST_DELAY, LAST_DELAY, KeyedWorkQueue, WorkerLimits, WorkLanes, compute_backoff_delay

LONG = 20.0


class QueueBench:
    """Work that waits at a gate for each key, and notes what it was given."""

    def __init__(self) -> None:
        """Every gate is closed."""
        self.runs: list[tuple[str, str]] = []
        self.begun = threading.Semaphore(0)
        self.gates: dict[str, threading.Semaphore] = {}
        self.answers: dict[str, list[float | None]] = {}

    def work(self, key: str, trigger: str) -> float | None:
        """Note, wait, and give the next answer that was prepared for the key."""
        self.runs.append((key, trigger))
        self.begun.release()
        assert self.gate(key).acquire(timeout=LONG)
        answers = self.answers.get(key)
        return answers.pop(0) if answers else None

    def gate(self, key: str) -> threading.Semaphore:
        """One release lets one run of the key end."""
        return self.gates.setdefault(key, threading.Semaphore(0))

    def await_runs(self, count: int) -> None:
        """Until so many more runs have begun."""
        for _ in range(count):
            assert self.begun.acquire(timeout=LONG)


Work = Callable[[str, str], float | None]
Start = Callable[..., KeyedWorkQueue[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts queues, and stops them."""
    queues: list[KeyedWorkQueue[str]] = []

    def started(work: Work, workers: int | WorkerLimits = 4) -> KeyedWorkQueue[str]:
        queues.append(KeyedWorkQueue())
        queues[-1].start_workers(work, workers)
        return queues[-1]

    yield started
    for queue in queues:
        queue.stop_workers()


@pytest.fixture
def bench() -> Iterator[QueueBench]:
    """Opened wide at the end, so that no thread is left waiting."""
    made = QueueBench()
    yield made
    for gate in made.gates.values():
        gate.release(1_000)


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, for as long as a loaded machine may take."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_duplicates_coalesce_while_they_wait(bench: QueueBench) -> None:
    """Five events before the first run are one run, with the first trigger."""
    queue: KeyedWorkQueue[str] = KeyedWorkQueue()
    for trigger in ("first", "second", "third", "fourth", "fifth"):
        queue.enqueue("a", trigger)
    assert queue.queue_depth == 1
    bench.gate("a").release(10)
    queue.start_workers(bench.work, 4)
    bench.await_runs(1)
    until(queue.is_idle)
    assert bench.runs == [("a", "first")]
    assert queue.stop_workers()


def test_events_during_a_run_cause_exactly_one_more(start: Start, bench: QueueBench) -> None:
    """However many they are; and one during that one, one more again."""
    queue = start(bench.work)
    queue.enqueue("a", "start")
    bench.await_runs(1)
    for trigger in ("second", "third", "fourth"):
        queue.enqueue("a", trigger)
    assert queue.queue_depth == 2
    bench.gate("a").release()
    bench.await_runs(1)
    queue.enqueue("a", "last")
    bench.gate("a").release(2)
    bench.await_runs(1)
    until(queue.is_idle)
    assert bench.runs == [("a", "start"), ("a", "second"), ("a", "last")]


def test_keys_run_beside_each_other(start: Start, bench: QueueBench) -> None:
    """A long run of one key holds up no other, up to the number of workers; the next in line waits its turn."""
    queue = start(bench.work, workers=3)
    for key in ("a", "b", "c", "d"):
        queue.enqueue(key, "t")
    bench.await_runs(3)
    assert queue.queue_depth == 4
    assert sorted(key for key, _ in bench.runs) == ["a", "b", "c"]
    bench.gate("b").release()
    bench.await_runs(1)
    assert bench.runs[-1] == ("d", "t")


def test_two_runs_of_a_key_never_overlap(start: Start) -> None:
    """Eight threads put 500 events each over ten keys: no overlap, no event without a run that began after it."""
    keys = [f"key-{number}" for number in range(10)]
    running: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    overlaps: list[str] = []
    lock = threading.Lock()
    last_put: dict[str, int] = dict.fromkeys(keys, 0)
    seen: dict[str, int] = dict.fromkeys(keys, 0)

    def work(key: str, _trigger: str) -> None:
        with lock:
            running[key] += 1
            runs[key] += 1
            if running[key] > 1:
                overlaps.append(key)
            seen[key] = last_put[key]
        time.sleep(0.0002)
        with lock:
            running[key] -= 1

    queue = start(work, workers=6)

    def hammer(thread: int) -> None:
        for number in range(500):
            key = keys[(number * (thread + 3)) % len(keys)]
            with lock:
                last_put[key] += 1
            queue.enqueue(key, "hammer", 0.001 if number % 50 == 49 else 0.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hammer, range(8)))
    until(lambda: queue.is_idle() and not queue._due)
    assert not overlaps
    assert sum(last_put.values()) == 4_000
    assert seen == last_put
    assert all(1 <= runs[key] <= last_put[key] for key in keys)
    assert sum(runs.values()) < 4_000


def test_a_key_that_raises_stops_no_other_and_is_tried_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a single worker even: the poisoned key is told, the others run, and it is looked at again later."""
    monkeypatch.setattr(work_queue, "LAST_DELAY", 0.01)
    calls: Counter[str] = Counter()

    def work(key: str, _trigger: str) -> None:
        calls[key] += 1
        if key == "poison":
            raise RuntimeError("no good")

    with structlog.testing.capture_logs() as lines:
        queue = start(work, workers=1)
        queue.enqueue("poison", "t")
        for number in range(20):
            queue.enqueue(f"key-{number}", "t")
        until(lambda: calls["poison"] >= 3)
        assert queue.stop_workers()
    assert all(calls[f"key-{number}"] == 1 for number in range(20))
    assert {line["key"] for line in lines} == {"poison"}


def test_a_key_is_looked_at_again_after_the_delay_it_asks_for(start: Start, bench: QueueBench) -> None:
    """With its own trigger; while it waits for its date, nothing counts as waiting."""
    bench.answers["a"] = [0.01, None]
    queue = start(bench.work)
    queue.enqueue("a", "poll")
    bench.gate("a").release(2)
    bench.await_runs(2)
    until(queue.is_idle)
    assert bench.runs == [("a", "poll"), ("a", "poll")]


def test_delays_coalesce_to_one_date(start: Start, bench: QueueBench) -> None:
    """The date that was said last stands."""
    queue = start(bench.work)
    bench.gate("a").release(10)
    for delay in (0.01, 300.0, 0.03, 0.02):
        queue.enqueue("a", f"in {delay} s", delay)
    assert queue.is_idle()
    bench.await_runs(1)
    until(lambda: queue.is_idle() and not queue._due)
    queue.enqueue("b", "marks the end")
    bench.gate("b").release()
    bench.await_runs(1)
    assert bench.runs == [("a", "in 0.02 s"), ("b", "marks the end")]


def test_an_event_overtakes_a_delay(start: Start, bench: QueueBench) -> None:
    """A key that waits for its next try is looked at at once, and not again for the old date."""
    queue = start(bench.work)
    bench.gate("a").release(10)
    queue.enqueue("a", "later", 0.05)
    queue.enqueue("a", "now")
    bench.await_runs(1)
    until(queue.is_idle)
    assert not queue._due
    assert bench.runs == [("a", "now")]


def test_a_delay_that_ends_during_a_run_waits_for_its_end(start: Start, bench: QueueBench) -> None:
    """A date is an event like any other: one more run, after this one."""
    queue = start(bench.work)
    queue.enqueue("a", "now")
    bench.await_runs(1)
    queue.enqueue("a", "date", 0.001)
    until(lambda: "a" in queue._again or not queue._later)
    assert bench.runs == [("a", "now")]
    bench.gate("a").release(2)
    bench.await_runs(1)
    assert bench.runs == [("a", "now"), ("a", "date")]


def test_dates_are_kept_while_a_key_that_was_due_runs(start: Start, bench: QueueBench) -> None:
    """Whoever watched the clock is busy with the first key: another worker takes over, for each further date."""
    queue = start(bench.work)
    for number, key in enumerate(("a", "b", "c")):
        queue.enqueue(key, "date", 0.01 + number * 0.01)
    bench.await_runs(3)
    assert [key for key, _ in bench.runs] == ["a", "b", "c"]


def test_keys_that_are_due_at_once_run_beside_each_other(start: Start, bench: QueueBench) -> None:
    """One worker wakes up for the date; the others are woken by it."""
    queue = start(bench.work)
    with queue._condition:
        for key in ("a", "b", "c", "d"):
            queue.enqueue(key, "date", 0.01)
    bench.await_runs(4)


LIMITS = WorkerLimits(2, reserved=1, spare=3, hanging=1, patience=0.05)


def run_quickly(queue: KeyedWorkQueue[str], bench: QueueBench, *keys: str) -> None:
    """Let each of these keys run once, and end at once."""
    for key in keys:
        bench.gate(key).release()
        queue.enqueue(key, "quick")
    bench.await_runs(len(keys))
    until(queue.is_idle)


def test_runs_that_take_long_give_their_place_away(start: Start, bench: QueueBench) -> None:
    """One place for unknown keys, and three runs beside it: four that hang do not keep the fifth waiting until the end."""
    queue = start(bench.work, WorkerLimits(2, reserved=1, spare=4, patience=0.05))
    for key in ("a", "b", "c", "d", "free"):
        queue.enqueue(key, "t")
    bench.await_runs(5)
    assert [key for key, _ in bench.runs] == ["a", "b", "c", "d", "free"]


def test_keys_that_hang_never_take_the_place_of_one_that_was_quick(start: Start, bench: QueueBench) -> None:
    """However many they are: each place and each spare thread that they may have is taken, and the quick key still runs."""
    queue = start(bench.work, LIMITS)
    run_quickly(queue, bench, "quick")
    for number in range(20):
        queue.enqueue(f"stuck-{number}", "t")
    bench.await_runs(4)  # one place, and three beside it
    bench.gate("quick").release()
    queue.enqueue("quick", "t")
    bench.await_runs(1)
    assert bench.runs[-1] == ("quick", "t")
    until(lambda: "quick" not in queue._running)
    assert len(queue._running) == 4


def test_keys_that_hung_before_run_one_at_a_time_and_others_at_once(start: Start, bench: QueueBench) -> None:
    """They failed after a long time: their next runs share one thread, and a success makes them ordinary again."""
    queue = start(bench.work, LIMITS)
    for key in ("a", "b", "c"):
        bench.answers[key] = [300.0]
        queue.enqueue(key, "first")
    bench.await_runs(3)
    time.sleep(LIMITS.patience)
    for key in ("a", "b", "c"):
        bench.gate(key).release()
    until(queue.is_idle)
    for key in ("a", "b", "c"):
        queue.enqueue(key, "second")
    bench.await_runs(1)
    for number in range(5):
        run_key = f"other-{number}"
        bench.gate(run_key).release()
        queue.enqueue(run_key, "t")
        bench.await_runs(1)
    assert sum(trigger == "second" for _, trigger in bench.runs) == 1
    for key in ("a", "b", "c"):
        bench.gate(key).release()
    bench.await_runs(2)
    until(queue.is_idle)
    assert not [key for key, kind in queue._class.items() if kind.name == "HANGING"]


def test_a_key_that_runs_beside_the_places_still_runs_once_at_a_time(start: Start, bench: QueueBench) -> None:
    """Events during a run that takes long cause exactly one more, as during any other."""
    queue = start(bench.work, LIMITS)
    queue.enqueue("a", "first")
    bench.await_runs(1)
    time.sleep(LIMITS.patience)
    for trigger in ("second", "third"):
        queue.enqueue("a", trigger)
    queue.enqueue("b", "t")
    bench.await_runs(1)
    assert bench.runs == [("a", "first"), ("b", "t")]
    bench.gate("a").release(5)
    bench.await_runs(1)
    until(lambda: "a" not in queue._running)
    assert bench.runs == [("a", "first"), ("b", "t"), ("a", "second")]


def test_kinds_of_work_do_not_wait_for_each_other(bench: QueueBench) -> None:
    """The only worker of one kind hangs, and the other kind goes on; each kind is counted for itself."""
    lanes = WorkLanes[str](lambda key: key.partition(":")[0], {"poll": WorkerLimits(1), "model": WorkerLimits(1)})
    lanes.start_workers(bench.work)
    lanes.enqueue("poll:git", "t")
    bench.await_runs(1)
    lanes.enqueue("poll:all", "t")
    bench.gate("model:a").release()
    lanes.enqueue("model:a", "t")
    bench.await_runs(1)
    until(lambda: lanes.queue_depths == {"poll": 2, "model": 0})
    assert bench.runs == [("poll:git", "t"), ("model:a", "t")]
    assert not lanes.stop_workers(0.01)
    bench.gate("poll:git").release()
    assert lanes.stop_workers()


def test_stop_lets_the_running_key_finish_and_drops_the_rest(start: Start, bench: QueueBench) -> None:
    """A write that has begun is recorded; what waits is found again at the next start."""
    queue = start(bench.work, workers=1)
    queue.enqueue("a", "t")
    queue.enqueue("b", "t")
    queue.enqueue("c", "t", 0.001)
    bench.await_runs(1)
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(queue.stop_workers)
        until(lambda: queue._stopping)
        assert not stopping.done()
        bench.gate("a").release()
        assert stopping.result(LONG)
    assert bench.runs == [("a", "t")]


def test_stop_tells_when_a_run_does_not_end(start: Start, bench: QueueBench) -> None:
    """It waits for its timeout, and says that not all finished."""
    queue = start(bench.work)
    queue.enqueue("a", "t")
    bench.await_runs(1)
    assert not queue.stop_workers(timeout=0.01)


def test_a_queue_that_never_started_stops() -> None:
    """As when the daemon fails between making it and starting it."""
    assert KeyedWorkQueue[str]().stop_workers()


def test_backoff_doubles_up_to_its_limit() -> None:
    """Each with a random quarter more or less, and no overflow after a year of failures."""
    for failures, expected in ((1, FIRST_DELAY), (2, 1.0), (3, 2.0), (6, 16.0), (7, LAST_DELAY), (10_000, LAST_DELAY)):
        drawn = [compute_backoff_delay(failures) for _ in range(200)]
        assert expected * 0.75 <= min(drawn) < expected < max(drawn) <= expected * 1.25
