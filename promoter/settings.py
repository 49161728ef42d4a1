"""Settings: environment variables (`PROMOTER_*`), or the same names in the file that `PROMOTER_CONFIG` names.

Settings decide where credentials go, so they never come from the tree that is being judged. Secrets never print.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from promoter.config_file import CONFIG_VARIABLE, ConfigFile, read_config_file
from promoter.domain.errors import Fault, Faults
from promoter.domain.folder import RepositoryFolder
from promoter.domain.standard_webhooks import parse_signing_key

PREFIX = "PROMOTER_"
_OTHER_VARIABLES = frozenset(
    {
        CONFIG_VARIABLE,
        "PROMOTER_APPROVAL_KEY_FILE",
        "PROMOTER_APPROVAL_KEY_PASSPHRASE",
        "PROMOTER_DIRECTORY",  # an earlier template for GitLab CI has it
        "PROMOTER_EVENTS_SECRET",  # the example that serves models has it
    }
)
"""Variables that are no settings, and known nevertheless."""
_PATH_VARIABLE = "PROMOTER_PATH"
_WORKSPACE_VARIABLE = "MLFLOW_WORKSPACE"
"""MLflow's own variable: it counts in the environment only, where MLflow reads it."""
_TEST_PREFIX = "PROMOTER_TEST_"
_REGISTRY_VARIABLE = re.compile(r"PROMOTER_REGISTRY_(\w+)_(TOKEN|USERNAME|PASSWORD|WORKSPACE)", re.ASCII)
_SERVICE_VARIABLE = re.compile(r"PROMOTER_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_UNKNOWN = "Extra inputs are not permitted"
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
_RATE = re.compile(r"[1-9]\d{0,5}/(second|minute|hour)", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]i?B|B)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "b": 1, "kb": 2**10, "kib": 2**10, "mb": 2**20, "mib": 2**20, "gb": 2**30, "gib": 2**30}
_SMALLEST_SIZE = 2**20


def parse_size(value: object) -> int:
    """Bytes of `2GiB`, `500MiB` or `1048576`, at least 1 MiB. Raises ValueError for anything else."""
    match = _SIZE.fullmatch(str(value).strip())
    count = int(float(match[1]) * _SIZE_UNITS[(match[2] or "").lower()]) if match else 0
    if count < _SMALLEST_SIZE:
        raise ValueError("a size of at least 1MiB, such as 500MiB or 2GiB")
    return count


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


def _parse_host_names(value: object) -> tuple[str, ...]:
    """Split `a.example, b.example`; a list is taken as it is."""
    names = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(each, str) and _HOST_NAME.fullmatch(each) for each in names):
        raise ValueError("names of hosts without ports, such as promoter.example.com, promoter.internal")
    return tuple(names)


def _check_rate(value: str) -> str:
    if not _RATE.fullmatch(value):
        raise ValueError("a rate such as 600/minute or 20/second")
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


_HOST_WITHOUT_SCHEME = re.compile(
    r"(?:\S*@)?((?:localhost|[\w-]+(?:\.[\w-]+)+|\[[0-9a-fA-F:]+\])(?::\d+)?|[\w-]+:\d+)(?:/\S*)?"
)
"""`mlflow.example.com:5000`: a host, perhaps with a port, which MLflow's client would take for a folder or for a scheme."""


def _find_address_faults(addresses: Mapping[str, str]) -> Iterator[Fault]:
    """Find addresses of servers without `http://` or `https://`, by the names of their settings."""
    for name, address in addresses.items():
        host = _HOST_WITHOUT_SCHEME.fullmatch(address.strip())
        if host and "://" not in address and not Path(address).exists():
            yield Fault(f"{name}: the address `{host[1]}` has no scheme", fix=f"write https://{host[1]} or http://{host[1]}")


_WORKSPACE = "workspace"
_WORKSPACE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _find_workspace_faults(names: Mapping[str, str]) -> Iterator[Fault]:
    """Find names that no workspace of an MLflow server can have, by the variables that give them."""
    for variable, name in names.items():
        if name and not _WORKSPACE_NAME.fullmatch(name):
            yield Fault(f"{variable} must be the name of a workspace: small letters, digits, and dashes between them")


def _check_folder(value: str) -> str:
    return RepositoryFolder.parse(value).path


def _check_channel_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", value):
        raise ValueError("a name of small letters, digits, dots, dashes, underscores, such as serving")
    return value


def _parse_network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("a network such as 10.0.0.0/8 or 127.0.0.1/32") from None


