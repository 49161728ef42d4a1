"""Copies: versions that `promote_from` asks for are looked for at their source, and copied here before they are judged."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from promoter.application.ports import VersionCopies
from promoter.application.survey import RegistrySnapshot
from promoter.domain.faults import ExternalError

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CopyResult:
    """How many copies were made, and what stood in the way of the first that was not."""

    made: int = 0
    trouble: ExternalError | None = None


class VersionCopier:
    """Makes the copies that a view's standings miss. No alias moves by it. The caller holds the model's lock."""

    def __init__(self, copies: VersionCopies) -> None:
        """Takes the port that it works with."""
        self._copies = copies

    def __call__(self, view: RegistrySnapshot) -> CopyResult:
        """One after the other; each only once, however many aliases wait for it. What fails keeps nothing else waiting."""
        wanted = {
            (standing.model, standing.missing.short_digest): standing.missing
            for model in view.models.values()
            for standing in model.rotation_statuses
            if standing.missing
        }
        made, trouble = 0, None
        for (model, _), source in wanted.items():
            try:
                number = self._copies.copy_version(source, model)
            except ExternalError as error:
                log.warning("not copied", model=model, source=str(source), error=str(error))
                trouble = trouble or error
                continue
            made += 1
            log.info("copied", model=model, version=number, source=str(source))
        return CopyResult(made, trouble)
