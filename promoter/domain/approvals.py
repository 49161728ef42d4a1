"""Approvals: what a person signs, how it stands in a tag, and in what it differs from what is there now.

Signed is the RFC 8785 form of a `Statement`, behind a text that no other use of the key begins with (Ed25519, RFC 8032).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from promoter.domain.evidence import Evidence
from promoter.domain.fields import (
    ApproverName,
    Document,
    FormatVersion,
    ModelName,
    Moment,
    PolicyName,
    VersionNumber,
    format_utc,
    validate_approver_name,
)
from promoter.domain.observed import MetricRef, SourceName

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


PUBLIC_KEY_PREFIX = "ed25519:"
"""What a public key begins with."""
_KEY_BYTES = 32


def _validate_public_key(text: str) -> str:
    try:
        raw = base64.b64decode(text.removeprefix(PUBLIC_KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(PUBLIC_KEY_PREFIX) or len(raw) != _KEY_BYTES:
        raise ValueError("a public key is `ed25519:` and 32 bytes in base64; `promoter approve --new-key FILE` makes a pair")
    return text


class Approver(Document):
    """One person: a public key, the groups that they speak for, and until when."""

    key: Annotated[str, AfterValidator(_validate_public_key)] = Field(
        json_schema_extra={"pattern": "^ed25519:[A-Za-z0-9+/]{43}=$"},
        description="The public key, as `promoter approve --new-key FILE` prints it.",
    )
    """The public key, `ed25519:` and base64."""
    groups: tuple[ApproverName, ...] = Field(
        default=(), max_length=100, strict=False, description="The groups that this person speaks for."
    )
    """The groups that the person speaks for."""
    until: Moment | None = Field(
        default=None, description="Until when their word counts: a time with its zone, `2026-12-01T00:00:00Z`."
    )
    """When the key stops counting; None: never."""

    @property
    def raw_key(self) -> bytes:
        """Return the 32 bytes of the key."""
        return base64.b64decode(self.key.removeprefix(PUBLIC_KEY_PREFIX))

    def is_key_valid(self, now: datetime) -> bool:
        """Return whether the key counts at that moment."""
        return self.until is None or now < self.until


class ApproversDocument(Document):
    """`approvers.yaml` as it is written."""

    version: FormatVersion
    approvers: dict[ApproverName, Approver] = Field(
        description="Whose signature counts, by name: `{alice: {key: ed25519:..., groups: [risk]}}`."
    )


@dataclass(frozen=True)
class ApproverDirectory:
    """Who may approve, by name. It is empty where the repository has no `approvers.yaml`."""

    known: Mapping[str, Approver] = field(default_factory=dict)
    """Each approver by name."""

    def find_matching_names(self, wanted: tuple[str, ...]) -> frozenset[str]:
        """Return the approvers that `wanted` names, by themselves or by a group."""
        return frozenset(name for name, each in self.known.items() if name in wanted or set(each.groups) & set(wanted))

    @property
    def names_and_groups(self) -> frozenset[str]:
        """Return every name and every group."""
        return frozenset(self.known) | {group for each in self.known.values() for group in each.groups}


NO_APPROVERS = ApproverDirectory()


APPROVAL_TAG_PREFIX = "promoter.approval/"
TAG_VALUE_LIMIT = 16_000
"""Bytes of a tag's value. MLflow takes 100,000 characters, but MySQL keeps 65,535 bytes of them."""
ABSENT_METRIC = "absent"
SHOWN_CHANGES = 3
_APPROVAL_CONTEXT = b"promoter approval of a model version, format 1\n"
_OPENSSH_HEADER = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_SIGNATURE_BYTES = 64

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def build_approval_tag_key(policy: str, approver: str) -> str:
    """Return the tag key for one approver under one policy. MLflow's keys have no `@`, and approvers' names no space."""
    return f"{APPROVAL_TAG_PREFIX}{policy}/{approver.replace('@', ' at ')}"


def parse_approval_tag_key(policy: str, key: str) -> str | None:
    """Return whose approval under the policy the tag key names; None for any other key."""
    head, name = key[: len(build_approval_tag_key(policy, ""))], key[len(build_approval_tag_key(policy, "")) :]
    try:
        return validate_approver_name(name.replace(" at ", "@")) if head == build_approval_tag_key(policy, "") else None
    except ValueError:
        return None


