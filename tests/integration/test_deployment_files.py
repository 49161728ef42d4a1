"""The images and compose.yaml: what they name is there, every setting is handed on, and the light image's commands work."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from promoter.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.*(?:\\\n.*)*)", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE), re.MULTILINE)
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
PRODUCTION: dict[str, Any] = yaml.safe_load((ROOT / "compose.production.yaml").read_text())
PROMOTER = COMPOSE["services"]["promoter"]
EXAMPLE = (ROOT / ".env.example").read_text()


def test_compose_hands_on_every_setting() -> None:
    """By name, so that a line in .env is never lost; what is not set there stays unset, and is not empty."""
    names = {
        field.validation_alias.upper() if isinstance(field.validation_alias, str) else f"{PREFIX}{name.upper()}"
        for name, field in Settings.model_fields.items()
    }
    given = PROMOTER["environment"]
    assert set(given) == names | {"PROMOTER_CONFIG"}
    fixed = {"MLFLOW_TRACKING_URI", "PROMOTER_LISTEN"}
    for name, value in given.items():
        assert name in fixed or value is None or str(value).startswith(f"${{{name}"), name
        assert value is None or ":-}" not in str(value), f"{name} is set to nothing"


def test_what_compose_cannot_name_has_a_file() -> None:
    """Tokens of other registries and of object stores; the file may be missing, and is never committed."""
    assert PROMOTER["env_file"] == [{"path": "promoter.env", "required": False}]
    assert {"/promoter.env", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_the_example_names_settings_only() -> None:
    """Each line of .env.example is one that a compose file reads, and each that one requires is there."""
    named = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    text = (ROOT / "compose.yaml").read_text() + (ROOT / "compose.production.yaml").read_text()
    assert named <= set(re.findall(r"[A-Z_]{4,}", text))
    assert set(re.findall(r"\$\{([A-Z_]+):\?see .env.example}", text)) <= named


def test_production_adds_to_services_that_there_are() -> None:
    """Its own services have an image, its volumes and configs are declared, and every file that it mounts is there."""
    services, added = COMPOSE["services"], PRODUCTION["services"]
    for name, service in added.items():
        assert ("image" in service) == (name not in services), name
        assert set(service.get("depends_on", ())) <= {*services, *added}
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in PRODUCTION["volumes"] or (ROOT / source).is_file(), source
        for config in service.get("configs", ()):
            assert config["source"] in PRODUCTION["configs"]
    command = added["mlflow"]["command"]
    assert {"--app-name", "--enable-workspaces", "--no-serve-artifacts"} <= set(command)
    assert _read_pins("mlflow.lock").keys() >= {"boto3", "flask-wtf", "psycopg2-binary"}


def test_every_database_is_made() -> None:
    """Each that a service of production connects to: by the image of PostgreSQL, or by the script that it runs."""
    text = (ROOT / "compose.yaml").read_text() + (ROOT / "compose.production.yaml").read_text()
    made = set(re.findall(r"CREATE DATABASE (\w+);", (ROOT / "docker/databases.sql").read_text()))
    first = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_DB"]
    assert set(re.findall(r"@postgres:5432/(\w+)", text)) == made | {first}


def test_keys_are_mounted_and_never_committed(tmp_path: Path) -> None:
    """The folder is the ~/.ssh of the image's user, read-only, and git ignores what lies in it."""
    home = re.search(r"--home-dir (\S+)", DOCKERFILE)
    assert home is not None
    assert f"./keys:{home[1]}/.ssh:ro" in PROMOTER["volumes"]
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "keys").mkdir()
    for name in (".gitignore", "id_ed25519", "known_hosts"):
        (tmp_path / "keys" / name).write_bytes((ROOT / "keys" / ".gitignore").read_bytes())
    done = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["keys/.gitignore"]


def test_what_the_images_copy_is_sent_to_the_builder() -> None:
    """Each file is there and let through by .dockerignore, and each stage is one of the file."""
    stages = {words.split(" AS ")[1] for name, words in INSTRUCTIONS if name == "FROM" and " AS " in words}
    assert stages == {"installer", "wheel", "packages", "check-packages", "check"}
    let_through = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for words in (words for name, words in INSTRUCTIONS if name == "COPY"):
        *sources, _ = words.split()
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in stages
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in let_through
    assert (ROOT / COMPOSE["services"]["mlflow"]["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("script", [words for name, words in INSTRUCTIONS if name == "RUN"], ids=lambda each: each[:40])
def test_the_images_install_from_the_locks(script: str) -> None:
    """The shell can read every script, and pip takes nothing without a hash but our own wheel."""
    subprocess.run(["sh", "-n", "-c", script], check=True)
    for installation in re.findall(r"pip (?:--python \S+ )?install ([^&]*)", script):
        assert "--require-hashes" in installation or "--no-deps --no-index /wheels" in installation
        for lock in re.findall(r"requirements/\S+", installation):
            assert "--hash=sha256:" in (ROOT / lock).read_text()


def test_no_image_runs_as_root() -> None:
    """Each one that is run sets a user as its last word on that."""
    users = [words for name, words in INSTRUCTIONS if name == "USER"]
    assert users == ["10001:10001", "promoter"]


def _read_pins(lock: str) -> dict[str, str]:
    """The version of each package of a lock, by name; the last one where it has several, for several Pythons."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("lock", "extras"), [("check.lock", ["check", "expressions"]), ("runtime.lock", ["server", "github", "s3"])]
)
def test_the_locks_are_those_of_the_project(lock: str, extras: list[str]) -> None:
    """Every dependency is pinned, to a version that pyproject.toml allows, and the daemon has those that checks have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = _read_pins(lock)
    wanted = project["dependencies"] + [each for extra in extras for each in project["optional-dependencies"][extra]]
    for requirement in map(Requirement, wanted):
        if requirement.name != "promoter":
            assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
    assert pins.items() <= _read_pins("runtime.lock").items()


def test_the_light_lock_is_light() -> None:
    """None of the packages that the daemon alone needs is in it."""
    heavy = {"alembic", "apprise", "boto3", "flask", "mlflow-skinny", "numpy", "requests", "scipy", "sqlalchemy", "waitress"}
    assert not heavy & _read_pins("check.lock").keys()
    assert not {"scipy", "numpy"} & _read_pins("runtime.lock").keys()
