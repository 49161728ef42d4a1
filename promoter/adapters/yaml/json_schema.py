"""JSON Schemas of the files, for editors: generated from the types that read them. Draft 2020-12.

They accept whatever the parser accepts, and refuse most of what it refuses. What no schema can say (that a policy exists, that
an expression compiles, that a name is given twice) stays with `promoter validate`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from promoter.domain.approvals import ApproversDocument
from promoter.domain.desired import RegistryDocument
from promoter.domain.policy.document import PolicyDocument
from promoter.domain.policy.rules import RULES
from promoter.domain.policy.test_cases import CasesDocument

Keywords = dict[str, Any]

# Every character beyond ASCII passes: which of them are letters is for Python to say.
_ALIAS = r"^(?!([Ll][Aa][Tt][Ee][Ss][Tt]|[Vv][0-9]+)$)[^\x00-,./:-@\[-^`{-\x7f]{1,255}$"
_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?[ \t]*(Z|[-+][0-9]{1,2}(:?[0-9]{2})?)$"
)
_VERSION = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}

BY_VALIDATOR: dict[str, Keywords] = {
    "promoter.domain.fields.validate_alias_name": {"pattern": _ALIAS},
    "promoter.domain.fields.validate_model_name": {"pattern": r"^(?=.*\S)[^/:\x00-\x1f\x7f]{1,256}$"},
    "promoter.domain.fields.validate_policy_name": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"},
    "promoter.domain.fields.validate_approver_name": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$"},
    "promoter.domain.fields._require_time_zone": {"pattern": _MOMENT, "examples": ["2026-12-01T00:00:00Z"]},
    "promoter.domain.approvals._validate_public_key": {"pattern": "^ed25519:[A-Za-z0-9+/]{43}=$"},
    "promoter.domain.policy.document._validate_cron": {"pattern": r"^\s*\S+(\s+\S+){4}\s*$", "examples": ["0 18 * * FRI"]},
    "promoter.domain.policy.document._validate_timezone": {"minLength": 1, "examples": ["Europe/Berlin", "UTC"]},
    "promoter.domain.desired._parse_rotation": {
        "enum": ["off", "commit", "pull-request", False],
        "type": ["string", "boolean"],
    },
    "promoter.domain.policy.rules.metric._validate_margin": {
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})?%$"}],
        "examples": [0.005, "1%"],
    },
}
"""What a validator lets through, by the name of its function: takes the place of what pydantic says of the same keyword."""

SHORT_FORMS: dict[str, list[Keywords]] = {
    "promoter.domain.desired._parse_alias_entry": [
        {**_VERSION, "description": "The version that the alias points at: short for `{version: 8}`."},
        {"const": "absent", "description": "The alias must not exist."},
    ],
}
"""What may stand in a mapping's place, by the name of the function that reads it."""

BY_TYPE: dict[str, Keywords] = {
    "Safety": {
        "properties": {
            "max_changes": {"anyOf": [{"type": "string", "pattern": "^(100|[0-9]{1,2})%$"}, {"type": "integer", "minimum": 0}]}
        }
    },
    "MetricSource": {
        "if": {"required": ["dataset"], "properties": {"dataset": {"type": "string"}}},
        "then": {"required": ["source"], "properties": {"source": {"const": "logged_model"}}},
    },
}
"""What a type says of its keys, by its name: merged into what pydantic says."""

