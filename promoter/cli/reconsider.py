"""`promoter reconsider`: a person's no to a version is taken back."""

from __future__ import annotations

from typing import Annotated

import typer

from promoter.application.markdown.report import Notes, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, parse_alias_argument, print_json
from promoter.cli.completion import complete_versions
from promoter.cli.render import print_report
from promoter.cli.rollback import AliasArgument, RequesterOption, find_requester_name


def reconsider(
    what: AliasArgument,
    version: Annotated[
        int, typer.Argument(min=1, metavar="N", help="The version that was refused.", autocompletion=complete_versions)
    ],
    by: RequesterOption = None,
    reason: Annotated[str | None, typer.Option(help="Why: it stands in the ledger.")] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Take back a person's no to a version: it is proposed again, once it is the best candidate.

    A no is what closing Promoter's pull request without a merge means; opening it again takes it back, too. Where the ledger
    has no such no, the alias's last pull request on the forge may remember one.

    PROMOTER_DATABASE_URL must be the daemon's: the ledger has who refused what.

    Exit code 0: done, 1: nobody refused that version.

    Example: promoter reconsider fraud-detector@champion 9 --reason "the data was right after all"
    """
    from promoter.application.responses.registry import ReconsiderResponse

    model, alias = parse_alias_argument(what)
    container = build_container()
    container.require_ledger()
    container.require_settings("mlflow_tracking_uri")
    *also, refused = container.reconsider_refusal(model, alias, version, find_requester_name(by), reason)
    if output is OutputFormat.JSON:
        print_json(ReconsiderResponse.from_values(model=model, alias=alias, version=version, refused=refused, also=also))
    else:
        until_now = [f"until now: {each.description}" for each in (*also, refused)]
        follows = "from the daemon's next look on, it is proposed again where it is the best that passes"
        title = Title(f"{model}@{alias}: v{version} may be proposed again", style="")
        print_report(output, [title, Notes([*until_now, follows], prefix=" - ", style="")])
