"""`promoter doctor`: checks each part that Promoter stands on, and says how to mend it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import typer

from promoter.application.markdown.report import StyledText, Table
from promoter.cli.common import FormatOption, OutputFormat, build_container, print_json
from promoter.cli.render import print_report
from promoter.domain.text import format_count

if TYPE_CHECKING:
    from pathlib import Path

    from promoter.container import Container
    from promoter.domain.desired import DesiredState
    from promoter.domain.registry_rights import RightNeed


MIN_SECRET_LENGTH = 16
"""The number of characters below which a secret can be guessed."""
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
"""The variable that names the registry's server where it is another one than the tracking server."""
MAX_ALIASES_NAMED = 3
MAX_RUNS_READ = 8
"""Runs that are read to see whether they may be: one request each."""
RIGHTS_FIX = "see docs/operate.md, rights in MLflow"
LOCK_FIX = "to let Promoter alone move them, see docs/environments.md, the lock"
REACHABILITY_FIX = "see that it runs, that its address is right, and that this host reaches it"


@dataclass(frozen=True)
class DoctorCheck:
    """What one check found."""

    name: str
    good: bool | None
    """None: the part is not set up, which may be on purpose."""
    message: str
    fix: str | None = None
    """How to mend it."""


def doctor(output: FormatOption = OutputFormat.TEXT) -> None:
    """Check MLflow, git, forge, ledger, registry, secrets, webhooks, artifacts, rights and loading, and say how to repair each.

    Exit code 0: all is well, 1: something is not.

    Example: promoter doctor
    """
    container = build_container()
    checks: list[tuple[str, Callable[[Container], DoctorCheck]]] = [
        ("MLflow", _check_mlflow),
        ("git", _check_git_repository),
        ("forge", _check_forge_access),
        ("ledger", _check_ledger),
        ("registry", _check_registry_binding),
        ("secrets", _check_webhook_secrets),
        ("webhook", _check_webhook_delivery),
        ("artifacts", _check_artifacts),
        ("rights", _check_own_rights),
        ("alias writers", _check_alias_writers),
        ("loading", _check_loading),
    ]
    checks += [(f"registry {name}", partial(_check_registry, name)) for name in _find_registry_names(container)]
    found = [_run_check(name, check, container) for name, check in checks]
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import DoctorResponse

        print_json(DoctorResponse.from_values(checks=found))
    else:
        words = {True: StyledText("good", "green"), False: StyledText("bad", "red"), None: StyledText("not set", "yellow")}
        rows = [(each.name, words[each.good], each.message, each.fix or "") for each in found]
        print_report(output, [Table(["check", "state", "found", "how to fix"], rows)])
    if any(check.good is False for check in found):
        raise typer.Exit(1)


def _run_check(name: str, check: Callable[[Container], DoctorCheck], container: Container) -> DoctorCheck:
    from promoter.domain.errors import ExternalError, Faults

    try:
        return check(container)
    except ExternalError as error:
        return DoctorCheck(name, good=False, message=error.message, fix=error.fix or REACHABILITY_FIX)
    except Faults as faults:
        first = faults.faults[0]
        more = f" (and {len(faults.faults) - 1} more)" if len(faults.faults) > 1 else ""
        message = f"{first.location}: {first.message}" if first.location else first.message
        return DoctorCheck(name, good=False, message=message + more, fix=first.fix)


def _check_mlflow(container: Container) -> DoctorCheck:
    models = container.registry.observe_models()
    aliases = sum(len(model.aliases) for model in models.values())
    message = f"answers: {format_count(len(models), 'model')}, {format_count(aliases, 'alias', 'aliases')}"
    if os.environ.get(REGISTRY_VARIABLE):
        from promoter.adapters.mlflow.client import describe_registry_address, redact_server_address

        tracking = container.settings.mlflow_tracking_uri or ""
        container.registry.read_runs({"none"})  # whoever keeps the runs is another server, which has to answer as well
        message += f"; the registry is {describe_registry_address(tracking)}, runs are at {redact_server_address(tracking)}"
    return DoctorCheck("MLflow", good=True, message=message)


def _check_git_repository(container: Container) -> DoctorCheck:
    head = container.repository.fetch_branch()
    desired: DesiredState = container.documents.parse_declaration(container.repository.read_sources(head), head).desired
    folder = container.repository_folder
    where = f" in {folder}" if folder.path else ""
    message = f"{container.settings.branch} is at {head[:10]}, and states {format_count(len(desired.listed), 'model')}{where}"
    if (
        desired.document.safety.require_signed_commits
        and not container.repository.signs_commits
        and (names := _find_committing_aliases(desired))
    ):
        message += f"; it asks for signed commits, and there is no key for those of {', '.join(names)}"
        fix = "set PROMOTER_SIGNING_KEY to an SSH key that signers/allowed_signers has, or use `rotation: pull-request`"
        return DoctorCheck("git", good=False, message=message, fix=fix)
    return DoctorCheck("git", good=True, message=message)