HINTS: dict[str, str] = {
    "RegistryDocument.version": "The version of this format: 1.",
    "RegistryDocument.defaults": "Settings of every model that does not say otherwise.",
    "RegistryDocument.safety": "A plan that changes more than this is refused, once it changes more than 10 aliases.",
    "RegistryDocument.families": 'Settings by name: `{match: "demand-*", aliases: {champion: {policy: champion}}}`.',
    "RegistryDocument.models": "Each registered model, and where its aliases are to point: `{aliases: {champion: 7}}`.",
    "SharedModel.owners": "Who answers for the model: `[risk-team]`.",
    "SharedModel.prune": "true: aliases in the registry that are not listed here are deleted.",
    "SharedModel.on_drift": "Somebody moved an alias by hand: revert (put it back), report, or adopt (propose it to git).",
    "SharedModel.aliases": "What every such model says of an alias: `{champion: {policy: champion, rotation: commit}}`.",
    "ModelEntry.aliases": "Where each alias points: a version, `absent`, or such as `{version: 7, policy: champion}`.",
    "Family.match": 'The names that are meant: `"demand-*"`.',
    "AliasEntry.version": "The version that the alias points at. Left out: rotation decides.",
    "AliasEntry.quarantine": "Versions that rotation never proposes: `[9]`.",
    "SharedAlias.policy": "What a version must show first: the policy of `policies/NAME.yaml`.",
    "SharedAlias.rotation": "How the best candidate that passes gets here: off (default), commit, or pull-request.",
    "SharedAlias.hold": 'Rotation leaves the alias alone: `{reason: "bad recall", by: alice, until: 2026-12-01T00:00:00Z}`.',
    "Hold.reason": "Why.",
    "Hold.by": "Who says so.",
    "Hold.until": "Until when: a time with its zone, `2026-12-01T00:00:00Z`. Left out: for good.",
    "Safety.max_changes": "A share of the managed aliases (`30%`), or a number of changes.",
    "SharedModel.proposals": "What pull requests carry: `{labels: [promoter], reviewers: [acme/risk], auto_merge: false}`.",
    "SharedAlias.promote_from": "Where its versions are copied from: `{registry: staging, alias: champion}`.",
    "PromoteFrom.registry": "A registry's name in Promoter's settings. Left out: this one.",
    "PromoteFrom.model": "The model's name there. Left out: the same.",
    "PromoteFrom.alias": "The alias there, whose holder is copied.",
    "ProposalSettings.labels": "Labels of the pull request; those that the repository lacks are made.",
    "ProposalSettings.reviewers": "Who is asked for a review: accounts, or teams as `org/team`.",
    "ProposalSettings.auto_merge": "true: the forge merges it by itself once it may.",
    "Safety.require_signed_commits": "true: commits that change these files must be signed by a key in `signers/`.",
    "PolicyDocument.version": "The version of this format: 1.",
    "PolicyDocument.description": "What the policy is for, in a sentence.",
    "PolicyDocument.enforcement": "enforce, or audit: decide and record, never block.",
    "PolicyDocument.candidates": "Where rotation looks: `{from: challenger, rank: {metric: val_auc, order: highest}}`.",
    "PolicyDocument.metrics": "Where metrics are read: `{source: run}`, or `{source: logged_model, dataset: holdout}`.",
    "PolicyDocument.rules": "What a version must show: each `pass`, `fail`, `pending` or `error`; all must pass.",
    "PolicyDocument.guards": "What must go on holding while the alias is held: `{metric: live_auc, at_least: 0.85, for: 3}`.",
    "PolicyDocument.limits": "How often the alias may move: `{cooldown: 6h, max_per_day: 3}`.",
    "PolicyDocument.freeze": 'When nothing moves: `{cron: "0 18 * * FRI", duration: 62h, timezone: Europe/Berlin}`.',
    "PolicyDocument.waivers": "What a version need not meet: `{model: M, version: 9, rule: NAME, reason: TEXT, until: TIME}`.",
    "Candidates.from": "An alias, whose holder is the candidate; or `any`: every version newer than the alias's own.",
    "Candidates.rank": "Which candidate is the best: `{metric: val_auc, order: highest}`. Left out: the newest.",
    "Rank.metric": "The metric that candidates are compared by.",
    "Rank.order": "Which values are better: highest or lowest.",
    "MetricSource.source": "run, or logged_model.",
    "MetricSource.dataset": "The dataset that the logged model was measured on.",
    "Waiver.rule": "The rule's `name`, or its text as `promoter explain` shows it.",
    "Waiver.until": "Until when: a time with its zone, `2026-12-01T00:00:00Z`.",
    "Freeze.cron": "When it begins: minute, hour, day of the month, month, day of the week.",
    "Freeze.duration": "How long it lasts: `62h`.",
    "Freeze.timezone": "The zone of the times in `cron`: `Europe/Berlin`.",
    "BaseRule.name": "What a waiver or a test calls the rule, where its text is not enough.",
    "BaseRule.for": "Of a guard: how many checks in a row must fail.",
    "BaseRule.every": "Of a guard: how far apart two checks are at least, such as `1h`.",
    "MetricRule.metric": "The metric's name: `{metric: val_auc, at_least: 0.9}`.",
    "MetricRule.at_least": "The least value that passes.",
    "MetricRule.at_most": "The greatest value that passes.",
    "MetricRule.beats": "The alias whose holder must be beaten, in the direction of `order`.",
    "MetricRule.by": "By how much it must be beaten: `0.005`, or a share of the holder's value, `1%`.",
    "MetricRule.order": "Which values are better: highest or lowest. Left out: as the policy's rank says.",
    "MetricRule.confidence": "Compare the values of every step in pairs, at that confidence: `0.95`.",
    "MetricRule.steps": "What the steps are: folds (of the same data), or independent.",
    "MetricRule.source": "run, or logged_model: where the metric is read. Left out: as the policy says.",
    "MetricRule.dataset": "The dataset of the logged model that the metric was measured on.",
    "TagRule.present": "The tag is there, with any value.",
    "TagRule.equals": "The value that passes.",
    "TagRule.one_of": "The values that pass: `[data-science, risk]`.",
    "TagRule.matches": "A regular expression that the whole value matches, without look-around and back references.",
    "TagRule.copied": "accept: a tag that came along when the version was copied counts too.",
    "TagRule.bound": "true: only a tag that was set after the version was registered counts, as the ledger saw it.",
    "RunTerms.dataset": "A dataset that the run logged as an input: `{name: train, digest: 4f2a9c01}`.",
    "RunTerms.params": 'Parameters and their values, which are text: `{depth: "3"}`.',
    "ExpressionRule.expression": "A condition in CEL: `metrics.val_auc > holders.champion.metrics.val_auc * 1.01`.",
    "ExpressionRule.metrics": "The metrics that the expression sees: `[val_auc]`.",
    "ExpressionRule.holders": "The aliases whose holders the expression sees: `[champion]`.",
    "ReviewTerms.at_least": "How many accounts must approve the pull request.",
    "ReviewTerms.from": "Whose approvals count: accounts, or teams as `org/team`. Left out: anybody's.",
    "ReviewTerms.not_author": "false: whoever wrote it may approve it too.",
    "ApproversDocument.version": "The version of this format: 1.",
    "ApproversDocument.approvers": "Whose signature counts, by name: `{alice: {key: ed25519:..., groups: [risk]}}`.",
    "Approver.key": "The public key, as `promoter approve --new-key FILE` prints it.",
    "Approver.groups": "The groups that this person speaks for.",
    "Approver.until": "Until when their word counts: a time with its zone, `2026-12-01T00:00:00Z`.",
}
"""What an editor shows of a key, by type and key; a type has the hints of those that it is made from."""


