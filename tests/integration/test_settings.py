"""Settings: from the environment and a file, refused in words, and never printed where they are secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.domain.errors import Faults
from promoter.settings import Settings, load_settings

SECRETS = ("git_token", "mlflow_webhook_secret", "github_webhook_secret", "gitlab_webhook_secret", "gitea_webhook_secret")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without any setting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMOTER_CONFIG", "settings.yaml")
    (tmp_path / "settings.yaml").touch()
    for name in (*Settings.model_fields, "tracking_uri"):
        monkeypatch.delenv(f"PROMOTER_{name.upper()}", raising=False)
        monkeypatch.delenv(f"MLFLOW_{name.upper()}", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_defaults_are_those_of_the_documentation() -> None:
    """Nobody has to set what is not his."""
    settings = load_settings()
    assert (settings.branch, settings.database_url, settings.listen_host_and_port, settings.poll_interval) == (
        "main",
        "sqlite:///promoter.db",
        ("127.0.0.1", 8080),
        60.0,
    )
    assert (settings.repo, settings.mlflow_tracking_uri, settings.mlflow_webhook_secret) == (None, None, None)
    assert settings.mirror_path == Path(".promoter/mirror.git")


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has the same names without the prefix, in lower case."""
    Path("settings.yaml").write_text(
        "repo: /srv/one\nbranch: live\npoll_interval: 5m\n"
        "mlflow_tracking_uri: http://file:5000\nmlflow_webhook_secret: from-file\n"
    )
    assert load_settings().mlflow_tracking_uri == "http://file:5000"
    monkeypatch.setenv("PROMOTER_REPO", "/srv/two")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env:5000")
    settings = load_settings(database_url="sqlite:////var/lib/promoter/p.db")
    assert (settings.repo, settings.branch, settings.poll_interval) == ("/srv/two", "live", 300.0)
    assert settings.mlflow_tracking_uri == "http://env:5000"
    assert settings.mlflow_webhook_secret
    assert settings.mlflow_webhook_secret.get_secret_value() == "from-file"
    assert settings.mirror_path == Path("/var/lib/promoter/.promoter/mirror.git")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("POLL_INTERVAL", "soon", "PROMOTER_POLL_INTERVAL must be a duration such as 60s, 5m or 1h"),
        ("POLL_INTERVAL", "0", "PROMOTER_POLL_INTERVAL must be a duration"),
        ("POLL_INTERVAL", "-5s", "PROMOTER_POLL_INTERVAL must be a duration"),
        ("LISTEN", "8080", "PROMOTER_LISTEN must be an address such as 127.0.0.1:8080"),
        ("LISTEN", "localhost:http", "PROMOTER_LISTEN must be an address"),
        ("LISTEN", "localhost:70000", "PROMOTER_LISTEN must be an address"),
        ("LISTEN", "localhost:٨٠", "PROMOTER_LISTEN must be an address"),
        ("LISTEN", "localhost:²", "PROMOTER_LISTEN must be an address"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """With what it must be, and every one at once."""
    monkeypatch.setenv(f"PROMOTER_{name}", value)
    with pytest.raises(Faults, match=said) as caught:
        load_settings()
    assert len(caught.value.faults) == 1
    monkeypatch.setenv("PROMOTER_GIT_AUTHOR", "A <a@b>")
    monkeypatch.setenv("PROMOTER_LISTEN", "nowhere")
    monkeypatch.setenv("PROMOTER_POLL_INTERVAL", "never")
    with pytest.raises(Faults) as both:
        load_settings()
    assert len(both.value.faults) == 2


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("localhost:5000", "localhost:5000"),
        ("mlflow:5000", "mlflow:5000"),
        ("mlflow.example.com", "mlflow.example.com"),
        ("10.0.0.1:5000/base", "10.0.0.1:5000"),
        ("[::1]:5000", "[::1]:5000"),
        ("bot:pw-1@mlflow.example.com:5000", "mlflow.example.com:5000"),
    ],
)
def test_an_address_without_a_scheme_is_told_as_that(monkeypatch: pytest.MonkeyPatch, address: str, host: str) -> None:
    """Of this registry and of others, all at once, without a password."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("PROMOTER_REGISTRIES", f'{{"staging": "{address}", "live": "https://bot:pw@mlflow.example.com"}}')
    with pytest.raises(Faults) as caught:
        load_settings()
    fix = f"the address `{host}` has no scheme (write https://{host} or http://{host})"
    assert [str(each) for each in caught.value.faults] == [
        f"MLFLOW_TRACKING_URI: {fix}",
        f"PROMOTER_REGISTRIES (staging): {fix}",
    ]


@pytest.mark.parametrize(
    "address", ["databricks", "databricks://profile", "sqlite:////srv/mlflow.db", "https://u:p@mlflow:5000", "/srv/mlruns"]
)
def test_other_addresses_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """MLflow's client knows them."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert load_settings().mlflow_tracking_uri == address


