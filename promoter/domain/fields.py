"""Types of the fields of documents: names, durations and times, checked before they travel; and how people read them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

CHAMPION = "champion"
"""The alias that production loads: moved after its supports, and never left empty on the way."""

_ALIAS_PATTERN = re.compile(r"[\w-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_POLICY_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_APPROVER_PATTERN = re.compile(r"[A-Za-z0-9][\w.@-]{0,99}", re.ASCII)
_MODEL_FORBIDDEN = re.compile(r"[/:\x00-\x1f\x7f]")
_MODEL_LIMIT = 256


def validate_alias_name(name: str) -> str:
    """Return the name. Raises ValueError where MLflow would refuse or reinterpret it."""
    if _RESERVED_ALIAS.fullmatch(name):
        raise ValueError(f"`{name}` is reserved by MLflow and cannot be an alias")
    if not _ALIAS_PATTERN.fullmatch(name):
        raise ValueError(f"`{name!s:.60}` is not an alias name: use letters, digits, `_` and `-`, at most 255")
    return name


def validate_model_name(name: str) -> str:
    """Return the name. Raises ValueError where MLflow could not have registered it."""
    if not name.strip() or len(name) > _MODEL_LIMIT or _MODEL_FORBIDDEN.search(name):
        raise ValueError(f"{name!r:.60} is not a model name: not empty, no `/`, no `:`, at most {_MODEL_LIMIT} characters")
    return name


def find_model_name_flaw(name: str) -> str | None:
    """Return why `registry.yaml` cannot name that registered model, so that nothing can be proposed for it; None: it can."""
    try:
        validate_model_name(name)
    except ValueError:
        return "its name has characters that registry.yaml cannot hold: rename the model in MLflow"
    return None


def validate_policy_name(name: str) -> str:
    """Return the name. Raises ValueError where it could not be the stem of a file in `policies/`."""
    if not _POLICY_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r:.60} is not a policy name: use letters, digits, `_`, `.` and `-`")
    return name


def validate_approver_name(name: str) -> str:
    """Return the name. Raises ValueError where it could not be part of a tag's key."""
    if not _APPROVER_PATTERN.fullmatch(name):
        raise ValueError(f"{name!r:.60} is not an approver's or a group's name: use letters, digits, `_`, `.`, `@` and `-`")
    return name


# In the patterns of schemas every character beyond ASCII passes: which of them are letters is for Python to say.
_ALIAS_SCHEMA = r"^(?!([Ll][Aa][Tt][Ee][Ss][Tt]|[Vv][0-9]+)$)[^\x00-,./:-@\[-^`{-\x7f]{1,255}$"
_MODEL_SCHEMA = r"^(?=.*\S)[^/:\x00-\x1f\x7f]{1,256}$"
_POLICY_SCHEMA = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
_APPROVER_SCHEMA = "^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$"

AliasName = Annotated[str, AfterValidator(validate_alias_name), Field(json_schema_extra={"pattern": _ALIAS_SCHEMA})]
ApproverName = Annotated[str, AfterValidator(validate_approver_name), Field(json_schema_extra={"pattern": _APPROVER_SCHEMA})]
ModelName = Annotated[str, AfterValidator(validate_model_name), Field(json_schema_extra={"pattern": _MODEL_SCHEMA})]
PolicyName = Annotated[str, AfterValidator(validate_policy_name), Field(json_schema_extra={"pattern": _POLICY_SCHEMA})]
VersionNumber = Annotated[int, Field(strict=True, gt=0, le=2**31 - 1)]


_DURATION_PART = re.compile(r"(\d{1,9})(w|d|h|m|s)")
_DURATION_TEXT = re.compile(r"(?:\d{1,9}[wdhms])+")
_UNIT_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SHOWN_UNITS = tuple((unit, seconds) for unit, seconds in _UNIT_SECONDS.items() if unit != "w")
_LARGEST_AMOUNT = 1_000
_LONGEST_SECONDS = 3_660 * 86_400
_TEXT_LIMIT = 50


