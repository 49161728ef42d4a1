"""`promoter audit checkpoint`."""

from __future__ import annotations

import sys

from promoter.delivery.cli.common import Format, FormatOption, tell_json, world


def checkpoint(output: FormatOption = Format.TEXT) -> None:
    """Sign the ledger as it is now with the key that PROMOTER_CHECKPOINT_KEY names, and record that in the ledger.

    A daemon with that setting does it by itself, an hour apart. Keep what is printed outside of the ledger's reach: the public
    key for `promoter audit verify --key`, the head for `--head`.

    Example: PROMOTER_CHECKPOINT_KEY=checkpoint.pem promoter audit checkpoint
    """
    from promoter.application.markdown.text import inline

    built = world()
    built.require("checkpoint_key")
    if built.checkpoints is None:
        return
    number, made = built.checkpoints.make()
    head = {"ledger": made.head.ledger, "entry": made.head.entry, "hash": made.head.hash}
    if output is Format.JSON:
        tell_json({"checkpoint": number, "head": head, "key": made.key, "signature": made.signature})
        return
    rows = [("entry", str(number)), ("head", made.head.trailer), ("key", made.key)]
    if output is Format.MARKDOWN:
        lines = [f"- {name}: {inline(told)}" for name, told in rows]
    else:
        lines = [f"{name:<6}{told}" for name, told in rows]
    sys.stdout.write("\n".join(lines) + "\n")