class SignedMetric(Document):
    """A metric at the time of signing."""

    metric: str = Field(max_length=1_000)
    """The name of the metric."""
    source: SourceName = "run"
    """Where it was read: the run, or the logged model."""
    dataset: str | None = Field(default=None, max_length=1_000)
    """The dataset, for a logged model."""
    value: str = Field(max_length=40)
    """Its value as text: `0.95`, `nan`, `absent`."""
    digest: str | None = Field(default=None, max_length=1_000)
    """The digest of the dataset."""
    series: Digest | None = None
    """A digest of its values over the steps."""

    @classmethod
    def from_evidence(cls, evidence: Evidence, ref: MetricRef) -> SignedMetric:
        """Return the metric of the candidate as it is now."""
        measured, points = evidence.candidate.find_measurement(ref), evidence.candidate.find_step_values(ref)
        return cls(
            metric=ref.name,
            source=ref.source,
            dataset=ref.dataset,
            value=ABSENT_METRIC if measured is None else repr(float(measured.value)),
            digest=measured.digest if measured else None,
            series=_digest_json([f"{step} {float(value)!r}" for step, value in sorted(points.items())]) if points else None,
        )

    @property
    def metric_ref(self) -> MetricRef:
        """Return the reference to the metric."""
        return MetricRef(self.metric, self.source, self.dataset)

    def describe_differences(self, now: SignedMetric) -> Iterator[str]:
        """Yield a sentence for each difference from the metric as it is now."""
        if self.value != now.value:
            yield f"{self.metric_ref} was {self.value}, is {now.value}"
        elif self.digest != now.digest:
            yield f"{self.metric_ref} was measured on data {self.digest or 'unknown'}, now on {now.digest or 'unknown'}"
        elif self.series != now.series:
            yield f"{self.metric_ref} has other values over its steps"


class ApprovalSubject(Document):
    """What an approval is about: one version as it was registered, one policy as it is written, and the metrics it uses."""

    model: ModelName
    """The registered model."""
    version: VersionNumber
    """The version."""
    created_at: AwareDatetime
    """When the version was registered."""
    source: str | None = Field(default=None, max_length=5_000)
    """Where the version's artifacts lie."""
    policy: PolicyName
    """The name of the policy."""
    policy_digest: str = Field(min_length=1, max_length=200)
    """The digest of the policy's file."""
    metrics: Annotated[tuple[SignedMetric, ...], Field(max_length=1_000, strict=False)] | Digest
    """The metrics that the policy uses, or a digest of them where they are too many for a tag."""

    @classmethod
    def from_evidence(cls, evidence: Evidence, policy: str, policy_digest: str, used: Iterable[MetricRef]) -> ApprovalSubject:
        """Return the subject as it is now. Raises ValueError where its name, its registration or the policy is not known."""
        candidate = evidence.candidate
        if candidate.created_at is None:
            raise ValueError("when the version was registered is not known")
        return cls(
            model=evidence.model,
            version=candidate.version,
            created_at=candidate.created_at.astimezone(UTC),
            source=candidate.source,
            policy=policy,
            policy_digest=policy_digest,
            metrics=tuple(SignedMetric.from_evidence(evidence, ref) for ref in sorted(used, key=str)),
        )

    def find_objection(self, now: ApprovalSubject) -> str | None:
        """Return why the signed subject does not cover the present one; None where it does."""
        if (self.model, self.version) != (now.model, now.version):
            return f"signed for {self.model} v{self.version}, not for this version"
        if self.created_at != now.created_at:
            return f"signed for the v{self.version} that was registered {format_utc(self.created_at)}, not for this version"
        if self.policy != now.policy:
            return f"signed for policy {self.policy}, not for this one"
        if self.policy_digest != now.policy_digest:
            return "void: the policy has changed since"
        if self.source != now.source:
            return f"void: its source was {self.source}, is {now.source}"
        changes = list(_describe_metric_changes(self.metrics, now.metrics))
        more = f"; and {len(changes) - SHOWN_CHANGES} more" if len(changes) > SHOWN_CHANGES else ""
        return f"void: {'; '.join(changes[:SHOWN_CHANGES])}{more}" if changes else None


class ApprovalStatement(ApprovalSubject):
    """The statement that is signed."""

    format: Literal[1]
    approver: ApproverName
    """The name of the approver."""
    at: AwareDatetime
    """When it was signed."""

    @property
    def signed_bytes(self) -> bytes:
        """Return the bytes that the signature covers. Raises ValueError for text that is not Unicode."""
        import rfc8785

        return _APPROVAL_CONTEXT + rfc8785.dumps(self.model_dump(mode="json", exclude_defaults=True, exclude={"signature"}))


