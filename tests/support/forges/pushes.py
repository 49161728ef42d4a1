"""People at work in a hosted repository: commits on branches, without a clone."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.forges.repository import HostedRepository


def pushed(
    repository: HostedRepository,
    branch: str,
    files: Mapping[str, str],
    by: str = "bob",
    *,
    mail: str | None = None,
    base: str | None = None,
    message: str = "Work",
) -> str:
    """A commit of these files on top of the branch, or where it is new, on top of `base`; the forge sees it when next asked."""
    heads = repository.git.heads()
    tip = heads.get(branch) or heads[base or repository.branch]
    who = f"{by} <{mail or f'{by}@example.org'}> 1790000000 +0000"
    lines = [
        f"commit refs/heads/{branch}",
        f"author {who}",
        f"committer {who}",
        f"data {len(message.encode())}",
        message,
        f"from {tip}",
    ]
    for path, text in files.items():
        lines += [f"M 100644 inline {path}", f"data {len(text.encode())}", text]
    repository.git.run("fast-import", "--quiet", stdin="\n".join(lines) + "\n")
    return repository.git.heads()[branch]
