"""Copies of versions, within a real MLflow server and between two: equal evidence, loadable, and only ever one."""

from __future__ import annotations

import base64
import functools
import math
import pickle
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import requests

from promoter.adapters.mlflow import copy
from promoter.adapters.mlflow.copy import CopyBounds, MlflowCopies, TrackingServer, VersionTransfer
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.domain.copy_source import AliasRef, SourceVersion
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.observed import LoggedModel, MetricRef, ModelVersion
from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import evidenced, make_logged_version, make_run, make_version, register

STAGING = "staging"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_children")]


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model with a signature, a file beside it, and a folder within."""
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    folder = tmp_path_factory.mktemp("real") / "model"
    points = np.array([[0.0], [1.0]])
    signature = infer_signature(points, points[:, 0])
    fitted = LinearRegression().fit(points, points[:, 0])
    mlflow.sklearn.save_model(fitted, str(folder), pip_requirements=["scikit-learn"], signature=signature)
    (folder / "notes").mkdir()
    (folder / "notes" / "card.md").write_text("how it was trained")
    return folder


@pytest.fixture
def copies(mlflow_server: SharedMlflow, staging_server: SharedMlflow) -> MlflowCopies:
    """The adapter under test: this registry is `mlflow_server`, the other one is called staging."""
    return MlflowCopies(mlflow_server.uri, {STAGING: staging_server.uri})


@pytest.fixture
def there(staging_server: SharedMlflow) -> MlflowRegistry:
    """The other registry, as Promoter reads it."""
    return MlflowRegistry(staging_server.uri, elsewhere=True)


def holder(copies: MlflowCopies, model: str, registry: str = STAGING) -> SourceVersion:
    """Who holds champion there."""
    place = AliasRef(registry, model, "champion")
    found = copies.read_source_aliases([place])[place]
    assert found.trouble is None
    assert found.holder is not None
    return found.holder


def trained(client: Any, name: str, artifact: Path) -> int:
    """A version as a training run leaves it: parameters, metrics over steps, a dataset, tags, an approval; champion there."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    run = client.create_run("0", tags={"mlflow.user": "ada", "mlflow.source.git.commit": "c0ffee", "team": "risk"})
    run_id = run.info.run_id
    client.log_param(run_id, "depth", "3")
    for step, value in enumerate((0.7, 0.8, math.nan, 0.9)):
        client.log_metric(run_id, "fold_auc", value, 1_000 + step, step)
    client.log_metric(run_id, "loss", math.inf, 2_000, 0)
    data = Dataset("holdout", "d1g3st", "local", "{}")
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    client.log_artifacts(run_id, str(artifact), "model")
    client.set_terminated(run_id)
    register(client, name)
    source = f"{run.info.artifact_uri}/model"
    tags = {"approved_by": "risk", "stage": "candidate"}
    version = client.create_model_version(name, source, run_id, tags=tags, description="good", await_creation_for=0)
    client.set_registered_model_alias(name, "champion", version.version)
    return int(version.version)


def equal(ours: float, theirs: float) -> bool:
    """NaN is NaN here."""
    return ours == theirs or (math.isnan(ours) and math.isnan(theirs))


