"""Other registries in the settings, and what `promoter doctor` says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.cli.doctor import _check_mlflow, _check_registry, _find_registry_names
from promoter.container import Container
from promoter.domain.errors import TransientError
from promoter.settings import Settings, load_settings
from tests.support.fakes.registry import FakeRegistry, FakeRepository

SECRET = "https://promoter:geheim@staging.example.com"


@pytest.fixture
def staging() -> FakeRegistry:
    """A registry with one model."""
    registry = FakeRegistry()
    registry.version("m")
    return registry


@pytest.fixture
def built(staging: FakeRegistry) -> Container:
    """A world whose settings name staging, and whose registry.yaml uses dev as well."""
    repository = FakeRepository()
    alias = "{policy: p, rotation: commit, promote_from: {registry: dev, alias: champion}}"
    document = f"version: 1\nmodels: {{m: {{aliases: {{champion: {alias}}}}}}}\n".encode()
    policy = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
    repository.push({"registry.yaml": document, "policies/p.yaml": policy})
    settings = Settings(repo="r", registries={"staging": SECRET})
    return Container(settings, repository=repository, source_registries={"staging": staging})


def test_doctor_looks_at_each(built: Container, staging: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can be read, one that cannot, and one that is used and not named; no password, and each with what to do."""
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    assert _find_registry_names(built) == ["dev", "staging"]
    good, unnamed = _check_registry("staging", built), _check_registry("dev", built)
    assert (good.good, good.message) == (True, "answers: 1 model can be read")
    assert (unnamed.good, unnamed.message) == (False, "the settings name no registry `dev`: m@champion gets nothing")

    def refuse(_call: str) -> None:
        raise TransientError("MLflow", "the connection is refused", "check MLFLOW_TRACKING_URI")

    staging.on = refuse
    bad = _check_registry("staging", built)
    assert (bad.good, bad.message) == (False, "the connection is refused")
    assert "`registries: staging`" in (bad.fix or "")
    assert "geheim" not in f"{good}{bad}{unnamed}{built.settings!r}"


def test_without_git_the_settings_are_enough(built: Container) -> None:
    """What cannot be read is another check's business."""
    built.repository.trouble = TransientError("git", "no answer")  # type: ignore[attr-defined]
    assert _find_registry_names(built) == ["staging"]


def test_registries_are_named_by_file_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mapping in the settings file, or as JSON."""
    (tmp_path / "settings.yaml").write_text("registries: {staging: http://a}\n")
    monkeypatch.setenv("PROMOTER_CONFIG", str(tmp_path / "settings.yaml"))
    assert load_settings().registries == {"staging": "http://a"}
    monkeypatch.setenv("PROMOTER_REGISTRIES", '{"dev": "http://b"}')
    assert load_settings().registries["dev"] == "http://b"


def test_doctor_names_a_registry_on_another_server(staging: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_REGISTRY_URI is MLflow's own variable; both servers are named without their passwords, and both have to answer."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "https://bob:geheim@models.example.com")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://runs.example.com")
    built = Container(load_settings(), registry=staging)

    assert _check_mlflow(built).message == (
        "answers: 1 model, 0 aliases; the registry is https://models.example.com (MLFLOW_REGISTRY_URI), "
        "runs are at https://runs.example.com"
    )
    assert ("runs", frozenset({"none"})) in staging.calls
