"""The files that a new repository starts with: `registry.yaml`, policies and their tests, as YAML with comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from promoter.adapters.yaml.policy_tests import TESTS_FOLDER
from promoter.adapters.yaml.tree import render_scalar
from promoter.domain.fields import CHAMPION
from promoter.domain.folder import POLICIES_FOLDER
from promoter.domain.starter import CHALLENGER, Starter, StarterModel, StarterPolicies, TagDemand

_REGISTRY_HEADER = """\
# yaml-language-server: $schema=schemas/registry.schema.json
# The desired state of the model registry: which version each alias of each model points at.
#
# This file is the only statement of intent. Promoter makes the registry match the committed file, and records every
# change. To promote, roll back or retire, commit a change of this file. `promoter validate` checks it offline, and
# `promoter plan` shows what it would do.
version: 1

# Settings of every model that does not say otherwise.
defaults:
  on_drift: revert       # what happens when somebody moves an alias by hand: revert | report | adopt

# A plan that would change more than this share of the aliases is refused, once it changes more than 10 of them.
safety:
  max_changes: {max_changes}

# What an alias may say, from the short form to the long one:
#
#   shadow: 8                        short for {{version: 8}}
#   legacy: absent                   must not exist
#   champion:
#     version: 7                     left out: rotation decides, and until then the registry is left as it is
#     policy: champion               what a version must show first: policies/champion.yaml
#     rotation: pull-request         off (default) | commit | pull-request
#     quarantine: [9]                versions that rotation never proposes
#     hold: {{reason: "bad recall", by: alice, until: 2026-12-01T00:00:00Z}}
#
# Aliases that are in the registry and not listed here are left alone, unless their model says `prune: true`.
"""

_CHAMPION_POLICY = """\
# yaml-language-server: $schema=../schemas/policy.schema.json
# What a version must show before `champion`, the alias that production loads, may point at it.
# A rule is pass, fail, pending (not known yet) or error; only a version that passes every rule gets through.
version: 1
description: What a version must show before it serves production traffic.

# Where rotation looks for a better version, and which of two is the better one.
candidates:
  from: challenger
  rank: {{metric: {metric}, order: {order}}}

rules:
{rules}
# What must go on holding while a version has the alias. After three failures in a row Promoter proposes the version before
# it, with a hold, and the failed one in quarantine. Name a metric that is measured in production.
# guards:
#   - {{metric: live_auc, at_least: 0.85, for: 3}}
"""

_CHALLENGER_POLICY = """\
# yaml-language-server: $schema=../schemas/policy.schema.json
# What a version must show before `challenger`, the alias that the next champion comes from, may point at it.
version: 1
description: What a version must show before it is tried beside the champion.

# Every version that is newer than the alias's own.
candidates:
  from: any
  rank: {{metric: {metric}, order: {order}}}

rules:
{rules}"""

_TESTS_HEADER = """\
# yaml-language-server: $schema=../../schemas/policy-tests.schema.json
# Unit tests of policies/{policy}.yaml: `promoter policy test` runs them. Change them together with the policy.
version: 1

cases:
"""


_GITHUB_WORKFLOW = """\
# Checks every pull request: the files, the tests of the policies, and what merging it would change.
# Put the account on GitHub that has your copy of Promoter in the place of OWNER.
name: promoter
on: pull_request
permissions: {{contents: read}}
jobs:
  plan:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {{fetch-depth: 0}}
      - uses: OWNER/promoter@v1
        with:
          tracking-uri: ${{{{ vars.MLFLOW_TRACKING_URI }}}}{directory}
        env:
          MLFLOW_TRACKING_TOKEN: ${{{{ secrets.MLFLOW_TRACKING_TOKEN }}}}
"""

_GITLAB_PIPELINE = """\
# Checks every merge request: the files, the tests of the policies, and what merging it would change.
# Put the group on GitLab that has your copy of Promoter in the place of GROUP, and your image in the place of the one below.
# MLFLOW_TRACKING_URI is a CI variable of the project: without it nothing is planned.
include:
  - project: GROUP/promoter
    ref: v1
    file: ci/gitlab.yml
    inputs:
      image: registry.example.com/promoter:0.1.0{directory}
