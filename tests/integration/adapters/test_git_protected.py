"""Pushes that the remote declines: what is protection, and what another fault."""

from __future__ import annotations

import pytest

from promoter.adapters.git.command import GitReply, convert_push_failure
from promoter.adapters.git.remote import parse_remote_address
from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import BranchProtected, PermanentError, TransientError

BRANCH = "promoter/fraud/champion"


@pytest.mark.parametrize(
    ("hook", "refusal"),
    [
        ("pre-receive", "GitLab: You are not allowed to push code to protected branches on this project."),
        ("pre-receive", "Gitea: Not allowed to push to protected branch main"),
        ("update", "error: GH006: Protected branch update failed for refs/heads/main."),
    ],
)
def test_protected_branch(hook: str, refusal: str, git_repository: GitRepository, git_remote: GitHttpServer) -> None:
    """A commit to a branch that takes none is `BranchProtected`, in the forge's words; a branch for proposals is still made."""
    ref = "$1" if hook == "update" else "$(cut -d ' ' -f 3)"
    _hook(git_remote, hook, f'[ "{ref}" = refs/heads/main ] || exit 0; echo "{refusal}" >&2; exit 1')
    base = git_repository.fetch_branch()
    with pytest.raises(BranchProtected, match=refusal[:40]) as caught:
        git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert "pull-request" in (caught.value.fix or "")
    tip = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Ours")
    assert git_repository.list_branches("promoter/") == {BRANCH: tip}
    assert git_repository.fetch_branch() == base


def test_protected_branches_for_proposals(git_repository: GitRepository, git_remote: GitHttpServer) -> None:
    """Where branches for proposals are protected too, a pull request is no way out: refused, not `BranchProtected`."""
    _hook(git_remote, "pre-receive", "echo 'Gitea: Not allowed to push to protected branch' >&2; exit 1")
    base = git_repository.fetch_branch()
    with pytest.raises(PermanentError, match=r"promoter/fraud/champion: .*Not allowed to push") as caught:
        git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Ours")
    assert not isinstance(caught.value, BranchProtected)
    assert "promoter/" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("reason", "err", "kind"),
    [
        (
            "protected branch hook declined",
            "remote: error: GH006: Protected branch update failed for refs/heads/main.",
            BranchProtected,
        ),
        (
            "push declined due to repository rule violations",
            "remote: error: GH013: Repository rule violations found",
            BranchProtected,
        ),
        ("TF402455: Pushes to this branch are not permitted; you must use a pull request", "", BranchProtected),
        ("pre-receive hook declined", "remote: the hook failed to update its log", BranchProtected),
        ("directory file conflict", "", None),
        ("failed to update ref", "remote: error: cannot lock ref 'refs/heads/a'", None),
        ("shallow update not allowed", "", PermanentError),
        ("unpacker error", "remote: fatal: disk full", TransientError),
    ],
)
def test_reasons_of_forges(reason: str, err: str, kind: type[Exception] | None) -> None:
    """What a remote says against one ref is protection, a race, or another fault."""
    out = f"To https://x/y.git\n!\tabc:refs/heads/main\t[remote rejected] ({reason})\nDone\n".encode()
    fault = convert_push_failure(
        GitReply(1, out, f"{err}\nerror: failed to push some refs to 'https://x/y.git'"), parse_remote_address("https://x/y")
    )
    assert type(fault) is (kind or type(None))


def test_forbidden_push_is_no_protection() -> None:
    """Credentials that may not push at all are refused: no branch and no pull request comes of them."""
    fault = convert_push_failure(
        GitReply(128, b"", "fatal: unable to access 'x': The requested URL returned error: 403"),
        parse_remote_address("https://x/y"),
    )
    assert type(fault) is PermanentError


def _hook(remote: GitHttpServer, name: str, script: str) -> None:
    hook = remote.path / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
