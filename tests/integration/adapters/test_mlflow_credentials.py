"""Each MLflow server is sent its own credentials; no other host is sent any, whatever leads there."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.mlflow import credentials as bound
from promoter.adapters.mlflow import workspaces
from promoter.adapters.mlflow.answers import ImpossibleAnswer
from promoter.adapters.mlflow.artifacts import ArtifactError, read_mlmodel_file
from promoter.adapters.mlflow.client import create_mlflow_client, find_client_server, redact_message
from promoter.adapters.mlflow.credentials import CredentialBindings, HostCredentials, address_server
from promoter.adapters.mlflow.loading import fetch_artifact
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.domain.errors import PermanentError, TransientError
from tests.support.listener import Listener, listen

TOKEN = "of-production"
BASIC = "Basic " + base64.b64encode(b"ada:geheim").decode()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Promoter's own server has a token, and nothing else of this machine counts."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setattr(bound, "BINDINGS", CredentialBindings())
    workspaces._known.clear()


@pytest.fixture
def own() -> Iterator[Listener]:
    """Promoter's own server, which knows nothing."""
    with listen() as listener:
        yield listener


@pytest.fixture
def other() -> Iterator[Listener]:
    """A server that is not Promoter's own."""
    with listen() as listener:
        yield listener


def test_the_token_goes_to_promoters_own_server_alone(own: Listener, other: Listener) -> None:
    """Another registry gets no proof, unless it has one of its own; no order of first use changes that."""
    MlflowRegistry(other.uri, elsewhere=True).read_aliases("m")
    MlflowRegistry(own.uri).read_aliases("m")
    MlflowRegistry(other.uri, elsewhere=True).read_aliases("m")
    assert (own.proofs, other.proofs) == ({f"Bearer {TOKEN}"}, {None})
    other.heard.clear()
    MlflowRegistry(other.uri, elsewhere=True, credentials=HostCredentials(token="of-staging")).read_aliases("m")
    MlflowRegistry(own.uri).read_aliases("m")
    assert (own.proofs, other.proofs) == ({f"Bearer {TOKEN}"}, {"Bearer of-staging"})


@pytest.mark.parametrize(
    ("user", "credentials", "proof"),
    [
        ("", HostCredentials("ada", "geheim"), BASIC),
        ("", HostCredentials("ada", "geheim", "of-staging"), BASIC),
        ("ada:geheim@", None, BASIC),
        ("", None, None),
    ],
)
def test_another_registry_has_a_user_or_a_token(
    other: Listener, user: str, credentials: HostCredentials | None, proof: str | None
) -> None:
    """By variables of its own, or in its address."""
    address = other.uri.replace("//", f"//{user}")
    MlflowRegistry(address, elsewhere=True, credentials=credentials).read_aliases("m")
    assert other.proofs == {proof}


def test_the_registrys_own_address_is_promoters_own_server(
    own: Listener, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`MLFLOW_REGISTRY_URI` is set by whoever set the token."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", other.uri)
    create_mlflow_client(own.uri)
    assert bound.is_own_server(other.uri)


def test_the_registrys_own_address_gets_the_token_with_the_first_request(
    own: Listener, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check which registry this is comes before any other request of a program."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", other.uri)
    MlflowRegistry(own.uri).read_server()
    assert other.proofs == {f"Bearer {TOKEN}"}
    assert not own.heard


def test_a_redirect_carries_no_proof_to_another_host(own: Listener, other: Listener) -> None:
    """Not even to another port of the same one."""
    own.location = other.uri
    MlflowRegistry(own.uri).read_aliases("m")
    assert (own.proofs, other.proofs) == ({f"Bearer {TOKEN}"}, {None})


@pytest.mark.parametrize("scheme", ["http", "mlflow-artifacts"])
def test_the_source_of_a_version_does_not_get_the_token(scheme: str, own: Listener, other: Listener, tmp_path: Path) -> None:
    """On servers that let it, whoever registers a version decides where its source leads: no proof goes there.

    Neither with a read in this process, nor with the child that fetches the whole artifact.
    """
    create_mlflow_client(own.uri)
    location = f"{scheme}://{other.uri.removeprefix('http://')}/api/2.0/mlflow-artifacts/artifacts/x"
    with pytest.raises(ArtifactError):
        read_mlmodel_file(location, own.uri, "the server")
    by_reading = len(other.heard)
    with pytest.raises(ArtifactError):
        fetch_artifact(location, own.uri, tmp_path / "a", seconds=60, limit=10)
    assert 0 < by_reading < len(other.heard)
    assert other.proofs == {None}


