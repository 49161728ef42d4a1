"""Where settings come from: the environment and the file that `PROMOTER_CONFIG` names, never the tree that is judged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promoter.domain.errors import Faults
from promoter.settings import RegistryCredentials, Settings, load_folder, load_settings


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without any setting."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in [name for name in os.environ if name.upper().startswith("PROMOTER_")]:
        monkeypatch.delenv(name)


def load_faults() -> list[str]:
    """Return the faults of the settings, each on one line."""
    with pytest.raises(Faults) as caught:
        load_settings()
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("checkout", [True, False], ids=["checkout", "folder"])
def test_a_file_of_the_working_directory_is_a_fault_that_names_the_way_out(checkout: bool) -> None:
    """It is neither read nor passed over in silence: the daemon would run without the channels that stand in it."""
    if checkout:
        Path(".git").mkdir()
    Path("promoter.yaml").write_text("registries: {staging: 'http://attacker.example'}\n")
    (fault,) = load_faults()
    assert "promoter.yaml: it is not read" in fault
    assert ("move it out of the checkout" in fault) is checkout
    assert "PROMOTER_CONFIG" in fault
    assert Settings().registries == {}


def test_whoever_names_a_file_has_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the checkout changes nothing where the environment names another one, or none."""
    Path(".git").mkdir()
    Path("promoter.yaml").write_text("branch: attacker\n")
    (tmp_path / "mine.yaml").write_text("branch: live\n")
    monkeypatch.setenv("PROMOTER_CONFIG", str(tmp_path / "mine.yaml"))
    assert load_settings().branch == "live"
    monkeypatch.setenv("PROMOTER_CONFIG", os.devnull)
    assert load_settings().branch == "main"


@pytest.mark.parametrize("way", ["relative", "absolute", "up and down", "link into it", "link out of it", "subfolder"])
def test_the_named_file_lies_outside_of_the_judged_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Also where the name is relative, or leads there by a link, or one stands in a folder of the tree."""
    Path(".git").write_text("gitdir: elsewhere\n")
    Path("own.yaml").write_text("branch: attacker\n")
    Path("ml").mkdir()
    (tmp_path / "outside.yaml").write_text("branch: attacker\n")
    Path("linked.yaml").symlink_to(tmp_path / "outside.yaml")
    (tmp_path / "linked.yaml").symlink_to(tmp_path / "here" / "own.yaml")
    names = {
        "relative": "own.yaml",
        "absolute": str(tmp_path / "here" / "own.yaml"),
        "up and down": str(tmp_path / "x" / ".." / "here" / "own.yaml"),
        "link into it": str(tmp_path / "linked.yaml"),
        "link out of it": "linked.yaml",
        "subfolder": "../own.yaml",
    }
    if way == "subfolder":
        monkeypatch.chdir("ml")
    monkeypatch.setenv("PROMOTER_CONFIG", names[way])
    (fault,) = load_faults()
    assert "the tree that is being judged" in fault


def test_a_submodule_belongs_to_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside it is as much a part of the pull request; one beside the repository is not."""
    (tmp_path / "here" / ".git").mkdir()
    module = tmp_path / "here" / "module"
    module.mkdir()
    (module / ".git").write_text("gitdir: ../.git/modules/module\n")
    for folder in (tmp_path, tmp_path / "here"):
        (folder / "own.yaml").write_text("branch: live\n")
    monkeypatch.chdir(module)
    monkeypatch.setenv("PROMOTER_CONFIG", "../own.yaml")
    assert "being judged" in load_faults()[0]
    monkeypatch.setenv("PROMOTER_CONFIG", "../../own.yaml")
    assert load_settings().branch == "live"


