"""Which forge a repository lies on, by its URL and by the settings."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import SecretStr

from promoter.adapters.forges import ForgeAddress, connect_forge, parse_forge_address
from promoter.adapters.forges.detect import find_commit_pages
from promoter.domain.errors import PermanentError

GITHUB = ForgeAddress("github", "https://api.github.com", "acme/registry")
TOKEN = SecretStr("tok-4c7d01")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/acme/registry", GITHUB),
        ("https://github.com/acme/registry.git", GITHUB),
        ("https://GitHub.com/acme/registry/", GITHUB),
        ("https://ada:s3cret@github.com/acme/registry.git", GITHUB),
        ("https://s3cret@github.com/acme/registry.git", GITHUB),
        ("ssh://git@github.com/acme/registry.git", GITHUB),
        ("ssh://git@ssh.github.com:443/acme/registry.git", GITHUB),
        ("git@github.com:acme/registry.git", GITHUB),
        ("github.com:acme/registry", GITHUB),
        ("git@gitlab.com:acme/models/registry.git", ForgeAddress("gitlab", "https://gitlab.com", "acme/models/registry")),
        ("https://gitlab.com/acme/models/registry", ForgeAddress("gitlab", "https://gitlab.com", "acme/models/registry")),
        ("https://codeberg.org/acme/registry.git", ForgeAddress("gitea", "https://codeberg.org", "acme/registry")),
        ("git@codeberg.org:acme/registry", ForgeAddress("gitea", "https://codeberg.org", "acme/registry")),
        ("https://git.example.org:8443/acme/registry.git", ForgeAddress(None, "https://git.example.org:8443", "acme/registry")),
        ("http://127.0.0.1:3000/acme/registry.git", ForgeAddress(None, "http://127.0.0.1:3000", "acme/registry")),
        ("http://[::1]:3000/acme/registry.git", ForgeAddress(None, "http://[::1]:3000", "acme/registry")),
        ("ssh://git@git.example.org:2222/acme/registry.git", ForgeAddress(None, "https://git.example.org", "acme/registry")),
        ("git@git.example.org:/acme/registry.git", ForgeAddress(None, "https://git.example.org", "acme/registry")),
        (
            "https://github.com.evil.example/acme/registry",
            ForgeAddress(None, "https://github.com.evil.example", "acme/registry"),
        ),
        ("https://github.com@evil.example/acme/registry", ForgeAddress(None, "https://evil.example", "acme/registry")),
        ("https://git.example.org/acme/a%20b", ForgeAddress(None, "https://git.example.org", "acme/a b")),
        ("https://github.com/acme", None),
        ("https://github.com/", None),
        ("https://git.example.org:port/acme/registry", None),
        ("/srv/git/acme/registry.git", None),
        ("../acme/registry", None),
        ("file:///srv/git/acme/registry.git", None),
        ("ext::sh -c x", None),
        ("", None),
        ("https:///acme/registry", None),
    ],
)
def test_addresses(url: str, expected: ForgeAddress | None) -> None:
    """Each form of a URL leads to the forge, without the credentials in it; paths lead to none."""
    found = parse_forge_address(url)
    assert found == expected
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("repo", "kind", "shown"),
    [
        ("git@gitlab.com:acme/models/registry.git", None, "GitLab(https://gitlab.com, acme/models/registry, main)"),
        ("https://codeberg.org/acme/registry.git", None, "Gitea(https://codeberg.org, acme/registry, main)"),
        ("https://git.example.org/acme/registry", "gitea", "Gitea(https://git.example.org, acme/registry, main)"),
        ("https://git.example.org/acme/registry", "gitlab", "GitLab(https://git.example.org, acme/registry, main)"),
    ],
)
def test_the_kind_by_url_or_setting(repo: str, kind: str | None, shown: str) -> None:
    """The URL tells the kind where its host is known; the setting tells it for others."""
    assert repr(connect_forge(repo, "main", kind=kind, token=TOKEN)) == shown  # type: ignore[arg-type]


def test_settings_win() -> None:
    """Kind, address and project of the settings go before what the URL says."""
    made = connect_forge(
        "git@gitlab.com:acme/registry.git",
        "main",
        kind="gitea",
        url="https://forge.example.org/",
        project="/other/place/",
        token=TOKEN,
    )
    assert repr(made) == "Gitea(https://forge.example.org, other/place, main)"


def test_an_instance_below_a_path() -> None:
    """The part of the path that belongs to the instance is none of the project's."""
    repo = "https://example.org/gitlab/acme/models/registry.git"
    made = connect_forge(repo, "main", kind="gitlab", url="https://example.org/gitlab", token=TOKEN)
    assert repr(made) == "GitLab(https://example.org/gitlab, acme/models/registry, main)"


