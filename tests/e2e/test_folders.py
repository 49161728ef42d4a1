"""One repository, two folders, a Promoter for each: real MLflow, git, daemons, and a forge of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from subprocess import CalledProcessError

import pytest

from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from tests.support.forges.model import Pull
from tests.support.stage.hosted_stage import BOT, HostedStage
from tests.support.stage.stage import POLICY, registry_yaml, until

ROTATING = "{model}: {{aliases: {{champion: {{version: 1, policy: champion, rotation: {rotation}}}}}}}"
ML = RepositoryFolder("ml")
OTHERS = "it changes no file that"


def in_folder(folder: RepositoryFolder, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files by their paths in the repository."""
    return {folder.locate(path): text for path, text in files.items()}


def declared(model: str, version: int = 1, rotation: str = "pull-request") -> dict[str, bytes]:
    """The files of a Promoter for that model."""
    text = ROTATING.format(model=model, rotation=rotation).replace("version: 1", f"version: {version}")
    return {"registry.yaml": registry_yaml(text), "policies/champion.yaml": POLICY}


class TwoFolders:
    """A Promoter at the top of the repository, with `NAME-top`, and one in `ml`, with `NAME-ml`; each has a ledger."""

    def __init__(self, stage: HostedStage, name: str) -> None:
        """Each champion is v1; the daemons run."""
        self.stage = stage
        self.models = {TOP_FOLDER: f"{name}-top", ML: f"{name}-ml"}
        self.state = stage.folder / "ml-state"
        self.state.mkdir()
        files: dict[str, bytes] = {}
        for folder, model in self.models.items():
            stage.serving(model, 0.8)
            files |= in_folder(folder, declared(model))
        stage.remote.commit_files(files)
        stage.daemon()
        stage.daemon(**self.settings)

    @property
    def settings(self) -> dict[str, str]:
        """What the one in `ml` is given."""
        return {"PROMOTER_PATH": "./ml/", "PROMOTER_DATABASE_URL": f"sqlite:///{self.state / 'promoter.db'}"}

    def until_status(self, folder: RepositoryFolder, pull: Pull, state: str, description: str) -> None:
        """Wait until that folder's Promoter says this of the pull request."""
        port = self.stage.scene.connected(folder=folder)

        def there() -> bool:
            has = port.read_commit_status(pull.head)
            return has is not None and has.state == state and description in has.description

        what = f"{folder} says of #{pull.number}: {state}, {description}"
        until(there, what, told=lambda: f"{port.read_commit_status(pull.head)}\n{self.stage.told()}")

    def edit(self, path: str) -> bool:
        """A person commits a file; False: a Promoter was first."""
        try:
            self.stage.remote.commit_files({path: b"by hand"}, "A page")
        except CalledProcessError:
            return False
        return True

    def until_proposed(self, folder: RepositoryFolder) -> Pull:
        """Wait for the pull request from that folder's branch."""
        branch = folder.build_branch_name(self.models[folder], "champion")
        found: list[Pull] = until(lambda: self.stage.pulls(branch, "open"), f"one from {branch}", told=self.stage.told)
        return found[0]

    def propose(self, branch: str, folder: RepositoryFolder, files: Mapping[str, bytes]) -> Pull:
        """Ada pushes a branch with these files, and opens a pull request."""
        with self.stage.forge.using():
            self.stage.scene.push({path: text.decode() for path, text in in_folder(folder, files).items()}, "ada", branch)
            return self.stage.home.open("ada", branch, f"Change {folder}")

    def marks(self, pull: Pull) -> list[str]:
        """The first lines of the comments that Promoters wrote on it."""
        with self.stage.forge.using():
            return [each.body.splitlines()[0] for each in pull.remarks if each.by == BOT]

    def until_champion(self, folder: RepositoryFolder, version: int) -> None:
        """Wait until the registry has it."""
        model = self.models[folder]
        until(lambda: self.stage.aliases(model) == {"champion": version}, f"{model} is at v{version}", told=self.stage.told)


@pytest.fixture
def folders(hosted_stage: HostedStage, fresh_name: str) -> TwoFolders:
    """Two Promoters at work."""
    return TwoFolders(hosted_stage, fresh_name)


