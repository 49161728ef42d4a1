"""What a pull request wants, gated by what its base says, and in words what it brings besides moves of aliases."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent, DesiredState, Hold, ModelIntent
from promoter.domain.moment import format_utc


@dataclass(frozen=True)
class BaseGatedState(DesiredState):
    """Desired state of the merged result, in which the base says which policy gates an alias.

    Where the base names none, a policy that the pull request names counts if the base has it: a stricter gate weakens nothing.
    """

    base: DesiredState
    known: frozenset[str]

    @classmethod
    def from_merge(cls, merged: DesiredState, base: Declaration) -> BaseGatedState:
        """Both as parsed."""
        known = frozenset(base.policies)
        listed = {name: _apply_base_gates(intent, base.desired, known) for name, intent in merged.listed.items()}
        return cls(merged.document, listed, base.desired, known)

    def find_model_intent(self, name: str) -> ModelIntent | None:
        """As the merged files say it, but for its policies."""
        found = super().find_model_intent(name)
        return _apply_base_gates(found, self.base, self.known) if found and name not in self.listed else found


def build_gated_declaration(merged: Declaration, base: Declaration, revision: str) -> Declaration:
    """What a pull request is judged by: the desired state of the merged result, policies and approvers of the base."""
    return Declaration(revision, BaseGatedState.from_merge(merged.desired, base), base.policies)


def _apply_base_gates(intent: ModelIntent, base: DesiredState, known: Collection[str]) -> ModelIntent:
    was = base.find_model_intent(intent.name)
    aliases = {}
    for name, alias in intent.aliases.items():
        policy = _find_alias_policy(was, name) or (alias.policy if alias.policy in known else None)
        aliases[name] = alias if policy == alias.policy else replace(alias, policy=policy)
    return replace(intent, aliases=aliases)


def _find_alias_policy(intent: ModelIntent | None, alias: str) -> str | None:
    declared = intent.aliases.get(alias) if intent else None
    return declared.policy if declared else None


def describe_gate_changes(base: Declaration, merged: Declaration) -> tuple[str, ...]:
    """Where the gate of an alias is another after the merge: by what it is judged until then."""
    found = []
    for name in sorted(merged.desired.listed):
        was = base.desired.find_model_intent(name)
        for alias, declared in sorted(merged.desired.listed[name].aliases.items()):
            before, after = _find_alias_policy(was, alias), declared.policy
            if before != after and not declared.absent:
                found.append(f"{name}@{alias}: {_describe_gate_change(before, after, base)}")
    return tuple(found)


def _describe_gate_change(before: str | None, after: str | None, base: Declaration) -> str:
    if before and after:
        return f"policy {after} takes the place of {before} from the next change on; this one is judged by {before}"
    if before:
        return f"no policy gates it from the next change on; this one is judged by {before}"
    if after in base.policies:
        return f"policy {after} gates it, from this change on"
    return f"policy {after} comes with this pull request: it judges from the next change on, and no policy gates this one"


def describe_setting_changes(base: Declaration, merged: Declaration, moved: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Everything else that the merged `registry.yaml` says otherwise, a sentence each, by model and alias.

    `moved`: the model and alias of the changes that are told elsewhere.
    """
    found = list(_describe_shared_changes(base.desired, merged.desired))
    for name in sorted(base.desired.listed.keys() | merged.desired.listed.keys()):
        before, after = base.desired.find_model_intent(name), merged.desired.find_model_intent(name)
        if before == after:
            continue
        if after is None:
            found.append(f"{name}: no longer managed; its aliases stay as they are")
        else:
            found += _describe_model_changes(before or ModelIntent(name), after, moved, new=before is None)
    return tuple(found)


def _describe_shared_changes(base: DesiredState, merged: DesiredState) -> Iterator[str]:
    before, after = base.document, merged.document
    if before.defaults != after.defaults:
        yield "`defaults` change"
    if before.families != after.families:
        yield "`families` change"
    if before.safety.max_changes != after.safety.max_changes:
        yield f"`safety.max_changes` is {after.safety.max_changes} instead of {before.safety.max_changes}"
    if before.safety.require_signed_commits != after.safety.require_signed_commits:
        wanted = "required from now on" if after.safety.require_signed_commits else "no longer required"
        yield f"signed commits are {wanted}"


def _describe_model_changes(
    before: ModelIntent, after: ModelIntent, moved: Collection[tuple[str, str]], *, new: bool
) -> Iterator[str]:
    name = after.name
    if new:
        yield f"{name}: managed from now on"
    if before.owners != after.owners:
        yield f"{name}: owned by {', '.join(after.owners) or 'nobody'} instead of {', '.join(before.owners) or 'nobody'}"
    if before.prune != after.prune:
        yield f"{name}: aliases that are not listed are {'deleted' if after.prune else 'left alone'} (`prune`)"
    if before.on_drift != after.on_drift:
        yield f"{name}: `on_drift` is {after.on_drift} instead of {before.on_drift}"
    if before.proposals != after.proposals:
        yield f"{name}: labels, reviewers or auto-merge of proposals change"
    for alias in sorted(before.aliases.keys() | after.aliases.keys()):
        was, declared = before.aliases.get(alias), after.aliases.get(alias)
        if declared is None:
            yield f"{name}@{alias}: git says nothing of it any more"
        elif was != declared:
            sentences = _describe_alias_changes(was or AliasIntent(name, alias), declared, silent=(name, alias) in moved)
            yield from (f"{name}@{alias}: {each}" for each in sentences)


def _describe_alias_changes(was: AliasIntent, declared: AliasIntent, *, silent: bool) -> Iterator[str]:
    """`silent`: its move is told elsewhere."""
    if not silent and (was.version, was.absent) != (declared.version, declared.absent):
        yield f"git says {_describe_stated_version(declared)} instead of {_describe_stated_version(was)}"
    yield from _describe_hold_change(was.hold, declared.hold)
    if added := declared.quarantine - was.quarantine:
        yield f"{_join_version_numbers(added)} in quarantine"
    if left := was.quarantine - declared.quarantine:
        yield f"{_join_version_numbers(left)} out of quarantine"
    if was.rotation != declared.rotation:
        yield f"rotation is {declared.rotation} instead of {was.rotation}"
    if was.promote_from != declared.promote_from:
        yield f"versions come from {_describe_source(declared)} instead of {_describe_source(was)}"


def _describe_hold_change(was: Hold | None, declared: Hold | None) -> Iterator[str]:
    if declared is None and was is not None:
        yield f"the hold by {was.by} is lifted: {was.reason}"
    elif declared is not None and was != declared:
        until = f" until {format_utc(declared.until)}" if declared.until else ""
        yield f"held by {declared.by}{until}: {declared.reason}"


def _describe_stated_version(intent: AliasIntent) -> str:
    if intent.absent:
        return "absent"
    return f"v{intent.version}" if intent.version else "nothing"


def _join_version_numbers(versions: Collection[int]) -> str:
    return ", ".join(f"v{each}" for each in sorted(versions))


def _describe_source(intent: AliasIntent) -> str:
    source = intent.promote_from
    if source is None:
        return "this model's own"
    where = f" in registry {source.registry}" if source.registry else ""
    return f"{source.model or intent.model}@{source.alias}{where}"
