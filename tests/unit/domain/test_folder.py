"""The folder of one Promoter: its paths, and the names by which it is known beside others of the same repository."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.folder import TOP_FOLDER, RepositoryFolder

NAMES = st.text(min_size=1, max_size=120)
REF = re.compile(r"promoter(-[A-Za-z0-9_-]+)?/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
PLAIN = ["", "ml", "ML", "m-l", "m.l", "m l", "a_b", "promoter", "ü", "ö", "a" * 90, "a" * 91]
FOLDERS = [*PLAIN, "a/b", "a-b", "a/b/c", "a-b/c", "a/b-c"]


@given(NAMES, NAMES, NAMES, NAMES, st.sampled_from(FOLDERS))
def test_every_alias_has_a_branch_of_its_own(model: str, alias: str, other: str, another: str, path: str) -> None:
    """Whatever it is called: a name that git takes, found under its model's, and nobody else's."""
    folder = RepositoryFolder(path)
    branch = folder.build_branch_name(model, alias)
    assert REF.fullmatch(branch)
    assert branch.startswith(folder.build_model_prefix(model))
    assert folder.build_model_prefix(model).startswith(folder.branch_prefix)
    assert len(branch) < 200 + len(folder.branch_prefix)
    if (model, alias) != (other, another):
        assert folder.build_branch_name(other, another) != branch


def test_plain_names_stay_readable() -> None:
    """They are what people look for; at the top of the repository they are those of before."""
    assert TOP_FOLDER.build_branch_name("fraud-detector", "champion") == "promoter/fraud-detector/champion"
    assert TOP_FOLDER.build_model_prefix("fraud-detector") == "promoter/fraud-detector/"
    names = {TOP_FOLDER.build_branch_name(name, "champion") for name in ("fraud.detector", "fraud detector")}
    assert len(names) == 2
    assert RepositoryFolder("ml").build_branch_name("m", "champion") == "promoter-ml/m/champion"
    assert RepositoryFolder("teams/ml").branch_prefix.startswith("promoter-teams-ml-")


def test_no_folder_sees_the_names_of_another() -> None:
    """Neither branches, also where a file system folds case, nor statuses, nor the marks of comments."""
    mark = "<!-- promoter:plan -->"
    for one, two in combinations(map(RepositoryFolder, FOLDERS), 2):
        assert not one.branch_prefix.casefold().startswith(two.branch_prefix.casefold())
        assert not two.branch_prefix.casefold().startswith(one.branch_prefix.casefold())
        assert one.name_status("promoter/plan") != two.name_status("promoter/plan")
        assert not one.mark_comment(mark).startswith(two.mark_comment(mark))
        assert not two.mark_comment(mark).startswith(one.mark_comment(mark))
    assert (TOP_FOLDER.name_status("promoter/plan"), TOP_FOLDER.mark_comment(mark)) == ("promoter/plan", mark)


@pytest.mark.parametrize(
    ("text", "path"),
    [("", ""), (".", ""), ("./", ""), ("ml", "ml"), ("./teams//ml/", "teams/ml"), (" ml ", "ml"), ("a b", "a b")],
)
def test_ways_to_write_a_folder(text: str, path: str) -> None:
    """What a person or a CI file writes leads to one form."""
    assert RepositoryFolder.parse(text) == RepositoryFolder(path)


OUTSIDE = ["/ml", "..", "ml/../other", "a/..", "~/ml", ".git/x", "ml/.GIT"]
MEANINGFUL = ["a\nb", 'a"b', "a<!--b", "a-->b", "a:b", "a*", "\\ml", "-x", "x" * 101]


@pytest.mark.parametrize("text", [*OUTSIDE, *MEANINGFUL])
def test_a_path_that_leads_elsewhere_is_refused(text: str) -> None:
    """Absolute, out of the repository, into git's own folder, or of characters that mean something to git or a forge."""
    with pytest.raises(ValueError, match="a folder of the repository, such as ml"):
        RepositoryFolder.parse(text)


def test_paths_inside_and_outside() -> None:
    """A file of a folder that begins alike is not in it."""
    folder = RepositoryFolder("teams/ml")
    assert folder.locate("registry.yaml") == "teams/ml/registry.yaml"
    assert folder.relative_path("teams/ml/policies/a.yaml") == "policies/a.yaml"
    assert folder.relative_path("teams/mlops/registry.yaml") is None
    assert folder.relative_path("teams/ml") is None
    assert folder.chain == ("teams", "teams/ml")
    assert (TOP_FOLDER.locate("x"), TOP_FOLDER.relative_path("x"), TOP_FOLDER.chain) == ("x", "x", ())
