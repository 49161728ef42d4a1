"""Readiness: whether a version could serve again: it is READY, its `MLmodel` file names a flavor, and it loads."""

from __future__ import annotations

from promoter.domain.observed import Checked
from promoter.domain.verdict import Finding, Verdict

READY = "READY"
PENDING = "PENDING_REGISTRATION"
_RULE = "ready"
_EXPECTED = "a READY version whose MLmodel file can be fetched and names a flavor, and whose artifact loads"


def ready(checked: Checked) -> Finding:
    """FAIL is certain (no such version, registration failed, no such file, no flavor, it does not load).

    PENDING is a registration under way, ERROR an `MLmodel` file that cannot be read now. Where the model cannot be tried (a
    library that is not installed, no time, no memory), the file is enough, and the value says why.
    """
    if checked.status == PENDING:
        return _found(Verdict.PENDING, "registration under way")
    if checked.status != READY:
        return _found(Verdict.FAIL, "no such version" if checked.status is None else f"status {checked.status}")
    if checked.flaw is not None:
        return _found(Verdict.FAIL if checked.certain else Verdict.ERROR, checked.flaw)
    return _loading(checked)


def _loading(checked: Checked) -> Finding:
    named, loading = ", ".join(checked.flavors), checked.loading
    if loading is None:
        return _found(Verdict.ERROR, f"{named}; nobody tried whether it loads")
    if loading.outcome == "failed":
        return _found(Verdict.FAIL, f"{named}; does not load: {loading.detail}")
    told = "loads" if loading.outcome == "loaded" else f"not loaded here: {loading.detail}"
    return _found(Verdict.PASS, f"{named}; {told}")


def _found(verdict: Verdict, value: str) -> Finding:
    return Finding(_RULE, verdict, value, _EXPECTED)
