"""Edits of `registry.yaml`: what is asked for changes, and every other byte stays."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from promoter.adapters.yaml import YamlDocuments, render_starter_policies, render_starter_registry
from promoter.domain.desired import Declaration, Hold
from promoter.domain.errors import Faults
from promoter.domain.proposal import RegistryEdit
from tests.support.profiles import examples

HEAD = "version: 1\nmodels:\n"
OLD = "  fraud:\n    aliases:\n      old:\n"


def edited(text: str, model: str = "fraud", alias: str = "champion", version: int = 8) -> str:
    """The text after the edit."""
    return YamlDocuments().edit_registry_file(text.encode(), RegistryEdit(model, alias, version)).decode()


def parsed(content: bytes) -> Declaration:
    """What a registry without policies says."""
    return YamlDocuments().parse_declaration({"registry.yaml": content}, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  fraud: {aliases: {champion: 7}}  # c\n", "  fraud: {aliases: {champion: 8}}  # c\n"),
        ("  fraud:\n    aliases:\n      champion: 7 # c\n", "  fraud:\n    aliases:\n      champion: 8 # c\n"),
        ('  fraud: {aliases: {champion: "absent"}}\n', "  fraud: {aliases: {champion: 8}}\n"),
        (
            "  'fraud':\n    aliases:\n      champion:\n        rotation: off\n        version:  7\n",
            "  'fraud':\n    aliases:\n      champion:\n        rotation: off\n        version:  8\n",
        ),
        (
            "  fraud:\n    aliases:\n      champion:\n        # why\n        rotation: off\n\n",
            "  fraud:\n    aliases:\n      champion:\n        # why\n        version: 8\n        rotation: off\n\n",
        ),
        ("  fraud: {aliases: {champion: {rotation: off}}}\n", "  fraud: {aliases: {champion: {version: 8, rotation: off}}}\n"),
        ("  fraud: {aliases: {champion: {}}}\n", "  fraud: {aliases: {champion: {version: 8}}}\n"),
        ("  fraud: {aliases: { }}\n", "  fraud: {aliases: {champion: 8 }}\n"),
        ("  fraud: {aliases: {shadow: 1,}, prune: no}\n", "  fraud: {aliases: {shadow: 1, champion: 8,}, prune: no}\n"),
        (
            OLD + "        hold: {by: me, reason: x} # held\n      # end\n\n  z: {}",
            OLD + "        hold: {by: me, reason: x} # held\n      champion: 8\n      # end\n\n  z: {}",
        ),
        (
            OLD + "        hold:\n          by: me\n          reason: |\n            x\n  z: {}\n",
            OLD + "        hold:\n          by: me\n          reason: |\n            x\n      champion: 8\n  z: {}\n",
        ),
        ("  fraud: {}\n", "  fraud: {aliases: {champion: 8}}\n"),
        ("    fraud:\n        prune: yes", "    fraud:\n        prune: yes\n        aliases:\n            champion: 8"),
        (
            "  fraud:\n    owners:\n    - a\n    - b # two\n  z: {}\n",
            "  fraud:\n    owners:\n    - a\n    - b # two\n    aliases:\n      champion: 8\n  z: {}\n",
        ),
        ("   a: {}\n# end", "   a: {}\n   fraud:\n      aliases:\n         champion: 8\n# end"),
    ],
)
def test_one_value_changes(old: str, new: str) -> None:
    """Every place that a version can have or be given, with Unix and with Windows line ends, with and without a mark."""
    assert edited(HEAD + old) == HEAD + new
    assert edited((HEAD + old).replace("\n", "\r\n")) == (HEAD + new).replace("\n", "\r\n")
    assert edited("\ufeff" + HEAD + old) == "\ufeff" + HEAD + new
    assert edited(HEAD + new) == HEAD + new


def test_a_model_is_added_to_an_empty_list() -> None:
    """Where families bring the first model: as a block, if there is nothing else in the line."""
    block = "version: 1\nmodels:\n  fraud:\n    aliases:\n      champion: 8\n"
    assert edited("version: 1\nmodels: {}\n") == block
    assert edited("version: 1\nmodels: {}") == block[:-1]
    assert edited("version: 1\nmodels: {} # c\n") == "version: 1\nmodels: {fraud: {aliases: {champion: 8}}} # c\n"
    assert edited('{"version": 1, "models": {}\n}') == '{"version": 1, "models": {fraud: {aliases: {champion: 8}}}\n}'


@pytest.mark.parametrize(
    "name", ["yes", "10", "1e3", "0x1", "a b", "a#b", "- a", "*x", "é", "\U0001f600", "a\u2028b", '"', "y", "~"]
)
def test_names_that_yaml_would_read_as_something_else_are_quoted(name: str) -> None:
    """The name that is read back is the name that was meant."""
    text = edited(HEAD + "  a: {}\n", model=name)
    assert parsed(text.encode()).desired.listed[name].aliases["champion"].version == 8


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("  a: &a {aliases: {champion: 7}}\n  fraud: *a\n", "4:10: fraud@champion is shared through an anchor"),
        ("  fraud: &a {aliases: {champion: 7}}\n  a: *a\n", "3:10: fraud@champion is shared through an anchor"),
        ("  fraud: {aliases: {a: &a 7, champion: *a}}\n", "3:40: fraud@champion is shared through an anchor"),
        ("  fraud: {aliases: {champion: {version: &a 7}, a: *a}}\n", "3:41: fraud@champion is shared through an anchor"),
        (
            "  fraud:\n    aliases:\n      champion:\n        ? rotation\n        : commit\n",
            "6:11: fraud@champion cannot be changed without changing something else",
        ),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(text: str, fault: str) -> None:
    """Shared values, and ways of writing that leave no place: a person edits them."""
    with pytest.raises(Faults) as caught:
        edited(HEAD + text)
    (printed,) = (str(found) for found in caught.value.faults)
    assert printed.startswith(f"registry.yaml:{fault}")
    assert printed.endswith("(edit the file by hand)")


def test_faulty_files_and_impossible_edits_are_refused() -> None:
    """The faults of the file come first; an edit is no way to write what the file may not say."""
    for text, edit in (
        ("version: 1\nmodels: {fraud: {aliases: {champion: '7'}}}\n", RegistryEdit("fraud", "champion", 8)),
        ("version: 1\nmodels: {}\n", RegistryEdit("fraud", "champion", 0)),
        ("version: 1\nmodels: {}\n", RegistryEdit("fraud", "latest", 8)),
        ("version: 1\nmodels: {}\n", RegistryEdit("a/b", "champion", 8)),
        ("", RegistryEdit("fraud", "champion", 8)),
    ):
        with pytest.raises(Faults):
            YamlDocuments().edit_registry_file(text.encode(), edit)


def test_the_files_of_init_are_valid_and_change_nothing() -> None:
    """The starter says what the registry says, whatever the names; the starter policies know only what is known now."""
    live = {"fraud": {"challenger": 9, "champion": 7}, "a # b": {}, "yes": {"no": 1}, "0x1": {"on": 2}}
    sources = {path: text.encode() for path, text in render_starter_policies().items()}
    declaration = YamlDocuments().parse_declaration({**sources, "registry.yaml": render_starter_registry(live).encode()}, "r")
    said = {
        name: {alias: own.version for alias, own in model.aliases.items()} for name, model in declaration.desired.listed.items()
    }
    assert said == live
    assert declaration.policies.keys() == {"champion", "challenger"}
    assert not any(model.prune for model in declaration.desired.listed.values())
    assert parsed(render_starter_registry({}).encode()).desired.listed == {}


def test_what_the_starter_policies_suggest_can_be_taken_up() -> None:
    """Without the `#` before them, the suggestions are a soak and a guard."""
    text = render_starter_policies()["policies/champion.yaml"]
    for suggestion in ("- {soak", "guards:", "  - {metric: live_auc"):
        assert f"# {suggestion}" in text
        text = text.replace(f"# {suggestion}", suggestion)
    sources = {"registry.yaml": b"version: 1\nmodels: {}\n", "policies/champion.yaml": text.encode()}
    document = YamlDocuments().parse_declaration(sources, None).policies["champion"].document
    assert str(document.rules[-1]) == "soak challenger at_least 1d"
    assert [(str(guard), guard.for_) for guard in document.guards] == [("metric live_auc at_least 0.85", 3)]


NAMES = st.sampled_from(["fraud", "churn", "a b", "é", "10", "yes", "demand.eu-1", "v"])
ALIASES = st.sampled_from(["champion", "challenger", "shadow", "on", "7", "x_1"])
HOLDS: list[dict[str, Any]] = [{"by": "me", "reason": "a: 'b' # c"}, {"reason": "é", "by": "x y"}]
COMMENTS = ("# a comment: {", "# far left", "# c: 'd", "# end")
ALIAS_FORMS = st.one_of(
    st.integers(1, 99),
    st.just("absent"),
    st.fixed_dictionaries(
        {},
        optional={
            "version": st.integers(1, 99),
            "rotation": st.sampled_from(["commit", "pull-request"]),
            "quarantine": st.lists(st.integers(1, 9), max_size=3),
            "hold": st.sampled_from(HOLDS),
        },
    ),
)
MODEL_FORMS = st.fixed_dictionaries(
    {},
    optional={
        "owners": st.lists(st.sampled_from(["risk", "a b"]), max_size=2),
        "prune": st.booleans(),
        "aliases": st.dictionaries(ALIASES, ALIAS_FORMS, max_size=3),
    },
)


class Styled:
    """Writes values as YAML, with every choice of style drawn."""

    def __init__(self, draw: st.DrawFn) -> None:
        """The indentation is that of the whole file."""
        self.draw = draw
        self.step = draw(st.integers(1, 4))

    def choose(self, *choices: str) -> str:
        """One of them; the first is the plainest."""
        return self.draw(st.sampled_from(choices))

    def scalar(self, value: object) -> str:
        """A scalar, quoted where it must be, or for no reason."""
        if not isinstance(value, str):
            return str(value).lower()
        if "'" in value:
            return f'"{value}"'
        plain = () if value in ("10", "yes", "on", "7") else ("{}",)
        return self.choose(*plain, "'{}'", '"{}"').format(value)

    def flow(self, value: object) -> str:
        """In brackets, in one line."""
        if isinstance(value, dict):
            inside = [f"{self.scalar(key)}: {self.flow(item)}" for key, item in value.items()]
        elif isinstance(value, list):
            inside = [self.flow(item) for item in value]
        else:
            return self.scalar(value)
        text = self.choose(", ", " , ", ",  ").join(inside) + (self.choose("", ",") if inside else "")
        padding = self.choose("", " ")
        begin, end = "{}" if isinstance(value, dict) else "[]"
        return begin + padding + text + padding + end

    def lines(self, value: dict[str, object], depth: int) -> list[str]:
        """As a block."""
        found: list[str] = []
        for key, item in value.items():
            indent = " " * (self.step * depth)
            if self.choose("", "", "", "x"):
                found.append(self.choose("", indent + "# a comment: {", "# far left"))
            comment = self.choose("", "", "  # c: 'd")
            block = isinstance(item, dict | list) and item and self.choose("block", "block", "flow") == "block"
            if block:
                found.append(f"{indent}{self.scalar(key)}:{comment}")
            if block and isinstance(item, dict):
                found += self.lines(item, depth + 1)
            elif block and isinstance(item, list):
                dash = indent + self.choose("", " ") + "- "
                found += [f"{dash}{self.scalar(each)}{self.choose('', '  # c: ')}" for each in item]
            else:
                found.append(f"{indent}{self.scalar(key)}:{self.choose(' ', '  ')}{self.flow(item)}{comment}")
        return found


@st.composite
def registries(draw: st.DrawFn) -> bytes:
    """A `registry.yaml` in whatever style."""
    styled = Styled(draw)
    document: dict[str, object] = {"version": 1, "models": draw(st.dictionaries(NAMES, MODEL_FORMS, max_size=4))}
    if draw(st.booleans()):
        document["safety"] = {"max_changes": 5}
    lines = [styled.flow(document)] if styled.choose("block", "block", "block", "flow") == "flow" else styled.lines(document, 0)
    newline = styled.choose("\n", "\r\n")
    text = styled.choose("", "\ufeff") + styled.choose("", "---" + newline) + newline.join(lines)
    return (text + styled.choose(newline, "", newline + "# end", newline + "..." + newline)).encode()


EDITS = st.builds(
    RegistryEdit,
    NAMES,
    ALIASES,
    st.integers(1, 99),
    st.none() | st.sampled_from(HOLDS).map(Hold.model_validate) | st.builds(Hold, reason=st.just("\n'\"}: "), by=st.just("é")),
    st.just(()) | st.lists(st.integers(1, 12), max_size=3).map(tuple),
    st.booleans(),
)


def intended(said: dict[str, Any], edit: RegistryEdit) -> dict[str, Any]:
    """What a file that said this is to say after the edit."""
    there = said["models"].get(edit.model, {}).get("aliases", {}).get(edit.alias)
    if edit.release and isinstance(there, dict):
        there.pop("hold", None)
    model = said["models"].setdefault(edit.model, {})
    alias = model.setdefault("aliases", {}).get(edit.alias)
    entry = alias if isinstance(alias, dict) else {}
    entry["version"] = edit.version
    if edit.hold:
        entry["hold"] = {"reason": edit.hold.reason, "by": edit.hold.by}
    for number in edit.quarantine:
        if number not in entry.setdefault("quarantine", []):
            entry["quarantine"].append(number)
    model["aliases"][edit.alias] = entry if isinstance(alias, dict) or len(entry) > 1 else edit.version
    return said


def entry_span(text: str, edit: RegistryEdit) -> tuple[int, int] | None:
    """Where the value of the alias starts and ends, in characters; None where it is not there."""
    node: Any = yaml.compose(text, yaml.CSafeLoader)
    for part in ("models", edit.model, "aliases", edit.alias):
        node = next((value for key, value in node.value if key.value == part), None)
        if node is None:
            return None
    return node.start_mark.index, node.end_mark.index


def changed_span(old: str, new: str) -> tuple[int, int]:
    """The span of the old text outside of which the two are equal."""
    room = min(len(old), len(new))
    head = next((n for n in range(room) if old[n] != new[n]), room)
    tail = next((n for n in range(room - head) if old[-1 - n] != new[-1 - n]), room - head)
    return head, len(old) - tail


@examples(300)
@given(registries(), EDITS)
def test_an_edit_changes_its_own_bytes_and_no_others(content: bytes, edit: RegistryEdit) -> None:
    """Whatever the style: the new file says exactly what was meant, and is the old one outside of the alias."""
    result = YamlDocuments().edit_registry_file(content, edit)
    old, new = (each.decode().removeprefix("\ufeff") for each in (content, result))
    assert yaml.load(new, yaml.CSafeLoader) == intended(yaml.load(old, yaml.CSafeLoader), edit)
    assert content.startswith(b"\xef\xbb\xbf") == result.startswith(b"\xef\xbb\xbf")
    (start, end), entry = changed_span(old, new), entry_span(old, edit)
    if entry is None:
        assert old[start:end].strip() in ("", "{}", "{", "}")  # brackets that both have may fall to either side
    elif start < end:
        assert entry[0] <= start <= end <= entry[1]
    if not edit.hold:
        assert all(old.count(comment) == new.count(comment) for comment in COMMENTS)
    assert old.count("\r\n") == old.count("\n") or "\r" not in new
    assert parsed(result).find_changed_models(parsed(content)) <= {edit.model}
    assert YamlDocuments().edit_registry_file(result, edit) == result


@examples(200)
@given(registries())
def test_a_release_takes_a_hold_away_and_nothing_else(content: bytes) -> None:
    """Every alias that is held, in whatever style: all comments stay, those of the hold too, and every other byte."""
    old = content.decode().removeprefix("\ufeff")
    for model, entry in yaml.load(old, yaml.CSafeLoader)["models"].items():
        for alias, said in entry.get("aliases", {}).items():
            edit = RegistryEdit(model, alias, None, release=True)
            result = YamlDocuments().edit_registry_file(content, edit)
            if not isinstance(said, dict) or "hold" not in said:
                assert result == content
                continue
            new = result.decode().removeprefix("\ufeff")
            meant = yaml.load(old, yaml.CSafeLoader)
            del meant["models"][model]["aliases"][alias]["hold"]
            assert yaml.load(new, yaml.CSafeLoader) == meant
            assert all(old.count(comment) == new.count(comment) for comment in COMMENTS)
            (start, end), span = changed_span(old, new), entry_span(old, edit)
            assert span is not None
            assert span[0] <= start <= end <= span[1]
            assert YamlDocuments().edit_registry_file(result, edit) == result
