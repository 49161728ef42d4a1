"""Settings: environment variables (`PROMOTER_*`), or the same names in `promoter.yaml`. Secrets never print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource
from yaml import YAMLError

from promoter.domain.faults import Fault, Faults

SETTINGS_FILE = "promoter.yaml"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: object) -> float:
    """Seconds of `60`, `60s`, `5m`, `1h` or `500ms`. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(str(value).strip())
    if not match or float(match[1]) <= 0:
        raise ValueError("a duration such as 60s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def _address(value: object) -> object:
    host, _, port = str(value).rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:  # noqa: PLR2004  # the highest port
        raise ValueError("an address such as 127.0.0.1:8080")
    return value


Duration = Annotated[float, BeforeValidator(seconds)]
Address = Annotated[str, BeforeValidator(_address)]


class Settings(BaseSettings):
    """Everything that a deployment decides. MLflow's own variables are MLflow's."""

    model_config = SettingsConfigDict(
        env_prefix="PROMOTER_", yaml_file=SETTINGS_FILE, extra="ignore", frozen=True, env_ignore_empty=True
    )

    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="mlflow_tracking_uri")
    repo: str | None = None
    branch: str = "main"
    git_token: SecretStr | None = None
    git_author: str = "Promoter <promoter@localhost>"
    database_url: str = "sqlite:///promoter.db"
    mirror: Path | None = None
    listen: Address = "127.0.0.1:8080"
    poll_interval: Duration = 60.0
    mlflow_webhook_secret: SecretStr | None = None
    github_webhook_secret: SecretStr | None = None
    gitlab_webhook_secret: SecretStr | None = None
    gitea_webhook_secret: SecretStr | None = None
    forge: Literal["github", "gitlab", "gitea"] | None = None
    forge_url: str | None = None
    forge_project: str | None = None
    forge_token: SecretStr | None = None
    forge_account: str | None = None
    url: str | None = None
    signing_key: Path | None = None
    registries: dict[str, str] = Field(default_factory=dict, repr=False)  # URLs may hold passwords
    load_models: bool = True
    log_format: str = "text"

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where the daemon listens."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def author(self) -> tuple[str, str]:
        """Name and mail of Promoter's own commits."""
        name, _, mail = self.git_author.partition("<")
        return name.strip() or "Promoter", mail.rstrip("> ") or "promoter@localhost"

    @property
    def mirror_path(self) -> Path:
        """Where the bare mirror of the repository lies: beside the SQLite database, unless said otherwise."""
        if self.mirror:
            return self.mirror
        prefix = "sqlite:///"
        base = Path(self.database_url.removeprefix(prefix)).parent if self.database_url.startswith(prefix) else Path()
        return base / ".promoter" / "mirror.git"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before `promoter.yaml`."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def load(**overrides: Any) -> Settings:
    """The settings in force. Raises `Faults` that name each setting which cannot be used, never its value."""
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise Faults(_fault(row["loc"], row["msg"]) for row in error.errors(include_input=False)) from None
    except (YAMLError, ValueError, OSError) as error:
        raise Faults(
            [Fault(f"cannot be read: {type(error).__name__}", file=SETTINGS_FILE, fix="write it as a YAML mapping")]
        ) from None


def _fault(location: tuple[int | str, ...], message: str) -> Fault:
    name = "_".join(str(part) for part in location).upper()
    name = name if name.startswith("MLFLOW_TRACKING") else f"PROMOTER_{name}"
    return Fault(f"{name} must be {message.removeprefix('Value error, ')}")
