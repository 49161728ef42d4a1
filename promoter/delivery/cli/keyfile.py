"""The file with an approver's private key: read with care for who else could read it, and made so that nobody else can.

Neither the key nor its passphrase is ever part of what is said here.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from promoter.domain.faults import Refused

if TYPE_CHECKING:
    from promoter.domain.approvals import Signer

KEY_FILE = "PROMOTER_APPROVAL_KEY_FILE"
PASSPHRASE = "PROMOTER_APPROVAL_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable


def read_key(path: Path) -> Signer:
    """The key in the file; its passphrase is asked for where it has one. Raises `Refused`."""
    from promoter.adapters.keyfiles import content_of
    from promoter.domain.approvals import PassphraseWrong, Signer

    content = content_of(path)
    given = os.environ.get(PASSPHRASE)
    try:
        try:
            return Signer.of_file(content, given.encode() if given else None)
        except PassphraseWrong:
            if given or not sys.stdin.isatty():
                raise
        asked: str = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        return Signer.of_file(content, asked.encode())
    except PassphraseWrong as error:
        raise Refused("key", f"{path}: {error}", f"set {PASSPHRASE}, or run this in a terminal to be asked") from None
    except ValueError as error:
        raise Refused("key", f"{path}: {error}") from None


def make_key(path: Path) -> Signer:
    """A new key in a new file that only its owner can read. Raises `Refused` where there is such a file already."""
    from promoter.domain.approvals import Signer

    passphrase = os.environ.get(PASSPHRASE)
    if passphrase is None and sys.stdin.isatty():
        passphrase = typer.prompt(
            "Passphrase for the new key (empty: none)", default="", show_default=False, hide_input=True,
            confirmation_prompt=True, err=True,
        )  # fmt: skip
    signer = Signer.of_seed(secrets.token_bytes(32))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signer.pem(passphrase.encode() if passphrase else None))
    except FileExistsError:
        raise Refused("key", f"{path} is there already, and is not overwritten", "give another name") from None
    except OSError as error:
        raise Refused("key", f"{path}: cannot be written: {error.strerror or 'no reason given'}") from None
    return signer
