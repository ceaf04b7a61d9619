"""`/v1/models`: the model versions and their cards."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from services.api.auth import requires
from services.api.context import context
from services.api.schemas import ModelListOut, ModelVersionOut
from shared.auth.keys import Scope
from shared.errors import NotFoundError, UnknownModelError

bp = APIBlueprint("models", __name__, url_prefix="/v1/models", tag="Models")


@bp.get("")
@bp.output(ModelListOut)
@bp.doc(summary="List model versions", security="bearer")
@requires(Scope.READ)
def read_models() -> dict[str, Any]:
    """Every version with its aliases and its metrics. Scope `read`."""
    registry = context().registry
    aliases = registry.aliases()
    models = [
        ModelVersionOut(
            name=version.name,
            version=version.version,
            aliases=[alias for alias, target in aliases.items() if target == str(version)],
            architecture=version.card["architecture"],
            metrics=version.card["metrics"],
        )
        for version in registry.versions()
    ]
    return ModelListOut(models=models, aliases=aliases).model_dump(mode="json")


@bp.get("/<name>/versions/<int:version>")
@bp.doc(
    summary="The card of a model version",
    responses={
        200: {"description": "The card.", "content": {"application/json": {}}},
        404: "None such.",
    },
    security="bearer",
)
@requires(Scope.READ)
def read_card(name: str, version: int) -> dict[str, Any]:
    """Data, terms, training, metrics and hashes of one version. Scope `read`."""
    try:
        return context().registry.get(name, version).card
    except UnknownModelError as error:
        raise NotFoundError(error.detail) from error
