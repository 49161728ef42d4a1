"""The shapes of the API's answers as JSON Schema (2020-12, which OpenAPI 3.1 speaks).

Whatever stands in `required` is always there; what is unknown is null. Fields may be added: readers ignore what is new to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from promoter.application.query import BLOCKED, DRIFT, DUE, GUARD, HOLD, IN_STEP, OPEN, OVERRIDE
from promoter.domain.audit import Kind, Outcome
from promoter.domain.past.answers import Known
from promoter.domain.verdict import Verdict

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
TRUTH: Schema = {"type": "boolean"}
FIGURE: Schema = {"type": "number"}
MOMENT: Schema = {"type": "string", "format": "date-time"}


def ref(name: str) -> Schema:
    """One of `SHAPES`."""
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(of: Schema) -> Schema:
    """That, or null."""
    if "type" not in of:
        return {"anyOf": [of, {"type": "null"}]}
    words = {"enum": [*of["enum"], None]} if "enum" in of else {}
    return {**of, "type": [of["type"], "null"], **words}


def some(of: Schema) -> Schema:
    """A list of that."""
    return {"type": "array", "items": of}


def words(of: Iterable[str]) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [str(each) for each in of]}


def told(description: str, of: Schema) -> Schema:
    """That, with words for people."""
    return {**of, "description": description}


def shape(description: str, properties: dict[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """An object. All of its properties are always there, except for the optional ones."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "description": description, "properties": properties, "required": required}


def answer(properties: dict[str, Schema]) -> Schema:
    """The whole of an answer."""
    return shape("The answer.", {"schema": {"const": 1, "description": "The version of this form."}, **properties})


VERDICT = words(Verdict)
VERSION = told("The version; null: absent, or nobody knows.", maybe(WHOLE))
REVISION = told("The commit.", maybe(TEXT))