CASE_HINTS: dict[str, str] = {
    "CasesDocument.version": "The version of this format: 1.",
    "CasesDocument.policy": "The policy that is tested. Left out: the one of the file's own name.",
    "CasesDocument.cases": "The cases: `{name: TEXT, version: {metrics: {val_auc: 0.96}}, expect: pass}`.",
    "Case.name": "What the case is called, once in a file.",
    "Case.at": "The moment of the decision, which waivers, ages and freezes look at.",
    "Case.model": "The model's name: matters for waivers.",
    "Case.alias": "The alias that would move to the version: then limits and freezes are judged too.",
    "Case.moves": "With `alias`: how long ago it moved before: `[2h, 1d]`.",
    "Case.begun": "With `alias`: how long ago the change under way began, such as `3h`.",
    "Case.override": "With `alias`: the reason that the commit gives for going past a freeze.",
    "Case.holders": "Who holds the aliases that are compared with: `{champion: {metrics: {val_auc: 0.95}}}`; null: nobody.",
    "Case.approvals": "People of approvers.yaml whose signed approval the version has: `[alice, bob]`.",
    "Case.review": "The pull request that brings it; `none`: pushed without one, or `unreadable`. Left out: not there yet.",
    "ReviewCase.author": "The account that opened it.",
    "ReviewCase.authors": "Further accounts that have commits in it.",
    "ReviewCase.reviewers": "Accounts that approve it as it is: `[alice, bob]`.",
    "ReviewCase.stale": "Accounts that approved an earlier state of it.",
    "ReviewCase.teams": "Who is in the teams that a rule names: `{acme/risk: [alice]}`.",
    "ReviewCase.merged": "true: it is merged, and nobody can approve it any more.",
    "Case.expect": "The verdict of the whole: pass, fail, pending or error.",
    "Case.rules": "Rules by `name`, or by their text as `promoter explain` shows it, each with the verdict that is expected.",
    "Case.guards": "Guards by `name` or text, each with the verdict that is expected of one check.",
    "VersionCase.number": "The version's number. Left out: 2, and 1 for a holder.",
    "VersionCase.age": "How long ago it was registered: `3d`. Left out: just now.",
    "VersionCase.tags": "The version's tags, as text: `{approved_by: risk}`.",
    "VersionCase.witnessed": "Those of the tags that the ledger saw being set after the version was there: `[approved_by]`.",
    "VersionCase.copied": "true: it is a copy of another version.",
    "VersionCase.run": "Its training run. Left out: a finished one; null: none that can be read.",
    "VersionCase.logged_model": "What was measured on the logged model that it came from; or `unreadable`.",
    "VersionCase.signature": "What it takes and gives: `{inputs: {age: long}, outputs: {label: string}}`; or `unreadable`.",
    "VersionCase.loads": "What comes of loading its artifact, once everything else passes: true, false, or `untried`.",
    "VersionCase.held": "How long it has held an alias: `{challenger: 30h}`, or `{challenger: {since: 50h, until: 20h}}`.",
    "RunCase.status": "The run's status. Left out: FINISHED.",
    "RunCase.experiment": "The name of its experiment.",
    "RunCase.user": "The user that it names.",
    "RunCase.params": 'Its parameters, as text: `{learning_rate: "0.1"}`.',
    "RunCase.datasets": "What it says it read: `[{name: train, digest: 1a2b}]`.",
    "DatasetCase.name": "The dataset's name.",
    "DatasetCase.digest": "The dataset's digest.",
    "LoggedModelCase.datasets": "By dataset: `{holdout: {digest: 1a2b, metrics: {val_auc: 0.95}}}`.",
    "OnDataset.digest": "The dataset's digest: what `beats` compares must have been measured on the same.",
    "HeldCase.since": "How long ago it began: `50h`.",
    "HeldCase.until": "How long ago it ended: `20h`. Left out: it has not.",
    "SignatureCase.inputs": "Each input with its type: `{age: long}`.",
    "SignatureCase.outputs": "Each output with its type: `{label: string}`.",
    "SignatureCase.params": "Each parameter with its type: `{threshold: double}`.",
    "Measured.metrics": "The last value of each metric: `{val_auc: 0.96}`; `.nan` is one.",
    "Measured.series": "One value a step: `{fold_auc: [0.91, 0.93, null]}`; the last one counts as the metric's value.",
}
"""Beside those of `json_schema_words.HINTS`."""