def test_a_copy_bears_the_same_evidence(
    copies: MlflowCopies, registry: MlflowRegistry, there: MlflowRegistry, staging_client: Any, artifact: Path, fresh_name: str
) -> None:
    """Metrics, series, parameters, datasets, user, status, signature and tags are the same on both sides."""
    trained(staging_client, fresh_name, artifact)
    number = copies.copy_version(holder(copies, fresh_name), fresh_name)

    (ours,), (theirs,) = evidenced(registry, fresh_name), evidenced(there, fresh_name)
    assert ours.version.number == number
    assert ours.version.is_copied
    run, other = registry.read_runs([ours.version.run_id or ""]), there.read_runs([theirs.version.run_id or ""])
    (mine,), (original,) = run.values(), other.values()
    assert mine.metrics.keys() == original.metrics.keys() == {"fold_auc", "loss"}
    assert all(equal(mine.metrics[key], original.metrics[key]) for key in mine.metrics)
    assert (mine.params, mine.datasets, mine.user, mine.status) == ({"depth": "3"}, original.datasets, "ada", "FINISHED")
    refs = {MetricRef("fold_auc"), MetricRef("loss")}
    points, expected = (
        registry.read_metric_series([ours], refs)[ours.version_key],
        there.read_metric_series([theirs], refs)[theirs.version_key],
    )
    assert repr(points) == repr(expected)
    assert [len(each.points) for each in points] == [4, 1]
    assert registry.read_signatures([ours])[ours.version_key] == there.read_signatures([theirs])[theirs.version_key]
    assert {key: value for key, value in ours.version.tags.items() if not key.startswith("promoter.")} == theirs.version.tags
    assert registry.read_aliases(fresh_name) == {}


def test_a_copy_says_where_it_comes_from(
    copies: MlflowCopies, mlflow_client: Any, staging_client: Any, artifact: Path, fresh_name: str
) -> None:
    """On the version and on its run: registry, model, version, run; and the run keeps its user and its git commit."""
    number = trained(staging_client, fresh_name, artifact)
    source = holder(copies, fresh_name)
    copied = mlflow_client.get_model_version(fresh_name, str(copies.copy_version(source, fresh_name)))
    original = staging_client.get_model_version(fresh_name, str(number))
    run = mlflow_client.get_run(copied.run_id)
    for tags in (copied.tags, run.data.tags):
        assert tags["promoter.source.registry"] == STAGING
        assert (tags["promoter.source.model"], tags["promoter.source.version"]) == (fresh_name, str(number))
        assert tags["promoter.source.run_id"] == original.run_id
    assert copied.description == "good"
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.tags["promoter.source.experiment"] == "Default"
    assert mlflow_client.get_experiment(run.info.experiment_id).name == f"promoter/{fresh_name}"
    was = staging_client.get_run(original.run_id).info
    assert (run.info.start_time, run.info.end_time) == (was.start_time, was.end_time)


def test_the_copy_of_a_logged_model_bears_its_metrics(
    copies: MlflowCopies, registry: MlflowRegistry, there: MlflowRegistry, staging_client: Any, artifact: Path, fresh_name: str
) -> None:
    """On each dataset, over the steps, NaN as well; what another run measured does not become the training run's."""
    rows = [
        ("auc", 0.8, 0, ("holdout", "d")),
        ("auc", 0.9, 1, ("holdout", "d")),
        ("auc", math.nan, 0, ("live", "l")),
        ("auc", 0.0, 2, None),
    ]
    number, run_id, model_id = make_logged_version(staging_client, fresh_name, rows, folder=artifact)
    evaluation = make_run(staging_client)
    staging_client.log_metric(
        evaluation.info.run_id, "auc", 0.1, 9_000, 7, model_id=model_id, dataset_name="late", dataset_digest="x"
    )
    staging_client.set_registered_model_alias(fresh_name, "champion", str(number))

    copies.copy_version(holder(copies, fresh_name), fresh_name)

    (ours,), (theirs,) = evidenced(registry, fresh_name), evidenced(there, fresh_name)
    mine, original = (
        registry.read_logged_models([ours])[ours.version_key],
        there.read_logged_models([theirs])[theirs.version_key],
    )
    assert isinstance(mine, LoggedModel)
    assert isinstance(original, LoggedModel)
    assert repr(mine.metrics) == repr(original.metrics)
    assert {each.dataset for each in mine.metrics} == {"holdout", "late", "live", None}
    refs = {MetricRef("auc"), MetricRef("auc", "logged_model", "holdout"), MetricRef("auc", "logged_model", "late")}
    assert repr(registry.read_metric_series([ours], refs)[ours.version_key]) == repr(
        there.read_metric_series([theirs], refs)[theirs.version_key]
    )
    assert ours.version.run_id is not None
    assert registry.read_runs([ours.version.run_id])[ours.version.run_id].metrics == there.read_runs([run_id])[run_id].metrics
    assert registry.read_signatures([ours])[ours.version_key] == there.read_signatures([theirs])[theirs.version_key]