def test_a_child_has_the_credentials_of_its_server_alone(
    own: Listener, other: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that fetches from another registry knows neither the token of Promoter's own server nor Promoter's secrets."""
    monkeypatch.setenv("PROMOTER_GIT_TOKEN", "hunter2")
    create_mlflow_client(own.uri)
    create_mlflow_client(other.uri, elsewhere=True, credentials=HostCredentials("ada", "geheim"))
    for folder, server in (("a", own), ("b", other)):
        with pytest.raises(Exception, match="cannot be fetched"):
            fetch_artifact("mlflow-artifacts:/x", server.uri, tmp_path / folder, seconds=60, limit=10)
        environment = str(bound.build_child_environment(server.uri))
        assert (TOKEN in environment) is (server is own)
        assert "hunter2" not in environment
    assert (own.proofs, other.proofs) == ({f"Bearer {TOKEN}"}, {BASIC})


def test_the_file_of_the_user_is_for_promoters_own_server(
    own: Listener, other: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow reads `~/.mlflow/credentials` for every host."""
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username=ada\nmlflow_tracking_password=geheim\n"
    )
    MlflowRegistry(own.uri).read_aliases("m")
    MlflowRegistry(other.uri, elsewhere=True).read_aliases("m")
    assert (own.proofs, other.proofs) == ({BASIC}, {None})


