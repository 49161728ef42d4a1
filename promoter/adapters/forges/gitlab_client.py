"""python-gitlab, held to our rules: no retries of its own, no waiting as told by the server, no other host, bounded lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gitlab
import requests
import structlog
from gitlab.exceptions import GitlabAuthenticationError, GitlabError, GitlabParsingError
from pydantic import SecretStr

from promoter.adapters.forges.http import BoundedSession, ForgeProject

log = structlog.get_logger(__name__)


LIST_LIMIT = 1_000
"""Items of one list that are read; a warning tells where there are more."""
PAGE_SIZE = 100
_UNAUTHORIZED = 401


class GitLabClient(gitlab.Gitlab):
    """The client. A 429 is an answer like any other: whoever asked comes again later."""

    def http_request(self, verb: str, path: str, *args: Any, **kwargs: Any) -> requests.Response:
        """One request, sent once, to this instance."""
        if path.startswith(("http://", "https://")) and not path.startswith(f"{self.api_url}/"):
            raise GitlabParsingError("a page's link leads to another host")
        kwargs["obey_rate_limit"] = False
        kwargs["retry_transient_errors"] = False
        return super().http_request(verb, path, *args, **kwargs)


def create_gitlab_client(url: str, token: SecretStr, timeout: float) -> GitLabClient:
    """A client of the instance at that base URL. Asks nothing yet."""
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
    """The attributes of the first thousand; their pages are asked for as they are needed."""
    rows: list[dict[str, Any]] = []
    for item in items:
        if len(rows) == LIST_LIMIT:
            log.warning("a list of the forge is longer than what is read of it", what=what, limit=LIST_LIMIT)
            break
        rows.append(dict(item) if isinstance(item, Mapping) else item.asdict())
    return rows


@contextmanager
def translate_errors(place: ForgeProject, doing: str) -> Iterator[None]:
    """Whatever the client raises inside, or an answer of an unknown form does, becomes a fault in words."""
    try:
        yield
    except GitlabError as error:
        raise _build_external_error(error, place, doing) from None  # the original holds the request with its token
    except requests.RequestException as error:
        raise place.build_network_error(doing, error) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise place.build_format_error(doing) from None


def get_status_code(error: GitlabError) -> int:
    """The status behind an error; 0 where there was no answer that could be read."""
    return error.response_code or (_UNAUTHORIZED if isinstance(error, GitlabAuthenticationError) else 0)


def _build_external_error(error: GitlabError, place: ForgeProject, doing: str) -> Exception:
    code = get_status_code(error)
    return place.build_status_error(doing, code, error.error_message) if code else place.build_format_error(doing)