def test_a_version_without_a_run_stays_without(
    copies: MlflowCopies, registry: MlflowRegistry, staging_client: Any, artifact: Path, fresh_name: str
) -> None:
    """Nothing is made up that a rule about runs could take for an answer."""
    model_id = staging_client.create_logged_model("0", name=fresh_name).model_id
    staging_client.log_model_artifacts(model_id, str(artifact))
    staging_client.finalize_logged_model(model_id, "READY")
    register(staging_client, fresh_name)
    made = staging_client.create_model_version(fresh_name, f"models:/{model_id}", model_id=model_id, await_creation_for=0)
    staging_client.set_registered_model_alias(fresh_name, "champion", made.version)
    copies.copy_version(holder(copies, fresh_name), fresh_name)
    (ours,) = evidenced(registry, fresh_name)
    assert ours.version.run_id is None
    assert registry.read_signatures([ours])[ours.version_key] is not None


@pytest.mark.usefixtures("ambient_mlflow")
@pytest.mark.parametrize("logged", [False, True], ids=["run", "logged model"])
def test_a_copy_loads_by_its_alias(
    copies: MlflowCopies, mlflow_client: Any, staging_client: Any, artifact: Path, fresh_name: str, logged: bool
) -> None:
    """What serves asks this registry for the alias, and gets the model."""
    import mlflow

    if logged:
        number, _, _ = make_logged_version(staging_client, fresh_name, folder=artifact)
        staging_client.set_registered_model_alias(fresh_name, "champion", str(number))
    else:
        trained(staging_client, fresh_name, artifact)
    copied = copies.copy_version(holder(copies, fresh_name), fresh_name)
    mlflow_client.set_registered_model_alias(fresh_name, "champion", str(copied))
    model = mlflow.pyfunc.load_model(f"models:/{fresh_name}@champion")
    assert list(model.predict(np.array([[2.0]]))) == pytest.approx([2.0])


class Stumbling:
    """A client that stops dead at the first call that writes and never did so: before it is sent, or after it is done."""

    WRITES = ("create", "log", "set", "finalize")

    def __init__(self, client: Any, stopped: list[str], *, after: bool) -> None:
        """`stopped`: the calls at which earlier ones did."""
        self._client, self._stopped, self._after = client, stopped, after
        self._counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        """Passed on."""
        call = getattr(self._client, name)
        return functools.partial(self._write, name, call) if name.startswith(self.WRITES) else call

    def _write(self, name: str, call: Any, /, *args: Any, **more: Any) -> Any:
        self._counts[name] += 1
        key = f"{name} {self._counts[name]}"
        new = key not in self._stopped
        if new:
            self._stopped.append(key)
        if new and not self._after:
            raise CopyCrash(key)
        answer = call(*args, **more)
        if new:
            raise CopyCrash(key)
        return answer


class CopyCrash(BaseException):
    """As if the machine had gone."""


def left_behind(client: Any, model: str) -> tuple[int, int, int]:
    """How many versions, runs and logged models there are of the copy."""
    found = client.get_experiment_by_name(f"promoter/{model}")
    experiments = [found.experiment_id] if found else []
    versions = client.search_model_versions(f"name = '{model}'")
    runs = client.search_runs(experiments) if experiments else []
    return len(versions), len(runs), len(client.search_logged_models(experiments)) if experiments else 0


