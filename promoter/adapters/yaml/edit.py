"""Edits `registry.yaml`: an alias gets a version, a hold, and versions in quarantine, or is released; all else stays.

The result is parsed again before it is used, and must state what the file stated before with exactly that change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from promoter.adapters.yaml.load import YamlTree, parse_registry_document, read_yaml_tree
from promoter.adapters.yaml.splice import (
    DEFAULT_INDENT,
    BlockMapping,
    TextSplice,
    append_items,
    append_pairs,
    apply_splices,
    fill_empty_collection,
    find_column,
    open_as_block,
    prepend_pairs,
    remove_item,
    remove_pair,
    replace_scalar,
    rewrite_mapping,
)
from promoter.adapters.yaml.tree import MappingNode, ScalarNode, SequenceNode, YamlNode
from promoter.domain.desired import ABSENT, DesiredState, Hold, RegistryDocument
from promoter.domain.errors import DocumentPath, Fault, Faults
from promoter.domain.fields import validate_alias_name, validate_model_name
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.proposal import RegistryEdit

EDIT_BY_HAND = "edit the file by hand"


def release_alias(content: bytes, edit: RegistryEdit) -> bytes:
    """Return the file without the alias's hold; the very same bytes where nothing holds it.

    Raises `Faults` where the file is faulty, where that cannot be done safely, or where the hold is shared with others.
    """
    before, document = _read_valid_document(content)
    path = _build_alias_path(edit)
    desired = DesiredState.from_document(document)
    alias = desired.find_alias_intent(edit.model, edit.alias)
    if alias is None or alias.hold is None:
        return content
    if shared := desired.find_shared_hold(edit.model, edit.alias):
        message = f"{edit.model}@{edit.alias} is held by `{shared[0]}`, with every alias that shares this hold"
        raise Faults([before.build_fault(shared, message, "take it out here, or write `hold: null` at the alias")])
    node = _require_alias_mapping(before, edit, path)
    hold = node.pairs["hold"]
    if hold.anchored:
        raise _build_release_fault(before, edit, hold.start, _SHARED)
    splice = remove_pair(before.text.content, node, "hold")
    if (result := _apply_checked(before, path, splice, {"hold": None})) is None:
        raise _build_release_fault(before, edit, hold.start, "cannot be released without changing something else")
    return result


def lift_quarantine(content: bytes, edit: RegistryEdit) -> bytes:
    """Return the file without that version in the alias's quarantine; the very same bytes where it is not there.

    Raises `Faults` where the file is faulty, or where that cannot be done safely.
    """
    while True:
        before, document = _read_valid_document(content)
        alias = DesiredState.from_document(document).find_alias_intent(edit.model, edit.alias)
        if alias is None or edit.lifted not in alias.quarantine:
            return content
        path = _build_alias_path(edit)
        node = _require_alias_mapping(before, edit, path)
        there = node.pairs["quarantine"]
        if there.anchored or not isinstance(there, SequenceNode):
            raise _build_release_fault(before, edit, there.start, _SHARED)
        place, text = there.value.index(edit.lifted), before.text.content
        left = [*there.value[:place], *there.value[place + 1 :]]
        splice = remove_item(text, there, place) if left else remove_pair(text, node, "quarantine")
        lifted = _apply_checked(before, path, splice, {"quarantine": left or None})
        if lifted is None:
            raise _build_release_fault(before, edit, there.start, f"cannot lose v{edit.lifted} from its quarantine alone")
        content = lifted  # a number may stand in the list twice


_SHARED = "is shared through an anchor (`&` or `*`)"


def _read_valid_document(content: bytes) -> tuple[YamlTree, RegistryDocument]:
    tree = read_yaml_tree(REGISTRY_FILE, content)
    document, faults = parse_registry_document(tree)
    if faults or document is None or tree.root is None:
        raise Faults(faults)
    return tree, document


def _build_alias_path(edit: RegistryEdit) -> DocumentPath:
    return ("models", edit.model, "aliases", edit.alias)


def _apply_checked(before: YamlTree, path: DocumentPath, splice: TextSplice, changes: Mapping[str, object]) -> bytes | None:
    """Return the file with the splice; None where it does not state exactly these changes. None as a value: no such key."""
    result = apply_splices(before.text, [splice])
    after = read_yaml_tree(REGISTRY_FILE, result)
    document, _ = parse_registry_document(after)
    if document is None or after.root is None or after.root.value != _change_value(_require_root(before).value, path, changes):
        return None
    return result


def _require_alias_mapping(tree: YamlTree, edit: RegistryEdit, path: DocumentPath) -> MappingNode:
    """Return the alias's own mapping. Raises where anything else shares it."""
    node: YamlNode | None = tree.root
    for part in (*path, None):
        if node is None or node.anchored or node.target is not node or not isinstance(node, MappingNode):
            raise _build_release_fault(tree, edit, node.start if node else 0, _SHARED)
        if part is None:
            return node
        node = node.pairs.get(str(part))
    raise AssertionError("a path ends")