_RULE_PROPERTIES: dict[str, Schema] = {
    "rule": told("As it is written in the policy.", TEXT),
    "verdict": VERDICT,
    "value": told("What was seen; null: nothing.", {"type": ["string", "number", "boolean", "null"]}),
    "expected": told("In words.", TEXT),
    "rules": some(ref("Rule")),
    "interval": shape("A confidence interval.", {"low": FIGURE, "high": FIGURE, "level": FIGURE}),
    "waived": shape("What it was without the waiver.", {"verdict": VERDICT, "waiver": TEXT}),
}
_DECISION_PROPERTIES: dict[str, Schema] = {
    "id": told("Its number in the ledger.", WHOLE),
    "revision": REVISION,
    "model": TEXT,
    "alias": maybe(TEXT),
    "version": WHOLE,
    "policy": told("null: no policy's decision, only whether the version is ready.", maybe(TEXT)),
    "policy_digest": told("SHA-256 of the policy.", maybe(TEXT)),
    "verdict": VERDICT,
    "enforcement": told("`audit`: it only watches, and blocks nothing.", words(("enforce", "audit"))),
    "at": MOMENT,
    "rules": some(ref("Rule")),
}
_EVIDENCE = told(
    "What the decision was taken on; null where there was none, or where it was dropped since.", {"type": "object"}
)
_RECORD_PROPERTIES: dict[str, Schema] = {
    "id": told("Its number in the ledger.", WHOLE),
    "at": told("When it was recorded.", MOMENT),
    "kind": told("`observed`: somebody else moved the alias.", words(Kind)),
    "model": TEXT,
    "alias": TEXT,
    "from": VERSION,
    "to": VERSION,
    "revision": REVISION,
    "actor": maybe(TEXT),
    "trigger": maybe(TEXT),
    "policy": maybe(TEXT),
    "verdict": maybe(VERDICT),
    "outcome": maybe(words(Outcome)),
    "reason": maybe(TEXT),
    "cause": maybe(TEXT),
    "review": told("The pull request that brought it.", maybe(ref("Review"))),
    "until": told("When the override expires.", maybe(MOMENT)),
    "not_before": told("When the registry was last seen as it was before.", maybe(MOMENT)),
    "hold": told("The reason of the hold that git states with it.", maybe(TEXT)),
    "intent": told("The intent that it closes.", maybe(WHOLE)),
    "decision": told("The number of the decision behind it.", maybe(WHOLE)),
    "hash": told("SHA-256 of the entry in the ledger's chain.", maybe(TEXT)),
}
_ROW_PROPERTIES: dict[str, Schema] = {
    "model": TEXT,
    "alias": TEXT,
    "version": told("What the registry holds.", maybe(WHOLE)),
    "stated": told("What git says; null: nothing, or that it must not exist (`absent`).", maybe(WHOLE)),
    "absent": told("Git says that it must not exist.", TRUTH),
    "status": words((IN_STEP, DUE, BLOCKED, DRIFT, HOLD, OPEN, GUARD, OVERRIDE)),
    "detail": TEXT,
    "failing": told("Guards that failed when they were last asked.", TEXT),
    "override": maybe(ref("Override")),
    "last_change": maybe(ref("Record")),
}
_SPAN_PROPERTIES: dict[str, Schema] = {
    "version": VERSION,
    "since": told("When it was recorded; null: before the ledger began.", maybe(MOMENT)),
    "until": told("null: still.", maybe(MOMENT)),
    "not_before": told("It began between then and `since`; null: nobody recorded more.", maybe(MOMENT)),
    "revision": REVISION,
    "actor": maybe(TEXT),
    "reason": maybe(TEXT),
    "review": maybe(ref("Review")),
    "record": told("The number of the record that put the version there.", maybe(WHOLE)),
    "hash": told("That record's hash.", maybe(TEXT)),
}
STOOD: dict[str, Schema] = {
    "known": told("`either`: one of `versions`; `no`: before the first record of it.", words(Known)),
    "version": VERSION,
    "versions": told("All that it may have been; null among them: absent.", some(maybe(WHOLE))),
    "span": maybe(ref("Span")),
    "doubt": maybe(ref("Doubt")),
}
_DOUBT_PROPERTIES = {"from": MOMENT, "to": MOMENT, "versions": some(maybe(WHOLE)), "record": WHOLE, "note": TEXT}
_OVERRIDE_PROPERTIES = {
    "id": WHOLE, "version": WHOLE, "replaces": maybe(WHOLE), "since": MOMENT, "until": MOMENT, "by": TEXT, "reason": TEXT,
}  # fmt: skip
_REVIEW_PROPERTIES = {
    "pull_request": TEXT, "number": WHOLE, "author": TEXT, "reviewers": some(TEXT),
    "merged_by": maybe(TEXT), "merge_commit": maybe(TEXT),
}  # fmt: skip
_NEIGHBOUR_PROPERTIES = {
    "before": told("For the page of older records.", maybe(WHOLE)), "after": told("For newer ones.", maybe(WHOLE)),
}  # fmt: skip
_MODEL_PROPERTIES = {"name": TEXT, "owners": some(TEXT), "newest_version": maybe(WHOLE), "aliases": some(ref("Alias"))}
_THEN_PROPERTIES = {"model": TEXT, "alias": TEXT, **STOOD, "notes": some(TEXT)}

SHAPES: dict[str, Schema] = {
    "Error": answer({"error": told("What is wrong, in words.", TEXT)}),
    "Model": shape("A managed model.", _MODEL_PROPERTIES),
    "Alias": shape("An alias: where it is, where git says it is to be, and what stands in between.", _ROW_PROPERTIES),
    "Override": shape("What stands in for git's word until a pull request is decided.", _OVERRIDE_PROPERTIES),
    "Record": shape("An audit record.", _RECORD_PROPERTIES),
    "Neighbours": shape("What to ask for next; null: there are no more.", _NEIGHBOUR_PROPERTIES),
    "Review": shape("A pull request.", _REVIEW_PROPERTIES),
    "Rule": shape("What a rule found.", _RULE_PROPERTIES, ("rules", "interval", "waived")),
    "Decision": shape("Whether a version may hold an alias.", _DECISION_PROPERTIES, ("enforcement",)),
    "Evidenced": shape(
        "A decision, and its evidence.", {**_DECISION_PROPERTIES, "evidence": maybe(_EVIDENCE)}, ("enforcement",)
    ),
    "Span": shape("A stretch of time in which a version held an alias.", _SPAN_PROPERTIES),
    "Doubt": shape("A time in which the version is not certain.", _DOUBT_PROPERTIES),
    "Gap": shape("A time in which nobody watched.", {"from": maybe(MOMENT), "to": maybe(MOMENT), "note": TEXT}),
    "AliasThen": shape("An alias at a moment.", _THEN_PROPERTIES),
}
