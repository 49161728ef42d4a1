"""Readiness: whether a version could serve again: it is READY, its `MLmodel` file names a flavor, and it loads."""

from __future__ import annotations

from promoter.domain.observed import ReadinessCheck
from promoter.domain.verdict import RuleFinding, Verdict

READY_STATUS = "READY"
PENDING_STATUS = "PENDING_REGISTRATION"
_READINESS_RULE = "ready"
_READINESS_EXPECTED = "a READY version whose MLmodel file can be fetched and names a flavor, and whose artifact loads"


def check_readiness(checked: ReadinessCheck) -> RuleFinding:
    """FAIL is certain (no such version, registration failed, no such file, no flavor, it does not load).

    PENDING is a registration under way, ERROR an `MLmodel` file that cannot be read now. Where the model cannot be tried (a
    library that is not installed, no time, no memory), the file is enough, and the value says why.
    """
    if checked.status == PENDING_STATUS:
        return _build_readiness_finding(Verdict.PENDING, "registration under way")
    if checked.status != READY_STATUS:
        return _build_readiness_finding(
            Verdict.FAIL, "no such version" if checked.status is None else f"status {checked.status}"
        )
    if checked.flaw is not None:
        return _build_readiness_finding(Verdict.FAIL if checked.certain else Verdict.ERROR, checked.flaw)
    return _judge_loading(checked)


def _judge_loading(checked: ReadinessCheck) -> RuleFinding:
    named, loading = ", ".join(checked.flavors), checked.loading
    if loading is None:
        return _build_readiness_finding(Verdict.ERROR, f"{named}; nobody tried whether it loads")
    if loading.outcome == "failed":
        return _build_readiness_finding(Verdict.FAIL, f"{named}; does not load: {loading.detail}")
    loading_note = "loads" if loading.outcome == "loaded" else f"not loaded here: {loading.detail}"
    return _build_readiness_finding(Verdict.PASS, f"{named}; {loading_note}")


def _build_readiness_finding(verdict: Verdict, value: str) -> RuleFinding:
    return RuleFinding(_READINESS_RULE, verdict, value, _READINESS_EXPECTED)