def test_the_workspace_is_named_to_promoters_own_server_alone(
    own: Listener, other: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """MLflow's client names it to every host; a registry with one of its own gets that one, and no other host gets any."""
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    own.status = other.status = 200
    own.body = other.body = '{"workspaces_enabled": true}'
    for registry in (
        MlflowRegistry(own.uri),
        MlflowRegistry(other.uri, elsewhere=True),
        MlflowRegistry(other.uri, elsewhere=True, workspace="team-b"),
    ):
        with pytest.raises(TransientError, match="cannot be true"):
            registry.read_aliases("m")
    assert set(own.workspaces) == {"team-a"}
    assert other.workspaces[0] is None
    assert set(other.workspaces[1:]) == {"team-b"}
    other.workspaces.clear()
    with pytest.raises(ArtifactError):
        read_mlmodel_file(f"{other.uri}/api/2.0/mlflow-artifacts/artifacts/x", own.uri, "the server")
    assert other.workspaces
    assert "team-a" not in other.workspaces
    for server, workspace in ((own, "team-a"), (other, "team-b")):
        assert bound.build_child_environment(server.uri)["MLFLOW_WORKSPACE"] == workspace
        with pytest.raises(ArtifactError):
            fetch_artifact("mlflow-artifacts:/x", server.uri, tmp_path / workspace, seconds=60, limit=10)
        assert server.workspaces[-1] == workspace


def test_two_workspaces_of_one_server_have_credentials_of_their_own(
    own: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A registry on Promoter's own server is sent what was given for it, else what Promoter itself is known by."""
    monkeypatch.setenv("MLFLOW_WORKSPACE", "production")
    own.status, own.body = 200, '{"workspaces_enabled": true}'
    create_mlflow_client(own.uri)
    others = {
        workspace: create_mlflow_client(
            own.uri, elsewhere=True, credentials=HostCredentials(token=token) if token else None, workspace=workspace
        )
        for workspace, token in (("staging", "of-staging"), ("dev", "of-dev"), ("lab", None))
    }
    for workspace, proof in (("staging", "of-staging"), ("dev", "of-dev"), ("lab", TOKEN), ("staging", "of-staging")):
        own.heard.clear()
        own.workspaces.clear()
        with pytest.raises(ImpossibleAnswer):
            others[workspace].get_registered_model("m")
        folder = tmp_path / f"{workspace}-{len(list(tmp_path.iterdir()))}"
        with address_server(find_client_server(others[workspace])), pytest.raises(ArtifactError):
            fetch_artifact("mlflow-artifacts:/x", own.uri, folder, seconds=60, limit=10)
        assert own.proofs == {f"Bearer {proof}"}
        assert set(own.workspaces) == {workspace}
        assert len(own.heard) > 1
    own.workspaces.clear()
    with pytest.raises(TransientError):
        MlflowRegistry(own.uri).read_aliases("m")
    assert set(own.workspaces) == {"production"}
    assert redact_message("of-staging of-dev") == "*** ***"


def test_a_workspace_of_a_server_that_has_none(other: Listener) -> None:
    """An old server would leave the name unread, and answer for all of its models: nothing is asked of it."""
    registry = MlflowRegistry(other.uri, elsewhere=True, workspace="team-b")
    with pytest.raises(PermanentError, match=f"names the workspace team-b, and {other.uri} has no workspaces"):
        registry.observe_models(["m"])
    assert {path for path, _ in other.heard} == {"/api/3.0/mlflow/server-info", "/api/3.0/mlflow/server-features"}


class _Stamp:
    """A plugin of the user, for MLflow."""

    def get_name(self) -> str:
        """What `MLFLOW_TRACKING_AUTH` says."""
        return "stamp"

    def get_auth(self) -> Any:
        """Its proof."""

        def stamp(request: Any) -> Any:
            request.headers["Authorization"] = "Stamp 1"
            return request

        return stamp


def test_a_plugin_of_the_user_speaks_to_promoters_own_server_alone(
    own: Listener, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps working, and does not know where a request leads."""
    from mlflow.tracking.request_auth import registry

    registry._request_auth_provider_registry.register(_Stamp)
    monkeypatch.setattr(bound._UserPlugin, "name", None)
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "stamp")
    MlflowRegistry(own.uri).read_aliases("m")
    MlflowRegistry(other.uri, elsewhere=True).read_aliases("m")
    assert (own.proofs, other.proofs) == ({"Stamp 1"}, {None})
    assert bound.build_child_environment(own.uri)["MLFLOW_TRACKING_AUTH"] == "stamp"
    assert "MLFLOW_TRACKING_AUTH" not in bound.build_child_environment(other.uri)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://mlflow.example/prod/api/2.0/x", "prod"),
        ("https://MLFLOW.example:443/prod", "prod"),
        ("https://mlflow.example/staging/api", "staging"),
        ("https://mlflow.example/production", None),
        ("https://mlflow.example/", None),
        ("http://mlflow.example/prod", None),
        ("https://mlflow.example:8443/prod", None),
        ("https://mlflow.example.evil/prod", None),
        ("https://mlflow.example@evil/prod", None),
        ("https://evil/https://mlflow.example/prod", None),
        ("https://lonely.example/artifacts/x", "lonely"),
        ("https://[::1", None),
        ("https://mlflow.example:port/prod", None),
        ("file:///prod", None),
    ],
)
def test_an_address_belongs_to_a_server_by_scheme_host_port_and_path(address: str, expected: str | None) -> None:
    """Two registries may share a host; then the path decides."""
    bindings = CredentialBindings()
    for name in ("prod", "staging"):
        bindings.bind_server(f"https://mlflow.example/{name}/", lambda name=name: HostCredentials(token=name), own=False)  # type: ignore[misc]
    bindings.bind_server("https://lonely.example/mlflow", lambda: HostCredentials(token="lonely"), own=False)
    found = bindings.find_server(address)
    assert (found.read_credentials().token if found else None) == expected


def test_the_own_server_is_not_bound_anew_by_a_registry_with_its_address(own: Listener) -> None:
    """A registry that is this one is refused elsewhere; it takes nothing away meanwhile."""
    create_mlflow_client(own.uri)
    create_mlflow_client(own.uri, elsewhere=True)
    assert bound.is_own_server(own.uri)


def test_messages_leave_the_secrets_of_every_registry_out(other: Listener) -> None:
    """As they do with those of MLflow's own variables."""
    create_mlflow_client(other.uri, elsewhere=True, credentials=HostCredentials("ada", "geheim", "of-staging"))
    assert redact_message(f"{TOKEN} geheim of-staging") == "*** *** ***"
    assert "geheim" not in repr(HostCredentials("ada", "geheim", "of-staging"))


@pytest.mark.parametrize("token", ["of\nproduction", "of-production\n", " of-production"])
def test_a_token_that_cannot_be_sent_is_named_and_not_shown(own: Listener, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """A file's line break is the usual one."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    with pytest.raises(PermanentError, match="MLFLOW_TRACKING_TOKEN cannot be sent") as refused:
        MlflowRegistry(own.uri).read_aliases("m")
    assert "production" not in str(refused.value)
    assert own.heard == []
