"""Private keys of approvers: read in every form that people have them in, and never shown."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from promoter.domain.approvals import SigningKey, WrongPassphrase

SIGNER = SigningKey.from_seed(b"alice".ljust(32))
UNSUPPORTED = "a key of a kind, or with an encryption, that cannot be read here; `promoter approve --new-key FILE` makes one"


def test_keys_come_back_as_they_were_written() -> None:
    """Plain, and with a passphrase; one that is not needed does no harm."""
    key = SIGNER.public_key
    assert SigningKey.from_key_file(SIGNER.to_pem()).public_key == key
    assert SigningKey.from_key_file(SIGNER.to_pem(), b"not needed").public_key == key
    assert SigningKey.from_key_file(SIGNER.to_pem(b"open sesame"), b"open sesame").public_key == key


def test_a_signer_shows_its_public_half_only() -> None:
    """In whatever way it comes to be printed."""
    assert repr(SIGNER) == str(SIGNER) == f"Signer({SIGNER.public_key!r})"


@pytest.mark.parametrize(
    ("content", "passphrase", "kind", "told"),
    [
        (SIGNER.to_pem(b"open sesame"), None, WrongPassphrase, "it is encrypted, and no passphrase was given"),
        (SIGNER.to_pem(b"open sesame"), b"wrong", WrongPassphrase, "the passphrase is not the one, or the file is damaged"),
        (b"", None, ValueError, "not a private key in PEM (PKCS #8 or OpenSSH)"),
        (SIGNER.to_pem()[:60], None, ValueError, "not a private key in PEM (PKCS #8 or OpenSSH)"),
        (SIGNER.to_pem().replace(b"MC4C", b"AAAA"), None, ValueError, "not a private key in PEM (PKCS #8 or OpenSSH)"),
    ],
)
def test_what_is_wrong_with_a_key_is_said_without_it(
    content: bytes, passphrase: bytes | None, kind: type[Exception], told: str
) -> None:
    """A passphrase that is missing or wrong, a file that is no key; the message has no cause that would show more."""
    with pytest.raises(kind) as caught:
        SigningKey.from_key_file(content, passphrase)
    assert str(caught.value) == told
    assert caught.value.__suppress_context__


def openssh(key: Any) -> bytes:
    """As `ssh-keygen` writes it without a passphrase."""
    return bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()))


def openssh_encrypted() -> bytes:
    """The frame of what `ssh-keygen` writes with a passphrase (its secret part is zeros)."""

    def text(content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + content

    public = text(b"ssh-ed25519") + text(SIGNER.raw_public_key)
    frame = text(b"aes256-ctr") + text(b"bcrypt") + text(text(b"0" * 16) + struct.pack(">I", 16))
    body = b"openssh-key-v1\0" + frame + struct.pack(">I", 1) + text(public) + text(bytes(144))
    lines = base64.encodebytes(body)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + lines + b"-----END OPENSSH PRIVATE KEY-----\n"


def test_keys_of_openssh() -> None:
    """An Ed25519 key of `ssh-keygen` is as good as any."""
    assert len(SigningKey.from_key_file(openssh(Ed25519PrivateKey.generate())).raw_public_key) == 32


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (openssh_encrypted(), UNSUPPORTED),
        (openssh(generate_private_key(SECP256R1())), "not an Ed25519 key; `promoter approve --new-key FILE` makes one"),
    ],
)
def test_keys_that_cannot_be_used(content: bytes, told: str) -> None:
    """Encrypted ones of OpenSSH need a library that is not there; other kinds of keys are none of ours."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared whole below
        SigningKey.from_key_file(content, b"open sesame" if told == UNSUPPORTED else None)
    assert str(caught.value) == told
