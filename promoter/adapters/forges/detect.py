"""Finds the forge of a repository: by the repository's URL, and by the settings, which win. Lists the kinds of forges."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

import structlog
from pydantic import SecretStr

from promoter.application.ports.forge import Forge
from promoter.domain.errors import PermanentError
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder

log = structlog.get_logger(__name__)


ForgeKind = Literal["github", "gitlab", "gitea"]


@dataclass(frozen=True)
class ForgeType:
    """A kind of forge. The module of its kind's name has the class of its name."""

    name: str
    """The forge's name for people, and that of its class."""
    url: str
    """The address of the public instance: that of its API, where it has one of its own."""
    hosts: tuple[str, ...]
    """The hosts of the public instance, those for ssh among them."""
    is_default: bool = True
    """Whether the public instance is meant where neither the repository's URL nor the settings name one."""
    api_path: str = ""
    """What the address of another instance has before that of its API begins."""
    commit_path: str = "commit"
    """What stands between a project's address and the id of a commit."""


FORGES: dict[ForgeKind, ForgeType] = {
    "github": ForgeType("GitHub", "https://api.github.com", ("github.com", "ssh.github.com"), api_path="/api/v3"),
    "gitlab": ForgeType("GitLab", "https://gitlab.com", ("gitlab.com", "altssh.gitlab.com"), commit_path="-/commit"),
    "gitea": ForgeType("Gitea", "https://codeberg.org", ("codeberg.org",), is_default=False),
}
_KNOWN_HOSTS: dict[str, ForgeKind] = {host: kind for kind, forge in FORGES.items() for host in forge.hosts}
TOKEN_FIX = "set PROMOTER_FORGE_TOKEN to a token that may read and write pull requests of this project"  # noqa: S105  # words
_SCP_LIKE = re.compile(r"(?:[\w.+-]+@)?(?P<host>[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\]):(?P<path>(?!/{2})[^\s]+)", re.ASCII)
_URL_SCHEMES = ("http", "https", "ssh")


@dataclass(frozen=True)
class ForgeAddress:
    """Where a repository lies on a forge."""

    kind: ForgeKind | None
    """None for a host whose forge is not known by its name."""
    url: str
    """The address of GitHub's API, else of the instance; it carries no credentials."""
    project: str
    """`owner/name`, on GitLab `group/sub/name`."""


def parse_forge_address(repo_url: str) -> ForgeAddress | None:
    """Parse a repository's URL of the forms https, ssh and `user@host:path`; None for a path, or what is no address."""
    try:
        place = _split_repository_url(repo_url.strip())
    except ValueError:
        return None
    if place is None:
        return None
    host, base, path = place
    project = path.strip("/").removesuffix(".git").strip("/")
    if "/" not in project:
        return None
    kind = _KNOWN_HOSTS.get(host)
    return ForgeAddress(kind, FORGES[kind].url if kind else base, project)


def connect_forge(  # noqa: PLR0913  # what the settings say of the forge, most of it with a default
    repo: str,
    branch: str,
    *,
    kind: ForgeKind | None = None,
    url: str | None = None,
    project: str | None = None,
    token: SecretStr | None = None,
    account: str | None = None,
    folder: RepositoryFolder = TOP_FOLDER,
) -> Forge | None:
    """Connect the forge of a repository; nothing is sent yet. None where neither the URL nor the settings name its kind.

    Where only the URL names it, nobody asked for pull requests: None as well, without a token or its client library. Where the
    settings name it, `PermanentError` is raised where its address, its token, or its client library is missing.
    """
    detected = parse_forge_address(repo)
    guessed = detected.kind if detected else None
    if kind is None and guessed is not None and _can_connect(guessed, token):
        kind = guessed
    if kind is None:
        return None
    url = url.strip().rstrip("/") if url else _derive_api_url(kind, detected)
    project = (project or "").strip("/") or _derive_project(repo, url)
    name = FORGES[kind].name
    if not url:
        raise PermanentError(name, "its address is not known", "set PROMOTER_FORGE_URL to it, such as https://git.example.org")
    if not project:
        raise PermanentError(name, "the project on it is not known", "set PROMOTER_FORGE_PROJECT to owner/name")
    if token is None or not token.get_secret_value():
        raise PermanentError(name, f"no token is set for {project} at {url}", TOKEN_FIX)
    return _import_forge_class(kind)(url, project, branch, token, account, folder=folder)


def find_commit_pages(
    repo: str, kind: ForgeKind | None = None, url: str | None = None, project: str | None = None
) -> str | None:
    """Find the address of the forge's pages of commits, to which a commit's id is added; None where no forge is known.

    It takes the settings as `connect_forge` does, and needs neither a token nor a client library.
    """
    detected = parse_forge_address(repo)
    kind = kind or (detected.kind if detected else None)
    if kind is None:
        return None
    forge = FORGES[kind]
    api = (url or "").strip().rstrip("/") or _derive_api_url(kind, detected)
    try:
        name = (project or "").strip("/") or _derive_project(repo, api)
    except ValueError:
        return None  # the forge's address is none, which whoever needs the forge is told
    if not api or not name:
        return None
    pages = f"https://{forge.hosts[0]}" if api == forge.url else api.removesuffix(forge.api_path)
    return f"{pages}/{quote(name)}/{forge.commit_path}/"


def _can_connect(kind: ForgeKind, token: SecretStr | None) -> bool:
    """Whether there is what it takes to talk to a forge that only the URL names."""
    if token is None or not token.get_secret_value():
        return False
    try:
        _import_forge_class(kind)
    except PermanentError as missing:
        log.warning("pull requests are left alone", forge=FORGES[kind].name, why=missing.message, fix=missing.fix)
        return False
    return True


def _import_forge_class(kind: ForgeKind) -> Callable[..., Forge]:
    try:
        module = import_module(f"promoter.adapters.forges.{kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("promoter"):
            raise
        fix = f"pip install 'promoter[{kind}]'"
        raise PermanentError(FORGES[kind].name, "its client library is not installed", fix) from None
    client: Callable[..., Forge] = getattr(module, FORGES[kind].name)
    return client


def _derive_api_url(kind: ForgeKind, detected: ForgeAddress | None) -> str:
    forge = FORGES[kind]
    if detected is None:
        return forge.url if forge.is_default else ""
    return detected.url if detected.kind else detected.url + forge.api_path


def _derive_project(repo: str, url: str) -> str:
    """Take the project from the repository's URL, without the path that the instance itself lies under."""
    detected = parse_forge_address(repo)
    if detected is None:
        return ""
    under = urlsplit(url).path.strip("/")
    return detected.project.removeprefix(f"{under}/") if under and not under.startswith("api/") else detected.project


def _split_repository_url(url: str) -> tuple[str, str, str] | None:
    """Split into host, base URL and path. Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    if parts.scheme.lower() in _URL_SCHEMES and "://" in url:
        if not parts.hostname:
            return None
        return parts.hostname.lower(), _build_base_url(parts), unquote(parts.path)
    match = _SCP_LIKE.fullmatch(url)
    if match is None or "://" in url:
        return None
    host = match["host"].lower()
    return host.strip("[]"), f"https://{host}", match["path"]


def _build_base_url(parts: SplitResult) -> str:
    """Build the address of the instance's pages. The port of ssh says nothing of them."""
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    if parts.scheme.lower() == "ssh":
        return f"https://{host}"
    return f"{parts.scheme.lower()}://{host}" + (f":{parts.port}" if parts.port else "")
