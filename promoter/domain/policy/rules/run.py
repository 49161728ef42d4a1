"""`run`: the training run that the version came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import ConfigDict, Field, model_validator

from promoter.domain.decision import RuleFinding, Verdict, combine_all_of
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import Document, require_at_least_one
from promoter.domain.observed import RunStatus, TrainingRun
from promoter.domain.policy.rules.base import BaseRule, RuleContext

_UNFINISHED_STATUSES = ("RUNNING", "SCHEDULED")
SHOWN_CHARACTERS = 200


class DatasetTerms(Document):
    """A dataset that the run must have logged as an input."""

    digest: str = Field(min_length=1, max_length=500)
    name: str | None = Field(default=None, min_length=1, max_length=500)

    def __str__(self) -> str:
        return f"{self.name} {self.digest}" if self.name else self.digest


class RunTerms(Document):
    """What the run must be: at least one of these. Parameters are text, as MLflow keeps them."""

    model_config = ConfigDict(json_schema_extra=require_at_least_one("status", "experiment", "user", "params", "dataset"))

    status: RunStatus | None = None
    experiment: str | None = Field(default=None, min_length=1, max_length=500)
    user: str | None = Field(default=None, min_length=1, max_length=500)
    params: dict[str, str] = Field(
        default_factory=dict, max_length=100, description='Parameters and their values, which are text: `{depth: "3"}`.'
    )
    dataset: DatasetTerms | None = Field(
        default=None, description="A dataset that the run logged as an input: `{name: train, digest: 4f2a9c01}`."
    )

    @model_validator(mode="after")
    def _check_terms(self) -> RunTerms:
        if not (self.status or self.experiment or self.user or self.params or self.dataset):
            raise ValueError("`run` says at least one of `status`, `experiment`, `user`, `params` and `dataset`")
        return self


class RunRule(BaseRule):
    """`{run: {status: FINISHED, experiment: NAME, user: NAME, params: {KEY: VALUE}, dataset: {name: N, digest: D}}}`.

    MLflow lets whoever logs a run name its user: that term tells mistakes apart, not people who lie.
    """

    kind: ClassVar[str] = "run"

    run: RunTerms

    def __str__(self) -> str:
        return "run " + ", ".join(f"{name} {expected}" for name, expected in self._list_terms())

    def _list_terms(self) -> Iterator[tuple[str, str]]:
        terms = self.run
        for name, expected in (("status", terms.status), ("experiment", terms.experiment), ("user", terms.user)):
            if expected:
                yield name, expected
        for key, expected in terms.params.items():
            yield f"param {key}", expected
        if terms.dataset:
            yield "dataset", str(terms.dataset)

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return the run, and the name of its experiment where the rule states one."""
        del context
        return Need(run=True, experiment=self.run.experiment is not None)

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for an unfinished run, also for what it may yet log; error for a version without a readable run."""
        del context
        run = evidence.candidate.run
        if run is None:
            expected = ", ".join(f"{name} {value}" for name, value in self._list_terms())
            return self.build_finding(Verdict.ERROR, None, f"{expected} (the version has no run that can be read)")
        found = [self._evaluate_term(run, name, expected) for name, expected in self._list_terms()]
        if len(found) == 1:
            return found[0]
        passed = sum(each.verdict is Verdict.PASS for each in found)
        verdict = combine_all_of(each.verdict for each in found)
        return RuleFinding(str(self), verdict, f"{passed} of {len(found)} pass", "all pass", tuple(found))

    def _evaluate_term(self, run: TrainingRun, name: str, expected: str) -> RuleFinding:
        seen = self._find_seen_value(run, name)
        rule = f"run {name} {expected}"
        if self._is_term_met(run, name, expected):
            return RuleFinding(rule, Verdict.PASS, seen, expected)
        open_ = run.status in _UNFINISHED_STATUSES and (name == "status" or seen is None or name == "dataset")
        return RuleFinding(rule, Verdict.PENDING if open_ else Verdict.FAIL, seen, expected)

    def _is_term_met(self, run: TrainingRun, name: str, expected: str) -> bool:
        if name != "dataset":
            return self._find_seen_value(run, name, whole=True) == expected
        terms = self.run.dataset
        return terms is not None and any(
            each.digest == terms.digest and terms.name in (None, each.name) for each in run.datasets
        )

    def _find_seen_value(self, run: TrainingRun, name: str, *, whole: bool = False) -> str | None:
        if name == "dataset":
            return ", ".join(f"{each.name} {each.digest}" for each in run.datasets)[:SHOWN_CHARACTERS] or None
        if name.startswith("param "):
            value = run.params.get(name.removeprefix("param "))
        else:
            value = {"status": run.status, "experiment": run.experiment, "user": run.user}[name]
        return value if whole or value is None else value[:SHOWN_CHARACTERS]