def test_no_forge() -> None:
    """A host of an unknown kind, or a path, without a setting: no forge, and no error."""
    assert connect_forge("https://git.example.org/acme/registry", "main", token=TOKEN) is None
    assert connect_forge("/srv/git/registry.git", "main") is None
    for token in (None, SecretStr("")):
        assert connect_forge("git@gitlab.com:acme/registry.git", "main", token=token) is None


@pytest.mark.parametrize(
    ("repo", "kind", "token", "fix"),
    [
        ("git@gitlab.com:acme/registry.git", "gitlab", None, "PROMOTER_FORGE_TOKEN"),
        ("git@gitlab.com:acme/registry.git", "gitlab", SecretStr(""), "PROMOTER_FORGE_TOKEN"),
        ("/srv/git/registry.git", "gitea", TOKEN, "PROMOTER_FORGE_URL"),
        ("/srv/git/registry.git", "gitlab", TOKEN, "PROMOTER_FORGE_PROJECT"),
    ],
)
def test_what_is_missing_is_told(repo: str, kind: str | None, token: SecretStr | None, fix: str) -> None:
    """Each thing that is missing is refused with the setting that gives it."""
    with pytest.raises(PermanentError) as caught:
        connect_forge(repo, "main", kind=kind, token=token)  # type: ignore[arg-type]
    assert fix in str(caught.value.fix)


@pytest.mark.parametrize(("kind", "library"), [("github", "github"), ("gitlab", "gitlab"), ("gitea", "requests")])
def test_a_client_library_that_is_not_installed(kind: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra that brings it."""
    for name in [each for each in sys.modules if each.startswith("promoter.adapters.forges.")]:
        if not name.endswith("choice"):
            monkeypatch.delitem(sys.modules, name)
    for name in [each for each in sys.modules if each == library or each.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(PermanentError) as caught:
        connect_forge("https://git.example.org/acme/registry", "main", kind=kind, token=TOKEN)  # type: ignore[arg-type]
    assert caught.value.fix == f"pip install 'promoter[{kind}]'"
    known = {"github": "github.com", "gitlab": "gitlab.com", "gitea": "codeberg.org"}[kind]
    assert connect_forge(f"https://{known}/acme/registry", "main", token=TOKEN) is None  # nobody asked for pull requests


@pytest.mark.parametrize(
    ("repo", "settings", "pages"),
    [
        ("git@github.com:acme/registry.git", {}, "https://github.com/acme/registry/commit/"),
        ("https://ada:s3cret@gitlab.com/acme/models/registry", {}, "https://gitlab.com/acme/models/registry/-/commit/"),
        ("https://codeberg.org/acme/registry.git", {}, "https://codeberg.org/acme/registry/commit/"),
        (
            "https://git.example.org:8443/acme/registry.git",
            {"kind": "gitea"},
            "https://git.example.org:8443/acme/registry/commit/",
        ),
        ("https://ghe.example.org/acme/registry.git", {"kind": "github"}, "https://ghe.example.org/acme/registry/commit/"),
        (
            "/srv/git/registry.git",
            {"kind": "gitlab", "url": "https://lab.example.org/git/", "project": "acme/a b"},
            "https://lab.example.org/git/acme/a%20b/-/commit/",
        ),
        ("https://git.example.org/acme/registry.git", {}, None),
        ("/srv/git/acme/registry.git", {"kind": "gitea"}, None),
        ("https://git.example.org/acme/registry.git", {"kind": "gitea", "url": "http://["}, None),
        ("", {}, None),
    ],
)
def test_pages_of_commits(repo: str, settings: dict[str, Any], pages: str | None) -> None:
    """Each forge's own path, also where nobody set a token; none where the forge is not known."""
    assert find_commit_pages(repo, **settings) == pages
