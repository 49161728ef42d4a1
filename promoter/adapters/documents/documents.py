"""The port: a revision's files in, a declaration or every fault out; `registry.yaml` edited by bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice

from promoter.adapters.documents.edits import edit_registry
from promoter.adapters.documents.reading import (
    APPROVERS_FILE,
    EMPTY_FILE_FIX,
    ApproversReading,
    PolicyReading,
    RegistryReading,
    read_approvers_file,
    read_policy_file,
    read_registry_file,
    reread_policy_references,
)
from promoter.adapters.documents.text import FAULT_LIMIT
from promoter.adapters.documents.uses import NameReference
from promoter.adapters.documents.wording import suggest_known_name
from promoter.application.ports import Sources
from promoter.domain.approvers import ApproverDirectory
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Fault, Faults
from promoter.domain.names import validate_policy_name
from promoter.domain.proposal import REGISTRY_FILE, RegistryEdit

POLICIES_PREFIX = "policies/"
_NO_REGISTRY = RegistryReading(None, (Fault("the file is missing", REGISTRY_FILE, fix=EMPTY_FILE_FIX),))
COMPARISON_LIMIT = 10_000
_TOP_LEVEL_STEMS = ("registry", "approvers")
_NO_APPROVERS = ApproversReading(ApproverDirectory(), words=frozenset())


class YamlDocuments:
    """Implements `DeclarationDocuments`. Remembers the last few files by their bytes: the daemon reads the same ones again and again."""

    def __init__(self) -> None:
        """Nothing is remembered yet. Safe to share between threads."""
        self._registry = lru_cache(maxsize=2)(read_registry_file)
        self._approvers = lru_cache(maxsize=2)(read_approvers_file)
        self._policy = lru_cache(maxsize=256)(read_policy_file)

    def parse_declaration(self, sources: Sources, revision: str | None) -> Declaration:
        """The desired state and the policies, each with the approvers. Raises `Faults` with every fault of every file.

        No `approvers.yaml` means that nobody may approve.
        """
        faults = list(_find_misnamed_files(sources))
        content, people = sources.get(REGISTRY_FILE), sources.get(APPROVERS_FILE)
        registry = self._registry(content) if content is not None else _NO_REGISTRY
        approving = self._approvers(people) if people is not None else _NO_APPROVERS
        readings = {name: self._policy(file, name, sources[file]) for file, name in _list_policy_files(sources)}
        faults += [*registry.faults, *approving.faults]
        faults += [fault for reading in readings.values() for fault in reading.faults]
        faults += _find_missing_policies(registry, content or b"", readings)
        faults += _find_missing_approvers(readings, approving.words)
        if faults or registry.desired is None or approving.approvers is None:
            raise Faults(faults)
        approvers, text = approving.approvers, None if people is None else people.decode()
        found = {name: reading.policy for name, reading in readings.items() if reading.policy}
        policies = {name: replace(each, approvers=approvers, approvers_source=text) for name, each in found.items()}
        return Declaration(revision, registry.desired, policies)

    def edit_registry_file(self, content: bytes, edit: RegistryEdit) -> bytes:
        """`registry.yaml` with what the edit asks for, and every other byte as it was. Raises `Faults`."""
        return edit_registry(content, edit)


def _list_policy_files(sources: Sources) -> Iterator[tuple[str, str]]:
    """The policy files with a name that can be used, in order, and these names."""
    for file in sorted(sources):
        stem = file.removeprefix(POLICIES_PREFIX).removesuffix(".yaml")
        if file == f"{POLICIES_PREFIX}{stem}.yaml" and "/" not in stem and not _check_policy_name(stem):
            yield file, stem


def _find_misnamed_files(sources: Sources) -> Iterator[Fault]:
    """Files that somebody may think are in force and are not, or that not every file system can tell apart."""
    seen: dict[str, str] = {}
    for file in sorted(sources):
        stem, _, ending = file.rpartition(".")
        if ending.lower() not in ("yaml", "yml") or (
            file.rpartition("/")[0] + "/" != POLICIES_PREFIX and stem not in _TOP_LEVEL_STEMS
        ):
            continue
        if ending != "yaml":
            yield Fault("not read because of its ending", file, fix=f"rename it to {stem}.yaml")
        elif stem.startswith(POLICIES_PREFIX) and (fault := _check_policy_name(stem.removeprefix(POLICIES_PREFIX))):
            yield Fault(fault, file, fix="rename the file")
        if other := seen.get(stem.casefold()):
            yield Fault(f"its name differs from {other} only by case or ending", file, fix="rename or remove one of them")
        seen[stem.casefold()] = file


def _check_policy_name(name: str) -> str | None:
    try:
        validate_policy_name(name)
    except ValueError as error:
        return str(error)
    return None


def _find_missing_policies(registry: RegistryReading, content: bytes, known: Collection[str]) -> Iterator[Fault]:
    uses: Iterable[NameReference] = registry.uses
    if registry.desired and any(name not in known for _, name in registry.desired.list_policy_uses()):
        uses = reread_policy_references(content)
    return _find_missing_names(REGISTRY_FILE, "policy", uses, known, f"add {POLICIES_PREFIX}{{}}.yaml")


def _find_missing_approvers(readings: Mapping[str, PolicyReading], known: Collection[str] | None) -> Iterator[Fault]:
    for name, reading in readings.items() if known is not None else ():
        file = f"{POLICIES_PREFIX}{name}.yaml"
        yield from _find_missing_names(file, "approver or group", reading.approvers, known or (), f"add it to {APPROVERS_FILE}")


def _find_missing_names(
    file: str, what: str, uses: Iterable[NameReference], known: Collection[str], otherwise: str
) -> Iterator[Fault]:
    """Up to a limit. To look for what was meant takes time: that has a limit of its own."""
    compared = 0
    for use in islice((use for use in uses if use.name not in known), FAULT_LIMIT):
        compared += len(known)
        fix = suggest_known_name(use.name, known) if compared <= COMPARISON_LIMIT else None
        yield Fault(f"there is no {what} `{use.name}`", file, use.path, use.line, use.column, fix or otherwise.format(use.name))
