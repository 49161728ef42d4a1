"""`promoter audit verify`: proves that nobody rewrote the ledger, or shows where."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from promoter.application.markdown.report import Facts, MarkdownOnly, Notes, Paragraph, Part, Table, TerminalOnly, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, create_console, print_json
from promoter.cli.render import print_report
from promoter.domain.ledger.problems import ProblemKind
from promoter.domain.text import format_count, plural

if TYPE_CHECKING:
    from rich.status import Status

    from promoter.adapters.git.history import LedgerTrailers
    from promoter.application.audit_verify import VerificationReport
    from promoter.domain.folder import RepositoryFolder
    from promoter.domain.ledger.witnesses import Witness


NOT_SOUND = 1
_MAX_LINE_BYTES = 64 * 2**20
"""The longest line of an export that is read: longer than any text that Promoter keeps, and shorter than memory."""


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
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Verify that nobody edited, dropped, inserted or reordered anything in the ledger since it was written.

    Offline, and reads only. Commits of Promoter name the ledger's head in a trailer: those of all branches of the clone that
    you stand in are held against it, too. Each problem is named with its entry.

    Exit code 0: nothing is wrong, 1: something is.

    Example: promoter audit verify --key ed25519:…; promoter audit verify --export ledger.jsonl --repo ../models.git
    """
    trailers = _read_ledger_trailers(repo)
    witnesses = [*_parse_head_options(head or []), *(trailers.witnesses if trailers else ())]
    trusted = _parse_key_options(key or [])
    with create_console(stderr=True).status("Verifying the ledger") as status:
        progress = partial(_show_progress, status)
        found = (
            _verify_export_file(export, witnesses, trusted, progress)
            if export
            else _verify_database(witnesses, trusted, progress)
        )
    _print_verification(found, _list_unchecked_parts(found, trailers), output)
    if not found.is_sound:
        raise typer.Exit(NOT_SOUND)


def _show_progress(status: Status, count: int) -> None:
    status.update(f"Verified {count:,} entries")


def _verify_database(
    witnesses: Sequence[Witness], trusted: frozenset[str], progress: Callable[[int], None]
) -> VerificationReport:
    from promoter.application.audit_verify import verify_ledger

    return verify_ledger(build_container().existing_ledger, witnesses, trusted, progress)


def _verify_export_file(
    path: Path, witnesses: Sequence[Witness], trusted: frozenset[str], progress: Callable[[int], None]
) -> VerificationReport:
    from promoter.adapters.ledger.verification import temporary_reference_index
    from promoter.application.audit_verify import verify_export

    with _open_export_file(path) as file, temporary_reference_index() as names:
        return verify_export(_read_export_lines(file), names, witnesses, trusted, progress)


@contextlib.contextmanager
def _open_export_file(path: Path) -> Iterator[BinaryIO]:
    from promoter.domain.errors import PermanentError

    if path == Path("-"):
        yield sys.stdin.buffer
        return
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise PermanentError("export", f"{path}: cannot be read: {error.strerror or 'no reason given'}") from None


def _read_export_lines(file: BinaryIO) -> Iterator[bytes]:
    from promoter.domain.errors import PermanentError

    number = 0
    while line := file.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES:
            raise PermanentError(
                "export", f"line {number} is longer than {_MAX_LINE_BYTES // 2**20} MiB: this is no export of a ledger"
            )
        yield line


def _read_ledger_trailers(repo: Path | None) -> LedgerTrailers | None:
    """Read the trailers of the clone's commits; None where no clone is here, and none was named.

    Raises `PermanentError` where a clone is here that git does not read: what its commits vouch for is not passed over.
    """
    from promoter.adapters.git.checkout import WorkTree
    from promoter.adapters.git.history import read_ledger_trailers
    from promoter.domain.errors import PermanentError

    if refusal := WorkTree(repo or Path()).find_refusal():
        raise refusal
    try:
        return read_ledger_trailers(repo or Path(), _find_folder(repo or Path()))
    except PermanentError:
        if repo is not None:
            raise
        return None


def _find_folder(repo: Path) -> RepositoryFolder:
    """Find the folder of the repository that has the Promoter of this ledger: by PROMOTER_PATH, else by the place."""
    from promoter.adapters.git.checkout import WorkTree
    from promoter.domain.folder import TOP_FOLDER
    from promoter.settings import load_folder

    return load_folder() or WorkTree(repo).find_folder() or TOP_FOLDER


