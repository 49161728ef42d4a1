"""`promoter notifications list`, `retry`, `test`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, tell_json, world

if TYPE_CHECKING:
    from promoter.domain.notices.dispatches import Dispatch

app = typer.Typer(no_args_is_help=True)
ChannelOption = Annotated[str | None, typer.Option(help="Only this channel.")]


@app.command("list")
def list_letters(
    channel: ChannelOption = None,
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 100,
    output: FormatOption = Format.TEXT,
) -> None:
    """List the events that have not arrived: those that wait for another try, and those that were given up.

    Example: promoter notifications list --dead
    """
    from promoter.application.markdown.text import cell, table

    letters = world().kept.outbox.letters(channel, dead=dead, limit=limit)
    if output is Format.JSON:
        tell_json({"notifications": [each.as_json() for each in letters]})
    elif not letters:
        sys.stdout.write("Nothing was given up.\n" if dead else "Nothing waits, and nothing was given up.\n")
    elif output is Format.MARKDOWN:
        columns = ["id", "channel", "event", "state", "tries", "next", "reason"]
        rows = [[cell(part) for part in (str(each.id), each.channel, _event(each), *_state(each))] for each in letters]
        sys.stdout.write("\n".join(table(columns, rows)) + "\n")
    else:
        _print(letters)


def _print(letters: Sequence[Dispatch]) -> None:
    from promoter.delivery.cli import render

    rows = [(str(each.id), each.channel, _event(each), *_state(each)) for each in letters]
    console().print(render.table(["ID", "CHANNEL", "EVENT", "STATE", "TRIES", "NEXT", "REASON"], rows))


def _event(letter: Dispatch) -> str:
    """Entry and word: the name of the ledger is the same in all of them."""
    return (letter.event or "").partition("/")[2]


def _state(letter: Dispatch) -> tuple[str, str, str, str]:
    due = f"{letter.due:%Y-%m-%d %H:%M:%S}" if letter.due else "-"
    return letter.state.value, str(letter.attempts), due, letter.detail or "-"


@app.command()
def retry(
    number: Annotated[int | None, typer.Argument(metavar="[ID]", help="As `list` shows it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    channel: ChannelOption = None,
) -> None:
    """Put an event back that was given up, or that waits: the daemon sends it at once, and goes on as with a new one.

    Example: promoter notifications retry 17
    """
    from promoter.application.letters import put_all_back, put_back

    if (number is None) != every:
        raise typer.BadParameter("either an ID, or --all")
    built = world()
    outbox, clock = built.outbox, built.clock
    done = put_all_back(outbox, clock, channel) if number is None else put_back(outbox, clock, number)
    sys.stdout.write(f"put back: {len(done)}\n")


@app.command()
def test(channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="As the settings name it.")]) -> None:
    """Send a channel an event that says nothing, at once and once. Exit code 0: it has arrived.

    Example: promoter notifications test serving
    """
    from promoter.application.letters import send_test
    from promoter.domain.notices.events import Teller

    built = world()
    teller = Teller(built.past.outbox.ledger() or "none", built.settings.url)
    event = send_test(built.channels, channel, teller, built.clock)
    sys.stdout.write(f"arrived: {event.type.value} {event.id}\n")
