"""What came of a merge is said where it was merged, on a forge of each kind: real MLflow, git, webhooks and daemon."""

from __future__ import annotations

import json

import pytest

from promoter.application.markdown.merge_result import RESULT_MARKER
from promoter.application.ports import CommitStatus, CommitStatusName
from promoter.domain.folder import RepositoryFolder
from tests.support.forges.model import Pull
from tests.support.http_receiver import Server, serving
from tests.support.stage.hosted_stage import BOT, HostedStage
from tests.support.stage.stage import until

GATED = "{model}: {{aliases: {{champion: {{version: {version}, policy: champion}}}}}}"
REVIEWED = b"version: 1\nrules: [{review: {at_least: 2, from: [bob, cy]}}]\n"
TAGGED = b"version: 1\nrules: [{tag: approved_by, one_of: [risk]}]\n"


def channels(server: Server) -> str:
    """PROMOTER_NOTIFICATIONS for one channel that hears of what was refused."""
    secret = {"secret": "hunter2", "networks": ["127.0.0.1/32"]}
    return json.dumps([{"name": "ci", "url": server.url, "events": ["revision-refused"], **secret}])


def until_applied(
    stage: HostedStage, commit: str, state: str, description: str, folder: RepositoryFolder | None = None
) -> CommitStatus:
    """Wait until `promoter/applied` says so of the commit."""
    port = stage.scene.connected(folder=folder) if folder else stage.scene.port

    def there() -> CommitStatus | None:
        has = port.read_commit_status(commit, CommitStatusName.APPLIED)
        return has if has is not None and has.state == state and description in has.description else None

    what = f"{commit[:10]} is {state}: {description}"
    last = lambda: f"{port.read_commit_status(commit, CommitStatusName.APPLIED)}\n{stage.told()}"  # noqa: E731  # short
    found: CommitStatus = until(there, what, told=last)
    return found


def until_said(stage: HostedStage, pull: Pull, *parts: str) -> str:
    """Wait until the one closing comment has these parts."""

    def said() -> str | None:
        found = stage.comments(pull, RESULT_MARKER)
        return found[0] if len(found) == 1 and all(part in found[0] for part in parts) else None

    told = lambda: f"{stage.comments(pull, RESULT_MARKER)}\n{stage.told()}"  # noqa: E731  # short
    text: str = until(said, f"the comment on #{pull.number} has {parts}", told=told)
    return text


