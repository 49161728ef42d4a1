"""The files that `promoter init` writes: the registry as it is now, and two policies to begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from promoter.adapters.documents.scalars import render_scalar

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
  max_changes: 30%

# What an alias may say, from the short form to the long one:
#
#   shadow: 8                        short for {version: 8}
#   legacy: absent                   must not exist
#   champion:
#     version: 7                     left out: rotation decides, and until then the registry is left as it is
#     policy: champion               what a version must show first: policies/champion.yaml
#     rotation: pull-request         off (default) | commit | pull-request
#     quarantine: [9]                versions that rotation never proposes
#     hold: {reason: "bad recall", by: alice, until: 2026-12-01T00:00:00Z}
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
  rank: {metric: val_auc, order: highest}

rules:
  - {run: {status: FINISHED}}                          # its training run came to its end
  - {metric: val_auc, at_least: 0.90}                  # good enough by itself
  - {metric: val_auc, beats: champion, by: 0.005}      # and better than what serves now, by a margin
  - {tag: approved_by, one_of: [data-science, risk]}   # and somebody has approved it, by a tag of the version
  # - {soak: {alias: challenger, at_least: 24h}}       # and it was the challenger for a day

# What must go on holding while a version has the alias. After three failures in a row Promoter proposes the version before
# it, with a hold, and the failed one in quarantine.
# guards:
#   - {metric: live_auc, at_least: 0.85, for: 3}
"""

_CHALLENGER_POLICY = """\
# yaml-language-server: $schema=../schemas/policy.schema.json
# What a version must show before `challenger`, the alias that the next champion comes from, may point at it.
version: 1
description: What a version must show before it is tried beside the champion.

# Every version that is newer than the alias's own.
candidates:
  from: any
  rank: {metric: val_auc, order: highest}

rules:
  - {run: {status: FINISHED}}
  - {metric: val_auc, at_least: 0.80}
"""


def render_starter_registry(models: Mapping[str, Mapping[str, int]]) -> str:
    """`registry.yaml` for a registry whose models have these aliases at these versions. Changes nothing when applied."""
    return _REGISTRY_HEADER + "\n".join(_render_models(models)) + "\n"


def render_starter_policies() -> dict[str, str]:
    """The policies to begin with, by the path of their file. The metric's name and the bounds are for the user to change."""
    return {"policies/champion.yaml": _CHAMPION_POLICY, "policies/challenger.yaml": _CHALLENGER_POLICY}


def _render_models(models: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    yield "models:" if models else "models: {}"
    for name, aliases in sorted(models.items()):
        if not aliases:
            yield f"  {render_scalar(name)}: {{}}"
            continue
        yield f"  {render_scalar(name)}:"
        yield "    aliases:"
        yield from (f"      {render_scalar(alias)}: {version}" for alias, version in sorted(aliases.items()))