def parse_duration(value: object) -> timedelta:
    """Return the duration that a text such as `1d12h` means. Raises ValueError for none and for more than ten years."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT or not _DURATION_TEXT.fullmatch(value):
        raise ValueError("a duration is written like `90s`, `30m`, `24h`, `7d` or `1d12h`")
    seconds = sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError("a duration is longer than nothing, and at most ten years")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return the duration in the largest unit that divides it (`62h`, `7d`), or in several (`1d12h30m`)."""
    left = int(duration.total_seconds())
    for unit, seconds in _SHOWN_UNITS:
        if left and left % seconds == 0 and left // seconds < _LARGEST_AMOUNT:
            return f"{left // seconds}{unit}"
    text = ""
    for unit, seconds in _SHOWN_UNITS:
        amount, left = divmod(left, seconds)
        text += f"{amount}{unit}" if amount else ""
    return text or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=Annotated[str, Field(pattern=r"^([0-9]{1,9}[wdhms])+$")]),
    PlainSerializer(format_duration),
]


_AGO_PATTERN = re.compile(r"(\d{1,6}|an?) (second|minute|hour|day|week)s? ago", re.ASCII)
_CLOCK_PATTERN = re.compile(r"(?:(today|yesterday)(?:,| at)? ?)?(?:(\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
_SHOWN_CHARACTERS = 60


def _require_time_zone(value: object) -> object:
    if isinstance(value, date) and not (isinstance(value, datetime) and value.tzinfo):
        raise ValueError("give a full time with its zone, such as 2026-12-01T00:00:00Z")
    return value


_MOMENT_SCHEMA = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?[ \t]*(Z|[-+][0-9]{1,2}(:?[0-9]{2})?)$"
)
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_require_time_zone),
    Field(json_schema_extra={"pattern": _MOMENT_SCHEMA, "examples": ["2026-12-01T00:00:00Z"]}),
]


def format_utc(moment: datetime) -> str:
    """Return the time in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_utc_minute(moment: datetime) -> str:
    """Return the time in UTC, to the minute: of what a person plans by, such as the end of an override."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def format_utc_window(begin: datetime, end: datetime) -> tuple[str, str]:
    """Return both ends of a window in UTC, to the millisecond where they would look equal to the second."""
    window = format_utc(begin), format_utc(end)
    return window if window[0] != window[1] else (_format_utc_milliseconds(begin), _format_utc_milliseconds(end))


def _format_utc_milliseconds(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'milliseconds')} UTC"


def parse_past_moment(text: str, now: datetime, zone: tzinfo | None = UTC) -> datetime:
    """Return the time that `parse_moment` reads. Raises ValueError also where it lies in the future."""
    found = parse_moment(text, now, zone)
    if found > now:
        raise ValueError(f"`{text:.{_SHOWN_CHARACTERS}}` is yet to come: it is {format_utc(found)}, and now {format_utc(now)}")
    return found


def parse_time_window(begin: str, end: str, now: datetime, zone: tzinfo | None = UTC) -> tuple[datetime, datetime]:
    """Return the two ends of a window that began in the past. Raises ValueError where the end is not after the beginning."""
    since, until = parse_past_moment(begin, now, zone), parse_moment(end, now, zone)
    if until <= since:
        raise ValueError(f"`{begin:.{_SHOWN_CHARACTERS}}` is not before `{end:.{_SHOWN_CHARACTERS}}`")
    return since, until


