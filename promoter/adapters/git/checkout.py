"""The user's clone, for reading: its folder, any of its commits, and what a merge of two would give. No network, no checkout.

What git writes to compute a merge goes to a temporary folder.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from promoter.adapters.git.command import (
    GitCommand,
    GitConfiguration,
    GitReply,
    find_clone_refusal,
    read_environment_settings,
    redact_to_one_line,
)
from promoter.adapters.git.files import (
    BLOB_LIMIT,
    TOP_LEVEL_FILES,
    EntryKind,
    describe_unusable,
    is_source_file,
    parse_tree_listing,
    require_within_bounds,
    select_regular_files,
)
from promoter.adapters.git.history import CommitHistory
from promoter.adapters.git.mirror import BareMirror, GitAnswerCache, compute_merge, quote_path
from promoter.adapters.git.remote import GitTransport, RemoteAddress, is_revision
from promoter.adapters.git.signatures import SignatureVerifier
from promoter.application.ports import GitCommit, MergePreview, Sources, UnsignedCommit
from promoter.domain.errors import ExternalError, PermanentError
from promoter.domain.folder import POLICIES_FOLDER, REGISTRY_FILE, TOP_FOLDER, RepositoryFolder
from promoter.domain.text import escape_invisible

_CLONE_TIMEOUT_SECONDS = 60.0
_SHOWN_LENGTH = 80
_DEPTH_FIX = (
    "fetch all of history: `git fetch --unshallow`, `fetch-depth: 0` of actions/checkout, or `GIT_DEPTH: 0` in GitLab CI"
)


class _CloneMirror(BareMirror):
    """The clone's own objects, with a scratch folder beside them for what is written."""

    def __init__(self, folder: Path, objects: str, within: RepositoryFolder) -> None:
        remote = RemoteAddress(str(folder), GitTransport.LOCAL)
        super().__init__(folder, remote, "-", _CLONE_TIMEOUT_SECONDS, within=within)
        self._objects = objects
        self.scratch: str | None = None

    def run_git(self, *arguments: str, stdin: bytes | None = None, variables: Mapping[str, str] | None = None) -> GitReply:
        apart = {}
        if self.scratch:
            apart = {"GIT_OBJECT_DIRECTORY": self.scratch, "GIT_ALTERNATE_OBJECT_DIRECTORIES": quote_path(self._objects)}
        return super().run_git(*arguments, stdin=stdin, variables={**apart, **(variables or {})})

    def is_shallow(self) -> bool:
        """Whether the clone lacks older commits."""
        return self.run_git("rev-parse", "--is-shallow-repository").output_text == "true"

    def _mark_damaged(self, reply: GitReply) -> PermanentError:  # type: ignore[override]  # a clone is never made anew
        message = redact_to_one_line(reply.err, RemoteAddress("", GitTransport.LOCAL)) or "an object is missing"
        return PermanentError("git", f"this clone lacks what it should have: {message}", _DEPTH_FIX)


_CREDENTIAL_KEY = re.compile(r"credential\.|http\.|core\.(sshcommand|askpass)$|ssh\.variant$")


@dataclass(frozen=True)
class CloneRemote:
    """A remote of a clone."""

    name: str
    url: str = field(repr=False)  # it may hold a password
    credentials: GitConfiguration = field(repr=False)
    """How the person's git signs in there."""


def _read_environment_credentials() -> list[tuple[str, str]]:
    """Read what the environment itself says of signing in, as some CI systems do."""
    return [(key, value) for key, value in read_environment_settings() if _CREDENTIAL_KEY.match(key)]


def _choose_remote(names: Sequence[str], tracked: str | None) -> str | None:
    """Choose the remote that the branch tracks, else `origin`, else the only one."""
    if tracked in names:
        return tracked
    if "origin" in names:
        return "origin"
    return names[0] if len(names) == 1 else None


