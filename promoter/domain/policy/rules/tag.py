"""`tag`: a tag of the model version."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import LiteralTrue, forbid_together, require_exactly_one, require_key
from promoter.domain.observed import SOURCE_OWN_TAG_PREFIX
from promoter.domain.policy.rules.base import BaseRule, ReplayGap, RuleContext

PATTERN_LIMIT = 500
SHOWN_CHARACTERS = 200
_BOUND_GAP = ReplayGap("bound", "when its tags were set", lambda known: known.tags_observed)


@lru_cache(maxsize=256)
def _compile_full_match(pattern: str) -> SchemaValidator:
    # The regular expressions of pydantic-core are Rust's: linear in the text whatever the pattern, so that nobody's
    # policy can hang the daemon. `$` without the multi-line flag is the very end, never before a trailing newline.
    return SchemaValidator(core_schema.str_schema(pattern=f"^(?:{pattern})$", regex_engine="rust-regex"))


class TagRule(BaseRule):
    """`{tag: approved_by, present: true}`, or with `equals`, `one_of` or `matches` (the whole value).

    A tag of a copied version came along with the copy, and does not count, unless the ledger saw it being set on the copy, or
    the rule says `copied: accept`. With `bound: true` the same holds for every version: a tag that was there when the
    version was first seen does not count.

    Patterns are regular expressions without look-around and back references, since those cannot be bounded in time.
    """

    model_config = ConfigDict(
        json_schema_extra=require_exactly_one("present", "equals", "one_of", "matches")
        | forbid_together(require_key("bound", {"const": True}), require_key("copied", {"const": "accept"}))
    )
    kind: ClassVar[str] = "tag"
    pattern_key: ClassVar[str | None] = "matches"

    tag: str = Field(min_length=1, max_length=250)
    present: LiteralTrue | None = Field(default=None, description="The tag is there, with any value.")
    equals: str | None = Field(default=None, description="The value that passes.")
    one_of: tuple[str, ...] | None = Field(
        default=None, min_length=1, max_length=1_000, strict=False, description="The values that pass: `[data-science, risk]`."
    )
    matches: str | None = Field(
        default=None,
        min_length=1,
        max_length=PATTERN_LIMIT,
        description="A regular expression that the whole value matches, without look-around and back references.",
    )
    copied: Literal["accept", "refuse"] = Field(
        default="refuse", description="accept: a tag that came along when the version was copied counts too."
    )
    bound: bool = Field(
        default=False,
        description="true: only a tag that was set after the version was registered counts, as the ledger saw it.",
    )

    @field_validator("matches")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                _compile_full_match(pattern)
            except SchemaError as error:
                raise ValueError(
                    f"not a regular expression that can be bounded in time: {_extract_pattern_error(error)}"
                ) from None
        return pattern

    @model_validator(mode="after")
    def _check_one_test(self) -> TagRule:
        tests = [key for key in ("present", "equals", "one_of", "matches") if getattr(self, key) is not None]
        if len(tests) != 1:
            raise ValueError("a tag rule has exactly one of `present`, `equals`, `one_of` and `matches`")
        if self.bound and self.copied == "accept":
            raise ValueError("`bound: true` counts no tag that came with a copy: leave `copied: accept` out")
        return self

    def __str__(self) -> str:
        bound = ", bound" if self.bound else ", copied accept" if self.copied == "accept" else ""
        return f"tag {self.tag} {self._test_text}{bound}"

    @property
    def _test_text(self) -> str:
        if self.equals is not None:
            return f"equals {self.equals}"
        if self.one_of is not None:
            return f"one_of [{', '.join(self.one_of)}]"
        return f"matches {self.matches}" if self.matches is not None else "present"

    def used_tags(self) -> frozenset[str]:
        """Return the one tag."""
        return frozenset({self.tag})

    @property
    def replay_gap(self) -> ReplayGap | None:
        """The time at which the tag was set, which only matters with `bound`."""
        return _BOUND_GAP if self.bound else None

    def without_replay_gap(self) -> BaseRule:
        """Return the rule about the tag's value alone."""
        return self.model_copy(update={"bound": False})

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return when the tag was set: of every version with `bound`, else of copies."""
        del context
        if self.bound:
            return Need(watched=frozenset({self.tag}))
        return Need() if self.copied == "accept" else Need(tags=frozenset({self.tag}))

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for an absent tag, and for one that does not count: somebody may set it, or set it anew."""
        del context
        candidate = evidence.candidate
        value = candidate.tags.get(self.tag)
        expected = self._test_text.replace("_", " ", 1)
        if value is None:
            if candidate.copied and SOURCE_OWN_TAG_PREFIX + self.tag in candidate.tags:
                expected += ", set on this version: the tag of its source does not count here"
            return self.build_finding(Verdict.PENDING, None, expected)
        if not self._is_test_met(value):
            return self.build_finding(Verdict.FAIL, value[:SHOWN_CHARACTERS], expected)
        if self.tag not in candidate.witnessed:
            if candidate.copied and self.copied == "refuse":
                why = "set on this version: it came with the copy"
                return self.build_finding(
                    Verdict.PENDING, value[:SHOWN_CHARACTERS], f"{expected}, {why} (delete it and set it anew)"
                )
            if self.bound:
                why = "set after the version was registered, as the ledger saw it"
                return self.build_finding(
                    Verdict.PENDING, value[:SHOWN_CHARACTERS], f"{expected}, {why} (delete it and set it anew)"
                )
        return self.build_finding(Verdict.PASS, value[:SHOWN_CHARACTERS], expected)

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str:
        """Return which tag to set, and to what."""
        name = f"the tag `{self.tag}` of version {version} of {model}"
        if finding.value is not None and finding.verdict is Verdict.PENDING:
            return f"delete {name}, and set it anew"
        if self.equals is not None:
            return f"set {name} to `{self.equals}`"
        if self.one_of is not None:
            return f"set {name} to one of [{', '.join(self.one_of)}]"
        return f"set {name} to a value that matches `{self.matches}`" if self.matches is not None else f"set {name}"

    def _is_test_met(self, value: str) -> bool:
        if self.equals is not None:
            return value == self.equals
        if self.one_of is not None:
            return value in self.one_of
        if self.matches is not None:
            try:
                _compile_full_match(self.matches).validate_python(value)
            except ValidationError:
                return False
        return True


def _extract_pattern_error(error: SchemaError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip().startswith("error:")]
    return lines[0].removeprefix("error:").strip() if lines else "it does not parse"
