"""Test files of policies: read from disk as strictly as the policies, every fault at once and where it stands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promoter.adapters.yaml import YamlDocuments
from promoter.adapters.yaml.policy_tests import COUNT_LIMIT, SIZE_LIMIT, TOTAL_LIMIT, read_test_files
from promoter.domain.errors import Faults, PermanentError
from promoter.domain.policy.test_cases import CaseFile

REGISTRY = b"version: 1\nmodels: {}\n"
POLICY = b"""\
version: 1
candidates: {from: any, rank: {metric: val_auc, order: highest}}
rules:
  - {metric: val_auc, at_least: 0.95}
  - {metric: val_auc, beats: champion, name: better}
  - any_of: [{tag: waived_by, present: true}, {metric: p99_ms, at_most: 50}]
"""
POLICIES = YamlDocuments().parse_declaration({"registry.yaml": REGISTRY, "policies/champion.yaml": POLICY}, None).policies
ONE = "version: 1\ncases:\n  - {name: one, version: {}, expect: pass}\n"


def read(root: Path, **files: str) -> list[CaseFile]:
    """The test files, written and read; their names without the ending."""
    folder = root / "policies/tests"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return read_test_files(root, POLICIES)


def told(root: Path, **files: str) -> list[str]:
    """The faults, as they are printed, without the folder's name."""
    with pytest.raises(Faults) as caught:
        read(root, **files)
    return [str(fault).replace("policies/tests/", "") for fault in caught.value.faults]


def test_files_are_read_in_order_with_the_line_of_each_case(tmp_path: Path) -> None:
    """The policy is the one that a file names, else the one of its own name. What is no YAML is left alone."""
    head = "version: 1\npolicy: champion\ncases:\n\n"
    more = f"{head}- name: a\n  version: {{}}\n  expect: pass\n- {{name: b, version: {{}}, expect: fail}}\n"
    (tmp_path / "policies/tests").mkdir(parents=True)
    (tmp_path / "policies/tests/README.md").write_text("words")
    found = read(tmp_path, more=more, champion=ONE)
    assert [(each.file, each.policy, [case.name for case in each.cases], each.lines) for each in found] == [
        ("policies/tests/champion.yaml", "champion", ["one"], (3,)),
        ("policies/tests/more.yaml", "champion", ["a", "b"], (5, 8)),
    ]


@pytest.mark.parametrize("folder", ["", "policies", "policies/tests"])
def test_no_test_files_are_no_fault(tmp_path: Path, folder: str) -> None:
    """Nor is a folder without any."""
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    assert read_test_files(tmp_path, POLICIES) == []


def test_anchors_save_repetition(tmp_path: Path) -> None:
    """A version may be written once and meant twice, and NaN is a number like any other."""
    cases = ["{name: a, version: &v {metrics: {x: .nan}}, expect: pass}", "{name: b, version: *v, expect: fail}"]
    one, two = read(tmp_path, champion=f"version: 1\ncases: [{', '.join(cases)}]\n")[0].cases
    assert str(one.version.metrics["x"]) == str(two.version.metrics["x"]) == "nan"