def _find_committing_aliases(desired: DesiredState) -> list[str]:
    """Name the first aliases that rotate by commits of Promoter; families go by their pattern."""
    listed = [f"{alias.model}@{alias.alias}" for each in desired.listed.values() for alias in each.aliases.values()
              if alias.rotation == "commit"]  # fmt: skip
    families = [f"{family.match}@{alias}" for family in desired.document.families for alias, declared in family.aliases.items()
                if declared.rotation == "commit"]  # fmt: skip
    return sorted({*listed, *families})[:MAX_ALIASES_NAMED]


def _check_forge_access(container: Container) -> DoctorCheck:
    forge = container.forge
    if forge is None:
        message = "none is configured: pull requests are neither opened nor planned"
        return DoctorCheck("forge", None, message, "set PROMOTER_FORGE and PROMOTER_FORGE_TOKEN")
    opened = forge.list_open_pull_requests()
    return DoctorCheck("forge", good=True, message=f"{forge.name} answers: {len(opened)} pull requests are open")


def _find_registry_names(container: Container) -> list[str]:
    """List the other registries: those of the settings, and those that `registry.yaml` uses, if it can be read."""
    from promoter.domain.errors import ExternalError, Faults

    with suppress(ExternalError, Faults):
        return sorted({*container.settings.registries, *_find_registry_uses(container)})
    return sorted(container.settings.registries)


def _find_registry_uses(container: Container) -> Mapping[str, list[str]]:
    from promoter.domain.copy_source import list_used_registries

    head = container.repository.fetch_branch()
    return list_used_registries(
        container.documents.parse_declaration(container.repository.read_sources(head), head).desired.document
    )


def _check_registry(name: str, container: Container) -> DoctorCheck:
    from promoter.domain.copy_source import build_unknown_registry_error
    from promoter.domain.errors import ExternalError

    if name not in container.settings.registries:
        missing = build_unknown_registry_error(name)
        used = ", ".join(_find_registry_uses(container).get(name, ()))
        return DoctorCheck(f"registry {name}", good=False, message=f"{missing.message}: {used} gets nothing", fix=missing.fix)
    try:
        models = container.source_registries[name].observe_models()
    except ExternalError as error:
        from promoter.settings import name_registry_variable, name_workspace_variable

        variable = f"PROMOTER_REGISTRY_{name_registry_variable(name)}_TOKEN"
        fix = f"see that `registries: {name}` has its address, and a user who may read: set {variable}"
        if name in container.settings.registry_workspaces:
            fix = f"see that {name_workspace_variable(name)} names a workspace that is there; {fix}"
        return DoctorCheck(f"registry {name}", good=False, message=error.message, fix=fix)
    workspace = container.settings.registry_workspaces.get(name)
    where = f" in workspace {workspace}" if workspace else ""
    message = f"answers: {format_count(len(models), 'model')} can be read{where}"
    return DoctorCheck(f"registry {name}", good=True, message=message)


def _check_ledger(container: Container) -> DoctorCheck:
    count = len(container.ledger.find_open_intents())
    if shared := _find_shared_files(container):
        names = " ".join(map(str, shared))
        message = f"others than its owner have rights to {', '.join(each.name for each in shared)}"
        return DoctorCheck("ledger", good=False, message=message, fix=f"chmod go= {names}")
    message = f"can be written; {format_count(count, 'intent')} open" if count else "can be written"
    return DoctorCheck("ledger", good=True, message=message)


def _find_shared_files(container: Container) -> list[Path]:
    from pathlib import Path

    from promoter.adapters.ledger.sqlite import find_shared_files

    url = container.settings.database_url
    return find_shared_files(Path(container.ledger_location)) if url.startswith("sqlite") else []


def _check_registry_binding(container: Container) -> DoctorCheck:
    """Check that the ledger is about this registry, and that its numbers stand for the versions that were recorded."""
    from promoter.application.registry_binding import find_replaced_versions

    found = container.reading_registry_binding.compare()
    if found.mismatch:
        variable = "MLFLOW_WORKSPACE" if found.is_other_workspace else "MLFLOW_TRACKING_URI"
        fix = f"mend {variable} or PROMOTER_DATABASE_URL; `promoter registry accept` if it was replaced on purpose"
        return DoctorCheck("registry", good=False, message=found.mismatch, fix=fix)
    replaced = find_replaced_versions(container.registry, container.reading_ledger)
    if replaced:
        more = f"; and {len(replaced) - MAX_ALIASES_NAMED} more" if len(replaced) > MAX_ALIASES_NAMED else ""
        message = "; ".join(replaced[:MAX_ALIASES_NAMED]) + more
        fix = "see `promoter plan`: each is a new decision; if a backup was restored by mistake, restore the right one"
        return DoctorCheck("registry", good=False, message=message, fix=fix)
    since = f"the one of this ledger since {found.bound.at:%Y-%m-%d}" if found.bound else "not bound to the ledger yet"
    return DoctorCheck("registry", good=True, message=f"{found.server.place} is {since}")