class LocalClone:
    """Implements the reading part of `Repository` for a clone on this machine."""

    def __init__(self, path: Path, folder: RepositoryFolder = TOP_FOLDER) -> None:
        """`path`: a place in it; `folder`: the one with Promoter's files. Raises `PermanentError` without a repository."""
        git = GitCommand(path, timeout=_CLONE_TIMEOUT_SECONDS, config=None)
        found = git.run_command("rev-parse", "--path-format=absolute", "--git-dir", "--git-path", "objects")
        git_folder, _, objects = found.output_text.partition("\n")
        if found.status != 0 or not objects:
            refusal = find_clone_refusal(path.absolute(), found) if found.status != 0 else None
            message = redact_to_one_line(found.err, RemoteAddress("", GitTransport.LOCAL))
            raise refusal or PermanentError(
                "git", f"here is no repository to read: {message}", "go to a clone of the GitOps repository"
            )
        self._mirror = _CloneMirror(Path(git_folder), objects, folder)
        self._remote = RemoteAddress(git_folder, GitTransport.LOCAL)
        self._history = CommitHistory(self._mirror, self._remote, GitAnswerCache())

    @property
    def folder(self) -> RepositoryFolder:
        """The folder that holds Promoter's files."""
        return self._mirror.within

    def find_nearest_folder(self, place: RepositoryFolder, revision: str) -> RepositoryFolder | None:
        """Find the folder with `registry.yaml` in that revision, from the place upwards; None where there is none."""
        for path in (*reversed(place.chain), ""):
            folder = RepositoryFolder(path)
            file = folder.locate(REGISTRY_FILE)
            reply = self._mirror.run_git("ls-tree", "-z", "--full-tree", "--end-of-options", revision, file)
            if reply.out:
                return folder
        return None

    def resolve_commit(self, ref: str) -> str:
        """Resolve a branch, a tag, a commit id, `origin/main`. Raises `PermanentError` where git knows no such commit."""
        reply = self._mirror.run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        if reply.status != 0 or not is_revision(reply.output_text):
            fix = (
                _DEPTH_FIX
                if self._mirror.is_shallow()
                else "name a branch, a tag or a commit that is fetched, such as origin/main"
            )
            raise PermanentError("git", f"`{escape_invisible(ref[:_SHOWN_LENGTH])}` is no commit of this clone", fix)
        return reply.output_text

    def find_branch_head(self, branch: str) -> tuple[str, str] | None:
        """Find the branch as a remote had it when it was last fetched, else the clone's own; its name here, and its commit."""
        refs = self._mirror.run_git(
            "for-each-ref", "--format=%(objectname) %(refname)", f"refs/remotes/*/{branch}", f"refs/heads/{branch}"
        )
        found = {name: revision for revision, _, name in (line.partition(" ") for line in refs.output_lines)}
        remote = _choose_remote(self._read_remote_names(), self._read_setting(f"branch.{branch}.remote"))
        for name in (f"refs/remotes/{remote}/{branch}", f"refs/heads/{branch}"):
            if is_revision(found.get(name, "")):
                return name.removeprefix("refs/heads/").removeprefix("refs/remotes/"), found[name]
        return None

    def find_remote(self, branch: str) -> CloneRemote | None:
        """Find the remote that the branch comes from: the one that it tracks, else `origin`, else the only one.

        None where the clone has no remote. Raises `PermanentError` where it has several, and nothing says which is meant.
        """
        names = self._read_remote_names()
        name = _choose_remote(names, self._read_setting(f"branch.{branch}.remote"))
        if name is None:
            if names:
                message = f"this clone has several remotes ({', '.join(names)}), and nothing says which has the branch {branch}"
                raise PermanentError("git", message, "set PROMOTER_REPO to the one whose branch decides")
            return None
        url = self._mirror.run_git("remote", "get-url", name).output_text
        top = self._mirror.run_git("rev-parse", "--path-format=absolute", "--git-common-dir").output_text
        if ":" not in url.split("/", 1)[0] and not url.startswith(("/", "~")):
            url = os.path.normpath(Path(top).parent / url)  # a path, which git takes from the top of the working tree
        return CloneRemote(name, url, self._read_credentials())

    def find_other_heads(self, branch: str, remote: str) -> dict[str, str]:
        """Find where the branch was in the other remotes when they were last fetched: commits by the remotes' names."""
        others = {f"refs/remotes/{name}/{branch}": name for name in self._read_remote_names() if name != remote}
        if not others:
            return {}
        refs = self._mirror.run_git("for-each-ref", "--format=%(objectname) %(refname)", *others)
        found = (line.partition(" ") for line in refs.output_lines)
        return {others[ref]: revision for revision, _, ref in found if ref in others and is_revision(revision)}

    def _read_remote_names(self) -> list[str]:
        return self._mirror.run_git("remote").output_lines

    def _read_setting(self, key: str) -> str | None:
        return self._mirror.run_git("config", "--get", key).output_text or None

    def _read_credentials(self) -> GitConfiguration:
        """Read what the person's configuration, here and elsewhere, says of signing in, in git's order; never our own."""
        listing = self._mirror.run_git("config", "--list", "--includes", "--show-scope", "-z")
        fields = iter(listing.out.decode("utf-8", "replace").split("\0"))
        found = [("credential.interactive", "false")]
        for scope, text in zip(fields, fields, strict=False):
            key, separator, value = text.partition("\n")
            if scope != "command" and _CREDENTIAL_KEY.match(key):
                found.append((key, value if separator else "true"))
        return [*found, *_read_environment_credentials()]

    def read_sources(self, revision: str) -> Sources:
        """Read the files of that revision that Promoter reads."""
        return self._mirror.read_sources(revision)

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """List first-parent commits after `base` up to `head` that touch `path`, oldest first; or the `last` so many."""
        return self._history.find_commits(base, head, path, last)

    def has_merged(self, branch: str, revision: str) -> bool:
        """Whether a remote's branch, as last fetched, has that commit. Raises `PermanentError` in a shallow clone."""
        if self._mirror.is_shallow():
            raise PermanentError("git", "this clone is too shallow: it does not show who brought what", _DEPTH_FIX)
        refs = ("for-each-ref", "--count=1", "--format=x", f"--contains={revision}", f"refs/remotes/*/{branch}")
        return bool(self._mirror.run_git(*refs).output_text)

    def preview_merge(self, base: str, head: str) -> MergePreview:
        """Compute what merging `head` into `base` would give. Raises `PermanentError` in a clone that is too shallow."""
        common = self._mirror.run_git("merge-base", "--end-of-options", base, head)
        if common.status != 0 and self._mirror.is_shallow():
            raise PermanentError("git", "this clone is too shallow: it does not show where base and head part", _DEPTH_FIX)
        with tempfile.TemporaryDirectory(prefix="promoter-") as scratch:
            self._mirror.scratch = scratch
            try:
                return compute_merge(self._mirror, self._remote, base, head)
            finally:
                self._mirror.scratch = None

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """Find the commits after `base` up to `head` that change the watched files without a valid signature."""
        return SignatureVerifier(self._mirror, self._remote).find_unsigned_commits(base, head)