def parse_moment(text: str, now: datetime, zone: tzinfo | None = UTC) -> datetime:
    """Return the time, in UTC, of an ISO 8601 text with a zone, of a day (its beginning in UTC), or of words.

    Words are `now`, `10:00`, `today`, `yesterday 14:05`, `30d` and `3 days ago`; times of the clock and the days of words are
    those of `zone`, None: the system's. Raises ValueError for any other text, and for a time of the clock that was not, or
    was twice, that day.
    """
    text = text.strip()
    words = " ".join(text[: 2 * _SHOWN_CHARACTERS].lower().split())
    if words == "now":
        return now.astimezone(UTC)
    if ago := _AGO_PATTERN.fullmatch(words):
        return now - parse_duration(f"{1 if ago[1] in ('a', 'an') else int(ago[1])}{ago[2][0]}")
    if text[-1:] in "wdhms" and text[:1].isdigit() and not text.startswith("0") and "-" not in text:
        return now - parse_duration(text)
    found = _parse_clock_time(words, now, zone) or _parse_iso_day(text) or _parse_iso_time(text)
    if found is None:
        examples = "`2026-11-01`, `2026-11-01T08:00:00Z`, `30d`, `3 days ago`, `now`, `10:00` or `yesterday 14:05`"
        raise ValueError(f"`{text:.{_SHOWN_CHARACTERS}}` is no moment: write one like {examples}")
    return found


def _parse_clock_time(words: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    """Parse a time of the clock, today or yesterday in that zone; a day alone is its beginning."""
    match = _CLOCK_PATTERN.fullmatch(words)
    if not words or match is None:
        return None
    day, hour, minute, second = match.groups()
    try:
        date_ = now.astimezone(zone).date() - timedelta(days=day == "yesterday")
        wall = datetime.combine(date_, time(int(hour or 0), int(minute or 0), int(second or 0)))
    except (ValueError, OverflowError):
        return None
    moments = [_convert_wall_time(wall.replace(fold=fold), zone) for fold in (0, 1)]
    if hour is None or moments[0] == moments[1]:
        return moments[0]
    if moments[0].astimezone(zone).replace(tzinfo=None) != wall:
        raise ValueError(f"`{words}` did not happen: the clocks went forward over {wall:%Y-%m-%d %H:%M}")
    both = " or ".join(f"`{each:%Y-%m-%dT%H:%M:%SZ}`" for each in moments)
    raise ValueError(f"`{words}` happened twice, since the clocks went back: write it in UTC, {both}")


def _convert_wall_time(wall: datetime, zone: tzinfo | None) -> datetime:
    return (wall.replace(tzinfo=zone) if zone else wall).astimezone(UTC)


def _parse_iso_day(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        return None


def _parse_iso_time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        raise ValueError(f"`{text:.{_SHOWN_CHARACTERS}}` has no time zone: write `{text:.{_SHOWN_CHARACTERS}}Z` for UTC")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return None


class Document(BaseModel):
    """A mapping in a file. An unknown key is a fault; a value of another type is never converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _check_format_version(value: object) -> object:
    if value == 1 and type(value) is not int:  # to Python, and to pydantic's Literal, true and 1.0 are 1
        raise ValueError("must be the whole number `1`")
    return value


def _check_literal_true(value: object) -> object:
    if value == 1 and value is not True:
        raise ValueError("must be `true`")
    return value


FormatVersion = Annotated[
    Literal[1], BeforeValidator(_check_format_version), Field(description="The version of this format: 1.")
]
"""The version of a document's format."""
LiteralTrue = Annotated[Literal[True], BeforeValidator(_check_literal_true)]
"""The value `true`, which is the only one that its key may have."""


SchemaKeywords = dict[str, Any]


def require_key(key: str, value: SchemaKeywords | None = None) -> SchemaKeywords:
    """Return the condition that the key is there and is not null; with `value`, that it has that value."""
    return {"required": [key], "properties": {key: value or {"not": {"type": "null"}}}}


def require_exactly_one(*keys: str) -> SchemaKeywords:
    """Return the condition that exactly one of the keys is written."""
    return {"oneOf": [require_key(key) for key in keys]}


def require_at_least_one(*keys: str) -> SchemaKeywords:
    """Return the condition that at least one of the keys is written."""
    return {"anyOf": [require_key(key) for key in keys]}


def forbid_together(*conditions: SchemaKeywords) -> SchemaKeywords:
    """Return the condition that these conditions do not hold together."""
    return {"not": {"allOf": list(conditions)}}
