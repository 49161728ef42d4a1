"""The core of a hosted forge: accounts, teams and repositories, with no HTTP of its own. A face gives it one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any

from promoter.demo.servers.git import GitHttpServer
from tests.support.forges.bare import BareRepository
from tests.support.forges.deliveries import WebhookPost
from tests.support.forges.faults import FaultPlan
from tests.support.forges.model import ForgeAccount, ForgeEvent, Hook, HostedDelivery
from tests.support.forges.repository import HostedRepository

Render = Callable[[ForgeEvent, Hook], HostedDelivery | None]


class HostedForge:
    """Everything that a forge keeps. Whoever touches repositories does it under `using()`, which first looks what was pushed.

    `hooks` get every happening as `render` (the face's) words it; None: that one is not announced.
    """

    def __init__(self, pull_ref: str = "refs/pull/{}/head") -> None:
        """`pull_ref`: where pull requests' heads can be fetched, `{}` for the number. Empty."""
        self.accounts: dict[str, ForgeAccount] = {}
        self.teams: dict[str, set[str]] = {}
        self.repositories: dict[str, HostedRepository] = {}
        self.hooks: list[Hook] = []
        self.render: Render = lambda _happening, _hook: None
        self.faults = FaultPlan()
        self.post = WebhookPost()
        self.happened: list[ForgeEvent] = []
        self._pull_ref = pull_ref
        self._ids = count(101)
        self._lock = RLock()
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The forge's clock, in whole seconds, UTC."""
        return (datetime.now(UTC) + self._ahead).replace(microsecond=0)

    def pass_time(self, **delta: float) -> None:
        """Put the clock on, as `timedelta` takes it."""
        self._ahead += timedelta(**delta)

    def account(self, login: str, *, installation: bool = False, token: str | None = None) -> ForgeAccount:
        """Sign up; with a token that is known to nobody else. Mail: LOGIN@example.org."""
        made = ForgeAccount(login, next(self._ids), token or f"tok-{login}-5d1c02", f"{login}@example.org", installation)
        self.accounts[login] = made
        return made

    def team(self, name: str, *members: str) -> None:
        """A team, `org/team`, with these members from now on."""
        self.teams[name] = set(members)

    def host(self, path: Path, name: str, branch: str = "main", **levels: str) -> HostedRepository:
        """A bare repository becomes OWNER/NAME on the forge; `levels`: `read` or `write`, by account."""
        made = HostedRepository(name, BareRepository(path), branch, self._pull_ref, self.now, self._tell, self._login_of)
        made.levels = dict(levels)
        self.repositories[name] = made
        return made

    def by_token(self, token: str) -> ForgeAccount | None:
        """Whose token it is."""
        return next((each for each in self.accounts.values() if each.token == token), None)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Alone, and with what was pushed meanwhile seen."""
        with self._lock:
            self.refresh()
            yield

    def refresh(self) -> None:
        """See what was pushed."""
        with self._lock:
            for each in self.repositories.values():
                each.refresh()

    def close(self) -> None:
        """No more webhooks."""
        self.post.close()

    def _login_of(self, mail: str) -> str | None:
        return next((each.login for each in self.accounts.values() if each.email == mail), None)

    def _tell(self, happening: ForgeEvent) -> None:
        self.happened.append(happening)
        rendered = [(hook, self.render(happening, hook)) for hook in self.hooks]
        self.post.send([(hook, delivery) for hook, delivery in rendered if delivery is not None])


class HostedRemote(GitHttpServer):
    """A git remote whose pushes a forge sees at once, rather than when it is next asked."""

    forge: HostedForge | None = None

    def start(self) -> HostedRemote:
        """Serve."""
        super().start()
        sender: Any = self._sender
        announce = sender.announce_pushes

        def told(notify: Any) -> None:
            announce(notify)
            if self.forge is not None:
                self.forge.refresh()

        sender.announce_pushes = told
        return self
