"""The port `DeclarationDocuments`: files become a declaration or faults; `registry.yaml` is edited by bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath

from promoter.adapters.yaml.edit import edit_registry
from promoter.adapters.yaml.load import (
    EMPTY_FILE_FIX,
    ApproversReading,
    NameReference,
    PolicyReading,
    RegistryReading,
    read_approvers_file,
    read_policy_file,
    read_registry_file,
    reread_policy_references,
)
from promoter.adapters.yaml.tree import FAULT_LIMIT
from promoter.application.ports import Sources, UnusableFile
from promoter.domain.approvals import ApproverDirectory
from promoter.domain.desired import Declaration
from promoter.domain.errors import Fault, Faults
from promoter.domain.fields import validate_policy_name
from promoter.domain.folder import APPROVERS_FILE, POLICIES_FOLDER, REGISTRY_FILE, TOP_FOLDER, RepositoryFolder
from promoter.domain.proposal import RegistryEdit
from promoter.domain.text import suggest_known_name

POLICIES_PREFIX = f"{POLICIES_FOLDER}/"
_LFS_BEGINNINGS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_LFS_POINTER = UnusableFile(
    "is a pointer of git LFS, and not the file that it stands for",
    "keep it out of LFS: `git lfs untrack` its pattern, and commit the file itself",
)
_NO_REGISTRY = RegistryReading(None, (Fault("the file is missing", REGISTRY_FILE, fix=EMPTY_FILE_FIX),))
COMPARISON_LIMIT = 10_000
_TOP_LEVEL_STEMS = ("registry", "approvers")
_NO_APPROVERS = ApproversReading(ApproverDirectory(), words=frozenset())


class YamlDocuments:
    """Implements `DeclarationDocuments`. Safe to share between threads.

    Remembers the last few files by their bytes, since the daemon reads the same ones again and again.
    """

    def __init__(self, folder: RepositoryFolder = TOP_FOLDER) -> None:
        """`folder`: the one of the repository that has the files, for the places of faults."""
        self._folder = folder
        self._registry = lru_cache(maxsize=2)(read_registry_file)
        self._approvers = lru_cache(maxsize=2)(read_approvers_file)
        self._policy = lru_cache(maxsize=256)(read_policy_file)

    def parse_declaration(self, sources: Sources, revision: str | None) -> Declaration:
        """Return the desired state and the policies. Raises `Faults` with every fault of every file.

        Without `approvers.yaml` nobody may approve.
        """
        with _locate_faults(self._folder):
            return self._parse_files(sources, revision)

    def _parse_files(self, sources: Sources, revision: str | None) -> Declaration:
        files, unusable = _split_sources(sources)
        faults = [*_find_misnamed_files(files), *(Fault(each.reason, file, fix=each.fix) for file, each in unusable.items())]
        content, people = files.get(REGISTRY_FILE), files.get(APPROVERS_FILE)
        registry = self._registry(content) if content is not None else _choose_missing_registry(unusable)
        approving = self._approvers(people) if people is not None else _choose_missing_approvers(unusable)
        readings = {name: self._policy(file, name, files[file]) for file, name in _list_policy_files(files)}
        faults += [*registry.faults, *approving.faults]
        faults += [fault for reading in readings.values() for fault in reading.faults]
        if POLICIES_FOLDER not in unusable:
            faults += _find_missing_policies(registry, content or b"", {*readings, *_list_unusable_policies(unusable)})
        faults += _find_missing_approvers(readings, approving.words)
        if faults or registry.desired is None or approving.approvers is None:
            raise Faults(faults)
        approvers, text = approving.approvers, None if people is None else people.decode()
        found = {name: reading.policy for name, reading in readings.items() if reading.policy}
        policies = {name: replace(each, approvers=approvers, approvers_source=text) for name, each in found.items()}
        return Declaration(revision, registry.desired, policies)

    def edit_registry_file(self, content: bytes, edit: RegistryEdit) -> bytes:
        """Return `registry.yaml` with the edit, and every other byte as it was. Raises `Faults`."""
        with _locate_faults(self._folder):
            return edit_registry(content, edit)


@contextmanager
def _locate_faults(folder: RepositoryFolder) -> Iterator[None]:
    """Name the files of faults by their paths in the repository."""
    try:
        yield
    except Faults as faults:
        if not folder.path:
            raise
        raise Faults([replace(each, file=folder.locate(each.file)) if each.file else each for each in faults.faults]) from None


def _split_sources(sources: Sources) -> tuple[dict[str, bytes], dict[str, UnusableFile]]:
    """Separate the files that can be read from everything else; a pointer of git LFS is not the file that it stands for."""
    unusable = {file: found for file, found in sources.items() if isinstance(found, UnusableFile)}
    files = {file: found for file, found in sources.items() if not isinstance(found, UnusableFile)}
    unusable |= {file: _LFS_POINTER for file, content in files.items() if content.startswith(_LFS_BEGINNINGS)}
    return {file: content for file, content in files.items() if file not in unusable}, unusable


def _choose_missing_registry(unusable: Mapping[str, UnusableFile]) -> RegistryReading:
    """Say that the file is missing only where nothing lies there that could be meant for it."""
    meant = any(file.casefold().rpartition(".")[0] == "registry" for file in unusable)
    return RegistryReading(None, ()) if meant else _NO_REGISTRY


def _choose_missing_approvers(unusable: Mapping[str, UnusableFile]) -> ApproversReading:
    """Without the file nobody may approve; where it cannot be read, who may is not known."""
    return ApproversReading(None) if APPROVERS_FILE in unusable else _NO_APPROVERS


def _list_unusable_policies(unusable: Mapping[str, UnusableFile]) -> set[str]:
    """List the names of policies that something stands for which cannot be read: that is a fault, and they are not missing."""
    inside = (PurePosixPath(file) for file in unusable if file.startswith(POLICIES_PREFIX))
    return {path.stem for path in inside}


def _list_policy_files(sources: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Yield the policy files with a usable name, in order, and the names of their policies."""
    for file in sorted(sources):
        stem = file.removeprefix(POLICIES_PREFIX).removesuffix(".yaml")
        if file == f"{POLICIES_PREFIX}{stem}.yaml" and "/" not in stem and not _check_policy_name(stem):
            yield file, stem


def _find_misnamed_files(sources: Mapping[str, bytes]) -> Iterator[Fault]:
    """Yield faults for files that look as if they were in force and are not, or that not every file system can tell apart."""
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
    """Yield a fault for each unknown name, up to a limit. Suggestions take time, and have a limit of their own."""
    compared = 0
    for use in islice((use for use in uses if use.name not in known), FAULT_LIMIT):
        compared += len(known)
        fix = suggest_known_name(use.name, known) if compared <= COMPARISON_LIMIT else None
        yield Fault(f"there is no {what} `{use.name}`", file, use.path, use.line, use.column, fix or otherwise.format(use.name))
