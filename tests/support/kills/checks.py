"""What must hold of a ledger whose Promoter was killed again and again: compared with MLflow, git, and what receivers got."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import yaml

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import AuditRecord, RecordFilter, RecordKind, is_alias_move
from promoter.domain.ledger.chain import GENESIS_HASH, digest_bytes, parse_entry_facts
from promoter.domain.notifications import EventBuilder
from tests.support.kills.workload import Workload, best
from tests.support.remembered import numbers
from tests.support.stage.inboxes import SignedMessage
from tests.support.stage.stage import Stage, assert_one_outcome_each, assert_unbroken

EVERYTHING = 10_000_000
Alias = tuple[str, str]
Moves = Mapping[Alias, Sequence[int | None]]


def told_by_mlflow(letters: Iterable[SignedMessage], models: Collection[str]) -> Moves:
    """Where each alias went, one entry a change, by MLflow's own webhook: each message once, in the order of its times.

    MLflow says so too where an alias is set to where it stands: that is no change.
    """
    news = {letter.id: letter.told for letter in letters if letter.told["entity"] == "model_version_alias"}
    moves: dict[Alias, list[int | None]] = defaultdict(list)
    for each in sorted(news.values(), key=lambda each: str(each["timestamp"])):
        data = each["data"]
        if data["name"] not in models:
            continue
        went = moves[data["name"], data["alias"]]
        version = int(data["version"]) if each["action"] == "created" else None
        if version != (went[-1] if went else None):
            went.append(version)
    return moves


def records_of(ledger: SqlLedger, model: str | None = None) -> list[AuditRecord]:
    """All of them."""
    return list(ledger.find_audit_records(RecordFilter(model=model, limit=EVERYTHING)))


def kept_by(ledger: SqlLedger, models: Collection[str]) -> Moves:
    """Where each alias went, one entry a record that says that it moved."""
    moves: dict[Alias, list[int | None]] = defaultdict(list)
    for model in models:
        for record in records_of(ledger, model):
            if is_alias_move(record):
                moves[model, record.fact.alias].append(record.fact.to_version)
    return moves


def differences(mlflow: Moves, ledger: Moves) -> Iterator[str]:
    """Changes that only one of them knows, and aliases that they know in another order."""
    for key in sorted(mlflow.keys() | ledger.keys()):
        name = "@".join(key)
        theirs, ours = list(mlflow.get(key, ())), list(ledger.get(key, ()))
        missing, surplus = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
        yield from (f"{name} to {version}: {count} times too few in the ledger" for version, count in missing.items())
        yield from (f"{name} to {version}: {count} times too often in the ledger" for version, count in surplus.items())
        if not missing and not surplus and theirs != ours:
            yield f"{name}: the ledger has its moves in another order"


def outcomes(ledger: SqlLedger, models: Collection[str]) -> Iterator[str]:
    """Intents without their one outcome, and moves that do not begin where the one before ended."""
    for model in models:
        records = records_of(ledger, model)
        try:
            assert_one_outcome_each(records)
            for alias in {each.fact.alias for each in records}:
                of_alias = [each for each in records if each.fact.alias == alias and is_alias_move(each)]
                assert_unbroken([(each.fact.from_version, each.fact.to_version) for each in of_alias])
        except AssertionError as error:
            yield f"{model}: {str(error)[:300]}"


def strangers(ledger: SqlLedger, models: Collection[str], by_hand: int) -> Iterator[str]:
    """Moves that the ledger puts down to others: the outsider's, and none of Promoter's own."""
    observed = [each.fact for model in models for each in records_of(ledger, model) if each.fact.kind is RecordKind.OBSERVED]
    yield from (
        f"{each.model}@{each.alias} to {each.to_version}: not by others" for each in observed if each.alias != "touched"
    )
    if len(observed) != by_hand:
        yield f"{by_hand} moves were made by hand, {len(observed)} were observed"


def broken_links(ledger: SqlLedger) -> Iterator[str]:
    """Entries that are not the next behind the one before, or whose hash is not that of their bytes."""
    number, previous = 0, GENESIS_HASH
    for entry in ledger.iterate_entries():
        facts = parse_entry_facts(entry)
        number += 1
        if entry.id != number or facts["id"] != number or facts["table"] != entry.table:
            yield f"entry {entry.id} of {entry.table} is where {number} should be"
        if facts["previous"] != previous or digest_bytes(entry.body) != entry.hash:
            yield f"entry {entry.id} of {entry.table} does not follow the one before"
        number, previous = entry.id, entry.hash


def events_of(ledger: SqlLedger, channel: str) -> set[str]:
    """The ids of all that the channel is to be told, since it began."""
    begun = next(iter(ledger.outbox.read_delivery_attempts(channel, 0)), None)
    if begun is None:
        return set()
    told_as = EventBuilder(ledger.read_chain_head().ledger)
    page = ledger.outbox.read_source_entries(begun.entry, EVERYTHING)
    return {event.id for entry in page.entries for event in told_as.build_events(entry, page.find_context(entry))}


def apart(stage: Stage, ledger: SqlLedger, stream: Workload) -> Iterator[str]:
    """Where git, registry and ledger do not say the same; and rotations that are not at the best version."""
    models = yaml.safe_load(stage.stated())["models"]
    known = numbers(ledger.read_last_known_versions(set(stream.models)))
    for model in stream.models:
        said = {alias: _version(word) for alias, word in models[model]["aliases"].items()}
        stated = {alias: version for alias, version in said.items() if version is not None}
        held = stage.aliases(model)
        recorded = {alias: version for alias, version in known.get(model, {}).items() if version is not None}
        if not stated == held == recorded:
            yield f"{model}: git says {stated}, the registry {held}, the ledger {recorded}"
        if said["champion"] != best(stream.measured[model]):
            yield f"{model}: rotation ended at v{said['champion']}, and v{best(stream.measured[model])} is better"
    yield from (f"intent {each.id} is open" for each in ledger.find_open_intents())


def _version(word: object) -> int | None:
    word = word.get("version") if isinstance(word, dict) else word
    return word if isinstance(word, int) else None
