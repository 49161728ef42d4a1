"""What the adapter makes of servers that know no users, tell nothing of them, or answer what cannot be true."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.domain.errors import TransientError
from promoter.domain.registry_rights import AccessControl, find_alias_writers

CURRENT = "/api/2.0/mlflow/users/current"
GRANTS = "/api/3.0/mlflow/users/current/permissions"
PERMISSION = "/api/3.0/mlflow/users/permissions/get"
USERS = "/api/2.0/mlflow/users/list"
ROLES = "/api/3.0/mlflow/roles/list"
MODELS = "/api/2.0/mlflow/registered-models/search"
MODEL = "/api/2.0/mlflow/registered-models/get"
Answer = tuple[int, object]
EDIT = {"resource_type": "registered_model", "resource_pattern": "fraud", "permission": "EDIT"}


@dataclass
class TableServer:
    """Answers each path as it is written here, and others with 404."""

    uri: str = ""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    strangers: list[str | None] = field(default_factory=list)
    """What requests for models said of who asks."""


@pytest.fixture
def table() -> Iterator[TableServer]:
    """A server of written answers."""
    kept = TableServer()

    class TableHandler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == MODELS:
                kept.strangers.append(self.headers["Authorization"])
            status, content = kept.answers.get(path, (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": ""}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode() if isinstance(content, str) else json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TableHandler)
    kept.uri = f"http://ann:secret@127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield kept
    server.shutdown()


def test_a_server_that_knows_no_users(registry: MlflowRegistry) -> None:
    """A real one, as MLflow starts it."""
    assert registry.read_rights(["fraud"]).control is AccessControl.NONE


@pytest.mark.parametrize(
    ("answer", "control"),
    [
        ((200, {}), AccessControl.NONE),
        ((200, "<html>Sign in</html>"), AccessControl.OTHER),
        ((401, "who are you?"), AccessControl.OTHER),
        ((302, ""), AccessControl.OTHER),
    ],
)
def test_servers_without_roles(table: TableServer, answer: Answer, control: AccessControl) -> None:
    """Only what lists models for a stranger counts as open; the stranger shows no password."""
    table.answers = {MODELS: answer}
    assert MlflowRegistry(table.uri).read_rights(["fraud"]).control is control
    assert table.strangers == [None]


def test_an_older_server_with_users(table: TableServer) -> None:
    """It has no roles: nothing is known."""
    table.answers = {CURRENT: (200, {"user": {"username": "ann"}}), MODELS: (401, "")}
    assert MlflowRegistry(table.uri).read_rights([]).control is AccessControl.OTHER


@pytest.mark.parametrize("current", [{}, {"user": {}}, {"user": "ann"}])
def test_an_answer_that_cannot_be_true(table: TableServer, current: object) -> None:
    """No user is no freedom."""
    table.answers = {CURRENT: (200, current)}
    with pytest.raises(TransientError, match="an answer cannot be true"):
        MlflowRegistry(table.uri).read_rights([])


def test_roles_and_users_that_may_not_be_read(table: TableServer) -> None:
    """Without roles nobody is named; without the list of users, one who was granted something has a number."""
    known = {
        CURRENT: (200, {"user": {"username": "ann"}}),
        GRANTS: (200, {"is_admin": False, "permissions": [EDIT]}),
        PERMISSION: (200, {"permission": "READ"}),
        MODEL: (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": ""}),
    }
    table.answers = known | {USERS: (403, "Permission denied"), ROLES: (403, "Permission denied")}
    rights = MlflowRegistry(table.uri).read_rights(["gone"])
    assert (rights.roles, rights.default, rights.permissions) == (None, "READ", {})
    table.answers = known | {ROLES: (200, {"roles": [{"id": 7, "name": "__user_3__", "permissions": [EDIT]}]})}
    found = find_alias_writers(MlflowRegistry(table.uri).read_rights([]), {"fraud"})
    assert str(found["fraud"][0]) == "user number 3 (EDIT)"


def test_what_everybody_may_do_can_be_hidden(table: TableServer) -> None:
    """By what Promoter's user was granted on all models itself: then it is unknown, and not nothing."""
    everywhere = {**EDIT, "resource_pattern": "*"}
    table.answers = {
        CURRENT: (200, {"user": {"username": "ann"}}),
        GRANTS: (200, {"is_admin": False, "permissions": [everywhere]}),
        PERMISSION: (200, {"permission": "EDIT"}),
        ROLES: (200, {"roles": []}),
    }
    assert MlflowRegistry(table.uri).read_rights([]).default is None
    table.answers = {**table.answers, PERMISSION: (200, {"permission": "MANAGE"})}
    assert MlflowRegistry(table.uri).read_rights([]).default == "MANAGE"
