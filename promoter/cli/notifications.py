"""`promoter notifications list`, `retry` and `test`: what has not arrived, and sending it again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import Table
from promoter.cli.common import FormatOption, OutputFormat, build_container, print_json
from promoter.cli.render import print_report, print_sentence

if TYPE_CHECKING:
    from promoter.domain.notifications import DeliveryAttempt


app = typer.Typer(no_args_is_help=True)
ChannelOption = Annotated[str | None, typer.Option(help="Only this channel.")]


@app.command("list")
def list_letters(
    channel: ChannelOption = None,
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 100,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """List the events that have not arrived: those that wait for another try, and those that were given up.

    Example: promoter notifications list --dead
    """
    undelivered = build_container().existing_ledger.outbox.list_undelivered_events(channel, dead=dead, limit=limit)
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import UndeliveredResponse

        print_json(UndeliveredResponse.from_values(notifications=undelivered))
    elif not undelivered:
        nothing = "Nothing was given up." if dead else "Nothing waits, and nothing was given up."
        print_sentence(output, nothing)
    else:
        rows = [(str(each.id), each.channel, _shorten_event_id(each), *_build_state_cells(each)) for each in undelivered]
        print_report(output, [Table(["id", "channel", "event", "state", "tries", "next", "reason"], rows)])


def _shorten_event_id(dispatch: DeliveryAttempt) -> str:
    """Drop the ledger's name from the event's: it is the same in all of them."""
    return (dispatch.event or "").partition("/")[2]


def _build_state_cells(dispatch: DeliveryAttempt) -> tuple[str, str, str, str]:
    due = f"{dispatch.due:%Y-%m-%d %H:%M:%S}" if dispatch.due else "-"
    return dispatch.state.value, str(dispatch.attempts), due, dispatch.detail or "-"


@app.command()
def retry(
    number: Annotated[int | None, typer.Argument(metavar="[ID]", help="As `list` shows it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    channel: ChannelOption = None,
) -> None:
    """Put an event back that was given up, or that waits: the daemon sends it at once, and goes on as with a new one.

    Example: promoter notifications retry 17
    """
    from promoter.application.notifications import redeliver, redeliver_all

    if (number is None) != every:
        raise typer.BadParameter("either an ID, or --all")
    container = build_container()
    outbox, clock = container.event_outbox, container.clock
    done = redeliver_all(outbox, clock, channel) if number is None else redeliver(outbox, clock, number)
    sys.stdout.write(f"put back: {len(done)}\n")


@app.command()
def test(channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="As the settings name it.")]) -> None:
    """Send a channel an event that says nothing, at once and once. Exit code 0: it has arrived.

    Example: promoter notifications test serving
    """
    from promoter.application.notifications import send_test_event
    from promoter.domain.notifications import EventBuilder

    container = build_container()
    ledger = container.reading_ledger.outbox.read_ledger_name() or "none"
    event_builder = EventBuilder(ledger, container.settings.url, container.page_addresses.mlflow)
    event = send_test_event(container.notification_channels, channel, event_builder, container.clock)
    sys.stdout.write(f"arrived: {event.type.value} {event.id}\n")
