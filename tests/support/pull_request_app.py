"""An app with a pull request on it: what people do there, what Promoter plans, and what it says."""

from __future__ import annotations

from dataclasses import replace

from promoter.application.pull_planner import PullPlanner
from promoter.application.pull_plans import PullPlanUpdater
from promoter.domain.links import PageAddresses
from promoter.domain.pull_plan import PullPlan
from tests.support.app import POLICY, App

GATED = "m: {{aliases: {{champion: {{version: {}, policy: champion}}, shadow: {{version: {}}}}}}}"
STRICT = POLICY.replace(b"0.005", b"0.5")
ANYTHING = b"version: 1\nrules: [{run: {status: FINISHED}}]\n"


def registry(models: str, head: str = "") -> bytes:
    """`registry.yaml` with those lines under `models`."""
    body = "models:\n" + "".join(f"  {line}\n" for line in models.strip().splitlines())
    return f"version: 1\n{head}{body}".encode()


def spread(*aliases: str, model: str = "m") -> str:
    """A model with an alias a line, so that edits of two of them merge."""
    return "\n".join([f"{model}:", "  aliases:", *(f"    {each}\n    # -" for each in aliases)])


class PullRequestApp:
    """A pull request on an app, and what keeps its plan."""

    def __init__(self, app: App) -> None:
        """Nothing is proposed yet."""
        self.app = app
        self.number = 0

    def propose(self, models: str | None = None, head: str = "", branch: str = "change", **policies: bytes | None) -> int:
        """Somebody pushes to the branch and opens a pull request; its number."""
        self.push(models, head, branch, **policies)
        self.number = self.app.hub.opened(branch)
        return self.number

    def push(self, models: str | None = None, head: str = "", branch: str = "change", **policies: bytes | None) -> str:
        """Somebody pushes to the branch; the revision. None for a policy: it is deleted."""
        git = self.app.git
        files = {f"policies/{name}.yaml": text for name, text in policies.items() if text is not None}
        if models is not None:
            files["registry.yaml"] = registry(models, head)
        revision = git.push(files, branch=branch)
        node = git.nodes[revision]
        kept = {path: text for path, text in node.files.items() if policies.get(path[9:-5], b"") is not None}
        git.nodes[revision] = replace(node, files=kept)
        return revision

    @property
    def planner(self) -> PullPlanner:
        """A process that has just started."""
        app = self.app
        return PullPlanner(app.mlflow, app.ledger, app.git, app.documents, app.time, app.provenance)

    @property
    def plan(self) -> PullPlan:
        """Of the newest pull request, as it is now."""
        git, hub = self.app.git, self.app.hub
        return self.planner(
            git.head, hub.pulls[self.number].head, lambda teams: hub.read_pull_request_origin(self.number, teams)
        )

    def look(self, number: int | None = None) -> None:
        """As the daemon does, right after a start."""
        app = self.app.another()
        plans = PullPlanUpdater(
            app.hub, app.git, self.planner, app.revisions, app.keys, "main", PageAddresses("https://p.example")
        )
        plans.update_plan(number or self.number)

    @property
    def comment(self) -> str:
        """The one comment."""
        (body,) = self.app.hub.bodies(self.number)
        return body

    @property
    def status(self) -> tuple[str, str]:
        """State and description that its head has."""
        has = self.app.hub.statuses[self.app.hub.pulls[self.number].head]
        return has.state.value, has.description

    @property
    def verdicts(self) -> dict[tuple[str, str], tuple[int | None, str | None]]:
        """Of each change that it brings: to where, and the verdict."""
        return {
            (each.difference.model, each.difference.alias): (
                each.difference.to_version,
                each.gate_verdict and each.gate_verdict.value,
            )
            for each in self.plan.brought.changes
        }


def standing(app: App) -> PullRequestApp:
    """Three versions of a model, v1 is champion and shadow, and git says so; v2 is better, v3 is worse."""
    for auc in (0.8, 0.9, 0.7):
        app.mlflow.version("m", auc=auc)
    app.commit(GATED.format(1, 1), champion=POLICY)
    app.mlflow.place("m", "champion", 1)
    app.mlflow.place("m", "shadow", 1)
    app.converge()
    app.hub.calls.clear()
    return PullRequestApp(app)