def _check_webhook_secrets(container: Container) -> DoctorCheck:
    settings = container.settings
    secrets = {
        "PROMOTER_MLFLOW_WEBHOOK_SECRET": settings.mlflow_webhook_secret,
        "PROMOTER_GITHUB_WEBHOOK_SECRET": settings.github_webhook_secret,
        "PROMOTER_GITLAB_WEBHOOK_SECRET": settings.gitlab_webhook_secret,
        "PROMOTER_GITEA_WEBHOOK_SECRET": settings.gitea_webhook_secret,
    }
    given = {name: len(secret.get_secret_value()) for name, secret in secrets.items() if secret}
    short = [name for name, length in given.items() if length < MIN_SECRET_LENGTH]
    if short:
        fix = "use the output of `openssl rand -hex 32`"
        return DoctorCheck(
            "secrets", good=False, message=f"shorter than {MIN_SECRET_LENGTH} characters: {', '.join(short)}", fix=fix
        )
    if not given:
        message = "no webhook secret is set: webhooks are refused, polling works"
        return DoctorCheck("secrets", None, message, "set PROMOTER_MLFLOW_WEBHOOK_SECRET, and that of your forge")
    return DoctorCheck("secrets", good=True, message=f"set: {', '.join(given)}")


def _check_webhook_delivery(container: Container) -> DoctorCheck:
    from promoter.domain.errors import RightMissing

    try:
        mine = [each for each in container.mlflow_webhooks.list_webhooks() if each.name == "promoter"]
    except RightMissing as error:  # Promoter's work takes no such right
        return DoctorCheck("webhook", None, error.message, "to check it, run `promoter webhooks test` as an administrator")
    if not mine:
        return DoctorCheck(
            "webhook", None, "not installed: new versions are found by polling", "promoter webhooks install --url URL"
        )
    done = container.mlflow_webhooks.send_test_event()
    if done.ok:
        return DoctorCheck("webhook", good=True, message=f"{mine[0].url} accepts what MLflow sends")
    fix = "see that the daemon runs, that MLflow's host reaches it, and that both know the same secret"
    return DoctorCheck("webhook", good=False, message=f"{mine[0].url}: {done.error or 'no answer'}", fix=fix)


def _check_artifacts(container: Container) -> DoctorCheck:
    """Check that the `MLmodel` file of the newest version that holds an alias can be fetched from where it is stored."""
    held = [(model.versions[number].created_at, model.name, number)
            for model in container.registry.observe_models().values()
            for number in set(model.aliases.values()) & model.versions.keys()]  # fmt: skip
    if not held:
        return DoctorCheck("artifacts", None, "no version holds an alias: nothing was fetched", "run it again once one does")
    _, name, number = max(held)
    found = container.registry.check_readiness(name, number)
    if found.flaw and not found.certain:
        fix = "see docs/operate.md, where artifacts are stored"
        return DoctorCheck("artifacts", good=False, message=f"{name} v{number}: {found.flaw}", fix=fix)
    if not found.flavors:  # its storage answers, which is what this is about
        fix = "rules such as `signature` cannot read it; log the model again, with a flavor"
        return DoctorCheck("artifacts", None, f"{name} v{number}: {found.flaw or found.status or 'it is gone'}", fix)
    return DoctorCheck("artifacts", good=True, message=f"{name} v{number} can be fetched: {', '.join(found.flavors)}")


def _check_own_rights(container: Container) -> DoctorCheck:
    """Check that Promoter's user may do with each managed model what git asks for, and may read the runs of its versions."""
    from promoter.domain.registry_rights import AccessControl, find_missing_rights

    needs, runs = _find_needed_rights(container), _find_recent_runs(container)
    if needs is None:
        return DoctorCheck("rights", None, "what git asks for cannot be read: not checked", "see the row git")
    rights = container.registry.read_rights([each.model for each in needs], list(runs))
    if rights.control is not AccessControl.ROLES:
        word = "asks for no user" if rights.control is AccessControl.NONE else "tells nothing of grants"
        return DoctorCheck("rights", None, f"{container.registry.read_server().address} {word}: not checked", RIGHTS_FIX)
    missing = [str(each) for each in find_missing_rights(needs, rights)]
    missing += [f"READ on the experiment of run {run_id} ({runs[run_id]})" for run_id in rights.withheld_runs]
    if missing:
        message = f"user {rights.user} lacks {_join_first(missing)}"
        return DoctorCheck("rights", good=False, message=message, fix=f"grant it in MLflow: {RIGHTS_FIX}")
    models = format_count(len(rights.permissions), "model")
    may = "is an administrator of MLflow, and may do everything" if rights.is_admin else f"may do what git asks for on {models}"
    return DoctorCheck("rights", good=True, message=f"user {rights.user} {may}")


