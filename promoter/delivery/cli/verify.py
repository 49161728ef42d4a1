"""`promoter audit verify`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, tell_json, world

if TYPE_CHECKING:
    from promoter.adapters.git.vouching import Vouching
    from promoter.application.ledger.verify import Report
    from promoter.domain.ledger.witnesses import Witness

NOT_SOUND = 1
_LONGEST = 64 * 2**20
"""Bytes of a line of an export: more than any text that Promoter keeps, and less than memory."""


def verify(
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Verify this export (`-`: standard input), not the database."),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="'LEDGER ENTRY HASH'", help="A head that you know of; may be given several times."),
    ] = None,
    repo: Annotated[
        Path | None, typer.Option("--repo", metavar="PATH", help="A clone whose commits vouch; default: where you stand.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="PUBLICKEY", help="A key whose checkpoints you trust; may be given several times."),
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Verify that nobody edited, dropped, inserted or reordered anything in the ledger since it was written.

    Offline, and reads only. Commits of Promoter name the ledger's head in a trailer: those of all branches of the clone that
    you stand in are held against it, too. Each problem is named with its entry.

    Exit code 0: nothing is wrong, 1: something is.

    Example: promoter audit verify --key ed25519:…; promoter audit verify --export ledger.jsonl --repo ../models.git
    """
    commits = _commits(repo)
    witnesses = [*_heads(head or []), *(commits.witnesses if commits else ())]
    trusted = _keys(key or [])
    with console(stderr=True).status("Verifying the ledger") as status:

        def progress(count: int) -> None:
            status.update(f"Verified {count:,} entries")

        found = _of_file(export, witnesses, trusted, progress) if export else _of_database(witnesses, trusted, progress)
    _tell(found, _remarks(found, commits), output)
    if not found.sound:
        raise typer.Exit(NOT_SOUND)


def _of_database(witnesses: Sequence[Witness], trusted: frozenset[str], progress: Callable[[int], None]) -> Report:
    from promoter.application.ledger.verify import verify_ledger

    return verify_ledger(world().kept, witnesses, trusted, progress)


def _of_file(path: Path, witnesses: Sequence[Witness], trusted: frozenset[str], progress: Callable[[int], None]) -> Report:
    from promoter.adapters.ledger.named import named
    from promoter.application.ledger.verify_export import verify_export

    with _opened(path) as file, named() as names:
        return verify_export(_lines(file), names, witnesses, trusted, progress)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    from promoter.domain.faults import Refused

    if path == Path("-"):
        yield sys.stdin.buffer
        return
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise Refused("export", f"{path}: cannot be read: {error.strerror or 'no reason given'}") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    from promoter.domain.faults import Refused

    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        if len(line) == _LONGEST:
            raise Refused("export", f"line {number} is longer than {_LONGEST // 2**20} MiB: this is no export of a ledger")
        yield line


def _commits(repo: Path | None) -> Vouching | None:
    """None: there is no clone here, and none was named."""
    from promoter.adapters.git.vouching import vouching
    from promoter.domain.faults import Refused

    try:
        return vouching(repo or Path())
    except Refused:
        if repo is not None:
            raise
        return None


def _heads(told: Sequence[str]) -> list[Witness]:
    from promoter.domain.ledger.chain import Head
    from promoter.domain.ledger.witnesses import Witness

    heads = [Head.of(each) for each in told]
    wrong = next((text for text, each in zip(told, heads, strict=True) if each is None), None)
    if wrong is not None:
        raise typer.BadParameter(
            f"`{wrong}` is no head: it has three words, LEDGER ENTRY HASH, as `promoter audit verify` tells it",
            param_hint="--head",
        )
    return [Witness(each, "the head that was given") for each in heads if each]


def _keys(told: Sequence[str]) -> frozenset[str]:
    from promoter.domain.ledger.checkpoints import raw_key

    for each in told:
        try:
            raw_key(each)
        except ValueError as error:
            raise typer.BadParameter(f"`{each}`: {error}", param_hint="--key") from None
    return frozenset(told)


