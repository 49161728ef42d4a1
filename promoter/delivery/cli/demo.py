"""`promoter demo`."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything at the end, and check that all agrees.")] = False,
) -> None:
    """Run a whole system on this machine: MLflow server, git remote, trained models, rotation, dashboard.

    Example: promoter demo --exit
    """
    try:
        from promoter.demo.story import run
    except ImportError:
        from promoter.domain.faults import Refused

        raise Refused("demo", "it trains real models", "install promoter with its `demo` extra, or run `make demo`") from None
    raise typer.Exit(run(leave=leave))
