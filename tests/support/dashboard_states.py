"""Worlds to show on the page, made by looking at a registry and a repository, as the daemon does."""

from __future__ import annotations

from dataclasses import replace

from promoter.domain.observed import TrainingRun
from tests.support.web_site import POLICY, WebSite

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


def approve(web_site: WebSite, model: str, version: int, by: str = "risk") -> None:
    """Tag a version as approved."""
    found = web_site.registry.models[model]
    versions = {**found.versions, version: replace(found.versions[version], tags={"approved_by": by})}
    web_site.registry.models[model] = replace(found, versions=versions)


def every_status(web_site: WebSite) -> None:
    """A model for each status, some history, hostile and long names."""
    registry = web_site.registry
    good = {"val_auc": 0.93}
    registry.add("fraud-detector", 8, good, champion=5, challenger=6)
    registry.add("prices", 4, champion=2, shadow=1)
    registry.add("churn", 5, {"val_auc": 0.71}, champion=4, challenger=4)
    registry.add("demand-berlin", 3, champion=2)
    registry.add("forecast", 3, good, champion=2)
    registry.add("recommender", 5, good, champion=4)
    registry.measured["recommender-5"] = TrainingRun("recommender-5", "RUNNING", {})
    registry.add(HOSTILE_MODEL, 1, champion=1)
    registry.add(LONG_MODEL, 1, None, **{LONG_ALIAS: 1})
    registry.add("Umsatz Süd 東京", 2, good, champion=1)
    approve(web_site, "fraud-detector", 6)
    approve(web_site, "churn", 5, HOSTILE)
    web_site.clock.ahead(days=-9)
    web_site.repository.push(files(), "Fraud: v6 has better recall on card-not-present", "Alice Doe <alice@example.org>")
    web_site.look()
    web_site.clock.ahead(days=3, minutes=17)
    web_site.look("fraud-detector", "churn", "demand-berlin")
    web_site.clock.ahead(days=5, hours=20)
    registry.set_alias("demand-berlin", "champion", 3)
    web_site.look("demand-berlin")
    web_site.clock.ahead(hours=3, minutes=40)
    web_site.look()


def refused_revision(web_site: WebSite) -> None:
    """A head that cannot be used, after one that can."""
    every_status(web_site)
    broken = REGISTRY.replace("challenger: 7", "challenger: seven").replace("on_drift: report", "on_drift: shrug")
    web_site.repository.push(files(broken + f'surprise: "{HOSTILE}"\n'))
    web_site.look()


def many(web_site: WebSite, count: int = 120) -> None:
    """So many models, all in step."""
    names = [f"model-{number:03}" for number in range(count)]
    for name in names:
        web_site.registry.add(name, 2, champion=2, challenger=1)
    rows = "".join(f"  {name}: {{owners: [team-{name[-1]}], aliases: {{champion: 2, challenger: 1}}}}\n" for name in names)
    web_site.repository.push(files("version: 1\nmodels:\n" + rows))
    web_site.look()


GUARDED = f"""\
version: 1
candidates: {{from: any}}
rules:
  - {{metric: fold_auc, beats: champion, confidence: 0.95, order: highest}}
  - {{soak: {{alias: challenger, at_least: 24h}}}}
  - {{tag: approved_by, present: true}}
guards:
  - {{metric: live_auc, at_least: 0.85, for: 2}}
freeze: [{{cron: "0 17 * * *", duration: 3h, timezone: UTC, reason: "{HOSTILE}"}}]
""".encode()


def guarded(web_site: WebSite) -> None:
    """A broken guard of an alias that does not rotate, one that has failed once, a candidate that waits in a freeze."""
    registry = web_site.registry
    for name, live in (("ranker", 0.7), ("scorer", 0.8), ("sorter", 0.9)):
        registry.add(name, 3, {"live_auc": live}, champion=2, challenger=3)
    row = "  {0}: {{aliases: {{champion: {{version: 2, policy: champion{1}}}, challenger: 3}}}}\n"
    models = row.format("ranker", "") + row.format("scorer", ", rotation: commit") + row.format("sorter", ", rotation: commit")
    web_site.repository.push({"registry.yaml": f"version: 1\nmodels:\n{models}".encode(), "policies/champion.yaml": GUARDED})
    registry.measured["scorer-2"] = TrainingRun("scorer-2", "FINISHED", {"live_auc": 0.9})
    web_site.look("ranker", "scorer", "sorter")
    web_site.clock.ahead(minutes=2)
    registry.measured["scorer-2"] = TrainingRun("scorer-2", "FINISHED", {"live_auc": 0.8})
    web_site.look("ranker", "scorer", "sorter")