def _find_needed_rights(container: Container) -> tuple[RightNeed, ...] | None:
    """Find what git asks for; None where it cannot be read, which the row `git` is about."""
    from promoter.domain.errors import ExternalError, Faults
    from promoter.domain.registry_rights import find_needed_rights

    try:
        head = container.repository.fetch_branch()
        desired: DesiredState = container.documents.parse_declaration(container.repository.read_sources(head), head).desired
    except (ExternalError, Faults):
        return None
    names = sorted({*desired.listed, *container.registry.observe_models()})
    return find_needed_rights(intent for name in names if (intent := desired.find_model_intent(name)))


def _find_recent_runs(container: Container) -> dict[str, str]:
    """Find the runs of the newest versions of each model, a few of them, with their versions."""
    newest = [(model.versions[number].created_at, f"{model.name} v{number}", model.versions[number].run_id)
              for model in container.registry.observe_models().values()
              for number in model.versions.keys() & {*model.aliases.values(), model.newest_version or 0}]  # fmt: skip
    return {run_id: version for _, version, run_id in sorted(newest, reverse=True)[:MAX_RUNS_READ] if run_id}


def _check_alias_writers(container: Container) -> DoctorCheck:
    """Check who else may move the aliases that git manages. It warns only: a team may want it so."""
    from promoter.domain.registry_rights import EDIT, AccessControl, find_alias_writers, suffices

    name, address = "alias writers", container.registry.read_server().address
    needs = _find_needed_rights(container)
    if needs is None:
        return DoctorCheck(name, None, "which aliases git manages cannot be read: not checked", "see the row git")
    models = [each.model for each in needs if suffices(each.permission, EDIT)]
    rights = container.registry.read_rights([])
    if rights.control is AccessControl.NONE:
        return DoctorCheck(name, None, f"{address} asks for no user: whoever reaches it may move every alias", LOCK_FIX)
    if rights.control is AccessControl.OTHER or rights.roles is None:
        fix = "ask whoever administers MLflow who may edit these models, or run `promoter doctor` as an administrator of it"
        return DoctorCheck(name, None, f"{address} does not tell Promoter who else may move an alias", fix)
    if rights.default is not None and suffices(rights.default, EDIT):
        message = f"every user of MLflow may move every alias: `default_permission` is {rights.default}"
        return DoctorCheck(name, None, message, LOCK_FIX)
    others = [f"{model}: {', '.join(map(str, found[:MAX_ALIASES_NAMED]))}" + _count_more(found)
              for model, found in find_alias_writers(rights, models).items()]  # fmt: skip
    admins = f"; and administrators: {', '.join(rights.administrators)}" if rights.administrators else ""
    unknown = "" if rights.default is not None else "; what `default_permission` gives to everybody cannot be read"
    if others:
        return DoctorCheck(
            name, None, f"beside {rights.user}, these may move aliases of {_join_first(others)}{admins}{unknown}", LOCK_FIX
        )
    message = f"nobody beside {rights.user} may move an alias of {format_count(len(models), 'model')}{admins}{unknown}"
    return DoctorCheck(name, None if unknown else True, message, LOCK_FIX if unknown else None)


def _join_first(parts: list[str]) -> str:
    return "; ".join(parts[:MAX_ALIASES_NAMED]) + _count_more(parts)


def _count_more(parts: Sequence[object]) -> str:
    return f" and {len(parts) - MAX_ALIASES_NAMED} more" if len(parts) > MAX_ALIASES_NAMED else ""


def _check_loading(container: Container) -> DoctorCheck:
    if not container.settings.load_models:
        message = "off: no model's code is run, and a rule `loads` is an error"
        return DoctorCheck("loading", None, message, "to turn it on, set PROMOTER_LOAD_MODELS=true: see docs/policies.md")
    sandbox, found = container.sandbox_finder.find_sandbox()
    if sandbox is None:
        fix = "install bubblewrap and let this user make namespaces, or see docs/policies.md for the other sandboxes"
        return DoctorCheck("loading", good=False, message=found, fix=fix)
    return DoctorCheck("loading", good=True, message=f"models are loaded in a sandbox that was tried out now: {found}")
