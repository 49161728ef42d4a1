"""What decisions told as JSON, read again: for showing what was decided long ago."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from promoter.domain.verdict import Decision, Finding, Interval, Verdict, Waived


def decision_told(tree: Mapping[str, Any]) -> Decision:
    """What `Decision.as_json` told, without its evidence."""
    return Decision(
        model=tree["model"],
        alias=tree["alias"],
        version=tree["version"],
        policy=tree["policy"],
        policy_digest=tree["policy_digest"],
        verdict=Verdict(tree["verdict"]),
        findings=tuple(finding_told(rule) for rule in tree["rules"]),
        at=datetime.fromisoformat(tree["at"]),
        enforcement="audit" if tree.get("enforcement") == "audit" else "enforce",
    )


def finding_told(rule: Mapping[str, Any]) -> Finding:
    """What `Finding.as_json` told. NaN stays the text that it became."""
    interval, waived = rule.get("interval"), rule.get("waived")
    return Finding(
        rule["rule"],
        Verdict(rule["verdict"]),
        rule["value"],
        rule["expected"],
        tuple(finding_told(child) for child in rule.get("rules", ())),
        Interval(interval["low"], interval["high"], interval["level"]) if interval else None,
        Waived(Verdict(waived["verdict"]), waived["waiver"]) if waived else None,
    )