@pytest.mark.slow_except("gitea")
def test_merged_without_the_reviews_and_again_with_them(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Not moved: status, comment and log say so, and the way out, which works; a squash is reported like any merge."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    stage.commit(GATED.format(model=model, version=1), champion=REVIEWED)
    daemon = stage.daemon()
    until_applied(stage, stage.head(), "success", f"{model}@champion is at v1 since ")

    pull = stage.propose("ada/two", "ada", GATED.format(model=model, version=2))
    stage.approve(pull, "bob")
    commit = stage.merge(pull, "cy")
    until_applied(stage, commit, "failure", f"{model}@champion stays at v1, not v2: review at_least 2 from [bob, cy] is fail")
    until_said(
        stage,
        pull,
        "not carried out",
        f"revert [`{commit[:10]}`](",
        f"/commit/{commit}), so that git states v1 of the alias again",
        "If nobody does anything, v1 goes on serving, and git states v2",
    )
    assert stage.aliases(model) == {"champion": 1}
    blocks = [line for line in daemon.log().splitlines() if "] change blocked" in line and model in line]
    assert len(blocks) == 1, blocks
    for part in ("champion", "v2", "review at_least 2 from [bob, cy]"):
        assert part in blocks[0], blocks[0]

    stage.commit(GATED.format(model=model, version=1))
    until_applied(stage, commit, "failure", "a later commit states v1")
    again = stage.propose("ada/again", "ada", GATED.format(model=model, version=2))
    stage.approve(again, "bob", "cy")
    with stage.forge.using():
        squashed = stage.home.merge(again.number, "cy", "squash")
    (moved,) = [each.id for each in until_moved(stage, model, 2)]
    until_applied(stage, squashed, "success", f"ledger entry {moved}")
    until_said(stage, again, f"`{model}@champion` moved from v1 to v2", f"Ledger entry {moved}.")
    assert len(stage.comments(pull, RESULT_MARKER)) == 1


def until_moved(stage: HostedStage, model: str, version: int) -> list[object]:
    """Wait until the ledger has the move to that version; its record."""

    def found() -> list[object]:
        return [each for each in stage.records(model) if each.fact.outcome == "applied" and each.fact.to_version == version]

    rows: list[object] = until(found, f"{model} has moved to v{version}", told=stage.told)
    return rows


@pytest.mark.slow_except("github")
def test_a_tag_that_is_set_after_the_merge(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Pending, with the tag to set; set, the same comment and status say that it moved, also after a restart in between."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    stage.commit(GATED.format(model=model, version=1), champion=TAGGED)
    daemon = stage.daemon()
    pull = stage.propose("ada/two", "ada", GATED.format(model=model, version=2))
    commit = stage.merge(pull, "cy")
    until_applied(stage, commit, "pending", f"{model}@champion waits at v1 for v2: tag approved_by one_of [risk] is pending")
    until_said(stage, pull, f"Set the tag `approved_by` of version 2 of {model} to one of [risk].")
    daemon.stop()
    stage.client.set_model_version_tag(model, "2", "approved_by", "risk")
    stage.daemon()
    until_applied(stage, commit, "success", f"{model}@champion v1 → v2 at ")
    until_said(stage, pull, "carried out", f"`{model}@champion` moved from v1 to v2")
    with stage.forge.using():
        assert len({each.id for each in pull.remarks if each.by == BOT and each.body.startswith(RESULT_MARKER)}) == 1


@pytest.mark.slow_except("gitlab")
def test_a_merge_that_is_refused(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Every fault on the pull request, a failure on the commit, an event to whoever is on call, once; mended, it goes on."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    stage.commit(f"{model}: {{aliases: {{champion: 1}}}}")
    with serving() as server:
        stage.daemon(PROMOTER_NOTIFICATIONS=channels(server))
        until_applied(stage, stage.head(), "success", f"{model}@champion is at v1")
        pull = stage.propose("ada/bad", "ada", f"{model}: {{aliases: {{champion: two, shadow: zero}}}}")
        commit = stage.merge(pull, "cy")
        until_applied(stage, commit, "failure", "refused, nothing of it is carried out: registry.yaml:3:")
        text = until_said(stage, pull, "### ✗ Promoter: refused", "the last good one, stays in force", "What to do: mend it")
        assert text.count("- registry.yaml:3:") == 2
        mending = stage.propose("ada/mend", "ada", f"{model}: {{aliases: {{champion: 2}}}}")
        mended = stage.merge(mending, "cy")
        until_applied(stage, mended, "success", f"{model}@champion v1 → v2 at ")
        until_said(stage, pull, f"[`{mended[:10]}`](", f"/commit/{mended}), a later commit, is in force")
        until(lambda: server.came, "the event arrives", told=stage.told)
        (event,) = {json.loads(each.body)["id"]: json.loads(each.body) for each in server.came}.values()
    assert (event["type"], event["subject"]) == ("dev.promoter.revision.refused", commit)
    assert event["data"]["reason"].count("registry.yaml:3:") == 2


@pytest.mark.slow
@pytest.mark.parametrize("hosted_stage", ["github"], indirect=True)
def test_two_folders_report_side_by_side(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Each Promoter of a repository has a status and a comment of its own on one merge."""
    stage, ml = hosted_stage, RepositoryFolder("ml")
    models = {"": f"{fresh_name}-top", "ml/": f"{fresh_name}-ml"}
    state = stage.folder / "ml-state"
    state.mkdir()

    def files(version: int) -> dict[str, str]:
        text = "version: 1\nmodels: {{{model}: {{aliases: {{champion: {version}}}}}}}\n"
        return {f"{at}registry.yaml": text.format(model=name, version=version) for at, name in models.items()}

    for name in models.values():
        stage.serving(name, 0.8, 0.9)
    stage.remote.commit_files({path: text.encode() for path, text in files(1).items()})
    stage.daemon()
    stage.daemon(PROMOTER_PATH="ml", PROMOTER_DATABASE_URL=f"sqlite:///{state / 'promoter.db'}")
    with stage.forge.using():
        stage.scene.push(files(2), "ada", "ada/both")
        pull = stage.home.open("ada", "ada/both", "Both")
    commit = stage.merge(pull, "cy")
    until_applied(stage, commit, "success", f"{models['']}@champion v1 → v2 at ")
    until_applied(stage, commit, "success", f"{models['ml/']}@champion v1 → v2 at ", ml)
    until_said(stage, pull, "### ✓ Promoter: carried out", models[""])
    own = until(lambda: stage.comments(pull, ml.mark_comment(RESULT_MARKER)), "the comment of ml/", told=stage.told)
    assert len(own) == 1
    assert "### ✓ The Promoter of ml/: carried out" in own[0]
