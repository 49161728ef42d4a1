"""`promoter doctor`: checks each part that Promoter stands on, and says how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, tell_json, world

if TYPE_CHECKING:
    from promoter.bootstrap import World
    from promoter.domain.desired import DesiredState

LONG_ENOUGH = 16
"""Characters of a secret below which it can be guessed."""
REACH = "see that it runs, that its address is right, and that this host reaches it"


@dataclass(frozen=True)
class Checkup:
    """What one check found. `good` None: not set up, which may be meant."""

    name: str
    good: bool | None
    said: str
    fix: str | None = None


def doctor(output: FormatOption = Format.TEXT) -> None:
    """Check MLflow, git, database, secrets, webhook delivery, and say how to mend each. Exit code 1: not all well.

    Example: promoter doctor
    """
    built = world()
    checks: list[tuple[str, Callable[[World], Checkup]]] = [
        ("MLflow", _mlflow),
        ("git", _git),
        ("ledger", _ledger),
        ("secrets", _secrets),
        ("webhook", _webhook),
    ]
    found = [_safely(name, check, built) for name, check in checks]
    if output is Format.JSON:
        tell_json({"checks": [{"name": c.name, "good": c.good, "said": c.said, "fix": c.fix} for c in found]})
    else:
        _tell(found)
    if any(check.good is False for check in found):
        raise typer.Exit(1)


def _tell(found: list[Checkup]) -> None:
    from rich.text import Text

    from promoter.delivery.cli import render

    words = {True: Text("good", "green"), False: Text("bad", "red"), None: Text("not set", "yellow")}
    rows = [(each.name, words[each.good], each.said, each.fix or "") for each in found]
    console().print(render.table(["CHECK", "STATE", "FOUND", "TO MEND IT"], rows))


def _safely(name: str, check: Callable[[World], Checkup], built: World) -> Checkup:
    from promoter.domain.faults import Faults, OutsideError

    try:
        return check(built)
    except OutsideError as error:
        return Checkup(name, good=False, said=error.message, fix=error.fix or REACH)
    except Faults as faults:
        first = faults.faults[0]
        more = f" (and {len(faults.faults) - 1} more)" if len(faults.faults) > 1 else ""
        said = f"{first.place}: {first.message}" if first.place else first.message
        return Checkup(name, good=False, said=said + more, fix=first.fix)


def _mlflow(built: World) -> Checkup:
    models = built.registry.observe()
    aliases = sum(len(model.aliases) for model in models.values())
    return Checkup("MLflow", good=True, said=f"answers: {len(models)} models, {aliases} aliases")


def _git(built: World) -> Checkup:
    head = built.repository.fetch()
    desired: DesiredState = built.documents.parse(built.repository.read(head), head).desired
    return Checkup("git", good=True, said=f"{built.settings.branch} is at {head[:10]}, and states {len(desired.listed)} models")


def _ledger(built: World) -> Checkup:
    count = len(built.ledger.open_intents())
    said = f"can be written; {count} intents open" if count else "can be written"
    return Checkup("ledger", good=True, said=said)


def _secrets(built: World) -> Checkup:
    settings = built.settings
    secrets = {
        "PROMOTER_MLFLOW_WEBHOOK_SECRET": settings.mlflow_webhook_secret,
        "PROMOTER_GITHUB_WEBHOOK_SECRET": settings.github_webhook_secret,
    }
    given = {name: len(secret.get_secret_value()) for name, secret in secrets.items() if secret}
    short = [name for name, length in given.items() if length < LONG_ENOUGH]
    if short:
        fix = "use the output of `openssl rand -hex 32`"
        return Checkup("secrets", good=False, said=f"shorter than {LONG_ENOUGH} characters: {', '.join(short)}", fix=fix)
    if not given:
        return Checkup(
            "secrets", None, "no webhook secret is set: webhooks are refused, polling works", f"set {' or '.join(secrets)}"
        )
    return Checkup("secrets", good=True, said=f"set: {', '.join(given)}")


def _webhook(built: World) -> Checkup:
    mine = [each for each in built.webhooks.list() if each.name == "promoter"]
    if not mine:
        return Checkup(
            "webhook", None, "not installed: new versions are found by polling", "promoter webhooks install --url URL"
        )
    done = built.webhooks.test()
    if done.ok:
        return Checkup("webhook", good=True, said=f"{mine[0].url} accepts what MLflow sends")
    fix = "see that the daemon runs, that MLflow's host reaches it, and that both know the same secret"
    return Checkup("webhook", good=False, said=f"{mine[0].url}: {done.error or 'no answer'}", fix=fix)