def _change_value(value: Any, path: DocumentPath, changes: Mapping[str, object]) -> Any:
    """Return what the file is to state, copied only along the path to the alias."""
    if not path:
        return {key: item for key, item in {**value, **changes}.items() if key not in changes or changes[key] is not None}
    return {**value, path[0]: _change_value(value[path[0]], path[1:], changes)}


def _build_release_fault(tree: YamlTree, edit: RegistryEdit, start: int, why: str) -> Faults:
    line, place = tree.lines.line_and_column(start)
    return Faults([Fault(f"{edit.model}@{edit.alias} {why}", REGISTRY_FILE, line=line, column=place, fix=EDIT_BY_HAND)])


def edit_registry(content: bytes, edit: RegistryEdit) -> bytes:
    """Return the file with the edit in it. Raises `Faults` where it is faulty, or where that cannot be done safely."""
    _validate_edit_names(edit)
    if edit.release and not edit.hold:
        content = release_alias(content, edit)
    if edit.lifted:
        content = lift_quarantine(content, edit)
    before = read_yaml_tree(REGISTRY_FILE, content)
    document, faults = parse_registry_document(before)
    if faults:
        raise Faults(faults)
    entry = document.models.get(edit.model) if document else None
    alias = entry.aliases.get(edit.alias) if entry else None
    return _RegistryEdit(before, edit, alias.hold if alias else None).apply_edit(content)


def _validate_edit_names(edit: RegistryEdit) -> None:
    try:
        validate_model_name(edit.model)
        validate_alias_name(edit.alias)
    except ValueError as error:
        raise Faults([Fault(str(error), REGISTRY_FILE)]) from None


