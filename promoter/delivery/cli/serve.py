"""`promoter serve`: the daemon."""

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
    from promoter.delivery.daemon import run_daemon
    from promoter.settings import load_settings

    run_daemon(load_settings(listen=listen, poll_interval=poll_interval))
