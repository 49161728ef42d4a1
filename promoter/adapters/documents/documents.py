"""The port: a revision's files in, a declaration or every fault out; `registry.yaml` edited by bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache

from promoter.adapters.documents.reading import NEVER, RegistryReading, policy_uses, read_policy, read_registry
from promoter.adapters.documents.splice import edited
from promoter.adapters.documents.wording import meant
from promoter.application.ports import Sources
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Fault, Faults
from promoter.domain.names import policy_name
from promoter.domain.policy import Policy
from promoter.domain.proposal import REGISTRY_FILE, Edit

POLICIES = "policies/"
_NO_REGISTRY = RegistryReading(None, (Fault("the file is missing", REGISTRY_FILE, fix=NEVER),))


class YamlDocuments:
    """Implements `Documents`. Remembers the last few files by their bytes: the daemon reads the same ones again and again."""

    def __init__(self) -> None:
        """Nothing is remembered yet. Safe to share between threads."""
        self._registry = lru_cache(maxsize=2)(read_registry)
        self._policy = lru_cache(maxsize=256)(read_policy)

    def parse(self, sources: Sources, revision: str | None) -> Declaration:
        """The desired state and the policies. Raises `Faults` with every fault of every file."""
        faults = list(_misnamed(sources))
        content = sources.get(REGISTRY_FILE)
        registry = self._registry(content) if content is not None else _NO_REGISTRY
        readings = {name: self._policy(file, name, sources[file]) for file, name in _policy_files(sources)}
        faults += registry.faults
        faults += [fault for reading in readings.values() for fault in reading.faults]
        faults += _missing(registry, content or b"", readings)
        if faults or registry.desired is None:
            raise Faults(faults)
        policies: dict[str, Policy] = {name: reading.policy for name, reading in readings.items() if reading.policy}
        return Declaration(revision, registry.desired, policies)

    def edit(self, content: bytes, edit: Edit) -> bytes:
        """`registry.yaml` with that one value changed and every other byte as it was. Raises `Faults`."""
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
        if ending.lower() not in ("yaml", "yml") or (file.rpartition("/")[0] + "/" != POLICIES and stem != "registry"):
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


def _missing(registry: RegistryReading, content: bytes, known: Collection[str]) -> Iterator[Fault]:
    if registry.desired and all(name in known for _, name in registry.desired.policy_uses()):
        return
    for use in policy_uses(content):
        if use.policy not in known:
            fix = meant(use.policy, known) or f"add {POLICIES}{use.policy}.yaml"
            yield Fault(f"there is no policy `{use.policy}`", REGISTRY_FILE, use.path, use.line, use.column, fix)