MESSY = """\
version: 1
policy: champoin
cases:
  - name: one
    version: {metrics: {a: yes, b: "1", c: 1}, tags: {a: 1}, loads: maybe, held: {challenger: 3 days}}
    expect: passed
  - name: one
    version: {metrics: {c: 1}, run: null}
    expect: pass
  - name: two
    version: {series: {a: [1, x], b: 3}, held: {c: {sinc: 3h}}}
    holders: {latest: null}
    rulez: {}
    rules: {a: passed}
  - name: three
    version: {held: {next: {since: 3h, until: 4h}}, logged_model: unreadble, signature: 3}
    at: 1999-12-31T00:00:00Z
    expect: pass
  - {name: four, version: {}, at: 2026-01-01, moves: 3h}
  - {name: five, version: {}, moves: [3h], expect: pass}
  - {name: six, version: {}}
"""
MESSY_TOLD = [
    "messy.yaml:2:9: there is no policy `champoin` (did you mean `champion`?)",
    "messy.yaml:5:28: `a` must be a number, and YAML reads `yes` as true",
    "messy.yaml:5:36: `b` must be a number, not text (take the quotes away)",
    'messy.yaml:5:58: `a` must be text, and YAML reads `1` as a number (quote it: "1")',
    "messy.yaml:5:69: `loads` is `true`, `false` or `untried`",
    "messy.yaml:5:95: a duration is written like `90s`, `30m`, `24h`, `7d` or `1d12h`",
    "messy.yaml:6:13: `expect` must be `pass`, `fail`, `pending` or `error` (did you mean `pass`?)",
    "messy.yaml:8:14: `metrics` and `series` are those of the run, and `run: null` says that there is none",
    "messy.yaml:11:31: item 2 of `a` must be a number, not text",
    "messy.yaml:11:38: `b` must be a list, and YAML reads `3` as a number",
    "messy.yaml:11:52: `since` is missing",
    "messy.yaml:11:53: unknown key `sinc` (did you mean `since`?)",
    "messy.yaml:12:15: `latest` is reserved by MLflow and cannot be an alias",
    "messy.yaml:13:5: unknown key `rulez` (did you mean `rules`?)",
    "messy.yaml:14:16: `a` must be `pass`, `fail`, `pending` or `error` (did you mean `pass`?)",
    "messy.yaml:16:28: `until` is as long ago as `since`, or longer: both say how long ago",
    "messy.yaml:16:67: this is a mapping, or the word `unreadable`",
    "messy.yaml:16:89: `signature` must be a mapping, and YAML reads `3` as a number",
    "messy.yaml:17:9: `at` is between the years 2000 and 2100",
    "messy.yaml:19:35: give a full time with its zone, such as 2026-12-01T00:00:00Z",
    "messy.yaml:19:54: `moves` must be a list, not text",
    "messy.yaml:20:5: `moves`, `begun` and `override` go with `alias`: they are the alias's own past",
    "messy.yaml:21:5: a case expects something: say `expect`, `rules` or `guards`",
]
NAMES = """\
version: 1
policy: champion
cases:
  - name: one
    version: {}
    holders: {champoin: null, shadow: null}
    approvals: [alice]
    rules: {bettr: fail, "any_off": fail, nonsense: pass, better: pass, cooldown 6h: pass}
    guards: {metric val_auc at_least 0.95: pass}
  - {name: two, version: {}, expect: pass}
  - {name: two, version: {}, expect: pass}
"""
SAID = "a rule's text is what `promoter explain` shows"
NAMES_TOLD = [
    "names.yaml:6:15: nothing in policy `champion` compares with the holder of `champoin` (did you mean `champion`?)",
    "names.yaml:6:31: nothing in policy `champion` compares with the holder of `shadow`",
    "names.yaml:7:17: `alice` is not in approvers.yaml",
    "names.yaml:8:13: `bettr` names no rule of policy `champion` (did you mean `better`?)",
    "names.yaml:8:26: `any_off` names no rule of policy `champion` (did you mean `any_of`?)",
    f"names.yaml:8:43: `nonsense` names no rule of policy `champion` ({SAID})",
    f"names.yaml:8:73: `cooldown 6h` names no rule of policy `champion` ({SAID})",
    f"names.yaml:9:14: `metric val_auc at_least 0.95` names no guard of policy `champion` ({SAID})",
    "names.yaml:11:12: a second case of the name `two`: the first is in line 10 (give each its own)",
]


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    """Types, names and files: the whole output, compared."""
    folder = tmp_path / "policies/tests"
    folder.mkdir(parents=True)
    (folder / "champion.yml").write_text(ONE)
    (folder / "Other.YAML").write_text(ONE)
    (folder / "link.yaml").symlink_to(folder / "names.yaml")
    (folder / "folder.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    assert told(tmp_path, empty="", messy=MESSY, names=NAMES, nobody=ONE, tab="version:\t1\n\tcases: []\n") == [
        "Other.YAML: not read because of its ending (rename it to Other.yaml)",
        "champion.yml: not read because of its ending (rename it to champion.yaml)",
        "empty.yaml:1:1: the file is empty",
        "folder.yaml: not a regular file: not read",
        "link.yaml: not a regular file: not read",
        *MESSY_TOLD,
        *NAMES_TOLD,
        "nobody.yaml:1:1: there is no policy `nobody` (say which with `policy: NAME`, or name the file after it)",
        "pipe.yaml: not a regular file: not read",
        "tab.yaml:2:1: a tab as indentation (indent with spaces)",
    ]


def test_names_are_not_checked_where_the_policies_are_not_known(tmp_path: Path) -> None:
    """A policy with faults of its own says nothing of its rules; types and the names of cases are checked all the same."""
    read(tmp_path, champion=ONE)
    assert [each.policy for each in read_test_files(tmp_path, None)] == ["champion"]
    (tmp_path / "policies/tests/names.yaml").write_text(NAMES)
    with pytest.raises(Faults) as caught:
        read_test_files(tmp_path, None)
    assert [str(fault).replace("policies/tests/", "") for fault in caught.value.faults] == NAMES_TOLD[-1:]


def test_sizes_and_counts_are_bounded(tmp_path: Path) -> None:
    """A file, all files together, and how many there are."""
    assert told(tmp_path, champion="#" * (SIZE_LIMIT + 1)) == ["champion.yaml: larger than 1 MiB: not read"]
    (tmp_path / "policies/tests/champion.yaml").write_text(ONE)
    with (tmp_path / "policies/tests/large.yaml").open("wb") as large:
        large.truncate(TOTAL_LIMIT)
    with pytest.raises(PermanentError, match="policies/tests/ is larger than 16 MiB"):
        read(tmp_path)
    (tmp_path / "policies/tests/large.yaml").unlink()
    for number in range(COUNT_LIMIT):
        (tmp_path / f"policies/tests/{number}.yaml").touch()
    with pytest.raises(PermanentError, match="more than 500 files in policies/tests/"):
        read(tmp_path)


def test_a_folder_behind_a_link_is_refused(tmp_path: Path) -> None:
    """Its files are not those that were reviewed."""
    read(tmp_path / "other", champion=ONE)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/tests").symlink_to(tmp_path / "other/policies/tests")
    with pytest.raises(PermanentError, match="behind a symbolic link"):
        read_test_files(tmp_path, POLICIES)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    """In words, not with a traceback."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/tests").write_text("")
    with pytest.raises(PermanentError, match="cannot be read: Not a directory"):
        read_test_files(tmp_path, POLICIES)
