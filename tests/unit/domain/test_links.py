"""Links and addresses: nobody's credentials are in them, and no name leads elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.links import MlflowAddresses, PageAddresses, build_model_uri, build_page_link, strip_credentials


@pytest.mark.parametrize(
    ("given_address", "bare"),
    [
        ("https://mlflow.example.com", "https://mlflow.example.com"),
        ("https://bot:pw@mlflow.example.com:5000/base/?t=1#x", "https://mlflow.example.com:5000/base"),
        ("https://pw@mlflow.example.com", "https://mlflow.example.com"),
        ("postgresql+psycopg2://u:pw@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("databricks", "databricks"),
        ("https://u:p/w@mlflow.example.com", None),
        ("https://u:p?w@mlflow.example.com", None),
        ("https://u:p#w@mlflow.example.com", None),
        ("https://u:p@w@mlflow.example.com", None),
        ("https://u:p://@mlflow.example.com", None),
        ("https://mlflow.example.com/\n", "https://mlflow.example.com"),
        ("https://mlflow.example.com/\x1b[2J", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_without_credentials(given_address: str | None, bare: str | None) -> None:
    """User, password and query go; where it cannot be told what is a password, there is no address."""
    assert strip_credentials(given_address) == bare


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6))
def test_no_password_is_left(password: str) -> None:
    """Whatever it is made of, as it stands or not."""
    assert f"hunter2{password}" not in (strip_credentials(f"https://bot:hunter2{password}@mlflow.example.com/x") or "")


def test_links_of_a_strange_name() -> None:
    """A name is one part of a path, whatever stands in it."""
    places = MlflowAddresses.build("https://m.example", "https://registry.example/", None)
    assert places.link_version("a/../b#?x y", 3) == "https://registry.example/#/models/a%2F..%2Fb%23%3Fx%20y/versions/3"
    assert places.link_run("a/b") == "https://m.example/#/runs/a%2Fb"
    assert build_page_link("https://p.example/", "a&q=b") == "https://p.example/?q=a%26q%3Db"
    assert (places.link_version("m", None), places.link_run(None), build_page_link(None, "m")) == (None, None, None)
    assert (build_model_uri("fraud detector", 7), build_model_uri("m", None)) == ("models:/fraud detector/7", None)


def test_where_people_reach_mlflow() -> None:
    """A setting goes before the tracking URI, which is no page where it is none of the web's."""
    given_pages = MlflowAddresses.build("http://mlflow:5000", "http://mlflow:5000", "https://mlflow.example.com/ui/")
    assert given_pages.tracking_uri == "http://mlflow:5000"
    assert given_pages.link_run("r") == "https://mlflow.example.com/ui/#/runs/r"
    store = MlflowAddresses.build("sqlite:///mlflow.db", "sqlite:///mlflow.db", None)
    assert (store.link_run("r"), store.link_version("m", 1)) == (None, None)
    in_workspace = MlflowAddresses.build("https://m.example", "https://m.example", None, "team-a")
    assert in_workspace.link_run("r") == "https://m.example/#/runs/r?workspace=team-a"
    assert in_workspace.link_version("m", 1) == "https://m.example/#/models/m/versions/1?workspace=team-a"


@pytest.mark.parametrize(
    ("commits", "revision", "link"),
    [
        ("https://bot:pw@git.example/a/b/commit/", "a" * 40, f"https://git.example/a/b/commit/{'a' * 40}"),
        ("https://git.example/a/b/commit/", "0f" * 32, f"https://git.example/a/b/commit/{'0f' * 32}"),
        ("https://git.example/a/b/commit/", "HEAD", None),
        ("https://git.example/a/b/commit/", "../../evil", None),
        ("https://git.example/a/b/commit/", None, None),
        ("nowhere/a/b/commit/", "a" * 40, None),
        (None, "a" * 40, None),
    ],
)
def test_the_page_of_a_commit(commits: str | None, revision: str | None, link: str | None) -> None:
    """Of an id alone, and on the web alone."""
    assert PageAddresses.build(None, MlflowAddresses(), {}, commits).link_commit(revision) == link
