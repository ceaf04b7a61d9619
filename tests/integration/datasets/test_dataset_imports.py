"""Data sets over HTTP: what an import makes of an upload, and what leaks into a test set."""

from __future__ import annotations

import json
import logging

import pytest
from sqlalchemy import select

from shared.db.models import DatasetRow
from shared.storage import ObjectMissingError, upload_key
from shared.triage.labels import LABELS
from tests.datasets import (
    drawn,
    ended,
    field,
    overlapping_fields,
    upload,
    zipped,
)
from tests.factories import truncated_jpeg
from tests.integration.datasets.versions import NAME, audited, made, sha256


def test_an_upload_becomes_a_version_with_all_about_it(client, sessions, storage, importer) -> None:
    first, second = overlapping_fields()
    files = {**drawn(), "Pre/a.png": first, "Pre/b.png": second, "Pre/copy.png": second}
    broken = truncated_jpeg()
    files |= {f"Pro/{NAME}.jpg": broken, "notes.txt": b"x"}
    found = made(client, {f"March/{name}": content for name, content in files.items()})
    statistics = found["statistics"]
    assert found["counts"] == {"Benign": 1, "Early": 1, "Pre": 3, "Pro": 1}
    assert (statistics["images"], statistics["groups"], statistics["largest_group"]) == (6, 5, 2)
    assert (statistics["duplicates"], statistics["passed_over"]) == (1, 1)
    assert statistics["left_out"] == {"corrupt_image": 1}
    assert statistics["media_types"] == {"image/png": 6}
    assert statistics["sizes"] == {"224x224": 6}
    assert statistics["bytes"]["largest"] == max(map(len, [*drawn().values(), first, second]))
    (fault,) = found["faults"]
    assert (fault["label"], fault["sha256"]) == ("Pro", sha256(broken))
    assert (fault["code"], fault["left_out"]) == ("corrupt_image", True)

    manifest = client.get(found["links"]["manifest"]).json
    assert manifest["version"] == found["version"]
    groups = {image["sha256"]: image["group"] for image in manifest["images"]}
    assert groups[sha256(first)] == groups[sha256(second)]
    for image in manifest["images"]:
        content = storage.get(f"datasets/images/{image['sha256']}")
        assert (sha256(content), len(content)) == (image["sha256"], image["bytes"])
    with pytest.raises(ObjectMissingError):
        storage.get(upload_key(found["id"]))
    assert [event.action for event in audited(sessions)] == ["dataset.requested", "dataset.ready"]


def test_names_of_files_are_told_by_nobody(client, sessions, importer, caplog) -> None:
    files = {f"{NAME}/{label}/{NAME} {n}.png": field(n) for n, label in enumerate(LABELS)}
    files[f"{NAME}/Early/{NAME}.png"] = files[f"{NAME}/Benign/{NAME} 0.png"]
    files[f"{NAME}/Benign/{NAME} 9.jpg"] = field(9)
    files[f"{NAME}/Early/{NAME} 8.jpg"] = b"x"
    with caplog.at_level(logging.DEBUG):
        found = made(client, files)
    assert {fault["code"] for fault in found["faults"]} == {
        "label_conflict",
        "mislabelled_type",
        "unsupported_media_type",
    }
    shown = json.dumps([found, client.get(found["links"]["manifest"]).json]) + caplog.text
    assert "Ada" not in shown
    with sessions() as session:
        assert "Ada" not in str(session.scalars(select(DatasetRow.record)).one())


def test_the_same_images_are_the_same_version(client, importer) -> None:
    files = drawn()
    first = made(client, files)
    renamed = {name.replace("1.", "2."): content for name, content in reversed(files.items())}
    second = made(client, {f"top/{name}": content for name, content in renamed.items()})
    assert first["same_as"] is None
    assert (second["version"], second["same_as"]) == (first["version"], first["id"])
    manifests = [client.get(found["links"]["manifest"]).json for found in (first, second)]
    assert manifests[0] == manifests[1]
    assert client.get(first["links"]["self"]).json == first


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no zip", "archive_not_zip"),
        (zipped(drawn())[:-30], "archive_damaged"),
        (zipped({"Pro/0.png": b"x"}), "dataset_invalid"),
        (zipped({"photo.png": b"x"}), "no_class_folder"),
        (zipped({f"{label}/x.png": b"x" for label in LABELS}), "dataset_invalid"),
    ],
)
def test_an_upload_that_is_no_data_set_fails_with_a_code(
    client, sessions, importer, data: bytes, code: str
) -> None:
    answer = upload(client, data)
    found = ended(client, answer.json["id"])
    assert (found["status"], found["error"]["code"], found["attempts"]) == ("failed", code, 1)
    assert (found["version"], found["counts"], found["statistics"]) == (None, None, None)
    assert "/" not in found["error"]["detail"]
    assert client.get(found["links"]["manifest"]).json["code"] == "dataset_not_ready"
    assert [event.action for event in audited(sessions)] == ["dataset.requested", "dataset.failed"]


def test_data_sets_are_listed_newest_first(client, importer) -> None:
    ids = [upload(client, drawn(start)).json["id"] for start in (1, 11, 21)]
    for dataset_id in ids:
        ended(client, dataset_id)
    listed = client.get("/v1/datasets").json["datasets"]
    assert [row["id"] for row in listed] == ids[::-1]
    assert listed[0]["counts"] == dict.fromkeys(map(str, LABELS), 1)
    assert "faults" not in listed[0]
    assert len(client.get("/v1/datasets?limit=2").json["datasets"]) == 2
    assert client.get("/v1/datasets?limit=0").status_code == 422


def test_what_a_locked_test_set_shows_is_left_out_by_content_and_by_pixels(
    client, importer
) -> None:
    first, second = overlapping_fields()
    test = {**drawn(), "Pre/slide.png": first}
    locked = made(client, test, locked="true", name="test")
    training = {**drawn(11), "Pre/slide.png": second, "Pro/same.png": test["Pro/1.png"]}
    found = made(client, training)
    assert found["counts"] == dict.fromkeys(map(str, LABELS), 1)
    assert found["statistics"]["left_out"] == {"leaks_into_locked_test": 2}
    faults = {fault["sha256"]: fault for fault in found["faults"]}
    assert set(faults) == {sha256(second), sha256(test["Pro/1.png"])}
    assert all(f"test ({locked['id']})" in fault["detail"] for fault in faults.values())
    leak = {"dataset_id": locked["id"], "name": "test", "images": 2}
    assert (found["leaks_into"], found["leaks_from"]) == ([leak], [])
    assert made(client, drawn(11))["version"] == found["version"]


def test_a_test_set_tells_which_earlier_sets_show_the_same(client, importer) -> None:
    first, second = overlapping_fields()
    earlier = made(client, {**drawn(), "Pre/slide.png": first}, name="earlier")
    made(client, drawn(11))
    test = {**drawn(21), "Pre/slide.png": second}
    locked = made(client, test, locked="true")
    assert locked["statistics"]["images"] == len(test)
    leak = {"dataset_id": earlier["id"], "name": "earlier", "images": 1}
    assert (locked["leaks_from"], locked["leaks_into"], locked["faults"]) == ([leak], [], [])


def test_a_set_of_nothing_but_leaks_fails_and_says_so(client, importer) -> None:
    made(client, drawn(), locked="true")
    found = ended(client, upload(client, drawn()).json["id"])
    assert (found["status"], found["error"]["code"]) == ("failed", "dataset_invalid")
    assert "locked test sets" in found["error"]["detail"]
