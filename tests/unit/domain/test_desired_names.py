"""Models and aliases that git says nothing of: the nearest name is suggested."""

from __future__ import annotations

import pytest

from promoter.adapters.yaml import YamlDocuments
from promoter.domain.errors import PermanentError

TEXT = b"version: 1\nmodels: {fraud-detector: {aliases: {champion: 1, shadow: 2}}}\n"


def test_the_nearest_name_is_suggested() -> None:
    """A model and an alias that are nearly right; where nothing is near, what to write."""
    desired = YamlDocuments().parse_declaration({"registry.yaml": TEXT}, None).desired
    with pytest.raises(PermanentError, match="`fraud-detecter` is not managed") as model:
        desired.require_model_intent("fraud-detecter")
    assert model.value.fix == "did you mean `fraud-detector`?"
    with pytest.raises(PermanentError, match="says nothing of an alias `champoin`") as alias:
        desired.require_model_intent("fraud-detector").require_alias("champoin")
    assert alias.value.fix == "did you mean `champion`?"
    with pytest.raises(PermanentError) as other:
        desired.require_model_intent("churn")
    assert other.value.fix == "list it under `models`, or match it with a family"