@pytest.mark.slow
def test_each_folder_is_promoted_by_its_own(folders: TwoFolders) -> None:
    """Each rotates by a pull request of its own name, says nothing of the other's but that, and moves its own alias."""
    stage = folders.stage
    for model in folders.models.values():
        stage.version(model, 0.9)
    pulls = {folder: folders.until_proposed(folder) for folder in folders.models}
    assert pulls[TOP_FOLDER].branch == f"promoter/{folders.models[TOP_FOLDER]}/champion"
    assert pulls[ML].branch == f"promoter-ml/{folders.models[ML]}/champion"
    for folder, other in ((TOP_FOLDER, ML), (ML, TOP_FOLDER)):
        folders.until_status(folder, pulls[folder], "success", "1 change, all allowed")
        folders.until_status(other, pulls[folder], "success", OTHERS)
        changed = stage.git("diff", "--name-only", f"main...{pulls[folder].head}")
        assert changed == folder.locate("registry.yaml")
    for folder, pull in pulls.items():
        stage.merge(pull)
        folders.until_champion(folder, 2)
    for folder, model in folders.models.items():
        branch = folder.build_branch_name(model, "champion")
        until(lambda branch=branch: branch not in stage.home.git.heads(), f"{branch} is gone", told=stage.told)  # type: ignore[misc]
    assert len(stage.pulls()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("hosted_stage", ["github"], indirect=True)
def test_a_second_promoter_on_the_ledger_of_the_first(folders: TwoFolders) -> None:
    """It is refused with the way out before it does anything, and the first goes on: nothing of its aliases is forgotten."""
    stage, models = folders.stage, folders.models
    for folder in models:
        folders.until_champion(folder, 1)
    third = stage.daemon(PROMOTER_PATH="ml")  # and the ledger of the one at the top
    stage.client.set_registered_model_alias(models[ML], "stray", "1")
    until(lambda: "about another folder of the repository (the top of the repository" in third.log(), "it is refused")
    assert "PROMOTER_DATABASE_URL" in third.log()
    stage.version(models[TOP_FOLDER], 0.7)
    stage.by_hand(models[TOP_FOLDER], "champion", 2)
    folders.until_champion(TOP_FOLDER, 1)
    assert "alias is not managed any more" not in stage.told()


@pytest.mark.slow_except("gitlab")
def test_what_people_propose_is_planned_by_its_folder(folders: TwoFolders) -> None:
    """Whose files it changes says so in a comment and a status of its own name; a decoy that is a link is refused."""
    stage, model = folders.stage, folders.models[ML]
    stage.version(model, 0.7)
    worse = folders.propose("worse", ML, declared(model, 2))
    folders.until_status(ML, worse, "failure", "1 of 1 change blocked")
    folders.until_status(TOP_FOLDER, worse, "success", "it changes no file that Promoter reads")
    until(lambda: folders.marks(worse), "it has a comment", told=stage.told)
    assert folders.marks(worse) == ["<!-- promoter:plan ml -->"]

    broken = folders.propose("broken", ML, {"registry.yaml": b"version: 1\nmodel: {}\n"})
    folders.until_status(ML, broken, "failure", "ml/registry.yaml:1:1: `models` is missing")
    top = folders.propose("top", TOP_FOLDER, declared(folders.models[TOP_FOLDER], rotation="off"))
    folders.until_status(ML, top, "success", "it changes no file that the Promoter of ml/ reads")
    folders.until_status(TOP_FOLDER, top, "success", "it moves no alias")


@pytest.mark.slow
@pytest.mark.parametrize("hosted_stage", ["gitea"], indirect=True)
def test_commands_and_commits_of_a_folder(folders: TwoFolders) -> None:
    """Rotation commits to the folder's file; a rollback by command goes to it, from wherever it is asked for."""
    stage, model = folders.stage, folders.models[ML]
    top = stage.git("show", "main:registry.yaml")
    stage.remote.commit_files(in_folder(ML, declared(model, rotation="commit")))
    stage.version(model, 0.9)
    folders.until_champion(ML, 2)
    ran = stage.run("rollback", f"{model}@champion", "--reason", "bad", "--by", "Ann", **folders.settings)
    assert ran.code == 0, ran.out + ran.err
    folders.until_champion(ML, 1)
    assert "hold:" in stage.git("show", "main:ml/registry.yaml")
    assert stage.git("show", "main:registry.yaml") == top
    other = stage.run(
        "rollback", f"{model}@champion", "--reason", "bad", "--by", "Ann", **{**folders.settings, "PROMOTER_PATH": "docs"}
    )
    assert (other.code, "(ml/, as of" in other.err) == (1, True), other.out + other.err


@pytest.mark.slow
@pytest.mark.parametrize("hosted_stage", ["github"], indirect=True)
def test_both_commit_to_one_branch(folders: TwoFolders) -> None:
    """Two Promoters and a person push to one branch at once: each rotation is there once, and no edit is lost."""
    stage = folders.stage
    stage.remote.commit_files(
        {
            path: text
            for folder, model in folders.models.items()
            for path, text in in_folder(folder, declared(model, rotation="commit")).items()
        }
    )
    rounds = 4
    for count in range(rounds):
        for model in folders.models.values():
            stage.version(model, 0.81 + count / 100)
        until(lambda count=count: folders.edit(f"docs/{count}.md"), "a person's commit is there")  # type: ignore[misc]
        for folder in folders.models:
            folders.until_champion(folder, count + 2)
    for folder, model in folders.models.items():
        rotated = stage.git("log", "--format=%H", f"--grep=^Rotate {model}@champion", "main").split()
        assert len(rotated) == rounds
        changed = {stage.git("show", "--format=", "--name-only", each) for each in rotated}
        assert changed == {folder.locate("registry.yaml")}
    assert stage.git("ls-tree", "--name-only", "main", "docs/").split() == [f"docs/{count}.md" for count in range(rounds)]