"""

GITHUB_FILE, GITLAB_FILE = ".github/workflows/promoter.yml", ".gitlab-ci.yml"
"""Where the forges look for what CI is to do, from the top of the repository."""


def render_github_workflow(folder: str) -> str:
    """Return a workflow for GitHub that checks pull requests. `folder`: that of `registry.yaml`; empty: the top."""
    line = f"\n          working-directory: {render_scalar(folder)}" if folder else ""
    return _GITHUB_WORKFLOW.format(directory=line)


def render_gitlab_pipeline(folder: str) -> str:
    """Return a pipeline for GitLab that checks merge requests. `folder`: that of `registry.yaml`; empty: the top."""
    return _GITLAB_PIPELINE.format(directory=f"\n      directory: {render_scalar(folder)}" if folder else "")


def render_starter_registry(models: Mapping[str, Mapping[str, int]]) -> str:
    """Return a `registry.yaml` that states these aliases as they are, so that applying it changes nothing."""
    return render_registry_file(Starter(tuple(StarterModel(name, aliases) for name, aliases in sorted(models.items()))))


def render_registry_file(starter: Starter) -> str:
    """Return a `registry.yaml` that states the aliases of a starter, with its families and policies."""
    limit = "30%"
    if starter.exceeds_limit:
        limit = f"{starter.new_count}         # as many as the aliases that come from stages; once they are applied: 30%"
    header = _REGISTRY_HEADER.format(max_changes=limit)
    return header + "\n".join((*_render_families(starter), *_render_models(starter))) + "\n"


def render_starter_policies(starter: Starter | None = None) -> dict[str, str]:
    """Return policies to begin with, by the path of their file. Metrics and bounds are for the user to change."""
    files = {}
    for each in (starter or Starter()).policies:
        metric = render_scalar(each.metric.name)
        champion, challenger = "\n".join(_render_champion_rules(each)), "\n".join(_render_challenger_rules(each))
        words = {"metric": metric, "order": each.metric.order}
        files[f"{POLICIES_FOLDER}/{each.champion}.yaml"] = _CHAMPION_POLICY.format(**words, rules=champion + "\n")
        files[f"{POLICIES_FOLDER}/{each.challenger}.yaml"] = _CHALLENGER_POLICY.format(**words, rules=challenger + "\n")
    return files


def render_starter_tests(starter: Starter) -> dict[str, str]:
    """Return unit tests of the policies to begin with, by the path of their file."""
    files = {}
    for each in starter.policies:
        for policy, alias in ((each.champion, CHAMPION), (each.challenger, CHALLENGER)):
            cases = "\n".join(_render_cases(each, alias))
            files[f"{TESTS_FOLDER}/{policy}.yaml"] = _TESTS_HEADER.format(policy=policy) + cases
    return files


_COMMENT_COLUMN = 56


def _render_rule(rule: str, comment: str) -> str:
    return f"  - {{{rule}}}".ljust(_COMMENT_COLUMN) + f" # {comment}"


def _suggest_rule(rule: str, comment: str) -> str:
    return f"  # - {{{rule}}}".ljust(_COMMENT_COLUMN) + f" # {comment}"


def _render_bound(policies: StarterPolicies, bound: Decimal) -> str:
    word = "at_least" if policies.metric.order == "highest" else "at_most"
    return f"metric: {render_scalar(policies.metric.name)}, {word}: {bound:f}"


def _render_champion_rules(policies: StarterPolicies) -> Iterator[str]:
    metric = render_scalar(policies.metric.name)
    yield _render_rule("run: {status: FINISHED}", "its training run came to its end")
    if policies.champion_bound is not None:
        yield _render_rule(_render_bound(policies, policies.champion_bound), "good enough by itself")
    margin = f", by: {policies.margin}" if policies.margin else ""
    words = "and better than what serves now" + (", by a margin" if margin else "")
    yield _render_rule(f"metric: {metric}, beats: {CHAMPION}{margin}", words)
    for each in policies.tags:
        yield _render_rule(_render_tag_rule(each), "and somebody has approved it, by a tag of the version")
    for name, bound in policies.latencies.items():
        yield _suggest_rule(f"metric: {render_scalar(name)}, at_most: {bound:f}", "and fast enough")
    yield _suggest_rule(f"soak: {{alias: {CHALLENGER}, at_least: 24h}}", "and it was the challenger for a day")


def _render_challenger_rules(policies: StarterPolicies) -> Iterator[str]:
    metric = render_scalar(policies.metric.name)
    yield _render_rule("run: {status: FINISHED}", "its training run came to its end")
    if policies.challenger_bound is not None:
        yield _render_rule(_render_bound(policies, policies.challenger_bound), "good enough to be tried")
    yield _render_rule(f"metric: {metric}, beats: {CHALLENGER}", "newer is not enough")


def _render_tag_rule(demand: TagDemand) -> str:
    values = ", ".join(map(render_scalar, demand.values))
    return f"tag: {render_scalar(demand.key)}, " + (f"one_of: [{values}]" if values else "present: true")


def _render_cases(policies: StarterPolicies, alias: str) -> Iterator[str]:
    """Yield cases that hold for the policy as it is written."""
    bound = policies.champion_bound if alias == CHAMPION else policies.challenger_bound
    held = Decimal(1) if bound is None else bound
    away = max(Decimal("0.01"), abs(held) / 10 if abs(held) > 1 else Decimal(0)) * (
        1 if policies.metric.order == "highest" else -1
    )
    metric = render_scalar(policies.metric.name)
    demands = policies.tags if alias == CHAMPION else ()
    tags = ", ".join(f"{render_scalar(each.key)}: {render_scalar((*each.values, 'yes')[0])}" for each in demands)

    def version(value: Decimal | str, *, approved: bool = True, more: str = "") -> str:
        number = value if isinstance(value, str) else f"{value.normalize():f}"
        return f"{{metrics: {{{metric}: {number}}}" + (f", tags: {{{tags}}}" if tags and approved else "") + more + "}"

    def case(name: str, candidate: str, verdict: str, holder: str | None = version(held)) -> str:
        held_by = f"    holders: {{{alias}: {holder or 'null'}}}\n"
        return f"  - name: {name}\n    version: {candidate}\n{held_by}    expect: {verdict}\n"

    better = held + away
    yield case("a better version takes over", version(better), "pass")
    yield case("newer is not enough", version(held), "fail")
    yield case(f"the first {alias} has nobody to beat", version(held), "pass", None)
    if bound is not None:
        yield case("not good enough by itself", version(held - away), "fail", None)
    if demands:
        yield case("nobody has approved it yet", version(better, approved=False), "pending")
    yield case("still training", version(better, more=", run: {status: RUNNING}"), "pending")
    yield case("a broken evaluation is an error, never a pass", version(".nan"), "error")


def _render_families(starter: Starter) -> Iterator[str]:
    if starter.families:
        yield "# Settings of every registered model whose name matches; a model may say otherwise."
        yield "families:"
    for each in starter.families:
        yield f"  - match: {render_scalar(each.prefix + '*')}"
        yield "    aliases:"
        yield f"      {CHAMPION}: {{policy: {each.policies.champion}}}"
        yield f"      {CHALLENGER}: {{policy: {each.policies.challenger}}}"
    if starter.families:
        yield ""


def _render_models(starter: Starter) -> Iterator[str]:
    yield "models:" if starter.models else "models: {}"
    for model in starter.models:
        stated = model.stated
        yield f"  {render_scalar(model.name)}:" + ("" if stated or model.owners else " {}")
        if model.owners:
            yield f"    owners: [{', '.join(map(render_scalar, model.owners))}]"
        if stated:
            yield "    aliases:"
        in_family = starter.find_family(model.name) is not None
        for alias, version in sorted(stated.items()):
            policy = None if in_family else starter.find_policy(model, alias)
            text = f"{{version: {version}, policy: {policy}}}" if policy else str(version)
            yield f"      {render_scalar(alias)}: {text}"
