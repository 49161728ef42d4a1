"""References: the texts that decisions name by their digest. They lie beside the chain, so that evidence can be dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from promoter.domain.ledger.facts import LedgerFacts
from promoter.domain.ledger.problems import Problem, Wrong

EVIDENCE, POLICY, APPROVERS = "evidence", "policy", "approvers"
_DIGITS = 12


@dataclass(frozen=True)
class Reference:
    """What a decision names: a text by digest. `decision`: its entry's number; `at`: its moment, as the ledger writes it.

    `altered`: the text is there and has another digest; otherwise it is not there.
    """

    decision: int
    at: str
    kind: str
    digest: str
    altered: bool = False
    about: str = ""

    def problem(self, facts: LedgerFacts) -> Problem | None:
        """What is wrong with that; None where retention says that it dropped it. Policies and approvers are never dropped."""
        text = f"the text of its {self.kind} ({self.digest[:_DIGITS]}…)"
        if self.altered:
            return Problem(Wrong.TEXT, self.decision, f"{text} was changed: it has another SHA-256", about=self.about)
        if self.kind == EVIDENCE and facts.covers(self.decision, self.at):
            return None
        said = f"{text} is not there" + (", and no retention dropped it" if self.kind == EVIDENCE else "")
        return Problem(Wrong.LACKING, self.decision, said, about=self.about)


def references(number: int, facts: Mapping[str, Any], about: str = "") -> Iterator[Reference]:
    """What a decision names. Promoter kept the texts of policies only since decisions tell its version (`tool`)."""
    kinds = {"evidence": EVIDENCE, "policy_digest": POLICY, "approvers": APPROVERS}
    for name, kind in kinds.items():
        digest = facts.get(name)
        if isinstance(digest, str) and (kind != POLICY or "tool" in facts):
            yield Reference(number, str(facts.get("at", "")), kind, digest, about=about)
