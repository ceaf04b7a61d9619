"""Makes a version of what a training run has trained, for the registry to take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.trainer.cards import update_card
from services.trainer.finish import drafted
from services.trainer.release import Release, release_run
from services.trainer.representation import require_servable
from services.trainer.siblings import Origin
from services.trainer.study import Study, best_run
from shared.models.registry import CARD
from shared.registry.versions import check_complete
from shared.settings import InferenceSettings
from shared.trainings.states import TrainingRun


def make_version(
    run: TrainingRun,
    report: dict[str, Any],
    study: Study,
    settings: InferenceSettings,
    log: Callable[[str], object],
) -> None:
    """Export the best seed of a run, and measure all that must travel with it.

    Nothing is done again where an earlier attempt has made it.

    Args:
        run: The run.
        report: What its study found.
        study: What it trained.
        settings: Of the engine.
        log: Told what is done.

    Raises:
        NotServableError: It was trained on images as the service has none.
        ModelArtefactError: An exported graph does not agree with Keras.
        VersionIncompleteError: Something that must travel with it cannot be had.
    """
    target = drafted(study.work, run.architecture)
    if not (target.folder / CARD).is_file():
        _export(run, report, study, settings, log)
    # Also where an attempt was killed right behind the export: what it was trained from is how a
    # gate finds leaks.
    training = {**target.card["training"], "run": str(run.id), "base": run.base}
    update_card(target, training=training)
    check_complete(target.card)


def _export(
    run: TrainingRun,
    report: dict[str, Any],
    study: Study,
    settings: InferenceSettings,
    log: Callable[[str], object],
) -> None:
    target = drafted(study.work, run.architecture)
    (plan,) = study.plans
    require_servable(plan)
    summary = report["models"][run.architecture]
    best = best_run(summary)
    log(f"makes a version of seed {best['plan']['seed']}, and measures it")
    release = Release(study.dataset, study.split, settings)
    origin = Origin(study.dataset, study.split, study.work, settings)
    release_run(best, target, release, origin.sibling, seeds=summary["accuracy"])
