"""MLflow's model registry and its runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from promoter.domain.copy_source import AliasRef, SourceAlias, SourceVersion
from promoter.domain.observed import (
    LoadingResult,
    LoggedModel,
    MetricRef,
    MetricSeries,
    ModelVersion,
    ObservedModel,
    ReadinessCheck,
    TrainingRun,
    Unreadable,
    VersionSignature,
)
from promoter.domain.registry_rights import RegistryRights


@dataclass(frozen=True)
class EvidenceTarget:
    """A version whose evidence is needed: the model's name, and the version as it was observed."""

    model: str
    version: ModelVersion

    @property
    def version_key(self) -> tuple[str, int]:
        """Name and number."""
        return self.model, self.version.number


@dataclass(frozen=True, order=True)
class Absence:
    """Something that an answer of the registry does not have, though it was there: the model, or one thing of it."""

    model: str
    alias: str = ""
    version: int | None = None
    """The version; together with an alias: the alias does not point at it."""
    tag: str = ""
    """The key of a tag of the version."""
    value: str = ""
    """The value that the tag had."""
    run_id: str = ""
    """The run of the version."""

    def __str__(self) -> str:
        if self.alias:
            return f"alias {self.model}@{self.alias}" + (f" at version {self.version}" if self.version else "")
        version = f"version {self.version} of model {self.model}" if self.version else f"model {self.model}"
        if self.run_id:
            return f"the run of {version}"
        return f"tag {self.tag} of {version}" if self.tag else version


DEFAULT_WORKSPACE = "default"
"""The workspace of a request that names none. It has all that was on a server before that had workspaces."""


@dataclass(frozen=True)
class RegistryServer:
    """What tells one registry from another."""

    address: str
    """Its address, without secrets."""
    created_at: datetime | None
    """When it was set up, to the millisecond; None where it does not tell."""
    workspace: str | None = None
    """The workspace of the server that Promoter works in; None where the server has no workspaces."""

    @property
    def place(self) -> str:
        """The address, behind the workspace where there is one."""
        return describe_place(self.address, self.workspace)


def describe_place(address: str, workspace: str | None) -> str:
    """Name a registry by its address, behind the workspace where there is one."""
    return f"workspace {workspace} of {address}" if workspace else address


@dataclass(frozen=True)
class ModelLabels:
    """What `promoter init` reads of a registered model besides what every command reads."""

    tags: Mapping[str, str]
    """The tags of the registered model."""
    stages: Mapping[int, str]
    """MLflow 2's stage of each version that has one: Staging, Production or Archived."""


VersionKey = tuple[str, int]
"""A version: the model's name, and its number."""


class Registry(Protocol):
    """MLflow's model registry and its runs. Raises `TransientError` (retry) or `PermanentError` (a person must act)."""

    def observe_models(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """The named models (those that exist), or all; prompts are left out. Read in bulk."""
        ...

    def read_model_labels(self) -> Mapping[str, ModelLabels]:
        """The tags of all registered models, and the stages of their versions. Read in bulk."""
        ...

    def read_server(self) -> RegistryServer:
        """Which server this is, and in which workspace of it Promoter works."""
        ...

    def read_rights(self, models: Collection[str], run_ids: Collection[str] = ()) -> RegistryRights:
        """What Promoter's user may do with these models, which of these runs it may not read, and who else may what."""
        ...

    def read_runs(self, run_ids: Collection[str], *, experiments: bool = False) -> Mapping[str, TrainingRun]:
        """The runs that exist, by id, with the last value of each metric. Read in bulk. `experiments`: with their names."""
        ...

    def read_logged_models(self, versions: Collection[EvidenceTarget]) -> Mapping[VersionKey, LoggedModel | Unreadable | None]:
        """The logged model behind each version (through copies of copies), None where it was registered from none."""
        ...

    def read_metric_series(
        self, versions: Collection[EvidenceTarget], metrics: Collection[MetricRef]
    ) -> Mapping[VersionKey, tuple[MetricSeries, ...]]:
        """Every value of these metrics over the steps of each version's run; the last one of a step. Absent ones are left out.

        Of a metric of the logged model, those that were logged for it, on that dataset.
        """
        ...

    def read_signatures(
        self, versions: Collection[EvidenceTarget]
    ) -> Mapping[VersionKey, VersionSignature | Unreadable | None]:
        """The signature in each version's artifact; None where it has none. What was read once is remembered."""
        ...

    def read_requirements(
        self, versions: Collection[EvidenceTarget]
    ) -> Mapping[VersionKey, tuple[str, ...] | Unreadable | None]:
        """The lines of `requirements.txt` in each version's artifact; None where it has none. Remembered like signatures."""
        ...

    def check_loading(self, model: str, version: ModelVersion) -> LoadingResult:
        """Load the version's artifact in a process of its own, within a time limit. A success is remembered."""
        ...

    def set_version_tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version: the approval of a person, by `promoter approve`. No alias moves by it."""
        ...

    def read_aliases(self, model: str) -> Mapping[str, int] | None:
        """Alias to version of one model, read now; None where the model does not exist."""
        ...

    def confirm_absences(self, absences: Collection[Absence]) -> None:
        """Read again, another way, whether these things are gone indeed.

        Raises `TransientError` where one of them is there, or cannot be read: then the first answer counts for nothing.
        """
        ...

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point the alias at the version. MLflow has no compare-and-set: the caller reads before and after."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove the alias; an absent one is no error."""
        ...

    def check_readiness(self, model: str, version: int) -> ReadinessCheck:
        """What says whether the version's artifact is there and can be read as a model: for one that returns under a hold."""
        ...


class VersionCopies(Protocol):
    """The versions of other registries, and copies of them here: what `promote_from` needs."""

    def read_source_aliases(self, places: Collection[AliasRef]) -> Mapping[AliasRef, SourceAlias]:
        """Who holds each of these now: one read in bulk a registry. Never raises: a holding tells its own trouble.

        Bounded in time, whatever another registry does.
        """
        ...

    def copy_version(self, source: SourceVersion, model: str, withheld_tags: Collection[str] = ()) -> int:
        """See that this registry has a complete copy of that version, as a version of that model; the copy's number.

        The copy has the tags that `SourceVersion.select_copied_tags` returns, from its first moment on.

        One that is there is not made again, and what an earlier attempt left half done is finished. The model is registered
        where it is not yet; no alias moves. The caller holds the model's lock. Raises `TransientError` or `PermanentError`.
        """
        ...
