"""`promoter approve`: signs approvals, and makes the keys for that."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import DecisionTree, MarkdownOnly, Notes, Paragraph, TerminalOnly
from promoter.cli.common import (
    FormatOption,
    OutputFormat,
    build_container,
    create_console,
    load_declaration,
    parse_version_argument,
    print_json,
)
from promoter.cli.completion import complete_policies, complete_version_names
from promoter.cli.render import print_report
from promoter.domain.errors import PermanentError

if TYPE_CHECKING:
    from promoter.application.approve import ApprovalDraft, ApprovalResult
    from promoter.domain.approvals import SigningKey


KEY_FILE_VARIABLE = "PROMOTER_APPROVAL_KEY_FILE"
PASSPHRASE_VARIABLE = "PROMOTER_APPROVAL_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable


def read_signing_key(path: Path) -> SigningKey:
    """Read the key in the file, and ask for its passphrase where it has one. Raises `PermanentError`."""
    from promoter.adapters.system import read_key_file
    from promoter.domain.approvals import SigningKey, WrongPassphrase

    content = read_key_file(path)
    given = os.environ.get(PASSPHRASE_VARIABLE)
    try:
        try:
            return SigningKey.from_key_file(content, given.encode() if given else None)
        except WrongPassphrase:
            if given or not sys.stdin.isatty():
                raise
        entered: str = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        return SigningKey.from_key_file(content, entered.encode())
    except WrongPassphrase as error:
        raise PermanentError(
            "key", f"{path}: {error}", f"set {PASSPHRASE_VARIABLE}, or run this in a terminal to be asked"
        ) from None
    except ValueError as error:
        raise PermanentError("key", f"{path}: {error}") from None


def create_signing_key(path: Path) -> SigningKey:
    """Make a key in a new file that only its owner can read. Raises `PermanentError` where the file exists already."""
    from promoter.domain.approvals import SigningKey

    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    if passphrase is None and sys.stdin.isatty():
        passphrase = typer.prompt(
            "Passphrase for the new key (empty: none)", default="", show_default=False, hide_input=True,
            confirmation_prompt=True, err=True,
        )  # fmt: skip
    signer = SigningKey.from_seed(secrets.token_bytes(32))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signer.to_pem(passphrase.encode() if passphrase else None))
    except FileExistsError:
        raise PermanentError("key", f"{path} is there already, and is not overwritten", "give another name") from None
    except OSError as error:
        raise PermanentError("key", f"{path}: cannot be written: {error.strerror or 'no reason given'}") from None
    return signer


NOT_COUNTED = 1


def approve(
    name: Annotated[str, typer.Option("--by", "--as", metavar="NAME", help="Who approves: a name in approvers.yaml.")],
    what: Annotated[
        str | None,
        typer.Argument(metavar="MODEL/VERSION", help="The version to approve.", autocompletion=complete_version_names),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="For which policy; left out: the one of the model's aliases that asks for approvals.",
            autocompletion=complete_policies,
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar=KEY_FILE_VARIABLE, help="The private key: Ed25519, PEM or OpenSSH.")
    ] = None,
    new_key: Annotated[
        Path | None, typer.Option(help="Make a key in this new file, and print its line of approvers.yaml.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Sign an approval of a version under a policy, as a tag of the version.

    Signed are the version's registration and source, the policy as it is written, and the metrics that it uses: when one of
    these changes, the approval is void. Exit code 0: it counts, 1: it does not, or was not given.

    Examples: promoter approve fraud-detector/9 --by alice --key alice.pem; promoter approve --new-key alice.pem --by alice
    """
    if new_key is not None:
        if what is not None:
            raise typer.BadParameter("--new-key only makes a key: approve with it once its line is committed")
        _create_approver_key(new_key, name, output)
        return
    if what is None:
        raise typer.BadParameter("give MODEL/VERSION, such as fraud-detector/9")
    if key is None:
        raise typer.BadParameter(f"give --key FILE, or set {KEY_FILE_VARIABLE}")
    _sign_approval(*parse_version_argument(what), policy, name, key, yes=yes, output=output)


