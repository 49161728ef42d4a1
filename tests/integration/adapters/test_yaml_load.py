"""Valid files: what they say, read once."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from promoter.adapters.yaml import YamlDocuments, render_starter_policies
from promoter.domain.desired import AliasIntent, Hold

REGISTRY = (Path(__file__).parent / "yaml_samples" / "valid" / "registry.yaml").read_bytes()
SOURCES = {"registry.yaml": REGISTRY, **{path: text.encode() for path, text in render_starter_policies().items()}}


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_registry_says_what_is_written(newline: bytes) -> None:
    """Every form of an alias, and the settings that it gets from elsewhere."""
    content = REGISTRY.replace(b"\n", newline)
    declaration = YamlDocuments().parse_declaration({**SOURCES, "registry.yaml": content, "policies/notes.md": b"\xff"}, "abc")
    desired = declaration.desired
    hold = Hold(reason="bad recall on card-not-present", by="alice", until=datetime(2026, 12, 1, tzinfo=UTC))
    said = {
        "champion": {
            "version": 7,
            "policy": "champion",
            "rotation": "pull-request",
            "hold": hold,
            "quarantine": frozenset({9}),
        },
        "challenger": {"version": 9, "policy": "challenger"},
        "shadow": {"version": 8},
        "legacy": {"absent": True},
    }
    fraud = desired.listed["fraud-detector"]
    assert fraud.aliases == {alias: AliasIntent("fraud-detector", alias, **fields) for alias, fields in said.items()}  # type: ignore[arg-type]
    assert (fraud.owners, fraud.prune, fraud.on_drift) == (("risk-team",), False, "report")
    family = desired.find_model_intent("demand-eu")
    assert family is not None
    assert family.aliases["champion"].rotation == "commit"
    assert declaration.revision == "abc"
    assert declaration.find_missing_policies() == []


def test_a_policy_is_known_by_its_file_and_its_bytes() -> None:
    """Its name is the file's, its digest that of the bytes."""
    policies = YamlDocuments().parse_declaration(SOURCES, None).policies
    assert {name: policy.digest for name, policy in policies.items()} == {
        name: sha256(SOURCES[f"policies/{name}.yaml"]).hexdigest() for name in ("challenger", "champion")
    }
    assert [str(rule) for rule in policies["champion"].document.rules] == [
        "run status FINISHED",
        "metric val_auc at_least 0.9",
        "metric val_auc beats champion by 0.005",
        "tag approved_by one_of [data-science, risk]",
    ]


def test_the_same_bytes_are_read_once() -> None:
    """Another parse of them gives the very same desired state, also after others were read."""
    documents = YamlDocuments()
    first = documents.parse_declaration(SOURCES, "a").desired
    documents.parse_declaration({"registry.yaml": b"version: 1\nmodels: {}\n"}, "b")
    assert documents.parse_declaration(SOURCES, "c").desired is first
