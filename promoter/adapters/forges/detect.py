"""Which forge a repository lies on: by its URL, and by the settings, which win."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

import structlog
from pydantic import SecretStr

from promoter.application.ports.forge import Forge
from promoter.domain.errors import PermanentError

log = structlog.get_logger(__name__)


ForgeKind = Literal["github", "gitlab", "gitea"]


_FORGE_NAMES: dict[ForgeKind, str] = {"github": "GitHub", "gitlab": "GitLab", "gitea": "Gitea"}
_KNOWN_HOSTS: dict[str, tuple[ForgeKind, str]] = {
    "github.com": ("github", "https://api.github.com"),
    "ssh.github.com": ("github", "https://api.github.com"),
    "gitlab.com": ("gitlab", "https://gitlab.com"),
    "altssh.gitlab.com": ("gitlab", "https://gitlab.com"),
    "codeberg.org": ("gitea", "https://codeberg.org"),
}
_DEFAULT_URLS: dict[ForgeKind, str] = {"github": "https://api.github.com", "gitlab": "https://gitlab.com"}
_SCP_LIKE = re.compile(r"(?:[\w.+-]+@)?(?P<host>[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\]):(?P<path>(?!/{2})[^\s]+)", re.ASCII)
_URL_SCHEMES = ("http", "https", "ssh")
_ENTERPRISE_PATH = "/api/v3"


@dataclass(frozen=True)
class ForgeAddress:
    """Where a repository lies on a forge. `url` is what to ask: GitHub's API, else the instance; it carries no credentials.

    `project`: `owner/name`, on GitLab `group/sub/name`. `kind` None: a host whose forge is not known by its name.
    """

    kind: ForgeKind | None
    url: str
    project: str


def parse_forge_address(repo_url: str) -> ForgeAddress | None:
    """What the repository's URL says, in its https, ssh and `user@host:path` forms; None for a path, or what is no address."""
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
    kind, url = _KNOWN_HOSTS.get(host, (None, base))
    return ForgeAddress(kind, url, project)


def connect_forge(
    repo: str,
    branch: str,
    *,
    kind: ForgeKind | None = None,
    url: str | None = None,
    project: str | None = None,
    token: SecretStr | None = None,
    account: str | None = None,
) -> Forge | None:
    """The forge of a repository, asked nothing yet. None where neither the URL nor the settings name its kind.

    Where only the URL does, nobody asked for pull requests: None as well, without a token or its client library. Where the
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
    if not url:
        raise PermanentError(
            _FORGE_NAMES[kind], "its address is not known", "set PROMOTER_FORGE_URL to it, such as https://git.example.org"
        )
    if not project:
        raise PermanentError(_FORGE_NAMES[kind], "the project on it is not known", "set PROMOTER_FORGE_PROJECT to owner/name")
    if token is None or not token.get_secret_value():
        fix = "set PROMOTER_FORGE_TOKEN to a token that may read and write pull requests of this project"
        raise PermanentError(_FORGE_NAMES[kind], f"no token is set for {project} at {url}", fix)
    return _import_forge_class(kind)(url, project, branch, token, account)


def _can_connect(kind: ForgeKind, token: SecretStr | None) -> bool:
    """Whether a forge that only the URL names can be talked to."""
    if token is None or not token.get_secret_value():
        return False
    try:
        _import_forge_class(kind)
    except PermanentError as missing:
        log.warning("pull requests are left alone", forge=_FORGE_NAMES[kind], why=missing.message, fix=missing.fix)
        return False
    return True


def _import_forge_class(kind: ForgeKind) -> Callable[[str, str, str, SecretStr, str | None], Forge]:
    try:
        module = import_module(f"promoter.adapters.forges.{kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("promoter"):
            raise
        raise PermanentError(
            _FORGE_NAMES[kind], "its client library is not installed", f"pip install 'promoter[{kind}]'"
        ) from None
    client: Callable[[str, str, str, SecretStr, str | None], Forge] = getattr(module, _FORGE_NAMES[kind])
    return client


def _derive_api_url(kind: ForgeKind, detected: ForgeAddress | None) -> str:
    if detected is None:
        return _DEFAULT_URLS.get(kind, "")
    if kind == "github" and detected.kind is None:
        return detected.url + _ENTERPRISE_PATH
    return detected.url


def _derive_project(repo: str, url: str) -> str:
    """The project in the repository's URL, without the path that the instance itself lies under."""
    detected = parse_forge_address(repo)
    if detected is None:
        return ""
    under = urlsplit(url).path.strip("/")
    return detected.project.removeprefix(f"{under}/") if under and not under.startswith("api/") else detected.project


def _split_repository_url(url: str) -> tuple[str, str, str] | None:
    """Host, base URL and path. Raises ValueError for a port that is none."""
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
    """Where the instance's pages are. The port of ssh says nothing of them."""
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    if parts.scheme.lower() == "ssh":
        return f"https://{host}"
    return f"{parts.scheme.lower()}://{host}" + (f":{parts.port}" if parts.port else "")
