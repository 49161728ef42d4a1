"""A repository on a hosted GitLab or Gitea, with people, and Promoter's adapter for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from promoter.adapters.forges.choice import Kind, connect
from promoter.application.ports.forge import Draft, Forge
from promoter.demo.servers.git import GitRemote
from tests.forges.acting import pushed
from tests.forges.faults import Call
from tests.forges.gitea import GiteaFace
from tests.forges.gitlab import GitLabFace
from tests.forges.repository import HostedRepository
from tests.forges.server import HostedServer
from tests.forges.state import HostedForge

TOKEN = "tok-promoter-9b1e77"
BRANCH = "promoter/fraud/champion"


@dataclass
class Scene:
    """Ada, Bob and Cy write, Eve only reads, Promoter's account is `promoter-bot`. `home` has `main` with one commit."""

    kind: Kind
    forge: HostedForge
    face: Any
    server: HostedServer
    home: HostedRepository
    port: Forge = field(init=False)

    def __post_init__(self) -> None:
        """Connected, and nothing asked yet."""
        self.port = self.connected()

    def connected(self, token: str = TOKEN, project: str | None = None) -> Forge:
        """One more connection, as after a restart."""
        url = f"{self.server.url}/{self.home.name}.git"
        made = connect(url, "main", kind=self.kind, project=project, token=SecretStr(token))
        assert made is not None
        return made

    def draft(self, title: str = "Rotate", body: str = "Body", version: int = 7, **more: Any) -> Draft:
        """A draft from Promoter's branch, which has a commit of its own."""
        if BRANCH not in self.home.git.heads():
            self.push({"registry.yaml": f"version: {version}\n"}, by="promoter-bot")
        return Draft(BRANCH, title, body, **more)

    def push(self, files: dict[str, str], by: str = "bob", branch: str = BRANCH, **more: Any) -> str:
        """Somebody pushes a commit."""
        revision = pushed(self.home, branch, files, by, **more)
        self.forge.refresh()
        return revision

    def writes(self) -> list[Call]:
        """What was written since this was last asked."""
        taken = list(self.forge.faults.writes)
        self.forge.faults.writes.clear()
        return taken


@contextmanager
def scene(kind: Kind, folder: Path) -> Iterator[Scene]:
    """One of that kind, served while inside."""
    gitlab = kind == "gitlab"
    name = "acme/models/registry" if gitlab else "acme/registry"
    forge = HostedForge("refs/merge-requests/{}/head") if gitlab else HostedForge()
    for login in ("ada", "bob", "cy", "eve"):
        forge.account(login)
    forge.account("promoter-bot", token=TOKEN)
    remote = GitRemote(folder / "hosted", name)
    remote.seed({"registry.yaml": b"version: 1\nmodels: {}\n"})
    writers = dict.fromkeys(("ada", "bob", "cy", "promoter-bot"), "write")
    home = forge.host(remote.path, name, **writers, eve="read")
    face = GitLabFace(forge) if gitlab else GiteaFace(forge)
    with HostedServer(forge, face) as server:
        yield Scene(kind, forge, face, server, home)