EventName = Literal[
    "changed",
    "drifted",
    "rolled-back",
    "replaced",
    "blocked",
    "override-started",
    "override-expiring",
    "override-ended",
    "revision-refused",
]


class ChannelSettings(BaseModel):
    """One receiver of events: a server (`url`, signed with `secret`), or people (`apprise`, one of Apprise's URLs)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_check_channel_name)]
    url: Annotated[str, AfterValidator(_check_web_address)] | None = Field(default=None, repr=False)  # its path may be a secret
    apprise: SecretStr | None = None
    secret: SecretStr | None = None
    secret_file: Path | None = None
    networks: list[Annotated[IPv4Network | IPv6Network, PlainValidator(_parse_network)]] = []
    events: list[EventName] = []  # empty: all

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


@dataclass(frozen=True)
class RegistryCredentials:
    """What one of the other registries is sent, and nobody else."""

    username: SecretStr | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None


def name_registry_variable(registry: str) -> str:
    """Return the part of `PROMOTER_REGISTRY_NAME_TOKEN` that stands for the registry: `eu-1` becomes `EU_1`."""
    return re.sub(r"[^A-Za-z0-9]", "_", registry).upper()


def name_workspace_variable(registry: str) -> str:
    """Return the variable that names the workspace in which that other registry is read."""
    return f"{PREFIX}REGISTRY_{name_registry_variable(registry)}_WORKSPACE"


def _parse_variable_names(value: object) -> tuple[str, ...]:
    """Parse a list of names, or names with commas or blanks between them. Promoter's own and MLflow's access are refused."""
    names = tuple(map(str, value)) if isinstance(value, list | tuple) else tuple(str(value).replace(",", " ").split())
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names):
        raise ValueError("names of environment variables, such as KERAS_HOME,XLA_FLAGS")
    kept = [name for name in names if name.upper().startswith(("PROMOTER_", "MLFLOW_TRACKING_", "MLFLOW_REGISTRY_"))]
    if kept:
        raise ValueError(f"a list without {', '.join(kept)}: no model's code gets to see how Promoter is set up")
    return names


Size = Annotated[int, BeforeValidator(parse_size)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
Address = Annotated[str, BeforeValidator(_check_address)]


class Settings(BaseSettings):
    """Everything that a deployment decides. MLflow's own variables are MLflow's."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    mlflow_tracking_uri: str | None = Field(default=None, repr=False, validation_alias="mlflow_tracking_uri")
    repo: str | None = Field(default=None, repr=False)  # like each address here: it may hold a password
    branch: str = "main"
    path: Annotated[str, AfterValidator(_check_folder)] | None = None
    git_token: SecretStr | None = None
    git_author: str = "Promoter <promoter@localhost>"
    database_url: str = Field(default="sqlite:///promoter.db", repr=False)
    mirror: Path | None = None
    fetch_limit: Size = 2 * 2**30
    listen: Address = "127.0.0.1:8080"
    allow_anonymous: bool = False
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_host_names)] = ()
    webhook_rate: Annotated[str, AfterValidator(_check_rate)] = "600/minute"
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
    url: Annotated[str, AfterValidator(_check_web_address)] | None = None
    mlflow_ui_url: Annotated[str, AfterValidator(_check_web_address)] | None = None
    signing_key: Path | None = None
    checkpoint_key: Path | None = None
    registries: dict[str, str] = Field(default_factory=dict, repr=False)
    notifications: Annotated[list[ChannelSettings], AfterValidator(_check_unique_names)] = []
    notifications_patience: Duration = 86_400.0
    load_models: bool = False
    load_user: str | None = None
    load_environment: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_variable_names)] = ()
    log_format: str = "text"
    _registry_credentials: Mapping[str, RegistryCredentials] = PrivateAttr(default_factory=dict)
    _registry_workspaces: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, _context: object) -> None:
        """Read credentials and workspaces of the other registries: their variables have the registries' names in them."""
        rows = _read_registry_variables()
        given = {name: dict(rows.get(name_registry_variable(name), {})) for name in self.registries}
        found = {name: row.pop(_WORKSPACE, None) for name, row in given.items()}
        self._registry_workspaces = {name: each.get_secret_value() for name, each in found.items() if each}
        self._registry_credentials = {name: RegistryCredentials(**row) for name, row in given.items()}

    def find_registry_credentials(self, name: str) -> RegistryCredentials:
        """Return what this registry alone is sent; all of it is None where no variable names it."""
        return self._registry_credentials.get(name) or RegistryCredentials()

    @property
    def registry_workspaces(self) -> Mapping[str, str]:
        """The workspaces in which the other registries are read, by their names; for one that is left out, its default one."""
        return self._registry_workspaces

    @property
    def folder(self) -> RepositoryFolder | None:
        """The folder of the repository that holds Promoter's files; None where the setting is not given."""
        return None if self.path is None else RepositoryFolder(self.path)

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
        """Where the bare mirror of the repository lies: at `PROMOTER_MIRROR`; else beside the SQLite database."""
        if self.mirror:
            return self.mirror
        folder = next(iter(self.database_folders), Path())
        return folder / ".promoter" / "mirror.git"

    @property
    def database_folders(self) -> tuple[Path, ...]:
        """The folder of the ledger, where it is a SQLite file."""
        prefix = "sqlite:///"
        given = self.database_url.startswith(prefix)
        return (Path(self.database_url.removeprefix(prefix)).parent,) if given else ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, dict(_CONFIG_FILE.get().values))


