"""The address of a git remote: checked, separated from its credentials, and safe to show; and checks of refs and paths."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

from promoter.domain.errors import PermanentError

_REMOTE_HELPER = re.compile(r"[A-Za-z0-9+.-]+::")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP_LIKE = re.compile(r"(?:[\w.][\w.+-]*@)?[\w.\[][\w.:\[\]-]*:(?!/{2})[^-].*", re.ASCII)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f:.%]+", re.ASCII)
_TOKEN_USER_NAME = "x-access-token"  # noqa: S105  # a user name, no secret
"""The name beside a token where the URL has none: GitHub wants this one, GitLab and Gitea take any."""
_SHORTEST_SECRET = 4
_ADDRESS_FIX = "give an https:// or ssh:// URL, user@host:path, or the path of a repository"


class GitTransport(Enum):
    """How git reaches the remote."""

    HTTP = "http"
    SSH = "ssh"
    LOCAL = "local"


@dataclass(frozen=True)
class RemoteAddress:
    """A remote as git gets to see it."""

    url: str
    """Its address, without credentials."""
    transport: GitTransport
    header: SecretStr | None = None
    """Its credentials, as an HTTP header that is sent to the remote's own host only."""
    secrets: tuple[SecretStr, ...] = field(default=(), repr=False)
    """All forms of its credentials, the longest first: what messages must not show."""

    @property
    def http_origin(self) -> str:
        """Scheme, host and port of an HTTP remote, with a slash: where the header is sent."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/"

    @property
    def local_path(self) -> Path | None:
        """The folder of a local remote."""
        return Path(unquote(self.url.removeprefix("file://"))) if self.transport is GitTransport.LOCAL else None


def parse_remote_address(url: str, token: SecretStr | None = None) -> RemoteAddress:
    """Parse a URL or a path. `token` wins over a password in the URL. Raises `PermanentError` for an unfit address."""
    if not url or url.startswith("-") or _CONTROL_CHARACTER.search(url):
        raise PermanentError("git", "the repository's address is empty or not an address", _ADDRESS_FIX)
    if _REMOTE_HELPER.match(url):
        raise PermanentError("git", "an address of the form helper::address runs a program, and is not used", _ADDRESS_FIX)
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _parse_without_scheme(url)
    name = scheme[1].lower()
    if name == "file":
        return RemoteAddress(_expand_absolute_path(url[len("file://") :]), GitTransport.LOCAL)
    parts = _split_url(url)
    if name in ("http", "https"):
        return _parse_http_url(parts, token)
    if name == "ssh":
        return _parse_ssh_url(parts)
    raise PermanentError("git", f"{name}:// is not a transport that Promoter uses", _ADDRESS_FIX)


def _parse_without_scheme(url: str) -> RemoteAddress:
    """Parse `user@host:path`, or a path; a colon before the first slash makes the difference, as it does for git."""
    if ":" in url.split("/", 1)[0]:
        if not _SCP_LIKE.fullmatch(url):
            raise PermanentError("git", "the repository's address is not of the form user@host:path", _ADDRESS_FIX)
        return RemoteAddress(url, GitTransport.SSH)
    return RemoteAddress(_expand_absolute_path(url), GitTransport.LOCAL)


def _expand_absolute_path(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111  # Path.resolve would follow symlinks


def _split_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = parts.hostname is not None and _HOST.fullmatch(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise PermanentError("git", "the repository's URL has no valid host or port", _ADDRESS_FIX)
    return parts


def _parse_ssh_url(parts: SplitResult) -> RemoteAddress:
    if parts.password is not None:
        raise PermanentError("git", "an ssh:// URL cannot carry a password", "use a key, and leave the password out of the URL")
    if (parts.username or "").startswith("-"):
        raise PermanentError("git", "the user name in the repository's URL is not a name", _ADDRESS_FIX)
    return RemoteAddress(parts.geturl(), GitTransport.SSH)


def _parse_http_url(parts: SplitResult, token: SecretStr | None) -> RemoteAddress:
    clean = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    user = unquote(parts.username or "")
    password = token.get_secret_value() if token else unquote(parts.password or "")
    if not user and not password:
        return RemoteAddress(clean, GitTransport.HTTP)
    if not password:
        user, password = "", user  # https://TOKEN@host/: GitHub's short form
    if _CONTROL_CHARACTER.search(user + password):
        raise PermanentError("git", "the token has a line break or another control character in it", "set the token anew")
    basic = base64.b64encode(f"{user or _TOKEN_USER_NAME}:{password}".encode()).decode()
    hidden = {password, unquote(parts.password or ""), parts.password or "", basic}
    secrets = tuple(SecretStr(text) for text in sorted(hidden, key=len, reverse=True) if len(text) >= _SHORTEST_SECRET)
    return RemoteAddress(clean, GitTransport.HTTP, SecretStr(f"Authorization: Basic {basic}"), secrets)


HEADS = "refs/heads/"
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)|\.$|/$))[^-./\x00-\x20\x7f~^:?*\[\\][^\x00-\x20\x7f~^:?*\[\\]*")
_BRANCH_LENGTH = 200  # git's file names end at 255
_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[^/\"\x00-\x1f\x7f][^\"\x00-\x1f\x7f]*")
_PULL_REQUEST_REF = re.compile(r"refs/(?:pull|merge-requests)/[0-9]{1,18}/head")
_NOT_IN_A_NAME = re.compile(r"[<>\x00-\x1f\x7f]")
_NOT_AT_AN_END = "".join(map(chr, range(33))) + ".,:;\"\\'"
_SHOWN_LENGTH = 80


def is_revision(text: str) -> bool:
    """Whether it is a full object id."""
    return _REVISION.fullmatch(text) is not None


def require_full_revision(revision: str) -> str:
    """Return the revision. Raises `PermanentError` for anything but a full object id."""
    if not is_revision(revision):
        raise PermanentError("git", f"{revision[:_SHOWN_LENGTH]!r} is not a full commit id")
    return revision


def build_branch_ref(branch: str) -> str:
    """Return the ref of a branch. Raises `PermanentError` for what git would not take as a branch."""
    if len(branch) > _BRANCH_LENGTH or not _BRANCH.fullmatch(branch):
        raise PermanentError("git", f"{branch[:_SHOWN_LENGTH]!r} is not a branch name", "name a branch, such as main")
    return HEADS + branch


def require_fetchable_ref(ref: str) -> str:
    """Return the ref of a branch or of the head of a pull request. Raises `PermanentError` for any other."""
    if _PULL_REQUEST_REF.fullmatch(ref):
        return ref
    if not ref.startswith(HEADS):
        raise PermanentError("git", f"{ref[:_SHOWN_LENGTH]!r} is neither a branch nor the head of a pull request")
    return build_branch_ref(ref.removeprefix(HEADS))


def require_tracked_path(path: str) -> str:
    """Return the path. Raises `PermanentError` for one that could not be a file of the repository."""
    if not _PATH.fullmatch(path):
        raise PermanentError("git", f"{path[:_SHOWN_LENGTH]!r} is not the path of a file in the repository")
    return path


def normalize_identity(author: tuple[str, str]) -> tuple[str, str]:
    """Return name and mail as git writes them: it strips some marks from the ends, and later comparisons need the same."""
    name, mail = (_NOT_IN_A_NAME.sub("", part).strip(_NOT_AT_AN_END) for part in author)
    return name or "Promoter", mail or "promoter@localhost"
