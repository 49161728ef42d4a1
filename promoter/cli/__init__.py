"""The command line: a module for each command or a few that belong together, each importing what it needs only when it runs."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from promoter import __version__
from promoter.cli import (
    apply,
    approve,
    audit,
    audit_rerun,
    audit_verify,
    completion,
    doctor,
    explain,
    files,
    history,
    init,
    notifications,
    plan,
    policy,
    reconsider,
    registry,
    replay,
    rollback,
    serve,
)
from promoter.cli.common import print_lines

app = typer.Typer(
    name="promoter",
    help="GitOps for the MLflow model registry: aliases move by reviewed commits, gated by policy, recorded in a ledger.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_lines(f"promoter {__version__}")
        raise typer.Exit


@app.callback()
def _take_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


_START, _CHECK, _CHANGE = "Start", "Check a change", "Change what serves"
_PAST, _DAEMON = "Look back", "Run the daemon"

app.command("demo", rich_help_panel=_START)(serve.demo)
app.command("init", rich_help_panel=_START)(init.init)
app.command("doctor", rich_help_panel=_START)(doctor.doctor)
app.command("schema", rich_help_panel=_START)(files.schema)
app.command("completion", rich_help_panel=_START)(completion.completion)

app.command("validate", rich_help_panel=_CHECK)(files.validate)
app.command("plan", rich_help_panel=_CHECK)(plan.plan)
app.command("explain", rich_help_panel=_CHECK)(explain.explain)
app.add_typer(policy.app, name="policy", rich_help_panel=_CHECK, help="The policies: unit tests of what they let through.")
app.command("replay", rich_help_panel=_CHECK)(replay.replay)

app.command("apply", rich_help_panel=_CHANGE)(apply.apply)
app.command("approve", rich_help_panel=_CHANGE)(approve.approve)
app.command("rollback", rich_help_panel=_CHANGE)(rollback.rollback)
app.command("hold", rich_help_panel=_CHANGE)(rollback.hold)
app.command("quarantine", rich_help_panel=_CHANGE)(rollback.quarantine)
app.command("release", rich_help_panel=_CHANGE)(rollback.release)
app.command("reconsider", rich_help_panel=_CHANGE)(reconsider.reconsider)

app.command("history", rich_help_panel=_PAST)(history.history)
app.command("state", rich_help_panel=_PAST)(history.state)
audit.app.command("rerun")(audit_rerun.rerun)
audit.app.command("prune")(audit.prune)
audit.app.command("verify")(audit_verify.verify)
audit.app.command("export")(audit.export)
audit.app.command("checkpoint")(audit.checkpoint)
audit.app.command("succeed")(audit.succeed)
app.add_typer(
    audit.app,
    name="audit",
    rich_help_panel=_PAST,
    help="The ledger: every alias change, who, when, which commit, which policy, which evidence.",
)

app.command("serve", rich_help_panel=_DAEMON)(serve.serve)
app.add_typer(
    serve.webhooks_app,
    name="webhooks",
    rich_help_panel=_DAEMON,
    help="The webhooks on the MLflow server that inform the daemon of new versions.",
)
app.add_typer(
    notifications.app,
    name="notifications",
    rich_help_panel=_DAEMON,
    help="Notifications: what has not arrived, and a test of a channel.",
)
app.add_typer(registry.app, name="registry", rich_help_panel=_DAEMON, help="The registry that the ledger is about.")
app.add_typer(
    registry.repository_app,
    name="repository",
    rich_help_panel=_DAEMON,
    help="The folder of the repository that the ledger is about.",
)


def _join_help_lines(commands: typer.Typer) -> None:
    """Let the terminal wrap each paragraph of the help, which typer would break where the docstring has a new line."""
    for command in commands.registered_commands:
        paragraphs = inspect.cleandoc(command.callback.__doc__ or "" if command.callback else "").split("\n\n")
        command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance:
            _join_help_lines(group.typer_instance)


_join_help_lines(app)
