"""`require_signed_commits`: a head with an unsigned commit is refused, and the last good revision stays in force."""

from __future__ import annotations

import pytest

from promoter.application.ports import UnsignedCommit
from promoter.domain.audit import RevisionState
from promoter.domain.errors import PermanentError
from tests.support.app import POLICY, App

SIGNED = "safety: {require_signed_commits: true}\n"
MODEL = "m: {{aliases: {{champion: {}}}}}"
ROTATING = "m: {aliases: {champion: {policy: p, rotation: commit}}}"


@pytest.fixture
def strict(app: App) -> App:
    """Two versions; a signed commit has the first as champion."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.commit(MODEL.format(1), SIGNED)
    app.converge()
    return app


def unsigned(app: App, revision: str) -> str:
    """What git will say of that commit."""
    app.git.unsigned_commits.append(UnsignedCommit(revision, "Eve <eve@example.org>", "not signed"))
    return revision


def test_an_unsigned_commit_is_refused(strict: App) -> None:
    """With who made it and what to do; a signed one behind it does not make it good."""
    good = strict.git.head
    bad = unsigned(strict, strict.commit(MODEL.format(2), SIGNED))
    strict.commit(MODEL.format(2), SIGNED, subject="signed, on top")
    strict.converge()
    assert strict.aliases() == {"champion": 1}
    said = strict.revisions.refusal_reason or ""
    assert f"{bad[:10]} by Eve <eve@example.org>: not signed" in said
    assert "sign them" in said
    assert strict.ledger.find_last_revision(RevisionState.APPLIED) == good


def test_switching_it_on_asks_nothing_of_what_came_before(app: App) -> None:
    """Only the commit that does so has to be signed, also where unsigned ones came with it."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    unsigned(app, app.commit(MODEL.format(1)))
    app.converge()
    unsigned(app, app.commit(MODEL.format(2)))
    app.commit(MODEL.format(2), SIGNED)
    app.converge()
    assert (app.aliases(), app.revisions.refusal_reason) == ({"champion": 2}, None)
    unsigned(app, app.commit(MODEL.format(1), SIGNED))
    app.converge()
    assert app.aliases() == {"champion": 2}


def test_it_takes_a_signature_to_switch_it_off(strict: App) -> None:
    """The revision in force decides."""
    unsigned(strict, strict.commit(MODEL.format(2)))
    strict.converge()
    assert strict.aliases() == {"champion": 1}
    strict.git.unsigned_commits.clear()
    strict.commit(MODEL.format(2))
    strict.converge()
    assert strict.aliases() == {"champion": 2}
    unsigned(strict, strict.commit(MODEL.format(1)))
    strict.converge()
    assert strict.aliases() == {"champion": 1}


def test_a_restart_asks_again_of_what_came_meanwhile_only(strict: App) -> None:
    """What was in force before stays so; the head that was refused stays refused."""
    again = strict.another()
    again.converge()
    assert again.revisions.refusal_reason is None
    unsigned(strict, strict.commit(MODEL.format(2), SIGNED))
    later = strict.another()
    later.converge()
    assert later.revisions.refusal_reason
    assert later.aliases() == {"champion": 1}


def test_the_first_revision_ever_is_asked_for_its_own_signature(app: App) -> None:
    """There is none before it that could vouch."""
    app.mlflow.version("m", auc=0.8)
    unsigned(app, app.commit(MODEL.format(1), SIGNED))
    app.converge()
    assert app.aliases() == {}
    assert app.revisions.declaration_in_force is None


def test_rotation_does_not_push_what_would_be_refused(app: App) -> None:
    """Without a key it says so, and the branch stays as it is; with one it commits, and its commit is asked like any other."""
    app.mlflow.version("m", auc=0.8)
    head = app.commit(ROTATING, SIGNED, p=POLICY)
    watch = app.converge()
    assert "no key to sign with" in watch.health.current_problems["git"]
    assert app.git.head == head
    app.git.signing = True
    signing = app.another()
    signing.converge()
    assert signing.aliases() == {"champion": 1}


def test_promoters_own_commit_is_asked_like_any_other(app: App) -> None:
    """A key that is not in signers/ brings nothing into force."""
    app.mlflow.version("m", auc=0.8)
    app.git.signing = True
    app.commit(ROTATING, SIGNED, p=POLICY)

    def spoil(call: str) -> None:
        if call == "commit":
            unsigned(app, app.git.head)

    app.git.after = spoil
    app.converge()
    assert app.aliases() == {}
    assert app.revisions.refusal_reason


def test_apply_refuses_it_too(strict: App) -> None:
    """With the same words."""
    revision = unsigned(strict, strict.commit(MODEL.format(2), SIGNED))
    declaration = strict.documents.parse_declaration(strict.git.read_sources(revision), revision)
    assert "Eve" in (strict.another().revisions.find_signing_refusal(declaration) or "")


def test_a_rollback_is_a_commit_like_any_other(strict: App) -> None:
    """It does not get the branch stuck either."""
    from promoter.application.proposals.commits import ProposalCommitter
    from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit

    declaration = strict.revisions.declaration_in_force
    assert declaration is not None
    proposal = Proposal(RegistryEdit("m", "champion", 2), 1, None, ProposalReason.ROLL_BACK, "ada", "bad recall")
    with pytest.raises(PermanentError, match="no key to sign with"):
        ProposalCommitter(strict.git, strict.documents, strict.revisions).commit_proposal(proposal, declaration)
