"""What tests of open proposals share: a model whose champion rotates by pull request, and looks that end."""

from __future__ import annotations

from promoter.application.markdown.proposal import PullRequestMarker, parse_marker
from promoter.application.ports import PullRequest
from promoter.domain.errors import TransientError
from tests.support.app import App

BRANCH = "promoter/m/champion"
RULES = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, beats: champion, by: 0.005}
  - {metric: p99, at_most: 50}
guards: [{metric: live, at_least: 0.8}]
"""


def aliases(version: int = 1, rotation: str = "pull-request", more: str = "", model: str = "") -> str:
    """Lines of `models` for m, whose champion is that version."""
    return f"m: {{{model}aliases: {{champion: {{version: {version}, policy: champion, rotation: {rotation}{more}}}}}}}"


def propose(app: App, *aucs: float) -> App:
    """Versions with these figures, the first of which git says; the registry has it, and proposals were looked at once."""
    for auc in aucs:
        app.mlflow.version("m", auc=auc, p99=30.0, live=0.9)
    app.commit(aliases(), champion=RULES)
    app.look()
    app.propose()
    return app


def settle(app: App) -> None:
    """Look at model and proposals until a look writes nothing; whatever fails for the moment is tried again."""
    for _ in range(20):
        before = writes(app)
        try:
            app.look()
            again = app.propose()
        except TransientError:
            continue
        if not again and writes(app) == before:
            return
    raise AssertionError("it goes on for ever")


def writes(app: App) -> list[tuple[object, ...]]:
    """Everything that was written so far to forge, git and registry."""
    return [*app.hub.writes, *app.git.writes, *app.mlflow.writes]


def only(app: App) -> PullRequest:
    """The one that is open."""
    (found,) = app.hub.open
    return found


def told(pull: PullRequest) -> PullRequestMarker:
    """Its marker."""
    found = parse_marker(pull.body)
    assert found is not None
    return found


def says(app: App, pull: PullRequest) -> dict[str, object]:
    """What git would say of the champion, were it merged."""
    merged = app.git.preview_merge(app.git.head, pull.head)
    assert not merged.conflicts
    intent = app.documents.parse_declaration(merged.sources, None).desired.find_model_intent("m")
    assert intent is not None
    alias = intent.aliases["champion"]
    return {
        "version": alias.version,
        "quarantine": sorted(alias.quarantine),
        "hold": alias.hold.reason if alias.hold else None,
    }
