"""What the JSON Schemas say beyond what pydantic reads off the types: what validators check, and what editors show.

A rule says it at its own type (`json_schema_extra`); here stands the rest. Each pattern accepts at least what the validator of
that name accepts, in the regular expressions that Python and JavaScript share.
"""

from __future__ import annotations

from typing import Any

Keywords = dict[str, Any]

# Every character beyond ASCII passes: which of them are letters is for Python to say.
_ALIAS = r"^(?!([Ll][Aa][Tt][Ee][Ss][Tt]|[Vv][0-9]+)$)[^\x00-,./:-@\[-^`{-\x7f]{1,255}$"
_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?[ \t]*(Z|[-+][0-9]{1,2}(:?[0-9]{2})?)$"
)
_VERSION = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}

BY_VALIDATOR: dict[str, Keywords] = {
    "promoter.domain.names.alias_name": {"pattern": _ALIAS},
    "promoter.domain.names.model_name": {"pattern": r"^(?=.*\S)[^/:\x00-\x1f\x7f]{1,256}$"},
    "promoter.domain.names.policy_name": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"},
    "promoter.domain.names.approver_name": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$"},
    "promoter.domain.moment._moment": {"pattern": _MOMENT, "examples": ["2026-12-01T00:00:00Z"]},
    "promoter.domain.approvers._public_key": {"pattern": "^ed25519:[A-Za-z0-9+/]{43}=$"},
    "promoter.domain.limits._cron": {"pattern": r"^\s*\S+(\s+\S+){4}\s*$", "examples": ["0 18 * * FRI"]},
    "promoter.domain.limits._timezone": {"minLength": 1, "examples": ["Europe/Berlin", "UTC"]},
    "promoter.domain.desired._rotation": {"enum": ["off", "commit", "pull-request", False], "type": ["string", "boolean"]},
    "promoter.domain.rules.metric._margin": {
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})?%$"}],
        "examples": [0.005, "1%"],
    },
}
"""What a validator lets through, by the name of its function: takes the place of what pydantic says of the same keyword."""

SHORT_FORMS: dict[str, list[Keywords]] = {
    "promoter.domain.desired._alias_entry": [
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
