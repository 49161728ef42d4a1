"""`promoter serve` runs the daemon, `promoter demo` a whole system around it."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT instead of PROMOTER_LISTEN.")] = None,
    poll_interval: Annotated[str | None, typer.Option(help="Such as 30s, instead of PROMOTER_POLL_INTERVAL.")] = None,
) -> None:
    """Run the daemon: webhooks, polling, dashboard, API. Stops cleanly on SIGTERM.

    Example: PROMOTER_REPO=https://git.example.com/ml/registry.git promoter serve --listen 0.0.0.0:8080
    """
    from promoter.daemon import run_daemon
    from promoter.settings import load_settings

    run_daemon(load_settings(listen=listen, poll_interval=poll_interval))


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything at the end, and check that all agrees.")] = False,
) -> None:
    """Run a whole system on this machine: MLflow server, git remote, trained models, rotation, dashboard.

    Example: promoter demo --exit
    """
    from promoter.domain.errors import PermanentError

    missing = _find_missing_packages()
    if missing:
        fix = "install promoter with its `demo` extra, or run `make demo`"
        raise PermanentError("demo", f"it trains real models, and lacks {', '.join(missing)}", fix)
    from promoter.demo.story import run_demo

    raise typer.Exit(run_demo(leave=leave))


def _find_missing_packages() -> list[str]:
    """List the packages of the `demo` extra that are not installed, without importing them: that takes seconds."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("mlflow", "pandas", "scikit-learn"):
        try:
            version(name)
        except PackageNotFoundError:
            found.append(name)
    return found