@dataclass
class Wreck:
    """Copies whose transfers stop dead; artifacts do not travel."""

    copies: MlflowCopies
    here: TrackingServer
    there: TrackingServer
    registry: MlflowRegistry

    def copy(self, source: SourceVersion, model: str, *, after: bool) -> tuple[int, list[str]]:
        """Stopped once at each call, until it goes through; the copy, and where it was stopped."""
        stopped: list[str] = []
        for _ in range(40):
            transfer = VersionTransfer(
                self.there, TrackingServer(self.here.uri, Stumbling(self.here.client, stopped, after=after)), CopyBounds()
            )
            self.copies._build_transfer = lambda _source, transfer=transfer: transfer  # type: ignore[method-assign]
            try:
                return self.copies.copy_version(source, model), stopped
            except CopyCrash:
                seen = self.registry.observe_models([model])
                versions = [each for found in seen.values() for each in found.versions.values()]
                assert not versions or (stopped[-1], after) == ("create_model_version 1", True)
        raise AssertionError(f"never goes through: {stopped}")


@pytest.fixture
def wreck(
    copies: MlflowCopies,
    mlflow_server: SharedMlflow,
    staging_server: SharedMlflow,
    mlflow_client: Any,
    staging_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Wreck:
    """On both servers."""
    monkeypatch.setattr(copy, "fetch_artifact", lambda _location, _uri, folder, **_: folder)
    monkeypatch.setattr(copy, "upload_artifact", lambda *_args, **_more: None)
    here, there = TrackingServer(mlflow_server.uri, mlflow_client), TrackingServer(staging_server.uri, staging_client)
    return Wreck(copies, here, there, MlflowRegistry(mlflow_server.uri))


@pytest.mark.parametrize("registry", [STAGING, ""])
def test_to_copy_a_version_runs_no_code_of_it(
    copies: MlflowCopies, mlflow_client: Any, staging_client: Any, fresh_name: str, tmp_path: Path, registry: str
) -> None:
    """Between two servers and within one: files travel, and nothing opens them."""
    folder, mark = tmp_path / "model", tmp_path / "mark"
    folder.mkdir()
    run_code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    (folder / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")
    (folder / "model.pkl").write_bytes(pickle.dumps(_Runs(run_code)))
    (folder / "sitecustomize.py").write_text(run_code)
    client = staging_client if registry else mlflow_client
    trained(client, f"{fresh_name}-dev", folder)

    source = holder(copies, f"{fresh_name}-dev", registry)
    number = copies.copy_version(source, fresh_name)

    assert number == 1
    assert not mark.exists()
    pickle.loads((folder / "model.pkl").read_bytes())  # to see that it would have
    assert mark.exists()


class _Runs:
    """What runs code where it is unpickled."""

    def __init__(self, code: str) -> None:
        """`code`: one expression."""
        self._code = code

    def __reduce__(self) -> Any:
        """As pickle has it: called where it is loaded."""
        return eval, (self._code,)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("logged", [False, True], ids=["run", "logged model"])
def test_a_crash_at_any_call_leaves_one_copy(wreck: Wreck, fresh_name: str, logged: bool, after: bool) -> None:
    """No half copy is ever a version, and what was begun is finished: in the end there is one of everything."""
    staging_client, registry = wreck.there.client, wreck.registry
    if logged:
        number, _, _ = make_logged_version(staging_client, fresh_name, [("auc", 0.9, 0, ("holdout", "d"))])
    else:
        number = make_version(staging_client, fresh_name, {"auc": 0.9})
    staging_client.set_registered_model_alias(fresh_name, "champion", str(number))
    source = holder(wreck.copies, fresh_name)
    copied, stops = wreck.copy(source, fresh_name, after=after)
    names = {stop.partition(" ")[0] for stop in stops}
    assert names >= {"create_experiment", "create_run", "log_batch", "set_terminated", "create_model_version"}
    assert not logged or names >= {"create_logged_model", "finalize_logged_model"}
    assert left_behind(wreck.here.client, fresh_name) == (1, 1, int(logged))
    (ours,) = evidenced(registry, fresh_name)
    assert (ours.version.number, source.is_copied_as(ours.version)) == (copied, True)
    run = registry.read_runs([ours.version.run_id or ""])[ours.version.run_id or ""]
    assert (run.metrics, run.status) == ({"auc": 0.9}, "FINISHED")
    if logged:
        found = registry.read_logged_models([ours])[ours.version_key]
        assert isinstance(found, LoggedModel)
        assert [(each.name, each.value, each.dataset) for each in found.metrics] == [("auc", 0.9, "holdout")]
    assert wreck.copies.copy_version(source, fresh_name) == copied


def test_an_artifact_that_does_not_arrive_leaves_no_version(
    copies: MlflowCopies, registry: MlflowRegistry, staging_client: Any, artifact: Path, fresh_name: str, mlflow_client: Any
) -> None:
    """Where it is gone at its source, or too large: a fault in words, and nothing that could be taken for a copy."""
    trained(staging_client, fresh_name, artifact)
    source = holder(copies, fresh_name)
    copies._bounds = CopyBounds(artifact=100)
    with pytest.raises(PermanentError, match=r"cannot be copied: its artifact has more than 100 bytes"):
        copies.copy_version(source, fresh_name)
    copies._bounds = CopyBounds()
    with pytest.raises(PermanentError, match="more than 100 bytes"):
        copies.copy_version(source, fresh_name)  # not fetched again at once to find out the same
    assert registry.observe_models([fresh_name]) == {}
    lost = make_version(staging_client, fresh_name, mlmodel=None)
    staging_client.set_registered_model_alias(fresh_name, "champion", str(lost))
    with pytest.raises(TransientError, match="cannot be copied"):
        copies.copy_version(holder(copies, fresh_name), fresh_name)
    assert left_behind(mlflow_client, fresh_name) == (0, 2, 0)


def test_a_run_that_has_not_ended_is_waited_for(copies: MlflowCopies, staging_client: Any, fresh_name: str) -> None:
    """A copy is made once: it must not miss what is still to be measured."""
    number = make_version(staging_client, fresh_name, {"auc": 0.9}, status=None)
    staging_client.set_registered_model_alias(fresh_name, "champion", str(number))
    with pytest.raises(TransientError, match="its run is RUNNING"):
        copies.copy_version(holder(copies, fresh_name), fresh_name)


def test_a_model_made_anew_is_another_source(
    copies: MlflowCopies, registry: MlflowRegistry, staging_client: Any, fresh_name: str
) -> None:
    """Its version 1 is not the version 1 that was copied, and is copied for itself."""
    make_version(staging_client, fresh_name, {"auc": 0.8})
    staging_client.set_registered_model_alias(fresh_name, "champion", "1")
    first = holder(copies, fresh_name)
    assert copies.copy_version(first, fresh_name) == 1
    staging_client.delete_registered_model(fresh_name)
    make_version(staging_client, fresh_name, {"auc": 0.9})
    staging_client.set_registered_model_alias(fresh_name, "champion", "1")
    second = holder(copies, fresh_name)
    assert second.version.number == first.version.number
    assert copies.copy_version(second, fresh_name) == 2
    observed = registry.observe_models([fresh_name])[fresh_name]
    assert (first.find_copies(observed), second.find_copies(observed)) == ((1,), (2,))
    with pytest.raises(TransientError, match="registered anew"):
        copies.copy_version(first_again(first), fresh_name)


def first_again(source: SourceVersion) -> SourceVersion:
    """The same, at a time at which nothing was registered."""
    moved = replace(source.version, created_at=source.version.created_at.replace(microsecond=0, year=2020))
    return replace(source, version=moved)


def test_too_many_values_leave_the_last_ones(
    copies: MlflowCopies, registry: MlflowRegistry, mlflow_client: Any, staging_client: Any, fresh_name: str
) -> None:
    """Beyond the bound a metric keeps its last value only, and the run says which: a series is never cut in the middle."""
    number = make_version(staging_client, fresh_name)
    run_id = staging_client.get_model_version(fresh_name, str(number)).run_id
    for step in range(3):
        staging_client.log_metric(run_id, "long", 0.5 + step, 1_000, step)
        staging_client.log_metric(run_id, "longer", 0.5 + step, 1_000, step)
    staging_client.set_registered_model_alias(fresh_name, "champion", str(number))
    copies._bounds = CopyBounds(points=4)
    copies.copy_version(holder(copies, fresh_name), fresh_name)
    (ours,) = evidenced(registry, fresh_name)
    refs = {MetricRef("long"), MetricRef("longer")}
    assert [len(each.points) for each in registry.read_metric_series([ours], refs)[ours.version_key]] == [3, 1]
    run = registry.read_runs([ours.version.run_id or ""])[ours.version.run_id or ""]
    assert run.metrics == {"long": 2.5, "longer": 2.5}
    assert mlflow_client.get_run(run.run_id).data.tags["promoter.source.shortened"] == "longer"


def test_within_a_server_mlflow_copies(
    copies: MlflowCopies, registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """One copy, however often; its source names what it is a copy of, and its evidence is the same run's."""
    work, served = f"{fresh_name}-work", fresh_name
    number = make_version(mlflow_client, work, {"auc": 0.9}, {"approved_by": "risk"})
    mlflow_client.set_registered_model_alias(work, "champion", str(number))
    source = holder(copies, work, registry="")
    assert copies.copy_version(source, served) == copies.copy_version(source, served) == 1
    (ours,), (theirs,) = evidenced(registry, served), evidenced(registry, work)
    assert ours.version.source == f"models:/{work}/{number}"
    assert (ours.version.run_id, ours.version.tags) == (theirs.version.run_id, theirs.version.tags)
    assert ours.version.is_copied
    assert registry.read_aliases(served) == {}


def test_a_copy_of_a_copy_is_told_from_the_copy(
    copies: MlflowCopies, registry: MlflowRegistry, mlflow_client: Any, staging_client: Any, fresh_name: str
) -> None:
    """Tags come along within a server: they do not make its copy the copy of what it was copied from."""
    make_version(staging_client, fresh_name, {"auc": 0.9})
    staging_client.set_registered_model_alias(fresh_name, "champion", "1")
    source = holder(copies, fresh_name)
    copies.copy_version(source, fresh_name)
    mlflow_client.set_registered_model_alias(fresh_name, "champion", "1")
    served = f"{fresh_name}-served"
    copies.copy_version(holder(copies, fresh_name, registry=""), served)
    observed = registry.observe_models([served])[served]
    assert "promoter.source.registry" in observed.versions[1].tags
    assert source.find_copies(observed) == ()


def test_who_holds_what(copies: MlflowCopies, staging_client: Any, fresh_name: str) -> None:
    """A holder; nobody; a model that is not there; a registry that the settings do not name: each as it is."""
    make_version(staging_client, fresh_name)
    staging_client.set_registered_model_alias(fresh_name, "champion", "1")
    asked = {
        name: AliasRef(*where)
        for name, where in {
            "held": (STAGING, fresh_name, "champion"),
            "free": (STAGING, fresh_name, "shadow"),
            "no model": (STAGING, f"{fresh_name}-none", "champion"),
            "no registry": ("dev", fresh_name, "champion"),
        }.items()
    }
    found = copies.read_source_aliases(asked.values())
    held = found[asked["held"]].holder
    assert held is not None
    assert held.version.number == 1
    assert found[asked["free"]].holder is found[asked["no model"]].holder is None
    assert isinstance(found[asked["no registry"]].trouble, PermanentError)
    assert "the settings name no registry `dev`" in found[asked["no registry"]].trouble_reason


@pytest.fixture
def deaf(mlflow_server: SharedMlflow) -> MlflowCopies:
    """Staging, at a port that nobody listens on, with a password in its address."""
    return MlflowCopies(mlflow_server.uri, {STAGING: "http://ada:geheim@127.0.0.1:9", "self": mlflow_server.uri})


def test_a_registry_that_is_silent_is_not_asked_again_at_once(deaf: MlflowCopies, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in words, without the password, and every look within a minute hears the same."""
    place = AliasRef(STAGING, "m", "champion")
    first = deaf.read_source_aliases([place])[place]
    assert isinstance(first.trouble, TransientError)
    assert first.trouble.what == STAGING
    assert first.trouble_reason.startswith("staging cannot be read: ")
    assert "geheim" not in f"{first}{deaf!r}"
    monkeypatch.setattr(deaf._others[STAGING], "observe_models", lambda _names: pytest.fail("asked again"))
    assert deaf.read_source_aliases([place])[place].trouble is first.trouble


def test_a_registry_that_hangs_is_given_up(deaf: MlflowCopies, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the other side takes, a look at this one's models goes on."""
    monkeypatch.setattr("promoter.adapters.mlflow.copy._READ_SECONDS", 0.05)
    monkeypatch.setattr(deaf._others[STAGING], "observe_models", lambda _names: time.sleep(5))
    place = AliasRef(STAGING, "m", "champion")
    assert "does not answer within" in deaf.read_source_aliases([place])[place].trouble_reason


def test_this_registry_under_another_name(deaf: MlflowCopies) -> None:
    """Copying a model into itself would never end: it is refused."""
    place = AliasRef("self", "m", "champion")
    assert "it is this registry itself" in deaf.read_source_aliases([place])[place].trouble_reason
    with pytest.raises(PermanentError, match="this registry itself"):
        deaf.copy_version(SourceVersion("self", "m", ModelVersion(1, datetime(2026, 11, 23, tzinfo=UTC))), "m")


class Doorman(BaseHTTPRequestHandler):
    """Lets through to the server behind whoever gives the right user and password."""

    behind = ""
    refused: ClassVar[list[str]] = []
    expected = "Basic " + base64.b64encode(b"ada:geheim").decode()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != self.expected:
            self.refused.append(self.path)
            self._answer(401, b"who are you?", "text/plain")
            return
        kind = self.headers.get("Content-Type", "application/json")
        answer = requests.request(self.command, self.behind + self.path, data=body, headers={"Content-Type": kind}, timeout=60)
        self._answer(answer.status_code, answer.content, answer.headers.get("Content-Type", "application/json"))

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = _pass_on  # noqa: N815  # names that http.server asks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as http.server has it
        """Quiet."""


@pytest.fixture
def guarded(staging_server: SharedMlflow) -> Iterator[str]:
    """The second server behind a password; its address, without it."""
    door = type("Door", (Doorman,), {"behind": staging_server.uri, "refused": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_each_server_has_its_own_user(
    mlflow_server: SharedMlflow,
    guarded: str,
    staging_client: Any,
    artifact: Path,
    fresh_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one in the URL goes before MLflow's variables, for requests and for artifacts; without it, words and no secret."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "promoter")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of-production")
    trained(staging_client, fresh_name, artifact)
    copies = MlflowCopies(mlflow_server.uri, {STAGING: f"http://ada:geheim@{guarded}"})
    assert copies.copy_version(holder(copies, fresh_name), fresh_name) == 1
    place = AliasRef(STAGING, fresh_name, "champion")
    for user in ("", "ada:wrong@"):
        outside = MlflowCopies(mlflow_server.uri, {STAGING: f"http://{user}{guarded}"})
        trouble = outside.read_source_aliases([place])[place].trouble_reason
        assert trouble.startswith("staging cannot be read: ")
        assert not any(secret in trouble for secret in ("wrong", "geheim", "of-production"))
