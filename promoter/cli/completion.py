"""Completion for shells: the command that prints the script, and the names that a registry's files and MLflow know.

A shell runs `promoter` again for each press of the tab key, with `_PROMOTER_COMPLETE` in its environment. Nothing may disturb
the line that somebody types then: no error, no traceback, and no wait for a server of more than two seconds.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.cli.common import print_lines

if TYPE_CHECKING:
    from promoter.domain.desired import DesiredState

COMPLETION_VARIABLE = "_PROMOTER_COMPLETE"
_PREFIX_VARIABLE = "_PROMOTER_COMPLETE_PREFIX"
"""What stands before the word that bash completes, and belongs to it: `fraud` of `fraud@champion`."""
_WORDS, _POSITION = "COMP_WORDS", "COMP_CWORD"
_BREAKS = ("@", "=")
"""What is a word of its own for bash, wherever it stands."""
_SERVER_SECONDS = 2.0
_HARMLESS = re.compile(r"[\w.+@/-]+")
"""Names that a shell takes as they are. Another one could run something once it is in the line, and is not offered."""

_SUBJECT = re.compile(r"[\w.+-]+(@|/)[\w.+-]+")


class ShellName(StrEnum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[ShellName, typer.Argument(help="The shell.")]) -> None:
    """Print the script that lets a shell complete commands, options, models, aliases, versions and policies.

    Names come from registry.yaml and policies/ of the folder that one stands in, and versions from MLflow, if it answers soon.

    Examples: source <(promoter completion bash); promoter completion zsh > ~/.zfunc/_promoter; promoter completion fish >
    ~/.config/fish/completions/promoter.fish
    """
    from typer._completion_shared import get_completion_script

    print_lines(get_completion_script(prog_name="promoter", complete_var=COMPLETION_VARIABLE, shell=shell.value))


def run_completion(app: typer.Typer) -> int:
    """Answer a shell, and return the exit code. Whatever is wrong, nothing is printed that is no completion."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        join_broken_words(os.environ)
        app(standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001  # a shell has no place for any error
        return 1
    return 0


def join_broken_words(environment: MutableMapping[str, str]) -> None:
    """Join the words that bash broke at `@` and `=`, up to the one that is completed.

    That one alone stays broken before its `@`, since bash replaces what begins there: it completes names of hosts behind it.
    """
    position = environment.get(_POSITION, "")
    if environment.get(COMPLETION_VARIABLE) != "complete_bash" or not position.isdigit():
        return
    command, *pieces = environment.get(_WORDS, "").split("\n")[: int(position) + 1]
    pieces += [""] * (int(position) - len(pieces))
    joined: list[str] = []
    for place, piece in enumerate(pieces):
        follows = piece in _BREAKS or (place > 0 and pieces[place - 1] in _BREAKS)
        joined[-1:] = [joined[-1] + piece] if follows and joined else [*joined[-1:], piece]
    *before, word = joined or [""]
    prefix = word[: word.rindex("@")] if word != (pieces or [""])[-1] and "@" in word else ""
    environment[_PREFIX_VARIABLE] = prefix
    environment[_WORDS] = "\n".join([command, *before, word[len(prefix) :]])
    environment[_POSITION] = str(len(joined))


def _offer(names: Iterable[str]) -> list[str]:
    """Return the names that a shell may put into the line, without what stands there already."""
    prefix = os.environ.get(_PREFIX_VARIABLE, "")
    return [each[len(prefix) :] for each in sorted(set(names)) if each.startswith(prefix) and _HARMLESS.fullmatch(each)]


def _read_desired_state() -> DesiredState | None:
    from promoter.adapters.git.checkout import WorkTree
    from promoter.adapters.yaml.load import parse_registry_document, read_yaml_tree
    from promoter.domain.desired import DesiredState
    from promoter.domain.folder import REGISTRY_FILE
    from promoter.settings import load_folder

    content = WorkTree(Path(), load_folder()).read_sources().get(REGISTRY_FILE)
    document = parse_registry_document(read_yaml_tree(REGISTRY_FILE, content))[0] if isinstance(content, bytes) else None
    return DesiredState.from_document(document) if document else None


def _list_aliases() -> Mapping[str, Sequence[str]]:
    """Return the aliases of each model that the files name."""
    desired = _read_desired_state()
    return {name: sorted(intent.aliases) for name, intent in desired.listed.items()} if desired else {}


def _list_versions(model: str) -> Sequence[int]:
    """Return the newest versions of a model; none where MLflow does not answer in time."""
    found: list[int] = []

    def ask_server() -> None:
        from promoter.adapters.mlflow.listing import list_version_numbers
        from promoter.settings import load_settings

        try:
            uri = load_settings().mlflow_tracking_uri
            found.extend(list_version_numbers(uri, model, timeout=_SERVER_SECONDS) if uri else ())
        except Exception:  # noqa: BLE001  # a shell has no place for any error
            found.clear()

    asking = Thread(target=ask_server, daemon=True)
    asking.start()
    asking.join(_SERVER_SECONDS)
    return () if asking.is_alive() else tuple(found)


def _find_model(context: typer.Context) -> str:
    """Return the model that the command line names so far, in the argument of MODEL@ALIAS or MODEL/VERSION, or by --model."""
    what = str(context.params.get("what") or _find_written_subject())
    named = what.rpartition("@" if "@" in what else "/")[0]
    return named or str(context.params.get("model") or "")


def _find_written_subject() -> str:
    """Return the first word of MODEL@ALIAS or MODEL/VERSION: an option that lacks its value keeps click from reading others."""
    words = (os.environ.get(_WORDS) or os.environ.get("_TYPER_COMPLETE_ARGS") or "").split()[1:]
    return next((each for each in words if _SUBJECT.fullmatch(each)), "")


def complete_models() -> list[str]:
    """Offer the models of registry.yaml."""
    return _offer(_list_aliases())


def complete_alias_names() -> list[str]:
    """Offer MODEL@ALIAS of each alias that registry.yaml names."""
    return _offer(f"{model}@{alias}" for model, aliases in _list_aliases().items() for alias in aliases)


def complete_aliases(context: typer.Context) -> list[str]:
    """Offer the aliases of the model that the line names, or of all."""
    known, model = _list_aliases(), _find_model(context)
    return _offer(known.get(model) or (each for aliases in known.values() for each in aliases))


def complete_versions(context: typer.Context) -> list[str]:
    """Offer the versions that MLflow has of the model that the line names."""
    model = _find_model(context)
    return _offer(map(str, _list_versions(model))) if model else []


def complete_version_names(incomplete: str) -> list[str]:
    """Offer MODEL/VERSION: the versions of the one model that it can be, else the models."""
    known = [each for each in _list_aliases() if each.startswith(incomplete.partition("/")[0])]
    model = incomplete.partition("/")[0] if "/" in incomplete else known[0] if len(known) == 1 else ""
    versions = [f"{model}/{each}" for each in _list_versions(model)] if model else []
    return _offer(versions or [f"{each}/" for each in known])


def complete_subjects(incomplete: str) -> list[str]:
    """Offer what `explain` takes: a model, MODEL@ALIAS, and MODEL/VERSION once the model is written."""
    if "/" in incomplete:
        return complete_version_names(incomplete)
    return complete_models() + complete_alias_names()


def complete_policies() -> list[str]:
    """Offer the policies of the folder."""
    from promoter.adapters.git.checkout import WorkTree
    from promoter.domain.folder import POLICIES_FOLDER
    from promoter.settings import load_folder

    files = (Path(each) for each in WorkTree(Path(), load_folder()).read_sources())
    return _offer(each.stem for each in files if each.parent == Path(POLICIES_FOLDER) and each.suffix == ".yaml")


def complete_words(*words: str) -> Callable[[], list[str]]:
    """Return what offers these words."""
    return lambda: _offer(words)


def complete_record_kinds() -> list[str]:
    """Offer the kinds of audit records."""
    from promoter.domain.audit import RecordKind

    return _offer(RecordKind)


def complete_outcomes() -> list[str]:
    """Offer the words of the column `outcome` of audit records."""
    from promoter.domain.audit import STATUS_LABELS

    return _offer(STATUS_LABELS)


def complete_verdicts() -> list[str]:
    """Offer the verdicts of decisions."""
    from promoter.domain.decision import Verdict

    return _offer(Verdict)
