"""`promoter init`: the files of a new repository are written from what the registry has."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.cli.common import build_container, create_console, print_lines
from promoter.domain.text import escape_invisible, format_count, plural

if TYPE_CHECKING:
    from promoter.application.init import StarterSurvey
    from promoter.container import Container
    from promoter.domain.starter import ChosenMetric, Starter, UnmappedVersion


class CiService(StrEnum):
    """The forges that `promoter init` writes a CI file for."""

    GITHUB = "github"
    GITLAB = "gitlab"


def init(  # a command's options
    path: Annotated[Path, typer.Argument(help="The folder to write to; else PROMOTER_PATH or this one.")] = Path(),
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Begin the ledger of PROMOTER_DATABASE_URL, and write no files.")
    ] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:highest|lowest]",
            help="The metric that decides, and which values are better. Several: a model takes the first that it has.",
        ),
    ] = None,
    from_stages: Annotated[
        bool,
        typer.Option(
            "--from-stages", help="Write aliases for MLflow 2's stages: Production as champion, Staging as challenger."
        ),
    ] = False,
    ci: Annotated[
        CiService | None, typer.Option(metavar="github|gitlab", help="Also write a CI file that checks pull requests.")
    ] = None,
) -> None:
    """Write registry.yaml, policies and their tests from the live registry, and schemas for editors. Overwrites nothing.

    Metrics, bounds, tags, owners and families come from the versions that hold aliases now, and from their runs.

    Where PROMOTER_DATABASE_URL has no ledger yet, one begins there: `promoter apply` and `promoter rollback` need it.

    Examples: promoter init && git add --all && git commit -m "State the registry";
    promoter init --metric val_auc:highest --ci github; promoter init --from-stages; promoter init --ledger
    """
    if ledger:
        _begin_ledger(build_container(creates_ledger=True))
    else:
        _write_starter(_StarterFolder(path, ci), _parse_metric_options(metric or ()), from_stages=from_stages)


def _write_starter(target: _StarterFolder, wanted: Sequence[ChosenMetric], *, from_stages: bool) -> None:
    _require_free(target, target.list_fixed_files())
    container = build_container(creates_ledger=True)
    from promoter.application.init import survey_registry

    survey = survey_registry(container.registry, wanted, from_stages=from_stages)
    if survey.starter.needs_choice and not wanted:
        raise _build_choice_faults(survey.starter)
    files = target.render_files(survey.starter)
    _require_free(target, files)
    _begin_ledger(container)
    for file, text in sorted(files.items()):
        _write_new_file(file, text)
    _print_survey(survey, from_stages=from_stages)
    _print_next_steps(survey.starter, target)


class _StarterFolder:
    """The folder that the files are written to, and what is to lie in it."""

    def __init__(self, path: Path, ci: CiService | None) -> None:
        """`path`: what the command line says; the folder that one stands in gives way to PROMOTER_PATH."""
        from promoter.adapters.git.checkout import WorkTree
        from promoter.settings import load_folder

        folder = load_folder() if path == Path() else None
        self.path = path if folder is None else WorkTree(path, folder).root_folder
        self.clone = WorkTree(self.path).clone_folder
        self.is_clone = (self.clone / ".git").exists()
        self.ci = ci

    def list_fixed_files(self) -> dict[Path, str]:
        """List the files that are written whatever the registry has; what is missing of `.gitignore` is not among them."""
        from promoter.adapters.yaml.json_schema import SCHEMAS_FOLDER, render_schema_files
        from promoter.adapters.yaml.starter import render_starter_policies, render_starter_registry

        schemas = {self.path / SCHEMAS_FOLDER / name: text for name, text in render_schema_files().items()}
        files = {file: text for file, text in schemas.items() if not _has_same_content(file, text)}
        files |= {self.path / name: text for name, text in render_starter_policies().items()}
        files[self.path / "registry.yaml"] = render_starter_registry({})
        if self.ci:
            files |= self._render_ci_file(self.ci)
        if not os.path.lexists(self.ignore_file):
            files[self.ignore_file] = "".join(f"{line}\n" for line in IGNORED_LINES)
        return files

    def render_files(self, starter: Starter) -> dict[Path, str]:
        """Render all files that are to be written."""
        from promoter.adapters.yaml.starter import render_registry_file, render_starter_policies, render_starter_tests

        own = {
            **render_starter_policies(starter),
            **render_starter_tests(starter),
            "registry.yaml": render_registry_file(starter),
        }
        return self.list_fixed_files() | {self.path / name: text for name, text in own.items()}

    @property
    def ignore_file(self) -> Path:
        """The `.gitignore` of the folder."""
        return self.path / ".gitignore"

    def find_missing_ignores(self) -> list[str]:
        """Return the lines that an existing `.gitignore` lacks."""
        try:
            present = set(self.ignore_file.read_text(encoding="utf-8", errors="replace").splitlines())
        except OSError:
            present = set()
        return [line for line in IGNORED_LINES if not line.startswith("#") and line not in present]

    def _render_ci_file(self, ci: CiService) -> dict[Path, str]:
        from promoter.adapters.yaml.starter import GITHUB_FILE, GITLAB_FILE, render_github_workflow, render_gitlab_pipeline

        folder = os.path.relpath(os.path.abspath(self.path), self.clone).replace(os.sep, "/")  # noqa: PTH100
        folder = "" if folder == "." else folder
        if ci is CiService.GITHUB:
            return {self._locate_at_top(GITHUB_FILE): render_github_workflow(folder)}
        return {self._locate_at_top(GITLAB_FILE): render_gitlab_pipeline(folder)}

    def _locate_at_top(self, name: str) -> Path:
        """Return the path of a file at the top of the clone, written as the folder is where that is the top."""
        return (self.path if Path(os.path.abspath(self.path)) == self.clone else self.clone) / name  # noqa: PTH100


IGNORED_LINES = ("# Promoter's ledger and its mirror of this repository.", "promoter.db*", ".promoter/")


def _parse_metric_options(texts: Sequence[str]) -> list[ChosenMetric]:
    """Parse `NAME`, `NAME:highest` and `NAME:lowest`. Raises `Faults` with every name that is not clear."""
    from promoter.application.init import METRIC_NAME_LIMIT
    from promoter.domain.errors import Fault, Faults
    from promoter.domain.metric_direction import find_metric_order
    from promoter.domain.policy.rules.base import RankOrder
    from promoter.domain.starter import ChosenMetric

    found: list[ChosenMetric] = []
    faults: list[Fault] = []
    orders: dict[str, RankOrder] = {"highest": "highest", "lowest": "lowest"}
    for text in texts:
        name, colon, word = text.rpartition(":")
        name, order = (name, orders[word]) if colon and word in orders else (text, find_metric_order(text))
        if not 0 < len(name) <= METRIC_NAME_LIMIT:
            faults.append(Fault("--metric needs the name of a metric", fix="such as --metric val_auc"))
        elif order is None:
            fix = f"write --metric {name}:highest or --metric {name}:lowest"
            faults.append(Fault(f"whether more of the metric `{name}` is better or worse is not clear from its name", fix=fix))
        else:
            found.append(ChosenMetric(name, order))
    if faults:
        raise Faults(faults)
    return found


_SHOWN_CHOICES = 10
_SHOWN_NAMES = 5


def _build_choice_faults(starter: Starter) -> Exception:
    """Return a fault for each set of metrics among which a person must choose."""
    from promoter.domain.errors import Fault, Faults
    from promoter.domain.metric_direction import find_metric_order

    faults = []
    for each in starter.undecided[:_SHOWN_CHOICES]:
        directions = [f"{name} ({find_metric_order(name) or 'highest or lowest?'})" for name in each.candidates[:20]]
        example = each.candidates[0] + ("" if find_metric_order(each.candidates[0]) else ":highest")
        whose = f"{format_count(len(each.models), 'model')}, such as {each.models[0]}"
        several = len(each.candidates) > 1
        message = f"any of these metrics could decide about versions of {whose}: {', '.join(directions)}"
        if not several:
            message = (
                f"the one metric that could decide about versions of {whose}, does not say which values are better: "
                + directions[0]
            )
        faults.append(Fault(message, fix=f"say which one: promoter init --metric {example}"))
    return Faults(faults)


def _require_free(target: _StarterFolder, files: Iterable[Path]) -> None:
    """Raise `Faults` with every file that is there already, and every place where none can be written."""
    from promoter.domain.errors import Fault, Faults

    faults = []
    for file in files:
        inside = [each for each in file.parents if target.path in each.parents or target.clone in each.absolute().parents]
        blocked = [each for each in inside if os.path.lexists(each) and (each.is_symlink() or not each.is_dir())]
        if os.path.lexists(file):  # a link is not written through
            fix = "init writes new files only: move it away first, or edit it by hand"
            faults.append(Fault("exists already", file=str(file), fix=fix))
        faults += [Fault("is no folder, or a link to one", file=str(each), fix="move it away first") for each in blocked]
    if faults:
        raise Faults(faults)


def _write_new_file(target: Path, text: str) -> None:
    from promoter.domain.errors import PermanentError

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise PermanentError("files", f"{target} cannot be written: {error.strerror}") from None
    print_lines(f"wrote {target}")


def _begin_ledger(container: Container) -> None:
    container.require_ledger()
    where = container.ledger_location
    sys.stdout.write(f"began the ledger {where}\n" if container.is_ledger_new else f"there is a ledger already: {where}\n")


def _has_same_content(target: Path, text: str) -> bool:
    return target.is_file() and target.read_bytes() == text.encode()


_LINE_WIDTH = 80


def _print_wrapped(text: str, indent: str = "") -> None:
    printable = escape_invisible(text)
    print_lines(
        *textwrap.wrap(printable, _LINE_WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    )


def _print_survey(survey: StarterSurvey, *, from_stages: bool) -> None:
    starter = survey.starter
    models = [model for model in starter.models if model.stated]
    aliases = sum(len(model.stated) for model in models)
    print_lines("", f"{format_count(aliases, 'alias', 'aliases')} of {format_count(len(models), 'model')} stated.")
    if starter.new_count:
        _print_wrapped(
            f"{format_count(starter.new_count, 'alias', 'aliases')} of them come from stages, and are not in the registry yet."
        )
    for each in starter.policies if any(each.models for each in starter.policies) else ():
        words = "more" if each.metric.order == "highest" else "less"
        _print_wrapped(
            f"Policies {each.champion} and {each.challenger}: {each.metric.name} decides about "
            f"{format_count(len(each.models), 'model')}, {words} is better."
        )
    for family in starter.families:
        _print_wrapped(
            f"Family {family.prefix}*: {format_count(family.count, 'model')}, policies {family.policies.champion} "
            f"and {family.policies.challenger}."
        )
    for note in _list_notes(survey, from_stages=from_stages):
        _print_wrapped(f"Note: {note}", " " * len("Note: "))
    _print_unmapped(survey.unmapped)


def _list_notes(survey: StarterSurvey, *, from_stages: bool) -> Iterator[str]:
    starter = survey.starter
    if not any(each.models for each in starter.policies):
        metric = starter.policies[0].metric.name
        yield (
            f"no version that holds an alias has a metric that could decide, so no alias is gated. The policies name {metric}: "
            "write your own metric and bounds there, and then `policy: champion` into registry.yaml."
        )
    elif starter.unmeasured:
        yield (
            f"{_list_names(starter.unmeasured)} {plural(len(starter.unmeasured), 'has', 'have')} no policy: the holders of "
            "the aliases have no metric that could decide. What training data, production or the machine gave counts for "
            "nothing, unless --metric names it."
        )
    for each in starter.undecided:
        yield (
            f"{_list_names(each.models)} {plural(len(each.models), 'has', 'have')} no policy: "
            f"{', '.join(each.candidates[:20])} could decide, and nobody has chosen. Name the metric in a policy."
        )
    for policies in starter.policies:
        if policies.models and policies.champion_bound is None:
            yield f"{policies.champion} has no bound for {policies.metric.name}: the holders' values differ too much."
    if survey.has_stages and not from_stages:
        yield "versions are in MLflow's stages Production or Staging: `promoter init --from-stages` writes aliases for them."
    for stage, count in sorted(survey.other_stages.items()):
        yield f"{format_count(count, 'version')} in stage {stage}: no alias stands for it."
    if starter.left_out:
        yield f"{_list_names(starter.left_out)}: left out, since registry.yaml cannot hold the name."
    if survey.bad_aliases:
        yield f"{_list_names(survey.bad_aliases)}: left out, since registry.yaml cannot hold the alias."


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


_SHOWN_UNMAPPED = 50


def _print_unmapped(unmapped: Sequence[UnmappedVersion]) -> None:
    """Print the versions whose stage became no alias as a table."""
    from promoter.application.markdown.report import Heading, Paragraph, Table
    from promoter.cli.render import render_report_text

    if not unmapped:
        return
    rows = [(each.model, f"v{each.version}", each.stage, each.reason) for each in unmapped[:_SHOWN_UNMAPPED]]
    more = len(unmapped) - _SHOWN_UNMAPPED
    parts = [
        Paragraph(""),
        Heading("Stages that became no alias"),
        Table(("MODEL", "VERSION", "STAGE", "WHY"), rows),
        *([Paragraph(f"{more} more are not shown.")] if more > 0 else ()),
    ]
    render_report_text(create_console(), parts)


def _print_next_steps(starter: Starter, target: _StarterFolder) -> None:
    steps = [
        "Read policies/champion.yaml: its bounds leave the versions that serve now some room.",
        "promoter validate && promoter policy test",
    ]
    if missing := target.find_missing_ignores():
        steps.append(f"Add these lines to {target.ignore_file}, which is there already: {'  '.join(missing)}")
    if target.ci:
        placeholder = "OWNER" if target.ci is CiService.GITHUB else "GROUP and the image"
        steps.append(f"Put your own names in the place of {placeholder} in the CI file: see docs/ci.md.")
    if starter.new_count:
        steps.append(
            f"promoter plan: it lists {format_count(starter.new_count, 'alias', 'aliases')} to set, "
            "which come from stages, and ends with 2."
        )
    else:
        steps.append("promoter plan: it ends with 0, since the registry is as the files state.")
    steps.append('git add --all && git commit -m "State the registry" && git push')
    if starter.new_count:
        steps.append("promoter apply sets these aliases. Then let what serves load models:/NAME@champion.")
    steps.append("Rotation is off. Write `rotation: commit` or `rotation: pull-request` into an alias that it may move.")
    print_lines("", "Next:")
    for number, step in enumerate(steps, 1):
        head = f"  {number}. "
        _print_wrapped(head + step, " " * len(head))
