"""The shapes of the API's answers as JSON Schema (2020-12, which OpenAPI 3.1 speaks).

Whatever stands in `required` is always there; what is unknown is null. Fields may be added: readers ignore what is new to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from promoter.application.query import BLOCKED, DRIFT, DUE, GUARD, HOLD, IN_STEP, OPEN, OVERRIDE
from promoter.domain.audit import RecordKind, ChangeOutcome
from promoter.domain.past.answers import Certainty
from promoter.domain.verdict import Verdict

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
MOMENT: Schema = {"type": "string", "format": "date-time"}


def schema_reference(name: str) -> Schema:
    """One of `COMPONENT_SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable_schema(of: Schema) -> Schema:
    """That, or null."""
    if "type" not in of:
        return {"anyOf": [of, {"type": "null"}]}
    enumeration = {"enum": [*of["enum"], None]} if "enum" in of else {}
    return {**of, "type": [of["type"], "null"], **enumeration}


def array_schema(of: Schema) -> Schema:
    """A list of that."""
    return {"type": "array", "items": of}


def enum_schema(of: Iterable[str]) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [str(each) for each in of]}


def described_schema(description: str, of: Schema) -> Schema:
    """That, with words for people."""
    return {**of, "description": description}


def object_schema(description: str, properties: dict[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """An object. All of its properties are always there, except for the optional ones."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "description": description, "properties": properties, "required": required}


def response_schema(properties: dict[str, Schema]) -> Schema:
    """The whole of an answer."""
    return object_schema("The answer.", {"schema": {"const": 1, "description": "The version of this form."}, **properties})


VERDICT = enum_schema(Verdict)
VERSION = described_schema("The version; null: absent, or nobody knows.", nullable_schema(INTEGER))
REVISION = described_schema("The commit.", nullable_schema(TEXT))

_RULE_PROPERTIES: dict[str, Schema] = {
    "rule": described_schema("As it is written in the policy.", TEXT),
    "verdict": VERDICT,
    "value": described_schema("What was seen; null: nothing.", {"type": ["string", "number", "boolean", "null"]}),
    "expected": described_schema("In words.", TEXT),
    "rules": array_schema(schema_reference("Rule")),
    "interval": object_schema("A confidence interval.", {"low": NUMBER, "high": NUMBER, "level": NUMBER}),
    "waived": object_schema("What it was without the waiver.", {"verdict": VERDICT, "waiver": TEXT}),
}
_DECISION_PROPERTIES: dict[str, Schema] = {
    "id": described_schema("Its number in the ledger.", INTEGER),
    "revision": REVISION,
    "model": TEXT,
    "alias": nullable_schema(TEXT),
    "version": INTEGER,
    "policy": described_schema("null: no policy's decision, only whether the version is ready.", nullable_schema(TEXT)),
    "policy_digest": described_schema("SHA-256 of the policy.", nullable_schema(TEXT)),
    "verdict": VERDICT,
    "enforcement": described_schema("`audit`: it only watches, and blocks nothing.", enum_schema(("enforce", "audit"))),
    "at": MOMENT,
    "rules": array_schema(schema_reference("Rule")),
}
_EVIDENCE = described_schema(
    "What the decision was taken on; null where there was none, or where it was dropped since.", {"type": "object"}
)
_RECORD_PROPERTIES: dict[str, Schema] = {
    "id": described_schema("Its number in the ledger.", INTEGER),
    "at": described_schema("When it was recorded.", MOMENT),
    "kind": described_schema("`observed`: somebody else moved the alias.", enum_schema(RecordKind)),
    "model": TEXT,
    "alias": TEXT,
    "from": VERSION,
    "to": VERSION,
    "revision": REVISION,
    "actor": nullable_schema(TEXT),
    "trigger": nullable_schema(TEXT),
    "policy": nullable_schema(TEXT),
    "verdict": nullable_schema(VERDICT),
    "outcome": nullable_schema(enum_schema(ChangeOutcome)),
    "reason": nullable_schema(TEXT),
    "cause": nullable_schema(TEXT),
    "review": described_schema("The pull request that brought it.", nullable_schema(schema_reference("Review"))),
    "until": described_schema("When the override expires.", nullable_schema(MOMENT)),
    "not_before": described_schema("When the registry was last seen as it was before.", nullable_schema(MOMENT)),
    "hold": described_schema("The reason of the hold that git states with it.", nullable_schema(TEXT)),
    "intent": described_schema("The intent that it closes.", nullable_schema(INTEGER)),
    "decision": described_schema("The number of the decision behind it.", nullable_schema(INTEGER)),
    "hash": described_schema("SHA-256 of the entry in the ledger's chain.", nullable_schema(TEXT)),
}
_ROW_PROPERTIES: dict[str, Schema] = {
    "model": TEXT,
    "alias": TEXT,
    "version": described_schema("What the registry holds.", nullable_schema(INTEGER)),
    "stated": described_schema("What git says; null: nothing, or that it must not exist (`absent`).", nullable_schema(INTEGER)),
    "absent": described_schema("Git says that it must not exist.", BOOLEAN),
    "status": enum_schema((IN_STEP, DUE, BLOCKED, DRIFT, HOLD, OPEN, GUARD, OVERRIDE)),
    "detail": TEXT,
    "failing": described_schema("Guards that failed when they were last asked.", TEXT),
    "override": nullable_schema(schema_reference("Override")),
    "last_change": nullable_schema(schema_reference("Record")),
}
_SPAN_PROPERTIES: dict[str, Schema] = {
    "version": VERSION,
    "since": described_schema("When it was recorded; null: before the ledger began.", nullable_schema(MOMENT)),
    "until": described_schema("null: still.", nullable_schema(MOMENT)),
    "not_before": described_schema("It began between then and `since`; null: nobody recorded more.", nullable_schema(MOMENT)),
    "revision": REVISION,
    "actor": nullable_schema(TEXT),
    "reason": nullable_schema(TEXT),
    "review": nullable_schema(schema_reference("Review")),
    "record": described_schema("The number of the record that put the version there.", nullable_schema(INTEGER)),
    "hash": described_schema("That record's hash.", nullable_schema(TEXT)),
}
ALIAS_STATE_PROPERTIES: dict[str, Schema] = {
    "known": described_schema("`either`: one of `versions`; `no`: before the first record of it.", enum_schema(Certainty)),
    "version": VERSION,
    "versions": described_schema("All that it may have been; null among them: absent.", array_schema(nullable_schema(INTEGER))),
    "span": nullable_schema(schema_reference("Span")),
    "doubt": nullable_schema(schema_reference("Doubt")),
}
_UNCERTAINTY_PROPERTIES = {
    "from": MOMENT,
    "to": MOMENT,
    "versions": array_schema(nullable_schema(INTEGER)),
    "record": INTEGER,
    "note": TEXT,
}
_OVERRIDE_PROPERTIES = {
    "id": INTEGER, "version": INTEGER, "replaces": nullable_schema(INTEGER), "since": MOMENT, "until": MOMENT, "by": TEXT, "reason": TEXT,
}  # fmt: skip
_REVIEW_PROPERTIES = {
    "pull_request": TEXT, "number": INTEGER, "author": TEXT, "reviewers": array_schema(TEXT),
    "merged_by": nullable_schema(TEXT), "merge_commit": nullable_schema(TEXT),
}  # fmt: skip
_NEIGHBOUR_PROPERTIES = {
    "before": described_schema("For the page of older records.", nullable_schema(INTEGER)), "after": described_schema("For newer ones.", nullable_schema(INTEGER)),
}  # fmt: skip
_MODEL_PROPERTIES = {
    "name": TEXT,
    "owners": array_schema(TEXT),
    "newest_version": nullable_schema(INTEGER),
    "aliases": array_schema(schema_reference("Alias")),
}
_ALIAS_AT_PROPERTIES = {"model": TEXT, "alias": TEXT, **ALIAS_STATE_PROPERTIES, "notes": array_schema(TEXT)}

COMPONENT_SCHEMAS: dict[str, Schema] = {
    "Error": response_schema({"error": described_schema("What is wrong, in words.", TEXT)}),
    "Model": object_schema("A managed model.", _MODEL_PROPERTIES),
    "Alias": object_schema("An alias: where it is, where git says it is to be, and what stands in between.", _ROW_PROPERTIES),
    "Override": object_schema("What stands in for git's word until a pull request is decided.", _OVERRIDE_PROPERTIES),
    "Record": object_schema("An audit record.", _RECORD_PROPERTIES),
    "Neighbours": object_schema("What to ask for next; null: there are no more.", _NEIGHBOUR_PROPERTIES),
    "Review": object_schema("A pull request.", _REVIEW_PROPERTIES),
    "Rule": object_schema("What a rule found.", _RULE_PROPERTIES, ("rules", "interval", "waived")),
    "Decision": object_schema("Whether a version may hold an alias.", _DECISION_PROPERTIES, ("enforcement",)),
    "Evidenced": object_schema(
        "A decision, and its evidence.", {**_DECISION_PROPERTIES, "evidence": nullable_schema(_EVIDENCE)}, ("enforcement",)
    ),
    "Span": object_schema("A stretch of time in which a version held an alias.", _SPAN_PROPERTIES),
    "Doubt": object_schema("A time in which the version is not certain.", _UNCERTAINTY_PROPERTIES),
    "Gap": object_schema(
        "A time in which nobody watched.", {"from": nullable_schema(MOMENT), "to": nullable_schema(MOMENT), "note": TEXT}
    ),
    "AliasThen": object_schema("An alias at a moment.", _ALIAS_AT_PROPERTIES),
}
