"""References: the texts that decisions name by their digest. They lie beside the chain, so that evidence can be dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from promoter.domain.ledger.facts import LedgerFacts
from promoter.domain.ledger.problems import LedgerProblem, ProblemKind

EVIDENCE_KIND, POLICY_KIND, APPROVERS_KIND = "evidence", "policy", "approvers"
_TEXT_DIGITS_SHOWN = 12


@dataclass(frozen=True)
class TextReference:
    """What a decision names: a text by digest. `decision`: its entry's number; `at`: its moment, as the ledger writes it.

    `altered`: the text is there and has another digest; otherwise it is not there.
    """

    decision: int
    at: str
    kind: str
    digest: str
    altered: bool = False
    about: str = ""

    def find_problem(self, facts: LedgerFacts) -> LedgerProblem | None:
        """What is wrong with that; None where retention says that it dropped it. Policies and approvers are never dropped."""
        text = f"the text of its {self.kind} ({self.digest[:_TEXT_DIGITS_SHOWN]}…)"
        if self.altered:
            return LedgerProblem(
                ProblemKind.TEXT, self.decision, f"{text} was changed: it has another SHA-256", about=self.about
            )
        if self.kind == EVIDENCE_KIND and facts.was_evidence_dropped(self.decision, self.at):
            return None
        message = f"{text} is not there" + (", and no retention dropped it" if self.kind == EVIDENCE_KIND else "")
        return LedgerProblem(ProblemKind.LACKING, self.decision, message, about=self.about)


def list_text_references(number: int, facts: Mapping[str, Any], about: str = "") -> Iterator[TextReference]:
    """What a decision names. Promoter kept the texts of policies only since decisions tell its version (`tool`)."""
    kinds = {"evidence": EVIDENCE_KIND, "policy_digest": POLICY_KIND, "approvers": APPROVERS_KIND}
    for name, kind in kinds.items():
        digest = facts.get(name)
        if isinstance(digest, str) and (kind != POLICY_KIND or "tool" in facts):
            yield TextReference(number, str(facts.get("at", "")), kind, digest, about=about)
