"""The folder of a repository that holds one Promoter's files: other folders of it may have Promoters of their own.

Promoter names its files as they lie in the folder (`registry.yaml`), whatever the folder is; git and people get whole paths.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

REGISTRY_FILE = "registry.yaml"
APPROVERS_FILE = "approvers.yaml"
POLICIES_FOLDER = "policies"
_LENGTH_LIMIT = 100
_PART = re.compile(r"[\w.+@](?:[\w.+@ -]*[\w.+@-])?")
_PLAIN = re.compile(r"[a-z0-9_]{1,40}")
_DIGITS = 10
_BRANCH = "promoter"
_UNSAFE_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]+")
_BRANCH_PART_LENGTH = 80


@dataclass(frozen=True)
class RepositoryFolder:
    """A folder, by its path from the top of the repository. What belongs to the top itself keeps its plain names."""

    path: str = ""
    """Such as `teams/ml`; empty for the top of the repository."""

    @classmethod
    def parse(cls, text: str) -> RepositoryFolder:
        """Parse `ml`, `./teams/ml/` or `.`. Raises ValueError for a path that is absolute, leads out, or is no plain path."""
        parts = [part for part in text.strip().split("/") if part not in ("", ".")]
        plain = all(_PART.fullmatch(part) and part != ".." and part.lower() != ".git" for part in parts)
        if text.strip().startswith("/") or not plain or len("/".join(parts)) > _LENGTH_LIMIT:
            raise ValueError(
                "a folder of the repository, such as ml or teams/ml: a path from the top of the repository, without `..`, "
                f"of letters, digits, blanks and . _ + @ -, with at most {_LENGTH_LIMIT} characters"
            )
        return cls("/".join(parts))

    def __str__(self) -> str:
        """Return the path for messages."""
        return f"{self.path}/" if self.path else "the top of the repository"

    @property
    def reader(self) -> str:
        """Return who reads the files in it, in words: other folders of the repository may have a Promoter of their own."""
        return f"the Promoter of {self}" if self.path else "Promoter"

    @property
    def chain(self) -> tuple[str, ...]:
        """The folders that lead to it, and itself, the topmost first; none for the top of the repository."""
        parts = self.path.split("/") if self.path else []
        return tuple("/".join(parts[:count]) for count in range(1, len(parts) + 1))

    def locate(self, name: str) -> str:
        """Return the path in the repository of what lies at that path in the folder."""
        return f"{self.path}/{name}" if self.path else name

    def relative_path(self, path: str) -> str | None:
        """Return the path in the folder of what lies at that path in the repository; None where it lies elsewhere."""
        if not self.path:
            return path
        return path.removeprefix(f"{self.path}/") if path.startswith(f"{self.path}/") else None

    def name_status(self, name: str) -> str:
        """Return the name of a commit status: each folder has its own."""
        return f"{name} ({self.path})" if self.path else name

    def mark_comment(self, mark: str) -> str:
        """Return the mark that a comment begins with, an HTML comment: each folder has its own."""
        return mark.removesuffix(" -->") + f" {self.path} -->" if self.path else mark

    @property
    def branch_prefix(self) -> str:
        """What the names of its branches begin with: `promoter/`, or `promoter-ml/`; different for every other folder."""
        if not self.path:
            return f"{_BRANCH}/"
        digest = "" if _PLAIN.fullmatch(self.path) else f"-{_hash_name(self.path)}"
        return f"{_BRANCH}-{_sanitize_branch_part(self.path).lower()}{digest}/"

    def build_model_prefix(self, model: str) -> str:
        """Return how the branch names of a model begin. A model of nearly that name may share the prefix."""
        return f"{self.branch_prefix}{_sanitize_branch_part(model)}/"

    def build_branch_name(self, model: str, alias: str) -> str:
        """Return the branch for proposals on that alias: readable, and different for every other pair of names."""
        plain = f"{_sanitize_branch_part(model)}/{_sanitize_branch_part(alias)}"
        if plain == f"{model}/{alias}":
            return self.branch_prefix + plain
        return f"{self.branch_prefix}{plain}-{_hash_name(f'{model}/{alias}')}"


def _sanitize_branch_part(name: str) -> str:
    return _UNSAFE_CHARACTERS.sub("-", name).strip("-")[:_BRANCH_PART_LENGTH] or "model"


def _hash_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]


TOP_FOLDER = RepositoryFolder()
"""The top of the repository."""
