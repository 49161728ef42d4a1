"""`promoter audit checkpoint`."""

from __future__ import annotations

import sys

from promoter.delivery.cli.common import OutputFormat, FormatOption, print_json, build_container


def checkpoint(output: FormatOption = OutputFormat.TEXT) -> None:
    """Sign the ledger as it is now with the key that PROMOTER_CHECKPOINT_KEY names, and record that in the ledger.

    A daemon with that setting does it by itself, an hour apart. Keep what is printed outside of the ledger's reach: the public
    key for `promoter audit verify --key`, the head for `--head`.

    Example: PROMOTER_CHECKPOINT_KEY=checkpoint.pem promoter audit checkpoint
    """
    from promoter.application.markdown.text import inline_text

    container = build_container()
    container.require_settings("checkpoint_key")
    if container.checkpoint_signer is None:
        return
    number, made = container.checkpoint_signer.sign_checkpoint()
    head = {"ledger": made.head.ledger, "entry": made.head.entry, "hash": made.head.hash}
    if output is OutputFormat.JSON:
        print_json({"checkpoint": number, "head": head, "key": made.key, "signature": made.signature})
        return
    rows = [("entry", str(number)), ("head", made.head.trailer_value), ("key", made.key)]
    if output is OutputFormat.MARKDOWN:
        lines = [f"- {name}: {inline_text(value)}" for name, value in rows]
    else:
        lines = [f"{name:<6}{value}" for name, value in rows]
    sys.stdout.write("\n".join(lines) + "\n")
