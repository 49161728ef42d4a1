"""`tag`: a tag of the model version."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

from promoter.domain.evidence import Evidence
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.verdict import Finding, Verdict

PATTERN_LIMIT = 500
SHOWN = 200


@lru_cache(maxsize=1_000)
def _whole(pattern: str) -> SchemaValidator:
    # The regular expressions of pydantic-core are Rust's: linear in the text whatever the pattern, so that nobody's
    # policy can hang the daemon. `$` without the multi-line flag is the very end, never before a trailing newline.
    return SchemaValidator(core_schema.str_schema(pattern=f"^(?:{pattern})$", regex_engine="rust-regex"))


class TagRule(BaseRule):
    """`{tag: approved_by, present: true}`, or with `equals`, `one_of` or `matches` (the whole value).

    Patterns are regular expressions without look-around and back references, since those cannot be bounded in time.
    """

    kind: ClassVar[str] = "tag"

    tag: str = Field(min_length=1, max_length=250)
    present: Literal[True] | None = None
    equals: str | None = None
    one_of: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=1_000, strict=False)
    matches: str | None = Field(default=None, min_length=1, max_length=PATTERN_LIMIT)

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                _whole(pattern)
            except SchemaError as error:
                raise ValueError(f"not a regular expression that can be bounded in time: {_reason(error)}") from None
        return pattern

    @model_validator(mode="after")
    def _one_test(self) -> TagRule:
        said = [key for key in ("present", "equals", "one_of", "matches") if getattr(self, key) is not None]
        if len(said) != 1:
            raise ValueError("a tag rule has exactly one of `present`, `equals`, `one_of` and `matches`")
        return self

    def __str__(self) -> str:
        """As it is written."""
        if self.equals is not None:
            return f"tag {self.tag} equals {self.equals}"
        if self.one_of is not None:
            return f"tag {self.tag} one_of [{', '.join(self.one_of)}]"
        return f"tag {self.tag} matches {self.matches}" if self.matches is not None else f"tag {self.tag} present"

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Absent is pending: somebody may yet set it."""
        del setting
        value = evidence.candidate.tags.get(self.tag)
        expected = str(self).removeprefix(f"tag {self.tag} ").replace("_", " ", 1)
        if value is None:
            return self.found(Verdict.PENDING, None, expected)
        return self.found(Verdict.PASS if self._holds(value) else Verdict.FAIL, value[:SHOWN], expected)

    def _holds(self, value: str) -> bool:
        if self.equals is not None:
            return value == self.equals
        if self.one_of is not None:
            return value in self.one_of
        if self.matches is not None:
            try:
                _whole(self.matches).validate_python(value)
            except ValidationError:
                return False
        return True


def _reason(error: SchemaError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip().startswith("error:")]
    return lines[0].removeprefix("error:").strip() if lines else "it does not parse"
