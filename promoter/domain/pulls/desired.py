"""What a pull request wants, gated by what its base says, and in words what it brings besides moves of aliases."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent, DesiredState, Hold, ModelIntent
from promoter.domain.moment import in_utc


@dataclass(frozen=True)
class GatedByBase(DesiredState):
    """Desired state of the merged result, in which the base says which policy gates an alias.

    Where the base names none, a policy that the pull request names counts if the base has it: a stricter gate weakens nothing.
    """

    base: DesiredState
    known: frozenset[str]

    @classmethod
    def over(cls, merged: DesiredState, base: Declaration) -> GatedByBase:
        """Both as parsed."""
        known = frozenset(base.policies)
        listed = {name: _gated(intent, base.desired, known) for name, intent in merged.listed.items()}
        return cls(merged.document, listed, base.desired, known)

    def intent(self, name: str) -> ModelIntent | None:
        """As the merged files say it, but for its policies."""
        found = super().intent(name)
        return _gated(found, self.base, self.known) if found and name not in self.listed else found


def judged_by_base(merged: Declaration, base: Declaration, revision: str) -> Declaration:
    """What a pull request is judged by: the desired state of the merged result, policies and approvers of the base."""
    return Declaration(revision, GatedByBase.over(merged.desired, base), base.policies)


def _gated(intent: ModelIntent, base: DesiredState, known: Collection[str]) -> ModelIntent:
    was = base.intent(intent.name)
    aliases = {}
    for name, alias in intent.aliases.items():
        policy = _policy(was, name) or (alias.policy if alias.policy in known else None)
        aliases[name] = alias if policy == alias.policy else replace(alias, policy=policy)
    return replace(intent, aliases=aliases)


def _policy(intent: ModelIntent | None, alias: str) -> str | None:
    said = intent.aliases.get(alias) if intent else None
    return said.policy if said else None


def gate_notes(base: Declaration, merged: Declaration) -> tuple[str, ...]:
    """Where the gate of an alias is another after the merge: by what it is judged until then."""
    found = []
    for name in sorted(merged.desired.listed):
        was = base.desired.intent(name)
        for alias, said in sorted(merged.desired.listed[name].aliases.items()):
            before, after = _policy(was, alias), said.policy
            if before != after and not said.absent:
                found.append(f"{name}@{alias}: {_gate_note(before, after, base)}")
    return tuple(found)


def _gate_note(before: str | None, after: str | None, base: Declaration) -> str:
    if before and after:
        return f"policy {after} takes the place of {before} from the next change on; this one is judged by {before}"
    if before:
        return f"no policy gates it from the next change on; this one is judged by {before}"
    if after in base.policies:
        return f"policy {after} gates it, from this change on"
    return f"policy {after} comes with this pull request: it judges from the next change on, and no policy gates this one"


def settings_told(base: Declaration, merged: Declaration, moved: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Everything else that the merged `registry.yaml` says otherwise, a sentence each, by model and alias.

    `moved`: the model and alias of the changes that are told elsewhere.
    """
    found = list(_shared(base.desired, merged.desired))
    for name in sorted(base.desired.listed.keys() | merged.desired.listed.keys()):
        before, after = base.desired.intent(name), merged.desired.intent(name)
        if before == after:
            continue
        if after is None:
            found.append(f"{name}: no longer managed; its aliases stay as they are")
        else:
            found += _model(before or ModelIntent(name), after, moved, new=before is None)
    return tuple(found)


def _shared(base: DesiredState, merged: DesiredState) -> Iterator[str]:
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


def _model(before: ModelIntent, after: ModelIntent, moved: Collection[tuple[str, str]], *, new: bool) -> Iterator[str]:
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
        was, said = before.aliases.get(alias), after.aliases.get(alias)
        if said is None:
            yield f"{name}@{alias}: git says nothing of it any more"
        elif was != said:
            told = _alias(was or AliasIntent(name, alias), said, silent=(name, alias) in moved)
            yield from (f"{name}@{alias}: {each}" for each in told)


def _alias(was: AliasIntent, said: AliasIntent, *, silent: bool) -> Iterator[str]:
    """`silent`: its move is told elsewhere."""
    if not silent and (was.version, was.absent) != (said.version, said.absent):
        yield f"git says {_stated(said)} instead of {_stated(was)}"
    yield from _hold(was.hold, said.hold)
    if added := said.quarantine - was.quarantine:
        yield f"{_numbers(added)} in quarantine"
    if left := was.quarantine - said.quarantine:
        yield f"{_numbers(left)} out of quarantine"
    if was.rotation != said.rotation:
        yield f"rotation is {said.rotation} instead of {was.rotation}"
    if was.promote_from != said.promote_from:
        yield f"versions come from {_source(said)} instead of {_source(was)}"


def _hold(was: Hold | None, said: Hold | None) -> Iterator[str]:
    if said is None and was is not None:
        yield f"the hold by {was.by} is lifted: {was.reason}"
    elif said is not None and was != said:
        until = f" until {in_utc(said.until)}" if said.until else ""
        yield f"held by {said.by}{until}: {said.reason}"


def _stated(intent: AliasIntent) -> str:
    if intent.absent:
        return "absent"
    return f"v{intent.version}" if intent.version else "nothing"


def _numbers(versions: Collection[int]) -> str:
    return ", ".join(f"v{each}" for each in sorted(versions))


def _source(intent: AliasIntent) -> str:
    source = intent.promote_from
    if source is None:
        return "this model's own"
    where = f" in registry {source.registry}" if source.registry else ""
    return f"{source.model or intent.model}@{source.alias}{where}"
