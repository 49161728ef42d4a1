"""A client for GitLab: python-gitlab, but without retries and waits of its own, for one host only, and with bounded lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gitlab
import requests
from gitlab.exceptions import GitlabAuthenticationError, GitlabError, GitlabParsingError
from pydantic import SecretStr

from promoter.adapters._http import BoundedSession
from promoter.adapters.forges.base import ForgeProject, bound_list
from promoter.domain.errors import ExternalError

PAGE_SIZE = 100
_UNAUTHORIZED = 401


class GitLabClient(gitlab.Gitlab):
    """The client. It takes a 429 as an answer like any other: the caller comes again later."""

    def http_request(self, verb: str, path: str, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request, once, to this instance."""
        if path.startswith(("http://", "https://")) and not path.startswith(f"{self.api_url}/"):
            raise GitlabParsingError("a page's link leads to another host")
        kwargs["obey_rate_limit"] = False
        kwargs["retry_transient_errors"] = False
        return super().http_request(verb, path, *args, **kwargs)


def create_gitlab_client(url: str, token: SecretStr, timeout: float) -> GitLabClient:
    """Create a client of the instance at that base URL. Sends nothing yet."""
    return GitLabClient(
        url,
        private_token=token.get_secret_value(),
        timeout=timeout,
        per_page=PAGE_SIZE,
        keep_base_url=True,
        user_agent="promoter",
        session=BoundedSession(timeout),
    )


def collect_bounded(items: Iterable[Any], what: str) -> list[dict[str, Any]]:
    """List the attributes of the first thousand items."""
    return [dict(item) if isinstance(item, Mapping) else item.asdict() for item in bound_list(items, what)]


def get_status_code(error: GitlabError) -> int:
    """Return the status behind an error; 0 where there was no answer that could be read."""
    return error.response_code or (_UNAUTHORIZED if isinstance(error, GitlabAuthenticationError) else 0)


def convert_error(error: Exception, place: ForgeProject, doing: str) -> ExternalError | None:
    """Convert an error of python-gitlab; None for any other."""
    if not isinstance(error, GitlabError):
        return None
    code = get_status_code(error)
    return place.build_status_error(doing, code, error.error_message) if code else place.build_format_error(doing)