def _create_approver_key(path: Path, name: str, output: OutputFormat) -> None:
    from promoter.application.approve import render_approver_line
    from promoter.domain.fields import validate_approver_name

    try:
        validate_approver_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    signer = create_signing_key(path)
    line = render_approver_line(name, signer)
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import ApproverKeyResponse

        print_json(ApproverKeyResponse(file=str(path), approver=name, key=signer.public_key, line=line))
        return
    if output is OutputFormat.MARKDOWN:
        line = f"```yaml\n{line}\n```"
    indent, apart = ("", "\n") if output is OutputFormat.MARKDOWN else ("  ", "")
    sys.stdout.write(f"{path}: the private key. Keep it to yourself.\n{apart}")
    sys.stdout.write(f"Commit this line to approvers.yaml, under `approvers`:\n{apart}{indent}{line}\n")


def _sign_approval(
    model: str, version: int, policy: str | None, name: str, key: Path, *, yes: bool, output: OutputFormat
) -> None:
    from promoter.application.approve import ApprovalWriter, require_matching_key
    from promoter.application.explain import DecisionExplainer
    from promoter.domain.decision import Decision
    from promoter.domain.errors import PermanentError

    container = build_container()
    declaration = load_declaration(container)
    explainer = DecisionExplainer(container.registry, container.reading_ledger, container.reading_planner, container.clock)

    def judged(model: str, version: int, policy: str) -> Decision:
        decision = explainer.explain_version(declaration, model, version, policy).decision
        if decision is None:
            raise PermanentError("policies", f"nothing was decided on v{version} of `{model}`")
        return decision

    run = ApprovalWriter(container.registry, judged, container.clock)
    draft = run.draft_approval(declaration, model, version, policy, name)
    signer = read_signing_key(key)
    require_matching_key(draft.approver, name, signer)
    _print_draft(draft)
    if not yes:
        _confirm_signing(draft)
    done = run(draft, signer)
    _print_approval(done, output)
    if not done.counts:
        raise typer.Exit(NOT_COUNTED)


def _confirm_signing(draft: ApprovalDraft) -> None:
    from promoter.domain.errors import PermanentError

    if not sys.stdin.isatty():
        raise PermanentError(
            "approve", "nothing was signed: this is no terminal to confirm it on", "give --yes to sign unasked"
        )
    if not typer.confirm(f"Sign this as {draft.name}?", err=True):
        raise PermanentError("approve", "nothing was signed")


def _print_draft(draft: ApprovalDraft) -> None:
    """Show what is to be signed on standard error: standard output is for the result."""
    from promoter.cli import render
    from promoter.domain.fields import format_utc
    from promoter.domain.text import escape_invisible

    screen, subject = create_console(stderr=True), draft.subject
    screen.print(render.build_decision_tree(draft.decision))
    rows: list[tuple[str, str]] = [
        ("model", f"{subject.model} v{subject.version}, registered {format_utc(subject.created_at)}"),
        ("source", subject.source or "none"),
        ("policy", f"{subject.policy}, SHA-256 {subject.policy_digest}"),
    ]
    if not isinstance(subject.metrics, str):
        for each in subject.metrics:
            data = f" (data {each.digest})" if each.digest else ""
            rows.append(
                ("metric", f"{each.metric_ref}: {each.value}{data}{', and its values over the steps' if each.series else ''}")
            )
    screen.print(f"To be signed as {draft.name}:", style="bold", markup=False)
    for what, value in rows:
        # Sources, names and digests come from whoever logged them: they must not paint over what is asked of who signs.
        screen.print(f"  {what:<8}{escape_invisible(value)}", markup=False)
    for note in draft.notes:
        screen.print(f"  note: {note}", style="yellow", markup=False)


def _print_approval(done: ApprovalResult, output: OutputFormat) -> None:
    subject, decision = done.draft.subject, done.decision
    if output is OutputFormat.JSON:
        from promoter.application.responses.plans import ApprovalResponse

        print_json(ApprovalResponse.from_value(done))
        return
    name = done.draft.name
    sentence = f"{name} approved {subject.model} v{subject.version} under policy {subject.policy}."
    lines = [sentence if done.counts else f"The tag of {name} is written, and does not count: {done.why}."]
    lines += [str(tally) for tally in done.tallies]
    verdict = Paragraph(f"v{subject.version} under policy {subject.policy}: {decision.verdict.value}")
    notes = Notes(lines, style="")
    print_report(output, [notes, MarkdownOnly(DecisionTree(decision)), TerminalOnly([verdict])])
