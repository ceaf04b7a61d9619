"""From the claim of a data set to its version: collect, compare, store, describe."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.trainer.archive import extract
from services.trainer.class_folders import SUFFIXES, ClassFolders
from services.trainer.dataset_store import DatasetDamagedError, fetch_dataset, store_images
from services.trainer.device_lock import device_lock
from services.trainer.folders import DATASETS, FEATURES
from services.trainer.importing import ImportReport, import_dataset
from services.trainer.leaks import OtherSet
from shared.datasets.queries import ReadyDataset, ready_datasets
from shared.datasets.states import DatasetClaim, DatasetSource, Imported
from shared.db.session import Sessions
from shared.reviews.newest import ReviewedJob, newest_reviews
from shared.settings import Settings
from shared.storage import ObjectMissingError, ObjectStore, upload_key
from shared.triage.labels import LABELS, Label

_MOST_GROWTH = 4
"""Times the largest accepted zip that one may unpack to; BMP and TIFF are packed well."""


@dataclass
class _Collected:
    """Where images came from, besides the folders that they are in now."""

    lineage: dict[str, Any] = field(default_factory=dict)
    base: set[str] = field(default_factory=set)
    reviewed: list[tuple[str, str]] = field(default_factory=list)
    duplicates: int = 0
    passed_over: int = 0


class Ingest:
    """Imports data sets; what it needs on the disk is in the trainer's folder.

    WORK/datasets has versions that were fetched, WORK/found what was found among pixels; both may
    be removed while no trainer runs. WORK/imports has what is under way. WORK/features.stale is
    there while WORK/features has what was computed of a version that was withdrawn.
    """

    def __init__(self, settings: Settings, sessions: Sessions, storage: ObjectStore) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._work = settings.trainer_work
        self._versions = settings.trainer_work / DATASETS
        self._found = settings.trainer_work / "found"
        self.imports = settings.trainer_work / "imports"

    def __call__(self, held: DatasetClaim, carry_on: Callable[[], object]) -> Imported:
        """Import a claimed data set; its images are in the object store when this returns.

        Args:
            held: The claim.
            carry_on: Called between steps; what it raises ends the import.

        Raises:
            DatasetError: The upload, or what it holds, cannot be used.
            StorageUnavailableError: The object store does not answer.
        """
        for earlier in self.imports.glob(f"{held.id}*"):
            shutil.rmtree(earlier, ignore_errors=True)
        folder = self.imports / f"{held.id}-{held.attempt}"
        try:
            folders = ClassFolders(folder / "images")
            collected = self._collect(held, folders, folder / "upload.zip")
            folders.refuse_empty()
            carry_on()
            others = ready_datasets(self._sessions, locked=not held.locked)
            named = {_name_of(other): other for other in others}
            report = import_dataset(
                folders.root,
                self._found,
                others=[self._fetched(name, other) for name, other in named.items()],
                keep_leaks=held.locked,
            )
            carry_on()
            files = folders.files()
            store_images(self._storage, report.record, files, known=collected.base)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Imported(
            record=report.record,
            statistics=_statistics(report, collected),
            faults=_faults(report),
            lineage=_lineage(report, collected),
            leaks=_leaks(report, named),
            compared=frozenset(other.id for other in others),
        )

    def forget(self, versions: Iterable[str]) -> None:
        """Remove what was fetched of versions, whole or not, and what was computed of it."""
        stale = self._work / "features.stale"
        for version in versions:
            for folder in self._versions.glob(f"{version}*"):
                if folder.is_dir():
                    # First: who is killed in between must not take the features for others'.
                    stale.touch()
                    shutil.rmtree(folder, ignore_errors=True)
        if stale.exists():
            self._forget_features(stale)

    def _forget_features(self, stale: Path) -> None:
        """Remove what frozen layers gave, of all images, unless a run reads it: then a while on."""
        with device_lock(self._work) as lock:
            if lock is not None:
                shutil.rmtree(self._work / FEATURES, ignore_errors=True)
                stale.unlink()

    def _collect(self, held: DatasetClaim, folders: ClassFolders, archive: Path) -> _Collected:
        if held.source is DatasetSource.REVIEWS:
            return self._collect_reviews(held, folders)
        digest = hashlib.sha256()
        with archive.open("wb") as file:
            for piece in self._storage.get_stream(upload_key(held.id)):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != held.upload_sha256:
            raise DatasetDamagedError("The upload.")
        limit = self._settings.max_dataset_bytes
        found = extract(
            archive,
            folders,
            max_bytes=_MOST_GROWTH * limit,
            max_file_bytes=self._settings.max_file_bytes,
        )
        archive.unlink()
        return _Collected(duplicates=found.duplicates, passed_over=found.passed_over)

    def _collect_reviews(self, held: DatasetClaim, folders: ClassFolders) -> _Collected:
        collected = _Collected()
        if held.base_id is not None:
            base = fetch_dataset(self._storage, self._sessions, held.base_id, self._versions)
            collected.base = folders.add_folder(base)
        jobs = newest_reviews(
            self._sessions,
            tenant=held.tenant,
            after=held.reviews_after,
            until=held.reviews_until,
        )
        labels = {str(label): label for label in LABELS}
        candidates = [job for job in jobs if job.label in labels]
        left_out: Counter[str] = Counter()
        for job in candidates:
            label = labels[job.label]
            if reason := self._collect_job(job, label, folders):
                left_out[reason] += 1
            else:
                collected.reviewed.append((str(label), job.sha256))
        collected.lineage["reviews"] = {
            "after": held.reviews_after,
            "until": held.reviews_until,
            "jobs": len(jobs),
            "considered": len(candidates),
            "left_out": left_out,
        }
        return collected

    def _collect_job(self, job: ReviewedJob, label: Label, folders: ClassFolders) -> str | None:
        """Put a job's image into its class folder, or say why not."""
        if job.images != 1:
            return "several_images"  # its label is of the specimen, not of each field
        if (label, job.sha256) in folders:
            return "already_there"
        try:
            content = self._storage.get(job.object_key)
        except ObjectMissingError as error:
            return error.code
        if hashlib.sha256(content).hexdigest() != job.sha256:
            return DatasetDamagedError.code
        folders.add(label, io.BytesIO(content), SUFFIXES[job.media_type])
        return None

    def _fetched(self, name: str, other: ReadyDataset) -> OtherSet:
        folder = fetch_dataset(self._storage, self._sessions, other.id, self._versions)
        files = {path.stem: path for label in LABELS for path in (folder / label).iterdir()}
        return OtherSet(name, files)