class Approval(ApprovalStatement):
    """A statement with its signature: the value of a tag."""

    signature: str = Field(max_length=100)
    """The Ed25519 signature, in base64."""

    @classmethod
    def parse_tag_value(cls, value: str) -> Approval | None:
        """Return the approval in a tag's value; None for anything else, since a tag may hold any text."""
        if len(value) > TAG_VALUE_LIMIT:
            return None
        try:
            return cls.model_validate_json(value)
        except (ValueError, RecursionError):
            return None

    def to_tag_value(self) -> str:
        """Return the canonical JSON that the tag holds."""
        import rfc8785

        return rfc8785.dumps(self.model_dump(mode="json", exclude_defaults=True)).decode()

    def verifies_with(self, public_key: bytes) -> bool:
        """Return whether the owner of the public key (32 bytes) signed exactly this statement."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            signature = base64.b64decode(self.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, self.signed_bytes)
        except (InvalidSignature, ValueError):
            return False
        return len(signature) == _SIGNATURE_BYTES


class WrongPassphrase(ValueError):  # noqa: N818  # a word for people
    """The key is encrypted, and the passphrase is missing or wrong."""


class SigningKey:
    """A private key. It shows only its public half."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """See `from_seed` and `from_key_file`."""
        self._key = key

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Return the key of 32 random bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_key_file(cls, content: bytes, passphrase: bytes | None = None) -> SigningKey:
        """Return the key in a PEM file (PKCS #8, or OpenSSH's form). Raises ValueError without any content of the file."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

        load = load_ssh_private_key if content.lstrip().startswith(_OPENSSH_HEADER) else load_pem_private_key
        try:
            key = _load_private_key(load, content, passphrase)
        except UnsupportedAlgorithm:
            message = (
                "a key of a kind, or with an encryption, that cannot be read here; `promoter approve --new-key FILE` makes one"
            )
            raise ValueError(message) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key; `promoter approve --new-key FILE` makes one")  # noqa: TRY004  # a file's fault
        return cls(key)

    def __repr__(self) -> str:
        return f"Signer({self.public_key!r})"

    @property
    def public_key(self) -> str:
        """Return the public key as `approvers.yaml` has it."""
        return PUBLIC_KEY_PREFIX + base64.b64encode(self.raw_public_key).decode()

    @property
    def raw_public_key(self) -> bytes:
        """Return the 32 bytes of the public key."""
        return self._key.public_key().public_bytes_raw()

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """Return the private key as a PKCS #8 file, encrypted where a passphrase is given."""
        from cryptography.hazmat.primitives import serialization as form

        secrecy = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
        return self._key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, secrecy)

    def sign_bytes(self, content: bytes) -> bytes:
        """Return the signature of these bytes. They begin with a text that names the purpose."""
        return self._key.sign(content)

    def sign_approval(self, subject: ApprovalSubject, approver: str, at: datetime) -> Approval:
        """Return the signed approval. Where the metrics are too many for a tag, their digest takes their place."""
        values = {name: getattr(subject, name) for name in ApprovalSubject.model_fields}
        statement = ApprovalStatement(**values, format=1, approver=approver, at=at.astimezone(UTC))
        if (
            not isinstance(statement.metrics, str)
            and len(self._sign_statement(statement).to_tag_value().encode()) > TAG_VALUE_LIMIT
        ):
            statement = statement.model_copy(update={"metrics": digest_signed_metrics(statement.metrics)})
        return self._sign_statement(statement)

    def _sign_statement(self, statement: ApprovalStatement) -> Approval:
        signature = base64.b64encode(self._key.sign(statement.signed_bytes)).decode()
        return Approval(**{name: getattr(statement, name) for name in ApprovalStatement.model_fields}, signature=signature)


def digest_signed_metrics(metrics: Iterable[SignedMetric]) -> str:
    """Return one digest of all metrics."""
    return _digest_json([each.model_dump(mode="json", exclude_defaults=True) for each in metrics])


def _load_private_key(load: Any, content: bytes, passphrase: bytes | None) -> object:
    try:
        return load(content, passphrase)
    except TypeError:
        if passphrase is None:
            raise WrongPassphrase("it is encrypted, and no passphrase was given") from None
    except ValueError:
        if passphrase is not None:
            raise WrongPassphrase("the passphrase is not the one, or the file is damaged") from None
        raise ValueError("not a private key in PEM (PKCS #8 or OpenSSH)") from None
    return _load_private_key(load, content, None)  # it needs no passphrase


def _describe_metric_changes(then: tuple[SignedMetric, ...] | str, now: tuple[SignedMetric, ...] | str) -> Iterator[str]:
    if isinstance(then, str) or isinstance(now, str):
        same = {each if isinstance(each, str) else digest_signed_metrics(each) for each in (then, now)}
        yield from ["the metrics that the policy uses have changed"] if len(same) > 1 else []
        return
    before, present = ({each.metric_ref: each for each in metrics} for metrics in (then, now))
    for ref in sorted(before.keys() | present.keys(), key=str):
        if ref in before and ref in present:
            yield from before[ref].describe_differences(present[ref])
        else:
            yield f"{ref} was not signed" if ref in present else f"{ref} is not used now"
    if len(then) != len(before):
        yield "a metric was signed twice"


def _digest_json(value: Any) -> str:
    import rfc8785

    return "sha256:" + hashlib.sha256(rfc8785.dumps(value)).hexdigest()
