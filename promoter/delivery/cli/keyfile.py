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

from promoter.domain.faults import PermanentError

if TYPE_CHECKING:
    from promoter.domain.approvals import SigningKey

KEY_FILE_VARIABLE = "PROMOTER_APPROVAL_KEY_FILE"
PASSPHRASE_VARIABLE = "PROMOTER_APPROVAL_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable


def read_signing_key(path: Path) -> SigningKey:
    """The key in the file; its passphrase is asked for where it has one. Raises `PermanentError`."""
    from promoter.adapters.keyfiles import read_key_file
    from promoter.domain.approvals import WrongPassphrase, SigningKey

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
    """A new key in a new file that only its owner can read. Raises `PermanentError` where there is such a file already."""
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
