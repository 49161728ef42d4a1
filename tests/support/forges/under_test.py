"""A repository on a hosted forge of each kind, with people, a git remote over smart HTTP, and Promoter's adapter for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from promoter.adapters.forges.detect import ForgeKind, connect_forge
from promoter.application.ports.forge import Forge, PullRequestDraft
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from tests.support.forges.faults import ForgeCall
from tests.support.forges.gitea import GiteaFace
from tests.support.forges.github import GitHubFace
from tests.support.forges.gitlab import GitLabFace
from tests.support.forges.model import Hook
from tests.support.forges.pushes import pushed
from tests.support.forges.repository import HostedRepository
from tests.support.forges.server import HostedServer
from tests.support.forges.state import HostedForge, HostedRemote

TOKEN = "tok-promoter-9b1e77"
BRANCH = "promoter/fraud/champion"
FIRST_FILES = {"registry.yaml": b"version: 1\nmodels: {}\n"}
KINDS: tuple[ForgeKind, ...] = ("github", "gitlab", "gitea")


@dataclass
class ForgeUnderTest:
    """Ada, Bob and Cy write, Eve only reads, Promoter's account is `promoter-bot`. `home` has `main` with one commit.

    `remote` serves the same repository to git, with `TOKEN` for a password; what is pushed there the forge sees at once.
    """

    kind: ForgeKind
    forge: HostedForge
    face: Any
    server: HostedServer
    remote: HostedRemote
    home: HostedRepository
    port: Forge = field(init=False)

    def __post_init__(self) -> None:
        """Connected, and nothing asked yet."""
        self.port = self.connected()

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a Promoter that works here, as environment variables."""
        return {
            "PROMOTER_REPO": self.remote.url,
            "PROMOTER_GIT_TOKEN": TOKEN,
            "PROMOTER_FORGE": self.kind,
            "PROMOTER_FORGE_URL": self.server.url + ("/api/v3" if self.kind == "github" else ""),
            "PROMOTER_FORGE_PROJECT": self.home.name,
            "PROMOTER_FORGE_TOKEN": TOKEN,
        }

    def connected(self, token: str = TOKEN, project: str | None = None, folder: RepositoryFolder = TOP_FOLDER) -> Forge:
        """One more connection, as after a restart; of the Promoter of that folder."""
        url = f"{self.server.url}/{self.home.name}.git"
        made = connect_forge(url, "main", kind=self.kind, project=project, token=SecretStr(token), folder=folder)
        assert made is not None
        return made

    def hook(self, url: str, secret: str) -> None:
        """From now on the forge announces there what happens."""
        self.forge.hooks.append(Hook(url, secret))

    def draft(self, title: str = "Rotate", body: str = "Body", version: int = 7, **more: Any) -> PullRequestDraft:
        """A draft from Promoter's branch, which has a commit of its own."""
        if BRANCH not in self.home.git.heads():
            self.push({"registry.yaml": f"version: {version}\n"}, by="promoter-bot")
        return PullRequestDraft(BRANCH, title, body, **more)

    def push(self, files: dict[str, str], by: str = "bob", branch: str = BRANCH, **more: Any) -> str:
        """Somebody pushes a commit."""
        revision = pushed(self.home, branch, files, by, **more)
        self.forge.refresh()
        return revision

    def writes(self) -> list[ForgeCall]:
        """What was written since this was last asked."""
        taken = list(self.forge.faults.writes)
        self.forge.faults.writes.clear()
        return taken


@contextmanager
def hosted(kind: ForgeKind, folder: Path, files: dict[str, bytes] | None = None) -> Iterator[ForgeUnderTest]:
    """One of that kind, served while inside; `files`: the first commit on `main`."""
    name = "acme/models/registry" if kind == "gitlab" else "acme/registry"
    forge = HostedForge("refs/merge-requests/{}/head") if kind == "gitlab" else HostedForge()
    for login in ("ada", "bob", "cy", "eve"):
        forge.account(login)
    forge.account("promoter-bot", token=TOKEN)
    remote = HostedRemote(folder / "hosted", name, token=TOKEN)
    remote.commit_files(files or FIRST_FILES)
    writers = dict.fromkeys(("ada", "bob", "cy", "promoter-bot"), "write")
    home = forge.host(remote.path, name, **writers, eve="read")
    remote.forge = forge
    face = _FACES[kind](forge)
    with remote, HostedServer(forge, face) as server:
        yield ForgeUnderTest(kind, forge, face, server, remote, home)


_FACES: dict[ForgeKind, Any] = {"github": GitHubFace, "gitlab": GitLabFace, "gitea": GiteaFace}
