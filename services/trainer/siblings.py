"""The sibling of a version: a run of the same plan that left the validation part unseen.

What a version says of images that trained it is too good to set a threshold by. Where it trained on
the validation part too, its sibling's word on that part is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import keras

from services.trainer.dataset import Dataset, Grouping, read_dataset
from services.trainer.lineage import plan_of
from services.trainer.plan import Precision
from services.trainer.splits import Protocol, Split, split_dataset
from services.trainer.study import Study, load_run, sibling_run
from services.trainer.tools import make_tools
from shared.errors import DatasetError
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings


@dataclass(frozen=True)
class Origin:
    """What versions were trained from, and where runs are kept."""

    dataset: Dataset
    split: Split
    work: Path
    settings: InferenceSettings
    precision: Precision | None = None
    """In which siblings are trained; None: as their version was."""

    def sibling(self, version: ModelVersion) -> keras.Model:
        """The Keras model of a version's sibling; it is trained if the work folder lacks it."""
        plan = plan_of(version)
        plan = replace(plan, precision=self.precision or plan.precision)
        study = Study(self.dataset, self.split, (plan,), (plan.seed,), self.work)
        tools = make_tools(self.settings, self.work, teacher=plan.teacher, base=plan.base)
        return load_run(sibling_run(study, plan, tools))


def origin_of(
    version: ModelVersion,
    folder: Path,
    settings: InferenceSettings,
    *,
    groups: Grouping = "auto",
    work: Path,
    precision: Precision | None = None,
) -> Origin:
    """Read the images that a version was trained from, and split them as it did.

    Args:
        version: The version.
        folder: One folder a class.
        settings: Of the engine.
        groups: Where groups of overlapping fields come from, as in `read_dataset`.
        work: Folder of runs.
        precision: In which siblings are trained; None: as their version was.

    Raises:
        DatasetError: The images are not those that the version was trained from.
    """
    dataset = read_dataset(folder, groups=groups)
    of_card = version.card["split"]
    split = split_dataset(dataset, Protocol(of_card["protocol"]), of_card["seed"])
    if split.hash != of_card["hash"]:
        raise DatasetError(f"{folder} does not give the split that {version} was trained by.")
    return Origin(dataset, split, work, settings, precision)
