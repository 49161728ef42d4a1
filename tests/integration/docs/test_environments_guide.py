"""The guide to environments: its files are read as production reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from promoter.adapters.yaml import YamlDocuments
from promoter.domain.copy_source import AliasRef, list_used_registries
from promoter.settings import load_settings

GUIDE = Path(__file__).parents[3] / "docs" / "environments.md"
_EXAMPLE = re.compile(r"^```yaml\n# (?P<path>[\w/.-]+\.yaml)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {found["path"]: found["text"] for found in _EXAMPLE.finditer(GUIDE.read_text())}
POLICY = "policies/production.yaml"


def test_a_server_for_each_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the registry file promotes from, the settings name."""
    sources = {name: FILES[name].encode() for name in ("registry.yaml", POLICY)}
    desired = YamlDocuments().parse_declaration(sources, None).desired
    monkeypatch.chdir(tmp_path)
    (tmp_path / "promoter.yaml").write_text(FILES["promoter.yaml"])
    monkeypatch.setenv("PROMOTER_CONFIG", "promoter.yaml")
    assert load_settings().registries.keys() == list_used_registries(desired.document).keys() == {"staging"}
    place = AliasRef.from_intent(desired.listed["fraud-detector"].aliases["champion"])
    assert place == AliasRef("staging", "fraud-detector", "champion")


def test_one_server_for_all() -> None:
    """Each model gets its versions from the one before it."""
    policy = FILES[POLICY].encode()
    sources = {"registry.yaml": FILES["one-server/registry.yaml"].encode(), POLICY: policy, "policies/staging.yaml": policy}
    desired = YamlDocuments().parse_declaration(sources, None).desired
    assert list_used_registries(desired.document) == {}
    assert {name: str(AliasRef.from_intent(intent.aliases["champion"])) for name, intent in desired.listed.items()} == {
        "fraud-detector-staging": "fraud-detector-dev@champion",
        "fraud-detector": "fraud-detector-staging@champion",
    }


def test_the_lock() -> None:
    """The model that serves gets its versions from the one that trainers may write; tests run the guide's grants."""
    sources = {"registry.yaml": FILES["lock/registry.yaml"].encode(), POLICY: FILES[POLICY].encode()}
    desired = YamlDocuments().parse_declaration(sources, None).desired
    assert str(AliasRef.from_intent(desired.listed["fraud"].aliases["champion"])) == "fraud-dev@candidate"
