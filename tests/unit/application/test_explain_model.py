"""Every candidate of a model, ranked, with what rotation makes of it."""

from __future__ import annotations

from promoter.application.explain import DecisionExplainer
from promoter.application.markdown.report import render_report_markdown
from promoter.cli.explain import build_candidates_report
from tests.support.app import App
from tests.support.proposals import only, propose, settle


def test_candidates_are_ranked(app: App) -> None:
    """The best that passes is proposed; those that fail stand where their figure puts them, refused ones at the end."""
    propose(app, 0.8, 0.93, 0.92, 0.7)
    app.mlflow.version("m", auc=0.99, p99=80.0)
    settle(app)
    app.hub.decline(only(app).number, by="carol")
    settle(app)
    declaration = app.revisions.refresh_head().declaration
    assert declaration is not None
    explainer = DecisionExplainer(app.registry, app.ledger, app.planner, app.clock)
    (found,) = explainer.explain_model(declaration, "m")
    assert (found.alias, found.held, found.stated, found.rank_metric) == ("champion", 1, "v1", "auc")
    rows = [(each.version, each.rank, each.verdict, each.proposed) for each in found.candidates]
    assert rows == [
        (5, 0.99, "fail", False),
        (3, 0.92, "pass", True),
        (4, 0.7, "fail", False),
        (2, None, "refused", False),
    ]
    shown = render_report_markdown(build_candidates_report("m", [found]))
    assert "| v3 (proposed) | 0.92 | pass |" in shown
    assert "v2 was refused by carol" in shown
