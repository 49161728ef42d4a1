"""Settings: environment variables (`PROMOTER_*`), or the same names in `promoter.yaml`. Secrets never print."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)
from yaml import YAMLError

from promoter.domain.errors import Fault, Faults
from promoter.domain.standard_webhooks import parse_signing_key

SETTINGS_FILE = "promoter.yaml"
_UNKNOWN = "Extra inputs are not permitted"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(value: object) -> float:
    """Seconds of `60`, `60s`, `5m`, `1h` or `500ms`. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(str(value).strip())
    if not match or float(match[1]) <= 0:
        raise ValueError("a duration such as 60s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def _check_address(value: object) -> object:
    host, _, port = str(value).rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:  # noqa: PLR2004  # the highest port
        raise ValueError("an address such as 127.0.0.1:8080")
    return value


def _check_web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port != 0
    except ValueError:
        raise ValueError("an address such as https://example.com/events") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise ValueError("an address such as https://example.com/events")
    if "@" in parts.netloc:
        raise ValueError("an address without a user or a password: `secret` is what the other side knows us by")
    return value


def _check_channel_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", value):
        raise ValueError("a name of small letters, digits, dots, dashes, underscores, such as serving")
    return value


def _parse_network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("a network such as 10.0.0.0/8 or 127.0.0.1/32") from None


class ChannelSettings(BaseModel):
    """One receiver of events: a server (`url`, signed with `secret`), or people (`apprise`, one of Apprise's URLs)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_check_channel_name)]
    url: Annotated[str, AfterValidator(_check_web_address)] | None = Field(default=None, repr=False)  # its path may be a secret
    apprise: SecretStr | None = None
    secret: SecretStr | None = None
    secret_file: Path | None = None
    networks: list[Annotated[IPv4Network | IPv6Network, PlainValidator(_parse_network)]] = []
    events: list[Literal["changed", "drifted", "rolled-back", "blocked"]] = []  # empty: all

    @model_validator(mode="after")
    def _check_combination(self) -> ChannelSettings:
        wrong = [] if bool(self.url) != bool(self.apprise) else ["either `url` or `apprise`"]
        if self.url and (self.secret is None) == (self.secret_file is None):
            wrong.append("with `url` either `secret` or `secret_file`")
        if self.apprise and (self.secret or self.secret_file or self.networks):
            wrong.append("without `secret`, `secret_file` and `networks` where it has `apprise`")
        if self.url and not wrong:
            wrong += self._find_secret_problems()
        if wrong:
            raise ValueError(", ".join(wrong))
        return self

    def _find_secret_problems(self) -> list[str]:
        try:
            key = parse_signing_key(self.signing_secret.get_secret_value())
        except OSError as error:
            return [f"with a `secret_file` that can be read: {error.strerror}"]
        except ValueError:  # UnicodeDecodeError and binascii.Error are such
            return ["with a secret that is text, in base64 if it begins with whsec_"]
        return [] if key else ["with a secret that is not empty"]

    @property
    def signing_secret(self) -> SecretStr:
        """The secret, from wherever it is. The file is read each time, without the blanks around what it says."""
        if self.secret_file is not None:
            return SecretStr(self.secret_file.read_text().strip())
        return self.secret or SecretStr("")


def _check_unique_names(channels: list[ChannelSettings]) -> list[ChannelSettings]:
    names = [each.name for each in channels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"a list in which each name stands once ({', '.join(twice)})")
    return channels


Duration = Annotated[float, BeforeValidator(parse_duration)]
Address = Annotated[str, BeforeValidator(_check_address)]


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
    checkpoint_key: Path | None = None
    registries: dict[str, str] = Field(default_factory=dict, repr=False)  # URLs may hold passwords
    notifications: Annotated[list[ChannelSettings], AfterValidator(_check_unique_names)] = []
    notifications_patience: Duration = 86_400.0
    load_models: bool = True
    log_format: str = "text"

    @property
    def listen_host_and_port(self) -> tuple[str, int]:
        """Where the daemon listens."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def commit_author(self) -> tuple[str, str]:
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


def load_settings(**overrides: Any) -> Settings:
    """The settings in force. Raises `Faults` that name each setting which cannot be used, never its value."""
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise Faults(_build_setting_fault(row["loc"], row["msg"]) for row in error.errors(include_input=False)) from None
    except SettingsError as error:
        found = re.search(r'"(\w+)" from source "EnvSettingsSource"', str(error))
        if found is None:
            raise Faults([_build_read_fault(error)]) from None
        raise Faults([Fault(f"PROMOTER_{found[1].upper()} must be JSON")]) from None
    except (YAMLError, ValueError, OSError) as error:
        raise Faults([_build_read_fault(error)]) from None


def _build_read_fault(error: Exception) -> Fault:
    return Fault(f"cannot be read: {type(error).__name__}", file=SETTINGS_FILE, fix="write it as a YAML mapping")


def _build_setting_fault(location: tuple[int | str, ...], message: str) -> Fault:
    if len(location) > 1 and location[0] == "notifications":
        place = f"PROMOTER_NOTIFICATIONS, channel {int(location[1]) + 1}"
        what = "".join(f", `{part}`" if isinstance(part, str) else f" {part + 1}" for part in location[2:])
        if message == _UNKNOWN:
            return Fault(f"{place}{what}: there is no such setting")
        return Fault(f"{place}{what} must be {_strip_message_prefix(message)}")
    name = "_".join(str(part) for part in location).upper()
    name = name if name.startswith("MLFLOW_TRACKING") else f"PROMOTER_{name}"
    return Fault(f"{name} must be {_strip_message_prefix(message)}")


def _strip_message_prefix(message: str) -> str:
    """Cut pydantic's message so that it reads on behind `must be`."""
    return message.removeprefix("Value error, ").removeprefix("Input should be ")
