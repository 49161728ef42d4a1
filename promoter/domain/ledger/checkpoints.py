"""Checkpoints: a key vouches for the ledger up to an entry.

Signed is the RFC 8785 form of the ledger's name, the entry's number and its hash, behind a text that no other use of the key
begins with (Ed25519, RFC 8032). Whoever rewrites what was written before cannot sign it anew without the key.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import rfc8785

from promoter.domain.approvers import PREFIX
from promoter.domain.ledger.chain import Head

if TYPE_CHECKING:
    from promoter.domain.approvals import Signer

PERIOD = timedelta(hours=1)
"""How long the daemon lets a checkpoint stand before it makes the next one."""
_CONTEXT = b"promoter checkpoint of a ledger, format 1\n"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Checkpoint:
    """The head that was vouched for, the public key as `approvers.yaml` writes it, and the signature in Base64."""

    head: Head
    key: str
    signature: str

    @classmethod
    def sign(cls, head: Head, signer: Signer) -> Checkpoint:
        """The key vouches for everything up to that head."""
        return cls(head, signer.public_key, base64.b64encode(signer.signature_of(signed_bytes(head))).decode())

    @classmethod
    def of(cls, ledger: str, told: Mapping[str, Any]) -> Checkpoint | None:
        """What a milestone of that ledger told; None where that is no checkpoint."""
        entry, found, key, signature = (told.get(name) for name in ("entry", "hash", "key", "signature"))
        if not isinstance(entry, int) or not (isinstance(found, str) and isinstance(key, str) and isinstance(signature, str)):
            return None
        return cls(Head(ledger, entry, found), key, signature)

    @property
    def told(self) -> dict[str, Any]:
        """As a milestone tells it."""
        return {"entry": self.head.entry, "hash": self.head.hash, "key": self.key, "signature": self.signature}

    @property
    def holds(self) -> bool:
        """Whether the owner of the key that it names signed exactly this."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            signature = base64.b64decode(self.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(raw_key(self.key)).verify(signature, signed_bytes(self.head))
        except (InvalidSignature, ValueError):
            return False
        return len(signature) == _SIGNATURE_BYTES


def signed_bytes(head: Head) -> bytes:
    """What the signature is over."""
    return _CONTEXT + rfc8785.dumps({"entry": head.entry, "hash": head.hash, "ledger": head.ledger})


def raw_key(text: str) -> bytes:
    """The 32 bytes of a public key as it is written. Raises ValueError for anything else."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a public key begins with {PREFIX}")
    found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    if len(found) != _KEY_BYTES:
        raise ValueError(f"a public key has {_KEY_BYTES} bytes")
    return found