def test_a_secret_of_the_wrong_type_is_not_repeated() -> None:
    """The fault names the setting, not what stands there."""
    Path("settings.yaml").write_text("mlflow_webhook_secret: {value: hunter2}\n")
    with pytest.raises(Faults, match="PROMOTER_MLFLOW_WEBHOOK_SECRET") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["- a list\n", "just: [broken\n", "repo: \x00\n", "\xff"], ids=["list", "syntax", "NUL", "bytes"]
)
def test_a_file_that_is_no_settings_is_told(content: str) -> None:
    """As a fault of that file, not as a traceback."""
    Path("settings.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(Faults, match=r"settings\.yaml"):
        load_settings()


def test_secrets_never_print() -> None:
    """Not in the settings' repr, nor in what is made of it."""
    settings = load_settings(**dict.fromkeys(SECRETS, "hunter2"))
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "hunter2" not in shown
    assert all(getattr(settings, name).get_secret_value() == "hunter2" for name in SECRETS)


@pytest.mark.parametrize(
    ("written", "seconds"), [("60", 60.0), ("60s", 60.0), ("1.5m", 90.0), ("2h", 7200.0), ("500ms", 0.5), (" 5 s ", 5.0)]
)
def test_durations(written: str, seconds: float) -> None:
    """A bare number is in seconds."""
    assert load_settings(poll_interval=written).poll_interval == seconds


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:8080", ("::1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("host:1", ("host", 1)),
    ],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    """IPv6 in brackets, as in a URL."""
    assert load_settings(listen=listen).listen_host_and_port == address


@pytest.mark.parametrize(
    ("author", "parts"),
    [
        ("Promoter <bot@example.org>", ("Promoter", "bot@example.org")),
        ("Bot", ("Bot", "promoter@localhost")),
        ("<bot@example.org>", ("Promoter", "bot@example.org")),
    ],
)
def test_authors(author: str, parts: tuple[str, str]) -> None:
    """What is left out is Promoter's own."""
    assert load_settings(git_author=author).commit_author == parts


def test_models_are_loaded_only_where_it_is_said() -> None:
    """To load a model is to run its code: nobody gets that without a word."""
    assert load_settings().load_models is False
    assert load_settings(load_models="true").load_models is True


def test_names_of_variables_for_the_models_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas or blanks between them; never Promoter's own, nor those of the access to MLflow."""
    monkeypatch.setenv("PROMOTER_LOAD_ENVIRONMENT", "KERAS_HOME, XLA_FLAGS")
    assert load_settings().load_environment == ("KERAS_HOME", "XLA_FLAGS")

    for wrong in ("PROMOTER_GIT_TOKEN", "KERAS_HOME,MLFLOW_TRACKING_TOKEN", "a=b"):
        monkeypatch.setenv("PROMOTER_LOAD_ENVIRONMENT", wrong)
        with pytest.raises(Faults, match="PROMOTER_LOAD_ENVIRONMENT must be"):
            load_settings()


def test_the_folder_of_the_ledger_is_known_where_there_is_one() -> None:
    """So that it can be kept from models."""
    assert load_settings(database_url="sqlite:////var/lib/promoter/p.db").database_folders == (Path("/var/lib/promoter"),)
    assert load_settings(database_url="postgresql://ledger/p").database_folders == ()


@pytest.mark.parametrize("url", ["promoter.example.com", "http://[::1", "https://user@promoter.example.com"])
def test_the_address_for_people_is_an_address(url: str) -> None:
    """Requests from there are let in, so it is checked at the start."""
    with pytest.raises(Faults, match="PROMOTER_URL must be an address"):
        load_settings(url=url)


@pytest.mark.parametrize(
    ("text", "count"), [("2GiB", 2**31), ("500MiB", 500 * 2**20), ("1048576", 2**20), ("1.5 GB", 1610612736)]
)
def test_the_limit_of_a_fetch_is_a_size(text: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its unit, or in bytes."""
    monkeypatch.setenv("PROMOTER_FETCH_LIMIT", text)
    assert load_settings().fetch_limit == count


@pytest.mark.parametrize("text", ["0", "10", "1KiB", "much", "-5GiB", "1e9", "999TB"])
def test_a_limit_of_a_fetch_that_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault says what is wanted."""
    monkeypatch.setenv("PROMOTER_FETCH_LIMIT", text)
    with pytest.raises(Faults, match="PROMOTER_FETCH_LIMIT must be a size of at least 1MiB"):
        load_settings()
