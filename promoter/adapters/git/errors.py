"""What git says on its standard error, in words for people: retry, or mend something, or read again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from promoter.adapters.git.command import GitReply
from promoter.adapters.git.remote import RemoteAddress
from promoter.domain.faults import ExternalError, Conflict, BranchProtected, PermanentError, TransientError

_MESSAGE_LIMIT = 300
_READ_OR_WRITE = "set PROMOTER_GIT_TOKEN, or give a key, that may read and write this repository"


@dataclass(frozen=True)
class _FailureCause:
    """A known failure: how git puts it, and how we do. `quoted`: git's own words add to it."""

    pattern: re.Pattern[str]
    kind: type[ExternalError]
    message: str
    fix: str | None = None
    quoted: bool = False


def _compile_failure_cause(
    pattern: str, kind: type[ExternalError], message: str, fix: str | None = None, *, quoted: bool = False
) -> _FailureCause:
    return _FailureCause(re.compile(pattern, re.IGNORECASE), kind, message, fix, quoted)


_FAILURE_CAUSES = (
    _compile_failure_cause(
        r"error: 30\d|unable to update url base",
        PermanentError,
        "the remote redirects elsewhere",
        "give the repository's new URL",
    ),
    _compile_failure_cause(
        r"error: (5\d\d|429|408)|HTTP (5\d\d|429|408)", TransientError, "the remote answers with a server error", quoted=True
    ),
    _compile_failure_cause(
        r"authentication failed|could not read (username|password)|error: 401|HTTP 401|HTTP basic: access denied",
        PermanentError,
        "the remote does not accept the credentials, or wants some",
        _READ_OR_WRITE,
    ),
    _compile_failure_cause(
        r"error: 403|HTTP 403", PermanentError, "the remote does not allow this with these credentials", _READ_OR_WRITE
    ),
    _compile_failure_cause(
        r"permission denied \(", PermanentError, "the ssh server does not accept any of the keys", _READ_OR_WRITE
    ),
    _compile_failure_cause(
        r"host key verification failed",
        PermanentError,
        "the ssh server's host key is not known, or has changed",
        "check the key, and put it into known_hosts",
    ),
    _compile_failure_cause(
        r"certificate|SSL.*verif",
        PermanentError,
        "the remote's TLS certificate is not trusted",
        "name the authority's certificate in GIT_SSL_CAINFO",
        quoted=True,
    ),
    _compile_failure_cause(
        r"could not resolve|couldn't (resolve|connect)|failed to connect|connection (refused|reset|timed out|closed)"
        r"|timed out|no route to host|network is unreachable|operation too slow|empty reply|recv failure|send failure"
        r"|RPC failed|hung up unexpectedly|unexpected disconnect|early EOF|name resolution",
        TransientError,
        "the remote cannot be reached",
        quoted=True,
    ),
    _compile_failure_cause(
        r"error: 404|repository .*not found|does not appear to be a git repository|no such file or directory"
        r"|repository .*does not exist|not a git repository|project you were looking for",
        PermanentError,
        "there is no such repository, or the credentials do not show it",
        "check PROMOTER_REPO and PROMOTER_GIT_TOKEN",
    ),
    _compile_failure_cause(
        r"permission denied|insufficient permission",
        PermanentError,
        "the system does not permit it",
        "see to the permissions",
        quoted=True,
    ),
    _compile_failure_cause(
        r"dubious ownership", PermanentError, "the repository's folder belongs to another user", "change its owner"
    ),
    _compile_failure_cause(
        r"transport .* not allowed",
        PermanentError,
        "this kind of address is not used",
        "give an https:// or ssh:// URL, or a path",
    ),
)

_PREAMBLE = re.compile(r"fatal: (unable to access '[^']*': )?")
_OUTDATED = re.compile(r"stale info|fetch first|non-fast-forward|remote ref updated since checkout|needs force")
_NON_FAST_FORWARD = "[remote rejected] (non-fast-forward)"
_CONTESTED = re.compile(
    r"cannot lock ref|failed to (update|lock)|incorrect old value|reference already exists"
    r"|directory.file conflict|refname conflict",
    re.IGNORECASE,
)
_PROTECTED = re.compile(r"declined|protected|pull request", re.IGNORECASE)
"""GitHub, GitLab and Gitea say that a hook, or a rule, declined, and the words on the lines above say which. A house's own hook
may mean something else; the branch of a pull request is then declined too, and that is told."""


