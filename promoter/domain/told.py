"""What decisions told as JSON, read again: for showing what was decided long ago."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from promoter.domain.verdict import Decision, RuleFinding, ConfidenceInterval, Verdict, AppliedWaiver


def decision_from_json(tree: Mapping[str, Any]) -> Decision:
    """What `Decision.as_json` told, without its evidence."""
    return Decision(
        model=tree["model"],
        alias=tree["alias"],
        version=tree["version"],
        policy=tree["policy"],
        policy_digest=tree["policy_digest"],
        verdict=Verdict(tree["verdict"]),
        findings=tuple(finding_from_json(rule) for rule in tree["rules"]),
        at=datetime.fromisoformat(tree["at"]),
        enforcement="audit" if tree.get("enforcement") == "audit" else "enforce",
    )


def finding_from_json(rule: Mapping[str, Any]) -> RuleFinding:
    """What `RuleFinding.as_json` told. NaN stays the text that it became."""
    interval, waived = rule.get("interval"), rule.get("waived")
    return RuleFinding(
        rule["rule"],
        Verdict(rule["verdict"]),
        rule["value"],
        rule["expected"],
        tuple(finding_from_json(child) for child in rule.get("rules", ())),
        ConfidenceInterval(interval["low"], interval["high"], interval["level"]) if interval else None,
        AppliedWaiver(Verdict(waived["verdict"]), waived["waiver"]) if waived else None,
    )