class _RegistryEdit:
    """One edit of one file."""

    def __init__(self, tree: YamlTree, edit: RegistryEdit, hold: Hold | None) -> None:
        """Drop what is there already: the same hold, and versions that are in quarantine."""
        self.tree = tree
        self.edit = edit
        self.text = tree.text.content
        self.hold = _serialize_hold(edit.hold) if edit.hold and edit.hold != hold else None

    def apply_edit(self, content: bytes) -> bytes:
        """Return the bytes of the edited file; the very same ones where it states that already."""
        splices = list(self._build_splices())
        if not splices:
            return content
        result = apply_splices(self.tree.text, splices)
        after = read_yaml_tree(REGISTRY_FILE, result)
        document, _ = parse_registry_document(after)
        if document is None or _require_root(after).value != self._build_intended_value(_require_root(self.tree).value):
            raise self._build_edit_fault(splices[0].start, "cannot be changed without changing something else")
        return result

    def _build_intended_value(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return what the file is to state, copied only along the path to the alias."""
        model = dict(value["models"].get(self.edit.model) or {})
        aliases = dict(model.get("aliases") or {})
        alias = aliases.get(self.edit.alias)
        if isinstance(alias, dict):
            aliases[self.edit.alias] = {**alias, **self._collect_changes(alias)}
        else:
            aliases[self.edit.alias] = self._build_alias_entry(alias)
        return {**value, "models": {**value["models"], self.edit.model: {**model, "aliases": aliases}}}

    def _collect_changes(self, alias: dict[str, Any]) -> dict[str, Any]:
        """Return the keys of a mapping that get another value, or are added."""
        changes: dict[str, Any] = {"version": self.edit.version} if self.edit.version is not None else {}
        changes |= {"hold": self.hold} if self.hold else {}
        there = alias.get("quarantine", [])
        added = [number for number in dict.fromkeys(self.edit.quarantine) if number not in there]
        return changes | ({"quarantine": [*there, *added]} if added else {})

    def _build_alias_entry(self, there: object = None) -> object:
        """Return a new entry of the alias, in the short form where that is enough. `there` is its present short form."""
        changes = self._collect_changes({})
        if self.edit.version is None and isinstance(there, int):
            return {"version": there, **changes} if changes else there
        return changes if changes.keys() != {"version"} else self.edit.version

    def _build_splices(self) -> Iterator[TextSplice]:
        if not self._collect_changes({}):
            return
        path = ("models", self.edit.model, "aliases", self.edit.alias)
        node: YamlNode = _require_root(self.tree)
        for depth, part in enumerate(path):
            inside = self._require_own_mapping(node).pairs.get(part)
            if inside is None:
                yield self._insert_missing_alias(self._require_own_mapping(node), path[depth:])
                return
            node = inside
        if isinstance(node.target, MappingNode):
            yield from self._edit_mapping(self._require_own_mapping(node))
        elif self.edit.version is None and node.value == ABSENT:
            raise self._build_edit_fault(node.start, "is `absent`, and has neither a hold nor a quarantine")
        elif node.value != self._build_alias_entry(node.value):
            yield replace_scalar(self.text, self._require_own_scalar(node), self._build_alias_entry(node.value))

    def _insert_missing_alias(self, node: MappingNode, missing: tuple[str, ...]) -> TextSplice:
        """Insert the alias, and the mappings around it that are missing: as a block where a block holds it.

        A model's place in an empty `models: {}` becomes a block, since more of them will follow.
        """
        pairs = {missing[-1]: self._build_alias_entry()}
        for key in reversed(missing[:-1]):
            pairs = {key: BlockMapping(pairs)}
        if node.pairs:
            return append_pairs(self.text, node, pairs, self._detect_indent_step())
        root = _require_root(self.tree)
        block = open_as_block(self.text, node, pairs) if node is root.pairs["models"] and not root.flow else None
        return block or fill_empty_collection(node, pairs)

    def _edit_mapping(self, node: MappingNode) -> Iterator[TextSplice]:
        changes = self._collect_changes(node.value)
        if not node.pairs:
            yield fill_empty_collection(node, changes)
            return
        if "version" in changes and "version" not in node.pairs:
            yield prepend_pairs(self.text, node, {"version": changes.pop("version")})
        missing = {key: changes.pop(key) for key in list(changes) if key not in node.pairs}
        for key, value in changes.items():
            there = node.pairs[key]
            if there.value != value:
                yield self._replace_value(there, value)
        if missing:
            yield append_pairs(self.text, node, missing, self._detect_indent_step())

    def _replace_value(self, node: YamlNode, value: Any) -> TextSplice:
        """Replace a value; a list is extended behind its items."""
        if isinstance(node.target, MappingNode):
            return rewrite_mapping(self.text, self._require_own_mapping(node), value)
        if isinstance(node.target, SequenceNode):
            self._require_unshared(node)
            added = value[len(node.value) :]
            return append_items(self.text, node.target, added) if node.value else fill_empty_collection(node.target, added)
        return replace_scalar(self.text, self._require_own_scalar(node), value)

    def _require_unshared(self, node: YamlNode) -> None:
        if node.anchored or node.target is not node:
            raise self._build_edit_fault(node.start, _SHARED)

    def _require_own_mapping(self, node: YamlNode) -> MappingNode:
        self._require_unshared(node)
        if not isinstance(node, MappingNode):
            raise self._build_edit_fault(node.start, "stands in what is no mapping")
        return node

    def _require_own_scalar(self, node: YamlNode) -> ScalarNode:
        self._require_unshared(node)
        if not isinstance(node, ScalarNode) or node.style in ("|", ">"):
            raise self._build_edit_fault(node.start, "is written in a way that cannot be replaced")
        return node

    def _detect_indent_step(self) -> int:
        """Return by how many columns the file indents, as the first model under `models` shows."""
        models = _require_root(self.tree).pairs["models"]
        if not isinstance(models, MappingNode) or models.flow or not models.pairs:
            return DEFAULT_INDENT
        return max(find_column(self.text, models.first_key_start) - find_column(self.text, models.key or 0), 1)

    def _build_edit_fault(self, start: int, why: str) -> Faults:
        line, place = self.tree.lines.line_and_column(start)
        message = f"{self.edit.model}@{self.edit.alias} {why}"
        return Faults([Fault(message, REGISTRY_FILE, line=line, column=place, fix=EDIT_BY_HAND)])


def _serialize_hold(hold: Hold) -> dict[str, Any]:
    """Return a hold as a mapping of YAML."""
    fields: dict[str, Any] = {"reason": hold.reason, "by": hold.by}
    fields |= {"until": hold.until} if hold.until else {}
    return fields | ({"without_artifact_check": hold.without_artifact_check} if hold.without_artifact_check else {})


def _require_root(tree: YamlTree) -> MappingNode:
    if tree.root is None:
        raise Faults(tree.faults)
    return tree.root