def convert_known_failure(reply: GitReply, remote: RemoteAddress) -> ExternalError | None:
    """The failure of talking to the remote, where its cause is known."""
    for cause in _FAILURE_CAUSES:
        if cause.pattern.search(reply.err):
            quotation = f" ({redact_to_one_line(_PREAMBLE.sub('', reply.err), remote)})" if cause.quoted else ""
            return cause.kind("git", _truncate_message(f"{remote.url}: {cause.message}{quotation}"), cause.fix)
    return None


def convert_command_failure(action: str, reply: GitReply, remote: RemoteAddress) -> ExternalError:
    """The failure of a command. What is not known is worth another try."""
    message = redact_to_one_line(reply.err, remote) or f"exit status {reply.status}"
    return convert_known_failure(reply, remote) or TransientError("git", _truncate_message(f"git {action} failed: {message}"))


def convert_push_failure(reply: GitReply, remote: RemoteAddress) -> ExternalError | None:
    """Why a push did not go through. None: the remote could not move the branch, and only its head now tells why."""
    lines = reply.out.decode("utf-8", "replace").splitlines()
    reasons = [redact_to_one_line(line.rpartition("\t")[2], remote) for line in lines if line.startswith("!\t")]
    if not reasons:
        return convert_command_failure("push", reply, remote)
    if _OUTDATED.search(reasons[0]) and _NON_FAST_FORWARD not in reasons[0]:
        return build_push_conflict()
    if not _PROTECTED.search(reasons[0]) and _CONTESTED.search(reasons[0] + reply.err):
        return None
    return _convert_push_rejection(reasons[0], reply, remote)


def convert_missing_ref(reply: GitReply, remote: RemoteAddress) -> PermanentError | None:
    """The failure of fetching a ref by its name that the remote does not have."""
    absent = re.search(r"couldn't find remote ref (.*)", reply.err)
    return (
        PermanentError("git", _truncate_message(f"{remote.url}: there is no {redact_to_one_line(absent[1], remote)}"))
        if absent
        else None
    )


def build_push_conflict() -> Conflict:
    """The branch's head is not what the commit was made on."""
    return Conflict("git", "somebody else pushed to the branch first")


def _convert_push_rejection(reason: str, reply: GitReply, remote: RemoteAddress) -> ExternalError:
    """What the remote's own rules, or its disk, say against a commit that is otherwise in order."""
    message = redact_to_one_line(" ".join(re.findall(r"^remote: ?(.*)$", reply.err, re.MULTILINE)) or reply.err, remote)
    if "currently checked out" in reason:
        return PermanentError(
            "git",
            f"{remote.url}: the branch is checked out there, and git does not change it under its user",
            "push to a bare repository, or set receive.denyCurrentBranch updateInstead in that one",
        )
    if _NON_FAST_FORWARD in reason:
        fix = "let this account make its own branches anew (receive.denyNonFastForwards, or the forge's rule for forced pushes)"
        return PermanentError("git", f"{remote.url}: the remote does not let a branch be made anew", fix)
    if "unpack" in reason and "permission" not in reply.err.lower():
        return TransientError("git", _truncate_message(f"the remote could not store the commit: {message}"))
    if _PROTECTED.search(reason):
        fix = "let this account push to the branch, or use rotation: pull-request"
        return BranchProtected("git", _truncate_message(f"the remote declined the commit: {reason}: {message}"), fix)
    return PermanentError("git", _truncate_message(f"the remote rejected the commit: {reason}: {message}"), _READ_OR_WRITE)


def redact_to_one_line(text: str, remote: RemoteAddress) -> str:
    """The text on one line, without credentials and without what could steer a terminal, at most 300 characters."""
    words = " ".join(remote.redact_credentials(text).split())
    return _truncate_message("".join(letter if letter.isprintable() else "?" for letter in words))


def _truncate_message(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
