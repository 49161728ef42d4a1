"""The many addresses that GitHub puts into its accounts and repositories."""

from __future__ import annotations

_USER = (
    *("followers", "subscriptions", "received_events", "repos"),
    *("events{/privacy}", "following{/other_user}", "gists{/gist_id}", "starred{/owner}{/repo}"),
)
_REPOSITORY = (
    *("contributors", "deployments", "downloads", "events", "forks", "hooks", "languages", "merges"),
    *("stargazers", "subscribers", "subscription", "tags", "teams"),
    *("assignees{/user}", "branches{/branch}", "collaborators{/collaborator}", "comments{/number}", "commits{/sha}"),
    *("contents/{+path}", "issues{/number}", "keys{/key_id}", "labels{/name}", "milestones{/number}", "pulls{/number}"),
    *("notifications{?since,all,participating}", "releases{/id}", "statuses/{sha}", "compare/{base}...{head}"),
)


def of_user(base: str, api: str, login: str) -> dict[str, str | None]:
    """An account's, by key."""
    here = f"{api}/users/{login}"
    return {
        "url": here,
        "html_url": f"{base}/{login}",
        "avatar_url": f"{base}/avatars/{login}",
        "gravatar_id": "",
        "organizations_url": f"{here}/orgs",
        **{f"{_key(each)}_url": f"{here}/{each}" for each in _USER},
    }


def of_repository(base: str, api: str, name: str) -> dict[str, str]:
    """A repository's, by key."""
    here, page = f"{api}/repos/{name}", f"{base}/{name}"
    host = base.partition("//")[2]
    return {
        "url": here,
        "html_url": page,
        "clone_url": f"{page}.git",
        "svn_url": page,
        "git_url": f"git://{host}/{name}.git",
        "ssh_url": f"git@{host}:{name}.git",
        "archive_url": f"{here}/{{archive_format}}{{/ref}}",
        "blobs_url": f"{here}/git/blobs{{/sha}}",
        "git_commits_url": f"{here}/git/commits{{/sha}}",
        "git_refs_url": f"{here}/git/refs{{/sha}}",
        "git_tags_url": f"{here}/git/tags{{/sha}}",
        "trees_url": f"{here}/git/trees{{/sha}}",
        "issue_comment_url": f"{here}/issues/comments{{/number}}",
        "issue_events_url": f"{here}/issues/events{{/number}}",
        **{f"{_key(each)}_url": f"{here}/{each}" for each in _REPOSITORY},
    }


def _key(path: str) -> str:
    return path.partition("{")[0].rstrip("/")
