"""Worlds to show on the page, made by looking at a registry and a repository, as the daemon does."""

from __future__ import annotations

from dataclasses import replace

from promoter.domain.observed import Run
from tests.delivery.world import POLICY, Site

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
HOSTILE_MODEL = "<img src=x onerror=alert(1)>"
LONG_MODEL, LONG_ALIAS = "m" + "odel" * 63, "a" * 255

REGISTRY = f"""\
version: 1
models:
  fraud-detector:
    owners: [risk-team]
    aliases: {{champion: {{version: 6, policy: champion}}, challenger: 7}}
  prices:
    owners: [pricing, "{HOSTILE}"]
    aliases: {{champion: 3, shadow: absent}}
  churn:
    owners: [growth]
    aliases: {{champion: {{version: 5, policy: champion}}, challenger: {{version: 5}}}}
  demand-berlin:
    on_drift: report
    aliases: {{champion: 2}}
  forecast:
    aliases:
      champion: {{version: 2, policy: champion, rotation: commit, hold: {{reason: "{HOSTILE}", by: alice}}}}
  recommender:
    owners: [shop]
    aliases: {{champion: {{version: 4, policy: champion, rotation: commit}}}}
  not-registered: {{aliases: {{champion: 1, challenger: 2}}}}
  {LONG_MODEL}:
    aliases: {{{LONG_ALIAS}: 1}}
  "{HOSTILE_MODEL}": {{aliases: {{champion: 1}}}}
  Umsatz Süd 東京:
    aliases: {{champion: {{policy: champion, rotation: commit}}}}
"""


def files(registry: str = REGISTRY) -> dict[str, bytes]:
    """A revision's files."""
    return {"registry.yaml": registry.encode(), "policies/champion.yaml": POLICY}


def approve(site: Site, model: str, version: int, by: str = "risk") -> None:
    """Tag a version as approved."""
    found = site.registry.models[model]
    versions = {**found.versions, version: replace(found.versions[version], tags={"approved_by": by})}
    site.registry.models[model] = replace(found, versions=versions)


def every_status(site: Site) -> None:
    """A model for each status, some history, hostile and long names."""
    registry = site.registry
    good = {"val_auc": 0.93}
    registry.add("fraud-detector", 8, good, champion=5, challenger=6)
    registry.add("prices", 4, champion=2, shadow=1)
    registry.add("churn", 5, {"val_auc": 0.71}, champion=4, challenger=4)
    registry.add("demand-berlin", 3, champion=2)
    registry.add("forecast", 3, good, champion=2)
    registry.add("recommender", 5, good, champion=4)
    registry.measured["recommender-5"] = Run("recommender-5", "RUNNING", {})
    registry.add(HOSTILE_MODEL, 1, champion=1)
    registry.add(LONG_MODEL, 1, None, **{LONG_ALIAS: 1})
    registry.add("Umsatz Süd 東京", 2, good, champion=1)
    approve(site, "fraud-detector", 6)
    approve(site, "churn", 5, HOSTILE)
    site.clock.ahead(days=-9)
    site.repository.push(files(), "Fraud: v6 has better recall on card-not-present", "Alice Doe <alice@example.org>")
    site.look()
    site.clock.ahead(days=3, minutes=17)
    site.look("model:fraud-detector", "model:churn", "model:demand-berlin")
    site.clock.ahead(days=5, hours=20)
    registry.set_alias("demand-berlin", "champion", 3)
    site.look("model:demand-berlin")
    site.clock.ahead(hours=3, minutes=40)
    site.look()


def refused_revision(site: Site) -> None:
    """A head that cannot be used, after one that can."""
    every_status(site)
    broken = REGISTRY.replace("challenger: 7", "challenger: seven").replace("on_drift: report", "on_drift: shrug")
    site.repository.push(files(broken + f'surprise: "{HOSTILE}"\n'))
    site.look()


def many(site: Site, count: int = 120) -> None:
    """So many models, all in step."""
    names = [f"model-{number:03}" for number in range(count)]
    for name in names:
        site.registry.add(name, 2, champion=2, challenger=1)
    rows = "".join(f"  {name}: {{owners: [team-{name[-1]}], aliases: {{champion: 2, challenger: 1}}}}\n" for name in names)
    site.repository.push(files("version: 1\nmodels:\n" + rows))
    site.look()