SchemaKeywords = dict[str, Any]

DOCUMENTS: Mapping[str, tuple[type[BaseModel], str]] = {
    "registry": (RegistryDocument, "registry.yaml"),
    "policy": (PolicyDocument, "policies/NAME.yaml"),
    "approvers": (ApproversDocument, "approvers.yaml"),
    "policy-tests": (CasesDocument, "policies/tests/NAME.yaml"),
}
"""The documents that have a schema: the type that reads one, and its file."""

SCHEMAS_FOLDER = "schemas"

_HINTS = HINTS | CASE_HINTS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFS_PREFIX = "#/$defs/"
_MAP_KEYWORDS = ("properties", "$defs", "dependentSchemas")
_LIST_KEYWORDS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE_KEYWORDS = ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else")
_BOUND_KEYWORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_GUARD_ONLY_KEYS = ("for", "every")


def render_schema_files() -> dict[str, str]:
    """The text of every schema, by the name of its file."""
    return {schema_file_name(name): render_schema_text(name) for name in DOCUMENTS}


def schema_file_name(document: str) -> str:
    """What the file of a document's schema is called."""
    return f"{document}.schema.json"


def render_schema_text(document: str) -> str:
    """The schema of one of DOCUMENTS, as its file has it."""
    return json.dumps(build_json_schema(document), indent=2, ensure_ascii=False) + "\n"


def build_json_schema(document: str) -> SchemaKeywords:
    """The schema of one of DOCUMENTS."""
    model, file = DOCUMENTS[document]
    result = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_DocumentSchemaGenerator)
    result = _tidy_schema(result)
    if "MetricRule" in result.get("$defs", {}):
        result["$defs"] |= {
            "Rule": _build_rule_union(result["$defs"], guard=False),
            "Guard": _build_rule_union(result["$defs"], guard=True),
        }
        if "guards" in result["properties"]:
            result["properties"]["guards"]["items"] = {"$ref": f"{_DEFS_PREFIX}Guard"}
    return {"$schema": _DIALECT, "$id": schema_file_name(document), "title": f"Promoter: {file}", **result}


