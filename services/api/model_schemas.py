"""The API's words for model versions, aliases, gates and shadow runs."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.api.fields import Query
from services.api.schemas import JobError
from shared.models.registry import ModelVersion
from shared.registry.newest import GateInShort
from shared.registry.states import Gate, GateStatus
from shared.registry.versions import Registered

Reason = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=3, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"
    ),
]
_MAX_VERSION = 999_999_999


class VersionGate(BaseModel):
    """The newest gate of a version, in short."""

    id: str
    status: GateStatus
    champion: str | None = Field(description="What it is compared with; null: with nothing.")


class ModelVersionOut(BaseModel):
    """A model version with the aliases that stand for it."""

    name: str
    version: int
    aliases: list[str]
    architecture: str
    metrics: dict[str, Any]
    origin: str = Field(description="`shipped` with the software, or `registered` by a training.")
    training_id: str | None = Field(description="The run that made it.")
    registered_at: dt.datetime | None
    dataset_id: str | None = Field(description="What it was trained on, where it is known here.")
    gate: VersionGate | None


class AliasesOut(BaseModel):
    """What the aliases stand for."""

    aliases: dict[str, str] = Field(description="Each alias with its NAME@VERSION.")
    canary_percent: int = Field(
        ge=0, le=100, description="Share of the jobs for `champion` that the challenger gets."
    )


class ModelListOut(AliasesOut):
    """All model versions."""

    models: list[ModelVersionOut]


class AliasIn(BaseModel):
    """The version that an alias is to stand for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1, le=_MAX_VERSION, strict=True)
    reason: Reason | None = Field(
        None,
        description="Why it is to be without a passed gate, for the audit trail; "
        "with `X-Second-Key`. Never a patient's data.",
    )
    canary_percent: int | None = Field(
        None,
        ge=0,
        le=100,
        strict=True,
        description="Of `challenger` alone: its share of the jobs for `champion`. Null: 0.",
    )


class RollbackIn(BaseModel):
    """Why the champion goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason | None = Field(None, description="For the audit trail. Never a patient's data.")
    champion: str | None = Field(
        None,
        max_length=256,
        description="The version that is to go, NAME@VERSION: repeated, the call is refused.",
    )


class GateIn(BaseModel):
    """What a version is to be judged on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_id: uuid.UUID | None = Field(
        None, description="A locked test set; null: the newest one that is ready."
    )


class GateListQuery(Query):
    """Which gates to list."""

    model: str | None = Field(None, pattern="^[a-z0-9_]{1,128}$", description="A model's NAME.")
    version: int | None = Field(None, ge=1, le=_MAX_VERSION)
    limit: int = Field(50, ge=1, le=200)


class GateLinks(BaseModel):
    """Where a gate is, and the card of what it judges."""

    self: str
    model: str


class GateSummary(BaseModel):
    """A gate in a list."""

    id: str
    model: str = Field(description="The version that is judged, NAME@VERSION.")
    champion: str | None = Field(description="What it is compared with; null: with nothing.")
    dataset_id: str = Field(description="The locked test set.")
    status: GateStatus
    attempts: int
    error: JobError | None
    policy_sha256: str | None = Field(description="Of the policy file that judged.")
    requested_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    links: GateLinks


class GateOut(GateSummary):
    """A gate as it stands."""

    report: dict[str, Any] | None = Field(
        description="`criteria`, `reasons` and `figures`; null until it has passed or is refused."
    )


class GateListOut(BaseModel):
    """Gates, newest first."""

    gates: list[GateSummary]


class ReviewedOut(BaseModel):
    """Jobs with a review, and how many of them each of the two had right by the newest."""

    model_config = ConfigDict(from_attributes=True)

    jobs: int
    result_right: int
    challenger_right: int


class AgreementOut(BaseModel):
    """What a challenger says of the results that others gave; counts are of jobs."""

    model_config = ConfigDict(from_attributes=True)

    model: str
    jobs: int = Field(description="Looked at.")
    errors: int = Field(description="Of which it gives no result; the rest is compared.")
    compared: int
    same_prediction: int
    same_urgency: int
    agreeing: int = Field(description="The same in both.")
    lowered: int = Field(description="Its urgency is less urgent than the result's.")
    raised: int
    to_benign: int = Field(description="The result says malignant, the challenger benign.")
    to_malignant: int
    confusion: dict[str, dict[str, int]] = Field(
        description="By the result's prediction, then by the challenger's."
    )
    result_confidence: float | None = Field(description="Mean; null where nothing is compared.")
    challenger_confidence: float | None
    first_at: dt.datetime | None = Field(description="When the first of the results was given.")
    last_at: dt.datetime | None
    reviewed: ReviewedOut


class OpinionOut(BaseModel):
    """What a model says of a job."""

    model_config = ConfigDict(from_attributes=True)

    model: str
    prediction: str
    confidence: float
    urgency: str


class DisagreementOut(BaseModel):
    """A job of which the challenger predicts or decides something else than its result."""

    model_config = ConfigDict(from_attributes=True)

    job_id: uuid.UUID
    at: dt.datetime = Field(description="When the result was given.")
    result: OpinionOut
    challenger: OpinionOut
    review: str | None = Field(description="What the newest review found.")


class DisagreementListOut(BaseModel):
    """Jobs on which both differ, newest first."""

    model_config = ConfigDict(from_attributes=True)

    disagreements: list[DisagreementOut]


class DisagreementListQuery(Query):
    """Which of them to list."""

    before: uuid.UUID | None = Field(None, description="The last `job_id` of the call before.")
    limit: int = Field(50, ge=1, le=200)


def model_version_out(
    version: ModelVersion,
    aliases: list[str],
    registered: Registered | None,
    gate: GateInShort | None,
) -> ModelVersionOut:
    """A version as a list has it; `registered` is None for a shipped one."""
    card = version.card
    return ModelVersionOut(
        name=version.name,
        version=version.version,
        aliases=aliases,
        architecture=card["architecture"],
        metrics=card["metrics"],
        origin="shipped" if registered is None else "registered",
        training_id=None if registered is None else str(registered.training_id),
        registered_at=None if registered is None else registered.registered_at,
        dataset_id=card["data"].get("dataset_id"),
        gate=gate and VersionGate(id=str(gate.id), status=gate.status, champion=gate.champion),
    )


def gate_summary(gate: Gate) -> GateSummary:
    """A gate in a list."""
    return GateSummary(**_values(gate))


def gate_out(gate: Gate) -> GateOut:
    """A gate as clients see it."""
    return GateOut(**_values(gate), report=gate.report)


def _values(gate: Gate) -> dict[str, Any]:
    error = None
    if gate.error_code is not None:
        error = JobError(code=gate.error_code, detail=gate.error_detail)
    card = f"/v1/models/{gate.name}/versions/{gate.version}"
    own = ("champion", "status", "attempts", "policy_sha256")
    times = ("requested_at", "started_at", "finished_at")
    return {
        **{name: getattr(gate, name) for name in (*own, *times)},
        "id": str(gate.id),
        "model": gate.candidate,
        "dataset_id": str(gate.dataset_id),
        "error": error,
        "links": GateLinks(self=f"/v1/gates/{gate.id}", model=card),
    }
