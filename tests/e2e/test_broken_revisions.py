"""What a push can break: a revision that cannot be used changes nothing, is told, and the last good one stays in force."""

from __future__ import annotations

import pytest

from promoter.web.app import AppDependencies, create_app
from promoter.web.health import check_readiness
from tests.support.driven import DrivenContainer
from tests.support.stage.stage import POLICY, Daemon, Stage, assert_one_outcome_each, converge, until

GOOD = "{model}: {{aliases: {{champion: {number}}}}}"
BOMB = b"version: 1\na: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter, letter, b",".join([b"*%c" % (letter - 1)] * 9)) for letter in range(ord("b"), ord("k"))
)

BROKEN = {
    "unknown key": (b"version: 1\nmodles: {}\nmodels: {}\n", "registry.yaml:2:1"),
    "duplicate key": (
        b"version: 1\nmodels:\n  m: {aliases: {champion: 1}}\n  m: {aliases: {champion: 2}}\n",
        "registry.yaml:4:3",
    ),
    "missing policy": (b"version: 1\nmodels: {m: {aliases: {champion: {version: 1, policy: none}}}}\n", "no policy `none`"),
    "YAML bomb": (BOMB, "registry.yaml"),
    "6 MiB": (b"version: 1\nmodels: {}\n#" + b" " * (6 * 2**20), "5"),
    "not UTF-8": (b"version: 1\nmodels: {}\n# caf\xe9\n", "UTF-8"),
    "emptied": (b"", "registry.yaml"),
    "whitespace": (b"\n\n", "registry.yaml"),
    "deep": (b"version: 1\nmodels: " + b"[" * 20_000 + b"]" * 20_000, "registry.yaml"),
}


@pytest.mark.slow
def test_every_kind(stage: Stage, fresh_name: str) -> None:
    """Each is refused with its place, also after a restart; drift is put back meanwhile; the next good commit is taken."""
    stage.version(fresh_name, 0.8)
    stage.version(fresh_name, 0.9)
    good = stage.commit(GOOD.format(model=fresh_name, number=1))
    daemon = stage.daemon()
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    for kind, (content, said) in BROKEN.items():
        head = stage.commit_raw(registry=content)
        until(lambda said=said: said in _refused(daemon), f"{kind} is refused", told=lambda: _refused(daemon))
        told = daemon.ask("/readyz")[1]
        assert told["revision"] == good != head, kind
    stage.by_hand(fresh_name, "champion", 2)
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    assert daemon.stop() == 0

    again = stage.daemon()
    until(lambda: (again.ask("/readyz")[1] or {}).get("revision") == good, "the last good one is in force", told=again.log)
    assert _refused(again)
    stage.by_hand(fresh_name, "champion", None)
    stage.until_at(fresh_name, {"champion": 1}, again.log)
    mended = stage.commit(GOOD.format(model=fresh_name, number=2))
    stage.until_at(fresh_name, {"champion": 2}, again.log)
    assert again.until_ready()["revision"] == mended
    assert _refused(again) == ""
    assert stage.moves(fresh_name, "champion") == [(None, 1), (1, 2), (2, 1), (1, None), (None, 1), (1, 2)]
    assert_one_outcome_each(stage.records(fresh_name))


def _refused(daemon: Daemon) -> str:
    return str((daemon.ask("/readyz")[1] or {}).get("refused") or "")


def test_deleted_files(stage: Stage, fresh_name: str) -> None:
    """A vanished registry.yaml, and a vanished policy that is still named, never mean "delete all" or "no gate"."""
    stage.version(fresh_name, 0.8)
    stage.version(fresh_name, 0.9)
    gated = f"{fresh_name}: {{prune: true, aliases: {{champion: {{version: 1, policy: champion}}}}}}"
    good = stage.commit(gated, champion=POLICY)
    converge(DrivenContainer(stage.settings()))
    stage.by_hand(fresh_name, "stray", 2)
    for path in ("registry.yaml", "policies/champion.yaml"):
        stage.force(stage.without(good, path))
        watch = converge(DrivenContainer(stage.settings()))
        ready, told = check_readiness(watch)
        assert path.removesuffix(".yaml").rpartition("/")[2] in told["refused"]
        assert told["revision"] == good
        assert ready, "the last good revision is in force"
        assert stage.aliases(fresh_name) == {"champion": 1}


def test_what_the_registry_lacks(stage: Stage, fresh_name: str) -> None:
    """A model or a version that is not there blocks its model, with the reason, and no other."""
    there, lacking, version_lacking = fresh_name, f"{fresh_name}-none", f"{fresh_name}-old"
    stage.version(there, 0.8)
    stage.version(version_lacking, 0.8)
    stage.commit(
        f"""
{there}: {{aliases: {{champion: 1}}}}
{lacking}: {{aliases: {{champion: 1}}}}
{version_lacking}: {{aliases: {{champion: 7, shadow: 1}}}}
"""
    )
    world = DrivenContainer(stage.settings())
    watch = converge(world)
    assert stage.aliases(there) == {"champion": 1}
    assert stage.aliases(version_lacking) == {}, "half of a commit was carried out"
    client = create_app(
        AppDependencies(world.settings, watch, world.ledger, world.clock, lambda _item, _trigger: None, lambda: 0)
    ).test_client()
    told = {model["name"]: model["aliases"] for model in client.get("/api/v1/models").get_json()["models"]}
    assert [row["status"] for row in told[there]] == ["synced"]
    assert [(row["status"], row["detail"]) for row in told[lacking]] == [
        ("blocked", "the registry has no model of this name: register it, or take it out of registry.yaml")
    ]
    first = told[version_lacking][0]
    assert (first["alias"], first["status"]) == ("champion", "blocked")
    assert first["detail"] == "the registry has no version 7 of this model (the newest is 1)"

    for _ in range(6):
        stage.version(version_lacking, 0.8)
    stage.version(lacking, 0.8)
    converge(world)
    assert stage.aliases(version_lacking) == {"champion": 7, "shadow": 1}
    assert stage.aliases(lacking) == {"champion": 1}


@pytest.mark.slow
def test_mass_change(stage: Stage, fresh_name: str) -> None:
    """A commit that moves 12 of 20 aliases is refused whole; with the limit raised in the same commit it is carried out."""
    for _ in range(2):
        stage.version(fresh_name, 0.8)

    def stated(moved: int) -> str:
        aliases = ", ".join(f"a{number:02}: {2 if number < moved else 1}" for number in range(20))
        return f"{fresh_name}: {{aliases: {{{aliases}}}}}"

    stage.commit(stated(0), head="safety: {max_changes: 100%}\n")
    converge(DrivenContainer(stage.settings()))
    good = stage.commit(stated(0))
    converge(DrivenContainer(stage.settings()))
    assert len(stage.aliases(fresh_name)) == 20

    stage.commit(stated(12))
    for _ in range(2):  # and again after a restart
        _, told = check_readiness(converge(DrivenContainer(stage.settings())))
        assert told["refused"].startswith("12 changes of 20 managed aliases are over `safety.max_changes: 30%`")
        assert told["revision"] == good
        assert set(stage.aliases(fresh_name).values()) == {1}
    stage.commit(stated(12), head="safety: {max_changes: 60%}\n")
    converge(DrivenContainer(stage.settings()))
    assert sorted(stage.aliases(fresh_name).values()) == [1] * 8 + [2] * 12
