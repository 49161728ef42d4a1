"""The port: a revision's files in, a declaration or every fault out; `registry.yaml` edited by bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice

from promoter.adapters.documents.edits import edited
from promoter.adapters.documents.reading import (
    APPROVERS_FILE,
    NEVER,
    ApproversReading,
    PolicyReading,
    RegistryReading,
    read_approvers,
    read_policy,
    read_registry,
    uses_of_policies,
)
from promoter.adapters.documents.text import FAULT_LIMIT
from promoter.adapters.documents.uses import Use
from promoter.adapters.documents.wording import meant
from promoter.application.ports import Sources
from promoter.domain.approvers import Approvers
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Fault, Faults
from promoter.domain.names import policy_name
from promoter.domain.proposal import REGISTRY_FILE, Edit

POLICIES = "policies/"
_NO_REGISTRY = RegistryReading(None, (Fault("the file is missing", REGISTRY_FILE, fix=NEVER),))
COMPARISON_LIMIT = 10_000
_STEMS = ("registry", "approvers")
_NOBODY = ApproversReading(Approvers(), words=frozenset())


class YamlDocuments:
    """Implements `Documents`. Remembers the last few files by their bytes: the daemon reads the same ones again and again."""

    def __init__(self) -> None:
        """Nothing is remembered yet. Safe to share between threads."""
        self._registry = lru_cache(maxsize=2)(read_registry)
        self._approvers = lru_cache(maxsize=2)(read_approvers)
        self._policy = lru_cache(maxsize=256)(read_policy)

    def parse(self, sources: Sources, revision: str | None) -> Declaration:
        """The desired state and the policies, each with the approvers. Raises `Faults` with every fault of every file.

        No `approvers.yaml` means that nobody may approve.
        """
        faults = list(_misnamed(sources))
        content, people = sources.get(REGISTRY_FILE), sources.get(APPROVERS_FILE)
        registry = self._registry(content) if content is not None else _NO_REGISTRY
        approving = self._approvers(people) if people is not None else _NOBODY
        readings = {name: self._policy(file, name, sources[file]) for file, name in _policy_files(sources)}
        faults += [*registry.faults, *approving.faults]
        faults += [fault for reading in readings.values() for fault in reading.faults]
        faults += _missing_policies(registry, content or b"", readings)
        faults += _missing_approvers(readings, approving.words)
        if faults or registry.desired is None or approving.approvers is None:
            raise Faults(faults)
        approvers, text = approving.approvers, None if people is None else people.decode()
        found = {name: reading.policy for name, reading in readings.items() if reading.policy}
        policies = {name: replace(each, approvers=approvers, approvers_source=text) for name, each in found.items()}
        return Declaration(revision, registry.desired, policies)

    def edit(self, content: bytes, edit: Edit) -> bytes:
        """`registry.yaml` with what the edit asks for, and every other byte as it was. Raises `Faults`."""
        return edited(content, edit)


def _policy_files(sources: Sources) -> Iterator[tuple[str, str]]:
    """The policy files with a name that can be used, in order, and these names."""
    for file in sorted(sources):
        stem = file.removeprefix(POLICIES).removesuffix(".yaml")
        if file == f"{POLICIES}{stem}.yaml" and "/" not in stem and not _name_fault(stem):
            yield file, stem


def _misnamed(sources: Sources) -> Iterator[Fault]:
    """Files that somebody may think are in force and are not, or that not every file system can tell apart."""
    seen: dict[str, str] = {}
    for file in sorted(sources):
        stem, _, ending = file.rpartition(".")
        if ending.lower() not in ("yaml", "yml") or (file.rpartition("/")[0] + "/" != POLICIES and stem not in _STEMS):
            continue
        if ending != "yaml":
            yield Fault("not read because of its ending", file, fix=f"rename it to {stem}.yaml")
        elif stem.startswith(POLICIES) and (fault := _name_fault(stem.removeprefix(POLICIES))):
            yield Fault(fault, file, fix="rename the file")
        if other := seen.get(stem.casefold()):
            yield Fault(f"its name differs from {other} only by case or ending", file, fix="rename or remove one of them")
        seen[stem.casefold()] = file


def _name_fault(name: str) -> str | None:
    try:
        policy_name(name)
    except ValueError as error:
        return str(error)
    return None


def _missing_policies(registry: RegistryReading, content: bytes, known: Collection[str]) -> Iterator[Fault]:
    uses: Iterable[Use] = registry.uses
    if registry.desired and any(name not in known for _, name in registry.desired.policy_uses()):
        uses = uses_of_policies(content)
    return _missing(REGISTRY_FILE, "policy", uses, known, f"add {POLICIES}{{}}.yaml")


def _missing_approvers(readings: Mapping[str, PolicyReading], known: Collection[str] | None) -> Iterator[Fault]:
    for name, reading in readings.items() if known is not None else ():
        file = f"{POLICIES}{name}.yaml"
        yield from _missing(file, "approver or group", reading.approvers, known or (), f"add it to {APPROVERS_FILE}")


def _missing(file: str, what: str, uses: Iterable[Use], known: Collection[str], otherwise: str) -> Iterator[Fault]:
    """Up to a limit. To look for what was meant takes time: that has a limit of its own."""
    compared = 0
    for use in islice((use for use in uses if use.name not in known), FAULT_LIMIT):
        compared += len(known)
        fix = meant(use.name, known) if compared <= COMPARISON_LIMIT else None
        yield Fault(f"there is no {what} `{use.name}`", file, use.path, use.line, use.column, fix or otherwise.format(use.name))
