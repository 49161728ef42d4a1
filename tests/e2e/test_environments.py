"""From staging to production: two real MLflow servers, a real git remote, and a daemon that is killed in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.shared_server import SharedMlflow
from tests.support.stage.reruns import made_again
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import Stage, until

pytestmark = pytest.mark.slow

GATE = b"""version: 1
rules:
  - {tag: promoter.source.registry, equals: staging, copied: accept}
  - {metric: auc, at_least: 0.8}
"""


def test_what_staging_serves_comes_to_production(
    stage: Stage, staging_server: SharedMlflow, staging_client: Any, fresh_name: str
) -> None:
    """Copied once, though the daemon is killed; judged, committed, and moved; and production's own versions never get there."""
    make_version(staging_client, fresh_name, {"auc": 0.9})
    staging_client.set_registered_model_alias(fresh_name, "champion", "1")
    settings = {
        "PROMOTER_REGISTRIES": json.dumps({"staging": staging_server.uri}),
        "PROMOTER_POLL_INTERVAL": "1s",
        "PROMOTER_LOAD_MODELS": "false",
    }
    from_staging = "promote_from: {registry: staging, alias: champion}"
    stage.commit(
        f"{fresh_name}: {{aliases: {{champion: {{policy: champion, rotation: commit, {from_staging}}}}}}}", champion=GATE
    )
    first = stage.daemon(**settings)

    def begun() -> bool:
        return stage.client.get_experiment_by_name(f"promoter/{fresh_name}") is not None

    until(begun, "a copy is begun", told=lambda: first.log)
    first.kill()
    second = stage.daemon(**settings)
    registered = f"name = '{fresh_name}'"
    until(lambda: stage.client.search_model_versions(registered), "the copy is a version", told=lambda: second.log)
    stage.until_at(fresh_name, {"champion": 1}, told=lambda: second.log)
    stage.version(fresh_name, 0.99)
    staged = make_version(staging_client, fresh_name, {"auc": 0.95})
    staging_client.set_registered_model_alias(fresh_name, "champion", str(staged))
    stage.until_at(fresh_name, {"champion": 3}, told=lambda: second.log)
    assert len(stage.client.search_model_versions(registered)) == 3
    tags = stage.client.get_model_version(fresh_name, "3").tags
    assert tags["promoter.source.version"] == "2"
    assert stage.moves(fresh_name, "champion") == [(None, 1), (1, 3)]
    assert second.stop() == 0
    assert made_again(stage.database).keys() == {"gate", "copy"}
