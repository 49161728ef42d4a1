"""What the use cases rely on, asked of the fakes and of the real adapters alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from promoter.adapters.git.repository import GitRepository
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.application.ports import Registry, Repository
from promoter.domain.errors import Conflict, PermanentError
from tests.support.fakes.registry import FakeRegistry, FakeRepository
from tests.support.fixtures.git import Colleague
from tests.support.stage.seeding import make_version

Register = Callable[[str, float], int]
Push = Callable[[Mapping[str, bytes], str], str]
KINDS = ["fake", "real"]


@pytest.fixture(params=KINDS)
def some_registry(request: pytest.FixtureRequest) -> tuple[Registry, Register]:
    """A registry, and how to register a version in it with a metric `auc`."""
    if request.param == "fake":
        fake = FakeRegistry()
        return fake, lambda model, auc: fake.version(model, auc=auc)
    client: Any = request.getfixturevalue("mlflow_client")
    real: MlflowRegistry = request.getfixturevalue("registry")
    return real, lambda model, auc: make_version(client, model, {"auc": auc}, mlmodel=None)


@pytest.fixture(params=KINDS)
def some_repository(request: pytest.FixtureRequest) -> tuple[Repository, Push]:
    """A repository with one commit, and how somebody else pushes there."""
    if request.param == "fake":
        fake = FakeRepository()
        fake.push({"registry.yaml": b"version: 1\nmodels: {}\n"})
        return fake, fake.push
    real: GitRepository = request.getfixturevalue("git_repository")
    colleague: Colleague = request.getfixturevalue("colleague")
    return real, colleague.push


def test_registry(some_registry: tuple[Registry, Register], fresh_name: str) -> None:
    """What was registered is observed with its run; aliases move, and go; what is not there is absent, or refused."""
    registry, register = some_registry
    assert registry.observe_models([fresh_name]) == {}
    assert registry.read_aliases(fresh_name) is None
    assert [register(fresh_name, auc) for auc in (0.8, 0.9)] == [1, 2]
    registry.set_alias(fresh_name, "champion", 1)
    registry.set_alias(fresh_name, "champion", 2)
    observed = registry.observe_models([fresh_name, "no-such-model"])
    assert observed.keys() == {fresh_name}
    assert observed[fresh_name].aliases == {"champion": 2}
    assert observed[fresh_name].newest_version == 2
    run_id = observed[fresh_name].versions[2].run_id or ""
    assert {key: (run.status, run.metrics) for key, run in registry.read_runs([run_id, "0" * 32]).items()} == {
        run_id: ("FINISHED", {"auc": 0.9})
    }
    labels = registry.read_model_labels()[fresh_name]
    assert (dict(labels.tags), dict(labels.stages)) == ({}, {})
    registry.delete_alias(fresh_name, "champion")
    registry.delete_alias(fresh_name, "champion")
    assert registry.read_aliases(fresh_name) == {}
    with pytest.raises(PermanentError):
        registry.set_alias(fresh_name, "champion", 99)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # MLflow has deprecated stages, and serves them
def test_labels_of_a_real_server(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str) -> None:
    """The tags of the registered model, and the stage of each version that has one."""
    for _ in range(3):
        make_version(mlflow_client, fresh_name, mlmodel=None)
    mlflow_client.set_registered_model_tag(fresh_name, "owner", "risk")
    mlflow_client.transition_model_version_stage(fresh_name, "1", "Archived")
    mlflow_client.transition_model_version_stage(fresh_name, "3", "Production")
    labels = registry.read_model_labels()[fresh_name]
    assert (labels.tags, labels.stages) == ({"owner": "risk"}, {1: "Archived", 3: "Production"})


def test_repository(some_repository: tuple[Repository, Push]) -> None:
    """Reads by revision, commits by compare-and-swap, writes nothing for nothing, and knows who touched the file."""
    repository, push = some_repository
    first = repository.fetch_branch()
    second = push({"registry.yaml": b"version: 1\nmodels: {m: {}}\n"}, "Add m")
    push({"policies/p.yaml": b"version: 1\nrules: []\n"}, "Add p")
    head = repository.fetch_branch()
    assert repository.read_sources(first)["registry.yaml"] == b"version: 1\nmodels: {}\n"
    assert repository.read_sources(head)["registry.yaml"] == b"version: 1\nmodels: {m: {}}\n"
    assert [commit.revision for commit in repository.list_commits(first, head, "registry.yaml")] == [second]
    assert repository.list_commits(head, head, "registry.yaml") == []
    assert [commit.subject for commit in repository.list_commits(None, head, "registry.yaml")] == ["Add m"]
    assert [commit.subject for commit in repository.list_commits(None, head, "registry.yaml", last=9)][1:] == ["Add m"]
    assert repository.commit_file(head, "registry.yaml", b"version: 1\nmodels: {m: {}}\n", "Nothing") == head
    new = repository.commit_file(head, "registry.yaml", b"version: 1\nmodels: {n: {}}\n", "Rename\n\nBecause.")
    assert repository.fetch_branch() == new
    assert [commit.subject for commit in repository.list_commits(head, new, "registry.yaml")] == ["Rename"]
    with pytest.raises(Conflict):
        repository.commit_file(head, "registry.yaml", b"version: 1\nmodels: {o: {}}\n", "Late")
    with pytest.raises(PermanentError):
        repository.read_sources("0" * 40)


def test_branches(some_repository: tuple[Repository, Push]) -> None:
    """A branch of Promoter's moves by compare-and-swap, tells what it is for, merges, and goes."""
    repository, push = some_repository
    content = b"version: 1\nsafety: {max_changes: 3}\nfamilies: []\nmodels: {}\n"
    push({"registry.yaml": content}, "Begin")
    base = repository.fetch_branch()
    wanted = content.replace(b"models: {}", b"models: {m: {}}")
    message = "Rotate\n\nBecause.\n\nPromoter-Aim: rotate\nPromoter-Model: m\n"
    tip = repository.push_proposal("promoter/m/champion", None, base, wanted, message)
    assert repository.list_branches("promoter/") == {"promoter/m/champion": tip}
    assert repository.list_branches("promoter/n/") == {}
    assert repository.fetch_branch() == base
    said = repository.read_commit(tip)
    assert (said.revision, said.subject) == (tip, "Rotate")
    assert said.trailers == {"Promoter-Aim": "rotate", "Promoter-Model": "m"}
    assert repository.has_only_own_commits(base, tip)
    assert repository.read_sources(tip)["registry.yaml"] == wanted
    with pytest.raises(Conflict):
        repository.push_proposal("promoter/m/champion", None, base, content, "Late")

    push({"registry.yaml": content.replace(b"max_changes: 3", b"max_changes: 4")}, "Elsewhere in the file")
    head = repository.fetch_branch()
    merged = repository.preview_merge(head, tip)
    assert (merged.conflicts, merged.changed) == ((), {"registry.yaml"})
    assert merged.sources["registry.yaml"] == wanted.replace(b"max_changes: 3", b"max_changes: 4")
    assert not repository.has_only_own_commits(base, head)
    push({"registry.yaml": content.replace(b"models: {}", b"models: {n: {}}")}, "At the same line")
    assert repository.preview_merge(repository.fetch_branch(), tip).conflicts == ("registry.yaml",)

    again = repository.push_proposal("promoter/m/champion", tip, head, wanted, message)
    assert repository.list_branches("promoter/m/") == {"promoter/m/champion": again}
    with pytest.raises(Conflict):
        repository.delete_branch("promoter/m/champion", tip)
    repository.delete_branch("promoter/m/champion", again)
    repository.delete_branch("promoter/m/champion", again)
    assert repository.list_branches("promoter/") == {}