def _name_of(other: ReadyDataset) -> str:
    return str(other.id) if other.name is None else f"{other.name} ({other.id})"


def _statistics(report: ImportReport, collected: _Collected) -> dict[str, Any]:
    images = report.record["images"]
    sizes = sorted(image["bytes"] for image in images)
    groups = Counter(image["group"] for image in images)
    return {
        "images": len(images),
        "counts": report.record["counts"],
        "groups": len(groups),
        "largest_group": max(groups.values()),
        "overlaps": len(report.record["overlaps"]),
        "media_types": _counted(image["media_type"] for image in images),
        "sizes": _counted(f"{image['width']}x{image['height']}" for image in images),
        "bytes": {
            "total": sum(sizes),
            "smallest": sizes[0],
            "median": sizes[len(sizes) // 2],
            "largest": sizes[-1],
        },
        "duplicates": collected.duplicates,
        "passed_over": collected.passed_over,
        "left_out": _counted(fault.code for fault in report.faults if fault.left_out),
    }


def _faults(report: ImportReport) -> list[dict[str, Any]]:
    """What is wrong with images, each by its class and content in place of a file's name."""
    return [
        {
            "label": fault.file.split("/")[0],
            "sha256": fault.sha256,
            "code": fault.code,
            "detail": fault.detail,
            "left_out": fault.left_out,
        }
        for fault in report.faults
    ]


def _lineage(report: ImportReport, collected: _Collected) -> dict[str, Any]:
    """What became of the reviews; of an upload there is nothing to tell."""
    if "reviews" not in collected.lineage:
        return {}
    reviews = dict(collected.lineage["reviews"])
    kept = {(image["label"], image["sha256"]) for image in report.record["images"]}
    codes = {
        (fault.file.split("/")[0], fault.sha256): str(fault.code)
        for fault in report.faults
        if fault.left_out
    }
    lost = [codes[image] for image in collected.reviewed if image not in kept]
    taken = len(collected.reviewed) - len(lost)
    left_out = reviews.pop("left_out") + Counter(lost)
    return {"reviews": {**reviews, "taken": taken, "left_out": dict(sorted(left_out.items()))}}


def _leaks(report: ImportReport, named: dict[str, ReadyDataset]) -> list[dict[str, Any]]:
    """The data sets that show the same, with the number of this one's images that they show."""
    shown = Counter(name for names in report.leaks.values() for name in names)
    return [
        {"dataset_id": str(other.id), "name": other.name, "images": shown[name]}
        for name, other in named.items()
        if name in shown
    ]


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(map(str, values)).items()))
