"""The command line: a module for each command or a few that belong together, each importing what it needs only when it runs."""

from __future__ import annotations

import inspect

import typer

from promoter.cli import (
    apply,
    approve,
    audit,
    audit_rerun,
    audit_verify,
    doctor,
    files,
    history,
    notifications,
    plan,
    policy,
    registry,
    replay,
    rollback,
    serve,
)

app = typer.Typer(
    name="promoter",
    help="GitOps for the MLflow model registry: aliases move by reviewed commits, gated by policy, recorded in a ledger.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(serve.demo)
app.command("init")(files.init)
app.command("validate")(files.validate)
app.command("schema")(files.schema)
app.command("plan")(plan.plan)
app.command("apply")(apply.apply)
app.command("explain")(plan.explain)
app.command("rollback")(rollback.rollback)
app.command("release")(rollback.release)
app.command("approve")(approve.approve)
app.command("history")(history.history)
app.command("state")(history.state)
audit.app.command("rerun")(audit_rerun.rerun)
audit.app.command("prune")(audit.prune)
audit.app.command("verify")(audit_verify.verify)
audit.app.command("export")(audit.export)
audit.app.command("checkpoint")(audit.checkpoint)
audit.app.command("succeed")(audit.succeed)
app.add_typer(
    audit.app, name="audit", help="The ledger: every alias change, who, when, which commit, which policy, which evidence."
)
app.add_typer(policy.app, name="policy", help="The policies: unit tests of what they let through.")
app.add_typer(registry.app, name="registry", help="The registry that the ledger is about.")
app.command("replay")(replay.replay)
app.command("serve")(serve.serve)
app.add_typer(
    serve.webhooks_app, name="webhooks", help="The webhooks on the MLflow server that inform the daemon of new versions."
)
app.add_typer(notifications.app, name="notifications", help="Notifications: what has not arrived, and a test of a channel.")
app.command("doctor")(doctor.doctor)


def _join_help_lines(commands: typer.Typer) -> None:
    """Let the terminal wrap each paragraph of the help, which typer would break where the docstring has a new line."""
    for command in commands.registered_commands:
        paragraphs = inspect.cleandoc(command.callback.__doc__ or "" if command.callback else "").split("\n\n")
        command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance:
            _join_help_lines(group.typer_instance)


_join_help_lines(app)
