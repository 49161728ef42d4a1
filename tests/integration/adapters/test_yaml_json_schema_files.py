"""The schema files: fresh on disk, by the book, named by the files that they are for; and the command that writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from promoter.__main__ import main
from promoter.adapters.yaml import YamlDocuments, render_starter_policies, render_starter_registry
from promoter.adapters.yaml.json_schema import (
    DOCUMENTS,
    EVENT_SCHEMA_NAME,
    SCHEMAS_FOLDER,
    build_json_schema,
    render_event_schema_text,
    render_schema_files,
    render_schema_text,
    schema_file_name,
)
from promoter.adapters.yaml.load import read_yaml_tree
from promoter.domain.errors import Faults
from tests.support.schema_validation import complaints

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_fresh_on_disk(document: str) -> None:
    """The schemas in the project are those of its types."""
    written = ROOT / SCHEMAS_FOLDER / schema_file_name(document)
    assert written.is_file(), "missing: run `promoter schema --write schemas`"
    assert written.read_text(encoding="utf-8") == render_schema_text(document), "stale: run `promoter schema --write schemas`"


def test_the_schema_of_events_is_fresh() -> None:
    """The schema for receivers is that of the type, without hosts, and lets new fields through."""
    written = ROOT / SCHEMAS_FOLDER / schema_file_name(EVENT_SCHEMA_NAME)
    assert written.read_text(encoding="utf-8") == render_event_schema_text(), "stale: run `promoter schema --write schemas`"
    made = json.loads(render_event_schema_text())
    Draft202012Validator.check_schema(made)
    assert "://" not in written.read_text(encoding="utf-8").replace(made["$schema"], "")
    assert "additionalProperties" not in made


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_schema_by_the_book(document: str) -> None:
    """It is of draft 2020-12, closed, and without hosts; every reference leads somewhere; every key says what it is for."""
    told = build_json_schema(document)
    Draft202012Validator.check_schema(told)
    assert "://" not in render_schema_text(document).replace(told["$schema"], "")
    assert told["$id"] == schema_file_name(document)
    for owner in (told, *told["$defs"].values()):
        assert owner.get("additionalProperties") is False or "allOf" in owner
        for key, each in owner["properties"].items():
            assert each.get("description") or told["$defs"][each["$ref"].rpartition("/")[2]]["description"], key
    for part in render_schema_text(document).split('"$ref": "#/$defs/')[1:]:
        assert part.partition('"')[0] in told["$defs"]


def files() -> list[tuple[str, Path]]:
    """The project's own files, and the document that each is."""
    found = [("registry", ROOT / "registry.yaml")]
    found += [("policy", path) for path in sorted((ROOT / "policies").glob("*.yaml"))]
    found += [("policy-tests", path) for path in sorted((ROOT / "policies/tests").glob("*.yaml"))]
    return found + [
        (path.stem, path) for path in sorted((ROOT / "tests/integration/adapters/yaml_samples/valid").glob("*.yaml"))
    ]


@pytest.mark.parametrize(("document", "path"), files(), ids=lambda value: str(value).removeprefix(f"{ROOT}/"))
def test_the_files_of_the_project(document: str, path: Path) -> None:
    """They are valid."""
    root = read_yaml_tree(path.name, path.read_bytes()).root
    assert root is not None
    assert complaints(document, root.value) == []


def test_the_files_to_start_from() -> None:
    """They are valid, and their first line leads from where they lie to their schema."""
    own = {path: (ROOT / path).read_text(encoding="utf-8") for path in ("registry.yaml", *render_starter_policies())}
    fresh = {"registry.yaml": render_starter_registry({"fraud": {"champion": 7}, "a b": {}}), **render_starter_policies()}
    for texts in (own, fresh):
        for path, text in texts.items():
            document = "registry" if path == "registry.yaml" else "policy"
            marker, _, target = text.partition("\n")[0].partition("=")
            assert marker == "# yaml-language-server: $schema"
            assert ((ROOT / path).parent / target).resolve() == ROOT / SCHEMAS_FOLDER / schema_file_name(document)
            root = read_yaml_tree(path, text.encode()).root
            assert root is not None
            assert complaints(document, root.value) == []


@pytest.fixture
def promoter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `promoter schema` in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["promoter", "schema", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code or 0)), *capsys.readouterr()

    return run


def test_the_command(tmp_path: Path, promoter: Callable[..., tuple[int, str, str]]) -> None:
    """It prints one schema, or writes all of them, and writes nothing that is there already."""
    assert promoter("policy") == (0, render_schema_text("policy"), "")
    code, out, _ = promoter("--write", "there")
    assert promoter("event") == (0, render_event_schema_text(), "")
    files = {**render_schema_files(), schema_file_name(EVENT_SCHEMA_NAME): render_event_schema_text()}
    assert (code, out.count("wrote")) == (0, len(files))
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "there").iterdir()} == files
    assert promoter("--write", "there")[1].count("unchanged") == len(files)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for arguments in ((), ("nonsense",), ("policy", "--write", "there"), ("--write", "file/there")):
        code, out, err = promoter(*arguments)
        assert (code, out, bool(err)) == (1, "", True)


def test_schemas_are_none_of_the_parsers_business() -> None:
    """A revision with schemas beside its files parses as one without."""
    sources = {path: text.encode() for path, text in render_starter_policies().items()} | {
        "registry.yaml": render_starter_registry({}).encode()
    }
    extra = {f"{SCHEMAS_FOLDER}/{name}": text.encode() for name, text in render_schema_files().items()}
    try:
        parsed = YamlDocuments().parse_declaration(sources | extra, "r")
    except Faults as faults:
        pytest.fail(str(faults))
    assert set(parsed.policies) == {"champion", "challenger"}