class _DocumentSchemaGenerator(GenerateJsonSchema):
    """Says what validators check, and leaves out what cannot be written."""

    def field_is_present(self, field: Any) -> bool:
        """A field that is never written out cannot be written either: it is how a type keeps a short form."""
        return not field.get("serialization_exclude") and super().field_is_present(field)

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> SchemaKeywords:
        """What the type says, and what the validator lets through of it."""
        return {**super().function_after_schema(schema), **BY_VALIDATOR.get(_validator_name(schema), {})}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> SchemaKeywords:
        """What the validator takes, where that is more or less than the type."""
        result, name = super().function_before_schema(schema), _validator_name(schema)
        if name in SHORT_FORMS:
            return {"anyOf": [*SHORT_FORMS[name], result]}
        return {**result, **BY_VALIDATOR.get(name, {})}

    def model_schema(self, schema: core_schema.ModelSchema) -> SchemaKeywords:
        """What the type says of its keys together, and something to show for each: a hint, or else what the type is."""
        kind = schema["cls"]
        result = _merge_keywords(super().model_schema(schema), BY_TYPE.get(kind.__name__, {}))
        for key, each in result.get("properties", {}).items():
            hint = next((_HINTS[name] for base in kind.__mro__ if (name := f"{base.__name__}.{key}") in _HINTS), None)
            if hint or ("description" not in each and "$ref" not in each):
                each["description"] = hint or result.get("description", "")
        return result


def _validator_name(schema: Any) -> str:
    function = schema["function"]["function"]
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"


def _merge_keywords(one: SchemaKeywords, other: SchemaKeywords) -> SchemaKeywords:
    both = {key: _merge_keywords(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    return {**one, **other, **both}


def _tidy_schema(schema: Any) -> Any:
    """Without generated titles and defaults that say nothing; each description cut to its first paragraph."""
    if not isinstance(schema, dict):
        return schema
    given: SchemaKeywords = schema
    tidied = {_BOUND_KEYWORDS.get(key, key): value for key, value in given.items() if key != "title"}
    if "default" in tidied and (tidied["default"] in (None, "", []) or isinstance(tidied["default"], dict)):
        del tidied["default"]
    if "description" in tidied:
        tidied["description"] = " ".join(tidied["description"].split("\n\n")[0].split())
    if "patternProperties" in tidied:  # which would let every other name through
        ((pattern, value),) = tidied.pop("patternProperties").items()
        tidied |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    tidied |= {key: {name: _tidy_schema(each) for name, each in tidied[key].items()} for key in _MAP_KEYWORDS if key in tidied}
    tidied |= {key: [_tidy_schema(each) for each in tidied[key]] for key in _LIST_KEYWORDS if key in tidied}
    tidied |= {key: _tidy_schema(tidied[key]) for key in _SINGLE_KEYWORDS if key in tidied}
    return {"$ref": f"{_DEFS_PREFIX}Rule"} if _is_rule_union(tidied) else tidied


def _is_rule_union(schema: SchemaKeywords) -> bool:
    refs = [each.get("$ref") for each in schema.get("oneOf", ()) if isinstance(each, dict)]
    return refs == [f"{_DEFS_PREFIX}{kind.__name__}" for kind in RULES]


def _build_rule_union(defs: SchemaKeywords, *, guard: bool) -> SchemaKeywords:
    """The key says which kind is meant, so that an editor tells what is wrong with that kind, and not with all."""
    what = "A guard: what must go on holding." if guard else "A rule: what a version must show."
    properties = {kind.kind: {"description": defs[kind.__name__].get("description", "")} for kind in RULES}
    if not guard:
        properties |= {key: {"type": "null", "description": "For guards only."} for key in _GUARD_ONLY_KEYS}
    return {
        "description": f"{what} The key says which: {', '.join(f'`{kind.kind}`' for kind in RULES)}.",
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": [kind.kind]} for kind in RULES],
        "allOf": [{"if": {"required": [kind.kind]}, "then": {"$ref": f"{_DEFS_PREFIX}{kind.__name__}"}} for kind in RULES],
    }