def find_remotes_of_clone(path: Path) -> Sequence[str]:
    """Find the remotes that the clone at a path has, whoever owns it; none where it is bare, or no repository."""
    if not path.is_dir():
        return ()
    git = GitCommand(path, timeout=_CLONE_TIMEOUT_SECONDS, config=None)
    trusted = ("-c", "safe.directory=*")
    bare = git.run_command(*trusted, "rev-parse", "--is-bare-repository")
    return git.run_command(*trusted, "remote").output_lines if bare.output_text == "false" else ()


_WORK_TREE_TIMEOUT_SECONDS = 30.0


def parse_place(path: str) -> RepositoryFolder:
    """Parse the path of a folder in a clone. Raises `PermanentError` for a name that Promoter cannot work with."""
    try:
        return RepositoryFolder.parse(path)
    except ValueError as error:
        shown = escape_invisible(path[:_SHOWN_LENGTH])
        raise PermanentError("files", f"`{shown}` is not {error}", "rename the folder") from None


class WorkTree:
    """The files on disk: a folder with `registry.yaml` in it, or one inside such a folder. Reading files needs no git."""

    def __init__(self, path: Path, folder: RepositoryFolder | None = None) -> None:
        """`path`: where the search starts; it need not exist yet.

        `folder`: the one of the repository that holds the files; None: it is searched for.
        """
        self._start = Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve would follow symlinks
        self._given = folder

    @cached_property
    def clone_folder(self) -> Path:
        """The top of the working tree that the path is in; the path itself where it is in none."""
        return next((each for each in (self._start, *self._start.parents) if (each / ".git").exists()), self._start)

    @cached_property
    def root_folder(self) -> Path:
        """The folder with the files: the given one of the repository, else the nearest one with `registry.yaml`, else the path.

        The search goes from the path upwards, within its repository. Raises `PermanentError` where a symbolic link leads to
        the given folder: it may lead anywhere.
        """
        if self._given is not None:
            self._require_real_folder(self._given)
            return self.clone_folder / self._given.path
        for folder in (self._start, *self._start.parents):
            if os.path.lexists(folder / REGISTRY_FILE):  # a link that leads nowhere counts: it is a fault of its own
                return folder
            if (folder / ".git").exists():
                break
        return self._start

    def find_folder(self) -> RepositoryFolder | None:
        """Find which folder of the clone has the files; None without a clone, and where no `registry.yaml` is found."""
        root, top = self.root_folder, self.clone_folder
        if not (top / ".git").exists() or not os.path.lexists(root / REGISTRY_FILE):
            return None
        return parse_place(root.relative_to(top).as_posix())

    def find_place(self) -> RepositoryFolder:
        """Find where in the clone the path is.

        Raises `PermanentError` for a name that Promoter cannot work with, and where a symbolic link in the clone led the shell
        there: whoever made the link would choose the folder.
        """
        place = self._start.relative_to(self.clone_folder)
        shell = Path(os.environ.get("PWD", ""))
        if self._start == Path.cwd() and shell.is_absolute() and shell.exists() and shell.samefile(self._start):
            top = next((each for each in (shell, *shell.parents) if each.samefile(self.clone_folder)), None)
            if top is not None and shell.relative_to(top) != place:
                message = f"{shell.relative_to(top)} leads through a symbolic link, and Promoter does not follow that"
                raise PermanentError("files", escape_invisible(message), "go to the folder itself, or set PROMOTER_PATH")
        return parse_place(place.as_posix())

    def _require_real_folder(self, folder: RepositoryFolder) -> None:
        for path in folder.chain:
            if (self.clone_folder / path).is_symlink():
                fix = f"make {path} a folder, or let PROMOTER_PATH name another one"
                raise PermanentError("files", f"{path} is a symbolic link, and Promoter does not follow that", fix)

    def read_sources(self) -> Sources:
        """Read the files that Promoter reads, as bytes, and describe what else lies there; what is not there is left out."""
        sizes = self._find_file_sizes()
        kinds = {path: kind for path in self._list_candidates() if (kind := self._find_kind(path))}
        unusable = {path: found for path, kind in kinds.items() if (found := describe_unusable(path, kind))}
        require_within_bounds({**dict.fromkeys(unusable, 0), **sizes})
        return {**{path: self._read_content(path) for path in sorted(sizes)}, **unusable}

    def find_revision(self) -> str | None:
        """Find the commit that the files are at; None where one is changed or not committed, and outside a repository."""
        git = GitCommand(self.root_folder, timeout=_WORK_TREE_TIMEOUT_SECONDS, config=None)
        try:
            if not self.root_folder.is_dir():
                return None
            head = git.run_command("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
            if head.status != 0:
                return None
            listing = git.run_command(
                "ls-tree", "-z", "-l", "--end-of-options", head.output_text, *TOP_LEVEL_FILES, f"{POLICIES_FOLDER}/"
            )
            status = git.run_command(
                "status", "--porcelain", "--untracked-files=all", "--", *TOP_LEVEL_FILES, f":(glob){POLICIES_FOLDER}/*.yaml"
            )
        except ExternalError:
            return None
        regular = select_regular_files(parse_tree_listing(listing.out))
        committed = {entry.path for entry in regular if is_source_file(entry.path)}
        clean = listing.status == 0 and status.status == 0 and not status.out
        return head.output_text if clean and committed == self._find_file_sizes().keys() else None

    def find_refusal(self) -> PermanentError | None:
        """Find out why git does not read the clone that the files lie in (its owner, its configuration); None: it does."""
        git = GitCommand(self.clone_folder, timeout=_WORK_TREE_TIMEOUT_SECONDS, config=None)
        try:
            reply = git.run_command("rev-parse", "--git-dir")
        except ExternalError:
            return None
        return find_clone_refusal(self.clone_folder, reply) if reply.status != 0 else None

    def find_user_name(self) -> str | None:
        """Find the name that git gives to commits here (`user.name`); None where it has none, or where there is no git."""
        try:
            reply = GitCommand(self.clone_folder, timeout=_WORK_TREE_TIMEOUT_SECONDS, config=None).run_command(
                "config", "--get", "user.name"
            )
        except ExternalError:
            return None
        return reply.output_text.strip() or None if reply.status == 0 else None

    def _find_file_sizes(self) -> dict[str, int]:
        """Return the bytes of each regular file that Promoter reads."""
        found = {path: self._read_status(path) for path in self._list_candidates() if is_source_file(path)}
        return {path: status.st_size for path, status in found.items() if status and stat.S_ISREG(status.st_mode)}

    def _list_candidates(self) -> list[str]:
        """List what lies at the top level and in the folder of the policies, by path."""
        folder = self.root_folder / POLICIES_FOLDER
        policies = [] if folder.is_symlink() else _list_names(folder)
        return sorted([*_list_names(self.root_folder), *(f"{POLICIES_FOLDER}/{name}" for name in policies)])

    def _find_kind(self, path: str) -> EntryKind | None:
        """Return what lies there; None where it is gone. A folder with a repository of its own is a submodule."""
        status = self._read_status(path)
        if status is None:
            return None
        if stat.S_ISDIR(status.st_mode):
            return EntryKind.SUBMODULE if (self.root_folder / path / ".git").exists() else EntryKind.FOLDER
        if stat.S_ISLNK(status.st_mode):
            return EntryKind.LINK
        return EntryKind.FILE if stat.S_ISREG(status.st_mode) else EntryKind.DEVICE

    def _read_status(self, path: str) -> os.stat_result | None:
        try:
            return (self.root_folder / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _build_unreadable_error(self.root_folder / path, error) from None

    def _read_content(self, path: str) -> bytes:
        try:
            with (self.root_folder / path).open("rb") as file:
                return file.read(BLOB_LIMIT + 1)
        except OSError as error:
            raise _build_unreadable_error(self.root_folder / path, error) from None


def _list_names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _build_unreadable_error(folder, error) from None


def _build_unreadable_error(path: Path, error: OSError) -> PermanentError:
    return PermanentError("files", f"{path}: cannot be read: {error.strerror or 'no reason given'}", "see to its permissions")
