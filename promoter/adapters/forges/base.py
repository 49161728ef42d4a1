"""What the adapters of all forges begin alike with: where the repository is, as whom, and how it is told to people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import SecretStr

from promoter.adapters.forges.answers import ForgeProject


class ForgeBase(ABC):
    """One repository on a forge. `COMMIT_KIND` is the forge's name for people; where it is asked, each says in `_connect`."""

    KIND: ClassVar[str]

    def __init__(
        self,
        url: str,
        project: str,
        branch: str,
        token: SecretStr,
        account: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        """`url`, `project`: as the forge has them; `branch`: the watched one; `timeout` in seconds. Asks nothing yet.

        `account`: Promoter's own. A token that is not told whose it is, as that of an app on GitHub, needs it.
        """
        self._place = ForgeProject(self.KIND, url.rstrip("/"), project, token)
        self._branch = branch
        self._account = account
        self._create_client(timeout)

    @abstractmethod
    def _create_client(self, timeout: float) -> None:
        """Make the client of the place; nothing is asked."""

    def __repr__(self) -> str:
        """Where it is, without its token."""
        return f"{self.KIND}({self._place.url}, {self._place.project}, {self._branch})"

    @property
    def name(self) -> str:
        """For people."""
        return self.KIND