def _remarks(found: Report, commits: Vouching | None) -> list[str]:
    """What was not checked, and why."""
    told: list[str] = []
    if commits is None:
        told.append("commits: this is no clone of the GitOps repository (--repo PATH names one)")
    else:
        if not found.vouching["commit"]:
            told.append("commits: no commit of this clone names this ledger's head")
        if commits.shallow:
            told.append("older commits: this clone was fetched without them (git fetch --unshallow)")
        if commits.unreadable:
            told.append(f"commits whose trailer names no head: {commits.unreadable}")
        if found.foreign["commit"]:
            told.append(f"commits that vouch for other ledgers: {found.foreign['commit']}")
    if found.earlier:
        told.append(f"what vouches for entries before {found.start + 1}: {found.earlier}")
    if found.keys and not found.trusted:
        told.append("whose the keys of the checkpoints are: --key PUBLICKEY names those that you trust")
    if not any(found.vouching.values()):
        told.append("whether the end was cut off or rewritten as a whole: nobody outside of the ledger vouches for it")
    return told


def _tell(found: Report, remarks: list[str], output: Format) -> None:
    if output is Format.JSON:
        tell_json({**found.as_json(), "not_checked": remarks})
    elif output is Format.MARKDOWN:
        _markdown(found, remarks)
    else:
        _text(found, remarks)


def _sentence(found: Report) -> str:
    if found.sound:
        return f"The ledger is sound: {_entries(found)}, none edited, dropped, inserted or reordered."
    count = len(found.problems) + found.more
    return f"The ledger is not sound: {count:,} problem{'' if count == 1 else 's'} in {_entries(found)}."


def _entries(found: Report) -> str:
    of = f" ({found.start + 1:,} to {found.head.entry:,})" if found.start else ""
    return f"{found.entries:,} entr{'y' if found.entries == 1 else 'ies'}{of}"


def _facts(found: Report) -> list[tuple[str, str]]:
    told = [("ledger", found.head.ledger or "it does not say its name"), ("head", f"{found.head.entry} {found.head.hash}")]
    vouch = found.vouching
    told += [("commits", f"{vouch['commit']} vouch{'es' if vouch['commit'] == 1 else ''} for it")] if vouch["commit"] else []
    told += [("heads", f"{vouch['given']} that you gave")] if vouch["given"] else []
    trusted = "which you trust" if found.trusted else "which nobody vouched for"
    told += [("key", f"{count} checkpoint{'' if count == 1 else 's'} of {key}, {trusted}") for key, count in found.keys.items()]
    told += (
        [("dropped", f"the evidence of {found.dropped} decision{'' if found.dropped == 1 else 's'}, by retention")]
        if found.dropped
        else []
    )
    return told


def _rows(found: Report) -> list[list[str]]:
    rows = [[each.numbers, each.wrong.value, each.about or "-", each.told] for each in found.problems]
    return rows + ([["-", "text", "-", f"{found.more:,} more"]] if found.more else [])


def _text(found: Report, remarks: list[str]) -> None:
    from promoter.delivery.cli import render

    screen = console()
    screen.print(_sentence(found), style="bold", markup=False)
    for name, told in _facts(found):
        screen.print(f"  {name:<8} {told}", markup=False, soft_wrap=True)
    if found.problems:
        screen.print(render.table(["ENTRY", "PROBLEM", "OF", "WHAT"], _rows(found)))
    if remarks:
        screen.print("Not checked:", markup=False)
    for each in remarks:
        screen.print(f"  {each}", markup=False)


def _markdown(found: Report, remarks: list[str]) -> None:
    from promoter.application.markdown.text import cell, inline, table

    lines = [f"**{inline(_sentence(found))}**", "", *(f"- {name}: {inline(told)}" for name, told in _facts(found))]
    if found.problems:
        lines += ["", *table(["entry", "problem", "of", "what"], [[cell(each) for each in row] for row in _rows(found)])]
    lines += ["", *(f"- not checked: {inline(each)}" for each in remarks)] if remarks else []
    sys.stdout.write("\n".join(lines) + "\n")
