"""`promoter replay` on a real server: after real rotations, under the committed policy and an edited one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.driven import DrivenContainer
from tests.support.stage.stage import POLICY, Stage, converge, registry_yaml

ROTATING = "{model}: {{aliases: {{champion: {{policy: champion, rotation: commit}}}}}}"
STRICTER = POLICY.replace(b"by: 0.005", b"by: 0.2")


def told(stage: Stage, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command says in that folder."""
    return stage.warm.run("promoter", ["replay", *arguments], folder, stage.environment(COLUMNS="160"))


@pytest.fixture
def rotated(stage: Stage, fresh_name: str) -> tuple[Stage, str, Path]:
    """A model that Promoter has rotated twice, and a folder with its files, and a policy that nobody committed."""
    files = {"registry.yaml": registry_yaml(ROTATING.format(model=fresh_name)), "policies/champion.yaml": POLICY}
    stage.remote.commit_files(files)
    for auc in (0.5, 0.6, 0.4):
        stage.version(fresh_name, auc)
        converge(DrivenContainer(stage.settings()))
    assert stage.aliases(fresh_name) == {"champion": 2}
    folder = stage.folder / "tree"
    for path, content in {**files, "policies/stricter.yaml": STRICTER}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return stage, fresh_name, folder


def test_replay(rotated: tuple[Stage, str, Path]) -> None:
    """The committed policy gives what happened; the stricter one keeps v1, and would have blocked v2; nothing is changed."""
    stage, model, folder = rotated
    before = stage.records(model)
    asked = ("--policy", "champion", "--since", "1 hour ago", "--compare", "stricter", "--picture", "it.svg")

    said = told(stage, folder, *asked, "--format", "json")
    assert (said.returncode, said.stderr) == (0, "")
    report = json.loads(said.stdout)
    assert report.keys() >= {"policy", "compare", "since", "until", "evidence", "models", "rules", "not_replayed", "notes"}
    (found,) = report["models"]
    assert (report["schema"], found["model"], found["alias"], found["version"]) == (1, model, "champion", 2)
    replays = {each["policy"]: each for each in found["replays"]}
    assert {name: [span["version"] for span in each["spans"]] for name, each in replays.items()} == {
        "champion": [1, 2],
        "stricter": [1],
    }
    assert [(each["to"], each["blocked"]) for each in replays["stricter"]["promotions"]] == [(1, False), (2, True)]
    assert replays["stricter"]["promotions"][1]["rules"][0]["rule"] == "metric auc beats champion by 0.2"
    assert report["evidence"]["now"] == 0, "the ledger saw every version"
    assert ET.parse(folder / "it.svg").getroot().tag.endswith("svg")  # our own

    text = told(stage, folder, *asked)
    assert text.returncode == 0
    assert "Past promotions that it would have blocked" in text.stdout
    assert f"{model}@&#8203;champion under stricter" in told(stage, folder, *asked, "--format", "markdown").stdout
    assert stage.records(model) == before


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--policy", "none", "--since", "1d"), "no policy `none`"),
        (("--policy", "champion", "--since", "soon"), "`soon` is no moment"),
        (("--policy", "champion", "--since", "1d", "--picture", "no/such/it.svg"), "there is no folder no/such"),
    ],
)
def test_faults_in_words(stage: Stage, arguments: tuple[str, ...], fault: str) -> None:
    """Exit code 1, and what is wrong, before anything long is read."""
    (stage.folder / "registry.yaml").write_bytes(registry_yaml(""))
    said = told(stage, stage.folder, *arguments)
    assert said.returncode == 1
    assert fault in " ".join(said.stderr.split())
    assert "Traceback" not in said.stderr