def load_settings(**overrides: Any) -> Settings:
    """The settings in force. Raises `Faults` that name each setting which cannot be used, never its value."""
    config = _read_settings_file()
    reset = _CONFIG_FILE.set(config)
    faults = [*config.faults, *_find_unknown_variables()]
    try:
        settings = Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        faults += [_build_setting_fault(row["loc"], row["msg"]) for row in error.errors(include_input=False)]
    except SettingsError:
        faults += _find_json_faults()
    else:
        faults += _find_credential_faults(settings.registries)
        registries = {f"PROMOTER_REGISTRIES ({name})": address for name, address in settings.registries.items()}
        faults += _find_address_faults({"MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri or "", **registries})
        variables = {name_workspace_variable(name): each for name, each in settings.registry_workspaces.items()}
        faults += _find_workspace_faults({_WORKSPACE_VARIABLE: os.environ.get(_WORKSPACE_VARIABLE, "").strip(), **variables})
        if not faults:
            return settings
    finally:
        _CONFIG_FILE.reset(reset)
    raise Faults(faults) from None


def load_folder() -> RepositoryFolder | None:
    """The folder that `PROMOTER_PATH` names, for commands that need no other setting; None where it is not set.

    Raises `Faults`, also for unknown names of variables: one of them may have been meant for this one.
    """
    if faults := list(_find_unknown_variables()):
        raise Faults(faults)
    named = next((text for name, text in os.environ.items() if name.upper() == _PATH_VARIABLE and text), None)
    value = named or _read_settings_file().values.get("path")
    try:
        return None if value in (None, "") else RepositoryFolder.parse(str(value))
    except ValueError as error:
        raise Faults([Fault(f"{_PATH_VARIABLE} must be {error}")]) from None


_CONFIG_FILE: ContextVar[ConfigFile] = ContextVar("config_file", default=ConfigFile())  # noqa: B039  # it is frozen
"""The file as it was read for the settings that are being loaded: it may be a pipe, which can be read once."""


def _read_settings_file() -> ConfigFile:
    """Read the file, and keep of it what is a setting; what is none is a fault."""
    config = read_config_file()
    known = {key: value for key, value in config.values.items() if _is_known_key(key)}
    return ConfigFile(config.path, known, (*config.faults, *_find_key_faults(config)))


def _read_registry_variables() -> dict[str, dict[str, SecretStr]]:
    """Read `PROMOTER_REGISTRY_NAME_TOKEN` and the like, from the file and, before it, from the environment; by NAME.

    A workspace is no secret; it is kept like the others until each is known to belong to a registry.
    """
    rows: dict[str, dict[str, SecretStr]] = {}
    in_file = {f"{PREFIX}{key}".upper(): value for key, value in _CONFIG_FILE.get().values.items()}
    for variable, value in (*in_file.items(), *((name.upper(), value) for name, value in os.environ.items())):
        found = _REGISTRY_VARIABLE.fullmatch(variable)
        if found and value not in (None, ""):
            rows.setdefault(found[1], {})[found[2].lower()] = SecretStr(str(value).strip())
    return rows


def _find_credential_faults(registries: Mapping[str, str]) -> Iterator[Fault]:
    """Find variables of no registry or of two, and credentials that are incomplete or given twice."""
    rows = _read_registry_variables()
    named: dict[str, list[str]] = {}
    for registry in registries:
        named.setdefault(name_registry_variable(registry), []).append(registry)
    for name, row in rows.items():
        variables = ", ".join(f"{PREFIX}REGISTRY_{name}_{part.upper()}" for part in sorted(row))
        owners = named.get(name, [])
        if any(not part.get_secret_value().isprintable() for part in row.values()):
            yield Fault(f"{variables}: there is a line break or another control character in it", fix="set it anew")
        if not owners:
            yield Fault(f"{variables}: there is no such registry in PROMOTER_REGISTRIES", fix=_suggest(name, named))
        elif len(owners) > 1:
            yield Fault(f"{variables} could belong to any of {', '.join(owners)}", fix="give one of them another name")
        elif ("password" in row) != ("username" in row) and "token" not in row:
            yield Fault(f"{variables}: a user name needs a password, and a password a user name", fix="set both, or a token")
        elif row.keys() != {_WORKSPACE} and "@" in registries[owners[0]].partition("?")[0]:
            yield Fault(f"{variables}: the address of {owners[0]} has a user in it as well", fix="give credentials once")


def _find_unknown_variables() -> Iterator[Fault]:
    known = {_name_variable(name) for name in Settings.model_fields} | _OTHER_VARIABLES
    for name, value in sorted(os.environ.items()):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known or not value or upper.startswith(_TEST_PREFIX):
            continue
        if _REGISTRY_VARIABLE.fullmatch(upper) or _belongs_to_kubernetes(upper, value):
            continue
        yield Fault(f"{name} is no setting of Promoter", fix=_suggest(upper, known))


def _belongs_to_kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes sets it, as it does in each pod for a service whose name begins with `promoter`."""
    address = name.endswith("PORT") and _SERVICE_ADDRESS.match(value)
    return bool(address or _SERVICE_VARIABLE.fullmatch(name))


def _find_key_faults(config: ConfigFile) -> Iterator[Fault]:
    """Find names that are no settings, and credentials of a registry that are no text."""
    for key, value in config.values.items():
        if not _is_known_key(key):
            fix = _suggest(str(key), Settings.model_fields)
            yield Fault(f"`{str(key)[:60]}` is no setting of Promoter", file=config.path, fix=fix)
        elif key not in Settings.model_fields and isinstance(value, dict | list):
            yield Fault(f"`{key}` must be a text", file=config.path)


def _is_known_key(key: object) -> bool:
    return key in Settings.model_fields or _REGISTRY_VARIABLE.fullmatch(f"{PREFIX}{key}".upper()) is not None


_MIN_STEM_LENGTH = 4
"""The fewest letters of a known name that make a longer name a form of it, as REPO does REPOSITORY."""


def _suggest(name: str, known: Iterable[str]) -> str:
    """Name the nearest of the known names; the prefix that all share says nothing of how near they are."""
    by_rest = {each.removeprefix(PREFIX): each for each in known}
    rest = name.removeprefix(PREFIX)
    near = [each for each in by_rest if len(each) >= _MIN_STEM_LENGTH and rest.startswith(each)]
    near = near or get_close_matches(rest, list(by_rest), n=1)
    return f"did you mean {by_rest[near[0]]}?" if near else "see the settings in docs/operate.md"


def _find_json_faults() -> list[Fault]:
    """Find each variable that must be JSON, and is not."""
    found = []
    for name, info in Settings.model_fields.items():
        value = next((text for key, text in os.environ.items() if key.upper() == _name_variable(name)), "")
        if value and get_origin(info.annotation) in (dict, list):
            try:
                json.loads(value)
            except (ValueError, RecursionError):
                found.append(Fault(f"{_name_variable(name)} must be JSON"))
    return found or [Fault("the settings cannot be read")]


def _name_variable(setting: str) -> str:
    return setting.upper() if setting.startswith("mlflow_tracking") else f"{PREFIX}{setting.upper()}"


def _build_setting_fault(location: tuple[int | str, ...], message: str) -> Fault:
    if len(location) > 1 and location[0] == "notifications":
        place = f"PROMOTER_NOTIFICATIONS, channel {int(location[1]) + 1}"
        what = "".join(f", `{part}`" if isinstance(part, str) else f" {part + 1}" for part in location[2:])
        if message == _UNKNOWN:
            return Fault(f"{place}{what}: there is no such setting")
        return Fault(f"{place}{what} must be {_strip_message_prefix(message)}")
    return Fault(f"{_name_variable('_'.join(str(part) for part in location))} must be {_strip_message_prefix(message)}")


def _strip_message_prefix(message: str) -> str:
    """Cut pydantic's message so that it reads on behind `must be`."""
    return message.removeprefix("Value error, ").removeprefix("Input should be ")