def test_a_folder_with_a_registry_file_is_judged_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported tree has no repository, and its files are not ours either."""
    Path("own.yaml").write_text("branch: attacker\n")
    monkeypatch.setenv("PROMOTER_CONFIG", "own.yaml")
    assert load_settings().branch == "attacker"
    Path("registry.yaml").touch()
    assert "being judged" in load_faults()[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("just words\n", "it is not a mapping"),
        ("42\n", "it is not a mapping"),
        ("- a list\n", "it is not a mapping"),
        ("branch: a\nbranch: b\n", "a key occurs twice"),
        ("branch: " + "a" * 1_048_576, "it is larger than"),
        ("branch: [\n", "it is not YAML"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clean_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, expected: str
) -> None:
    """It names the file, and never repeats what stands there."""
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("PROMOTER_CONFIG", str(file))
    (fault,) = load_faults()
    assert fault.startswith(f"{file}: ")
    assert expected in fault


def test_what_has_no_end_or_no_writer_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device would fill the memory, and a pipe without a writer would keep the command; one with a writer is read."""
    monkeypatch.setenv("PROMOTER_CONFIG", "/dev/zero")
    assert "it is larger than" in load_faults()[0]
    monkeypatch.setattr("promoter.config_file._PIPE_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("PROMOTER_CONFIG", str(tmp_path / "pipe"))
    assert "nothing is written to this pipe" in load_faults()[0]
    monkeypatch.setattr("promoter.config_file._PIPE_SECONDS", 60.0)
    reads, writes = os.pipe()
    monkeypatch.setenv("PROMOTER_CONFIG", f"/dev/fd/{reads}")
    os.write(writes, b"branch: live\n")
    os.close(writes)
    assert load_settings().branch == "live"
    os.close(reads)


def test_no_address_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address may hold a password; and a name written at length leads to the setting."""
    for name in ("MLFLOW_TRACKING_URI", "PROMOTER_REPO", "PROMOTER_DATABASE_URL"):
        monkeypatch.setenv(name, "https://u:pw-5f1d@h/x")
    assert "pw-5f1d" not in repr(load_settings()) + str(load_settings())
    monkeypatch.setenv("PROMOTER_REPOSITORY", "x")
    assert "did you mean PROMOTER_REPO?" in load_faults()[0]


def test_an_empty_file_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a variable that is set and empty."""
    Path("mine.yaml").touch()
    monkeypatch.setenv("PROMOTER_CONFIG", "mine.yaml")
    monkeypatch.setenv("PROMOTER_BRANCH", "")
    assert load_settings().branch == "main"


def test_unknown_names_are_faults_with_the_nearest_name_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment and of the file, together with whatever else is wrong."""
    file = tmp_path / "mine.yaml"
    file.write_text("registres: {}\n2: x\npoll_interval: soon\n")
    monkeypatch.setenv("PROMOTER_CONFIG", str(file))
    monkeypatch.setenv("PROMOTER_DATABASE_URI", "sqlite:///x.db")
    monkeypatch.setenv("promoter_brunch", "live")
    monkeypatch.setenv("PROMOTER_XYZ", "hunter2")
    faults = load_faults()
    assert "hunter2" not in "".join(faults)
    assert faults == [
        "PROMOTER_DATABASE_URI is no setting of Promoter (did you mean PROMOTER_DATABASE_URL?)",
        "PROMOTER_XYZ is no setting of Promoter (see the settings in docs/operate.md)",
        "promoter_brunch is no setting of Promoter (did you mean PROMOTER_BRANCH?)",
        "PROMOTER_POLL_INTERVAL must be a duration such as 60s, 5m or 1h",
        f"{file}: `registres` is no setting of Promoter (did you mean registries?)",
        f"{file}: `2` is no setting of Promoter (see the settings in docs/operate.md)",
    ]


def test_a_command_that_needs_the_folder_only_finds_unknown_names_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PROMOTER_PTH` would let `promoter validate` check another folder, and say that it is valid."""
    monkeypatch.setenv("PROMOTER_PTH", "ml")
    with pytest.raises(Faults, match="did you mean PROMOTER_PATH"):
        load_folder()


def test_broken_json_does_not_hide_other_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable that must be JSON is named."""
    monkeypatch.setenv("PROMOTER_REGISTRIES", "staging=http://x")
    monkeypatch.setenv("PROMOTER_NOTIFICATIONS", "[")
    monkeypatch.setenv("PROMOTER_REPOSITORY", "x")
    faults = load_faults()
    assert "PROMOTER_REGISTRIES must be JSON" in faults
    assert "PROMOTER_NOTIFICATIONS must be JSON" in faults
    assert any("PROMOTER_REPOSITORY is no setting" in fault for fault in faults)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROMOTER_SERVICE_HOST", "10.96.0.7"),
        ("PROMOTER_SERVICE_PORT", "8080"),
        ("PROMOTER_SERVICE_PORT_HTTP", "8080"),
        ("PROMOTER_PORT", "tcp://10.96.0.7:8080"),
        ("PROMOTER_PORT_8080_TCP", "tcp://10.96.0.7:8080"),
        ("PROMOTER_PORT_8080_TCP_ADDR", "10.96.0.7"),
        ("PROMOTER_WEB_SERVICE_HOST", "10.96.0.7"),
        ("PROMOTER_WEB_PORT", "tcp://10.96.0.7:8080"),
        ("PROMOTER_EVENTS_SECRET", "of the example"),
        ("PROMOTER_APPROVAL_KEY_FILE", "/k"),
        ("PROMOTER_DIRECTORY", "ml"),
    ],
)
def test_what_others_set_beside_it_is_no_fault(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Kubernetes gives each pod such variables for a service that is called promoter."""
    monkeypatch.setenv(name, value)
    load_settings()


def test_a_port_that_is_meant_for_us_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes would write an address there."""
    monkeypatch.setenv("PROMOTER_PORT", "8080")
    assert "PROMOTER_PORT is no setting" in load_faults()[0]


def test_registries_have_credentials_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By variables with the registry's name, or the same names in the file; none of them prints."""
    file = tmp_path / "mine.yaml"
    file.write_text("registries: {staging: 'https://s.example', eu-1: 'https://e.example'}\nregistry_staging_token: hunter2\n")
    monkeypatch.setenv("PROMOTER_CONFIG", str(file))
    monkeypatch.setenv("PROMOTER_REGISTRY_EU_1_USERNAME", "reader")
    monkeypatch.setenv("PROMOTER_REGISTRY_EU_1_PASSWORD", "hunter2")
    settings = load_settings()
    staging, eu = settings.find_registry_credentials("staging"), settings.find_registry_credentials("eu-1")
    assert staging.token
    assert (staging.token.get_secret_value(), staging.username) == ("hunter2", None)
    assert eu.username
    assert eu.password
    assert (eu.username.get_secret_value(), eu.password.get_secret_value(), eu.token) == ("reader", "hunter2", None)
    assert "hunter2" not in f"{settings!r}{settings.model_dump()}{staging!r}{eu!r}"
    assert settings.find_registry_credentials("other").token is None


def test_a_token_loses_the_line_break_that_its_file_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other control character, and a value that is no text, is a fault that does not repeat it."""
    monkeypatch.setenv("PROMOTER_REGISTRIES", '{"staging": "http://s"}')
    monkeypatch.setenv("PROMOTER_REGISTRY_STAGING_TOKEN", "hunter2\n")
    token = load_settings().find_registry_credentials("staging").token
    assert token
    assert token.get_secret_value() == "hunter2"
    monkeypatch.setenv("PROMOTER_REGISTRY_STAGING_TOKEN", "hunter2\nx")
    (fault,) = load_faults()
    assert "a line break or another control character" in fault
    monkeypatch.delenv("PROMOTER_REGISTRY_STAGING_TOKEN")
    (tmp_path / "mine.yaml").write_text("registry_staging_token: {value: hunter2}\nbrnch: main\n")
    monkeypatch.setenv("PROMOTER_CONFIG", str(tmp_path / "mine.yaml"))
    other, unknown = load_faults()
    assert "`registry_staging_token` must be a text" in other
    assert "`brnch` is no setting of Promoter" in unknown
    assert "hunter2" not in fault + other


@pytest.mark.parametrize(
    ("registries", "variables", "expected"),
    [
        (
            '{"staging": "http://s"}',
            ["STAGNG_TOKEN"],
            "such registry in PROMOTER_REGISTRIES (did you mean STAGING?)",
        ),
        ("{}", ["STAGING_TOKEN"], "there is no such registry"),
        ('{"a-b": "http://s", "a.b": "http://t"}', ["A_B_TOKEN"], "could belong to any of a-b, a.b"),
        ('{"staging": "http://s"}', ["STAGING_USERNAME"], "a user name needs a password, and a password a user name"),
        ('{"staging": "http://s"}', ["STAGING_PASSWORD"], "a user name needs a password, and a password a user name"),
        ('{"staging": "http://u:p@s"}', ["STAGING_TOKEN"], "has a user in it as well"),
        ('{"staging": "http://u:p@s"}', ["STAGING_TOKEN", "STAGING_WORKSPACE"], "has a user in it as well"),
        ("{}", ["STAGING_WORKSPACE"], "there is no such registry"),
    ],
)
def test_credentials_that_fit_no_registry_are_faults(
    monkeypatch: pytest.MonkeyPatch, registries: str, variables: list[str], expected: str
) -> None:
    """A token that goes nowhere is a mistake, and so is one that could go to two."""
    monkeypatch.setenv("PROMOTER_REGISTRIES", registries)
    for name in variables:
        monkeypatch.setenv(f"PROMOTER_REGISTRY_{name}", "hunter2")
    (fault,) = load_faults()
    assert expected in fault
    assert "hunter2" not in fault


def test_workspaces_of_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a variable with the registry's name; a name that no workspace has is a fault, for MLflow's own variable as well."""
    monkeypatch.setenv("PROMOTER_REGISTRIES", '{"staging": "http://u:p@s", "eu-1": "http://e"}')
    monkeypatch.setenv("PROMOTER_REGISTRY_STAGING_WORKSPACE", " team-a ")
    settings = load_settings()
    assert settings.registry_workspaces == {"staging": "team-a"}
    assert settings.find_registry_credentials("staging") == RegistryCredentials()
    monkeypatch.setenv("PROMOTER_REGISTRY_EU_1_WORKSPACE", "Team A")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "-team")
    own, other = load_faults()
    assert own.startswith("MLFLOW_WORKSPACE must be the name of a workspace: small letters, digits, and dashes")
    assert other.startswith("PROMOTER_REGISTRY_EU_1_WORKSPACE must be the name of a workspace")
