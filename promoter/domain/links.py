"""Links: where people find the page of an alias, a version and a run, and by which address programs find a version.

No address has credentials in it: what is built here goes into events, messages and pull requests.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

_USER_INFO = re.compile(r"\A([^:/?#@]*://)[^/?#@]*@")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_WEB_SCHEMES = ("http://", "https://")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")


def strip_credentials(address: str | None) -> str | None:
    """Return the address without user, password, query and fragment; None where that cannot be done for certain."""
    if not address:
        return None
    bare = _USER_INFO.sub(r"\1", address.strip())
    if "@" in bare or not bare.isprintable():
        return None
    return re.split(r"[?#]", bare, maxsplit=1)[0].rstrip("/") or None


def build_page_link(url: str | None, model: str) -> str | None:
    """Return the address of Promoter's page of the model; None where this Promoter's own address is not known."""
    return f"{url.rstrip('/')}/?q={_quote_part(model)}" if url else None


def build_model_uri(model: str, version: int | None) -> str | None:
    """Return the URI by which MLflow's client loads the version: `models:/NAME/N`; None without a version."""
    return None if version is None else f"models:/{model}/{version}"


@dataclass(frozen=True)
class MlflowAddresses:
    """The addresses of the MLflow server, as others may see them."""

    tracking_uri: str | None = None
    """Where programs reach it, without credentials; None: unknown."""
    run_pages: str | None = None
    """Where people reach its pages of runs; None: there are none."""
    version_pages: str | None = None
    """Where people reach its pages of versions: those of the registry, where that is a server of its own."""
    workspace: str | None = None
    """The workspace that its pages show; None: the server's default workspace, or it has none."""

    @classmethod
    def build(
        cls, tracking_uri: str | None, registry_uri: str | None, ui_url: str | None, workspace: str | None = None
    ) -> Self:
        """Build them from the settings. `ui_url`: where people reach MLflow's pages, if not at the tracking URI."""
        tracking, registry = strip_credentials(tracking_uri), strip_credentials(registry_uri)
        pages = strip_credentials(ui_url)
        return cls(tracking, pages or _keep_web_address(tracking), pages or _keep_web_address(registry), workspace)

    def link_version(self, model: str, version: int | None) -> str | None:
        """Return the address of the page of the version; None where there is no version, or no such page."""
        if version is None or self.version_pages is None:
            return None
        return f"{self.version_pages}/#/models/{_quote_part(model)}/versions/{version}{self._workspace_query}"

    def link_run(self, run: str | None) -> str | None:
        """Return the address of the page of the run, which MLflow finds without its experiment; None where there is none."""
        return f"{self.run_pages}/#/runs/{_quote_part(run)}{self._workspace_query}" if run and self.run_pages else None

    @property
    def _workspace_query(self) -> str:
        return f"?workspace={_quote_part(self.workspace)}" if self.workspace else ""


NO_ADDRESSES = MlflowAddresses()
"""Where nobody knows how others reach the server."""


@dataclass(frozen=True)
class PageAddresses:
    """Where people find Promoter's pages and MLflow's."""

    promoter: str | None = None
    """The address of Promoter's page; None: not known."""
    mlflow: MlflowAddresses = NO_ADDRESSES
    """The server of this registry and its runs."""
    elsewhere: Mapping[str, MlflowAddresses] = field(default_factory=dict)
    """The servers of other registries, by their names in the settings."""
    commits: str | None = None
    """The address of the forge's pages of commits, without the slash behind which the id stands; None: not known."""

    @classmethod
    def build(
        cls,
        promoter: str | None,
        mlflow: MlflowAddresses,
        registries: Mapping[str, str],
        commits: str | None = None,
        workspaces: Mapping[str, str] | None = None,
    ) -> Self:
        """Build them. `registries`: the addresses of the other registries, and `workspaces`, by their names in the settings."""
        named = workspaces or {}
        others = {name: MlflowAddresses.build(each, each, None, named.get(name)) for name, each in registries.items()}
        return cls(promoter, mlflow, others, _keep_web_address(strip_credentials(commits)))

    def link_commit(self, revision: str | None) -> str | None:
        """Return the address of the page of the commit; None where there is none, and for a name such as `HEAD`."""
        known = self.commits and revision and _COMMIT_ID.fullmatch(revision)
        return f"{self.commits}/{revision}" if known else None

    def link_page(self, model: str) -> str | None:
        """Return the address of Promoter's page of the model; None where it is not known."""
        return build_page_link(self.promoter, model)

    def link_version(self, model: str, version: int | None, registry: str = "") -> str | None:
        """Return the address of MLflow's page of the version; None where there is none."""
        return self._find_server(registry).link_version(model, version)

    def link_run(self, run: str | None, registry: str = "") -> str | None:
        """Return the address of MLflow's page of the run; None where there is none."""
        return self._find_server(registry).link_run(run)

    def _find_server(self, registry: str) -> MlflowAddresses:
        return self.elsewhere.get(registry, NO_ADDRESSES) if registry else self.mlflow


NO_PAGES = PageAddresses()
"""Where nobody knows how people reach any page."""


def _quote_part(text: str) -> str:
    """Write a text as one part of a path or a query (RFC 3986), whatever stands in it."""
    letters = ((chr(byte), byte) for byte in text.encode("utf-8", "replace"))
    return "".join(letter if letter in _UNRESERVED else f"%{byte:02X}" for letter, byte in letters)


def _keep_web_address(address: str | None) -> str | None:
    return address if address and address.lower().startswith(_WEB_SCHEMES) else None
