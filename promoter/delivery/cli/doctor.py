"""`promoter doctor`: checks each part that Promoter stands on, and says how to mend it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, tell_json, world

if TYPE_CHECKING:
    from promoter.bootstrap import World
    from promoter.domain.desired import DesiredState

LONG_ENOUGH = 16
"""Characters of a secret below which it can be guessed."""
SHARED = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""What MLflow's client gives to every server whose URL has no user of its own."""
NAMED = 3
REACH = "see that it runs, that its address is right, and that this host reaches it"


@dataclass(frozen=True)
class Checkup:
    """What one check found. `good` None: not set up, which may be meant."""

    name: str
    good: bool | None
    said: str
    fix: str | None = None


def doctor(output: FormatOption = Format.TEXT) -> None:
    """Check MLflow, git, forge, database, secrets, webhook delivery, and say how to mend each. Exit code 1: not all well.

    Example: promoter doctor
    """
    built = world()
    checks: list[tuple[str, Callable[[World], Checkup]]] = [
        ("MLflow", _mlflow),
        ("git", _git),
        ("forge", _forge),
        ("ledger", _ledger),
        ("secrets", _secrets),
        ("webhook", _webhook),
    ]
    checks += [(f"registry {name}", partial(_registry, name)) for name in _registries(built)]
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
    said = f"{built.settings.branch} is at {head[:10]}, and states {len(desired.listed)} models"
    if desired.document.safety.require_signed_commits and not built.repository.signs and (names := _committing(desired)):
        said += f"; it asks for signed commits, and there is no key for those of {', '.join(names)}"
        fix = "set PROMOTER_SIGNING_KEY to an SSH key that signers/allowed_signers has, or use `rotation: pull-request`"
        return Checkup("git", good=False, said=said, fix=fix)
    return Checkup("git", good=True, said=said)


def _committing(desired: DesiredState) -> list[str]:
    """The first aliases that rotate by a commit of Promoter's own; families by their pattern."""
    listed = [f"{alias.model}@{alias.alias}" for each in desired.listed.values() for alias in each.aliases.values()
              if alias.rotation == "commit"]  # fmt: skip
    families = [f"{family.match}@{alias}" for family in desired.document.families for alias, said in family.aliases.items()
                if said.rotation == "commit"]  # fmt: skip
    return sorted({*listed, *families})[:NAMED]


def _forge(built: World) -> Checkup:
    forge = built.forge
    if forge is None:
        said = "none is configured: pull requests are neither opened nor planned"
        return Checkup("forge", None, said, "set PROMOTER_FORGE and PROMOTER_FORGE_TOKEN")
    opened = forge.open_pull_requests()
    return Checkup("forge", good=True, said=f"{forge.name} answers: {len(opened)} pull requests are open")


def _registries(built: World) -> list[str]:
    """Other registries: those that the settings name, and those that `registry.yaml` uses, as far as it can be read."""
    from promoter.domain.faults import Faults, OutsideError

    with suppress(OutsideError, Faults):
        return sorted({*built.settings.registries, *_uses(built)})
    return sorted(built.settings.registries)


def _uses(built: World) -> Mapping[str, list[str]]:
    from promoter.domain.sources import registries

    head = built.repository.fetch()
    return registries(built.documents.parse(built.repository.read(head), head).desired.document)


def _registry(name: str, built: World) -> Checkup:
    from promoter.domain.faults import OutsideError
    from promoter.domain.sources import unknown

    if name not in built.settings.registries:
        missing = unknown(name)
        used = ", ".join(_uses(built).get(name, ()))
        return Checkup(f"registry {name}", good=False, said=f"{missing.message}: {used} gets nothing", fix=missing.fix)
    try:
        models = built.registries[name].observe()
    except OutsideError as error:
        fix = f"see that `registries: {name}` has its address, and a user who may read: https://USER:PASSWORD@HOST"
        return Checkup(f"registry {name}", good=False, said=error.message, fix=fix)
    said = f"answers: {len(models)} models can be read"
    if any(os.environ.get(each) for each in SHARED) and "@" not in built.settings.registries[name]:
        said += "; the credentials in MLFLOW_TRACKING_* are sent there too"
    return Checkup(f"registry {name}", good=True, said=said)


def _ledger(built: World) -> Checkup:
    count = len(built.ledger.open_intents())
    said = f"can be written; {count} intents open" if count else "can be written"
    return Checkup("ledger", good=True, said=said)


def _secrets(built: World) -> Checkup:
    settings = built.settings
    secrets = {
        "PROMOTER_MLFLOW_WEBHOOK_SECRET": settings.mlflow_webhook_secret,
        "PROMOTER_GITHUB_WEBHOOK_SECRET": settings.github_webhook_secret,
        "PROMOTER_GITLAB_WEBHOOK_SECRET": settings.gitlab_webhook_secret,
        "PROMOTER_GITEA_WEBHOOK_SECRET": settings.gitea_webhook_secret,
    }
    given = {name: len(secret.get_secret_value()) for name, secret in secrets.items() if secret}
    short = [name for name, length in given.items() if length < LONG_ENOUGH]
    if short:
        fix = "use the output of `openssl rand -hex 32`"
        return Checkup("secrets", good=False, said=f"shorter than {LONG_ENOUGH} characters: {', '.join(short)}", fix=fix)
    if not given:
        said = "no webhook secret is set: webhooks are refused, polling works"
        return Checkup("secrets", None, said, "set PROMOTER_MLFLOW_WEBHOOK_SECRET, and that of your forge")
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