def _parse_head_options(values: Sequence[str]) -> list[Witness]:
    from promoter.domain.ledger.chain import LedgerHead
    from promoter.domain.ledger.witnesses import Witness

    heads = [LedgerHead.parse_trailer(each) for each in values]
    wrong = next((text for text, each in zip(values, heads, strict=True) if each is None), None)
    if wrong is not None:
        raise typer.BadParameter(
            f"`{wrong}` is no head: it has three words, LEDGER ENTRY HASH, as `promoter audit verify` tells it",
            param_hint="--head",
        )
    return [Witness(each, "the head that was given") for each in heads if each]


def _parse_key_options(values: Sequence[str]) -> frozenset[str]:
    from promoter.domain.ledger.checkpoints import decode_public_key

    for each in values:
        try:
            decode_public_key(each)
        except ValueError as error:
            raise typer.BadParameter(f"`{each}`: {error}", param_hint="--key") from None
    return frozenset(values)


def _list_unchecked_parts(found: VerificationReport, trailers: LedgerTrailers | None) -> list[str]:
    """List what was not checked, and why."""
    remarks: list[str] = []
    if trailers is None:
        remarks.append("commits: this is no clone of the GitOps repository (--repo PATH names one)")
    else:
        if not found.vouching["commit"]:
            remarks.append("commits: no commit of this clone names this ledger's head")
        if trailers.shallow:
            remarks.append("older commits: this clone was fetched without them (git fetch --unshallow)")
        if trailers.unreadable:
            remarks.append(f"commits whose trailer names no head: {trailers.unreadable}")
        if found.foreign["commit"] and not any(each.kind is ProblemKind.REPLACED for each in found.problems):
            remarks.append(f"the ledgers that this one follows: {found.foreign['commit']} commits vouch for them")
    if found.earlier:
        remarks.append(f"what vouches for entries before {found.start + 1}: {found.earlier}")
    if found.keys and not found.trusted:
        remarks.append("whose the keys of the checkpoints are: --key PUBLICKEY names those that you trust")
    if not any(found.vouching.values()):
        remarks.append("whether the end was cut off or rewritten as a whole: nobody outside of the ledger vouches for it")
    return remarks


def _print_verification(found: VerificationReport, remarks: list[str], output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.ledger import CheckedLedgerResponse

        print_json(CheckedLedgerResponse.from_values(verification=found, not_checked=remarks))
    else:
        print_report(output, _build_verification_report(found, remarks))


def _summarize_verification(found: VerificationReport) -> str:
    if found.is_sound:
        return f"The ledger is sound: {_format_entry_count(found)}, none edited, dropped, inserted or reordered."
    count = len(found.problems) + found.more
    return f"The ledger is not sound: {count:,} {plural(count, 'problem')} in {_format_entry_count(found)}."


def _format_entry_count(found: VerificationReport) -> str:
    of = f" ({found.start + 1:,} to {found.head.entry:,})" if found.start else ""
    return f"{found.entries:,} {plural(found.entries, 'entry', 'entries')}{of}"


def _list_verified_facts(found: VerificationReport) -> list[tuple[str, str]]:
    facts = [("ledger", found.head.ledger or "it does not say its name"), ("head", f"{found.head.entry} {found.head.hash}")]
    attestations = found.vouching
    facts += (
        [("commits", f"{attestations['commit']} {plural(attestations['commit'], 'vouches', 'vouch')} for it")]
        if attestations["commit"]
        else []
    )
    facts += [("heads", f"{attestations['given']} that you gave")] if attestations["given"] else []
    trusted = "which you trust" if found.trusted else "which nobody vouched for"
    facts += [("key", f"{format_count(count, 'checkpoint')} of {key}, {trusted}") for key, count in found.keys.items()]
    facts += [("dropped", f"the evidence of {format_count(found.dropped, 'decision')}, by retention")] if found.dropped else []
    return facts


def _build_problem_rows(found: VerificationReport) -> list[list[str]]:
    rows = [[each.entry_range_text, each.kind.value, each.about or "-", each.message] for each in found.problems]
    return rows + ([["-", "text", "-", f"{found.more:,} more"]] if found.more else [])


def _build_verification_report(found: VerificationReport, remarks: list[str]) -> Iterator[Part]:
    yield Title(_summarize_verification(found))
    yield Facts(_list_verified_facts(found), label_format="  {:<8} ")
    if found.problems:
        yield Table(["entry", "problem", "of", "what"], _build_problem_rows(found))
    if remarks:
        yield TerminalOnly([Paragraph("Not checked:"), Notes(remarks, prefix="  ", style="")])
        yield MarkdownOnly(Notes([f"not checked: {each}" for each in remarks]))
