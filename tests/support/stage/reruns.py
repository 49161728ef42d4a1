"""After a story: every decision that its ledger has is made again from the ledger alone."""

from __future__ import annotations

from collections import Counter

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.yaml import YamlDocuments
from promoter.application.audit_rerun import DecisionRerunner
from promoter.application.responses.ledger import RerunResponse
from promoter.domain.ledger.rerun import RerunOutcome


def made_again(database_url: str) -> Counter[str]:
    """How many there are of each purpose. Fails where one comes out otherwise than it was recorded."""
    ledger = SqlLedger.open(database_url, read_only=True)
    try:
        found = list(DecisionRerunner(ledger, YamlDocuments()).rerun_all_decisions())
    finally:
        ledger.close_connections()
    others = [RerunResponse.from_rerun(each).to_json() for each in found if each.ending is not RerunOutcome.SAME]
    assert not others
    return Counter(str(each.recorded.purpose) for each in found)
