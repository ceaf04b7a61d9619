"""The console's pages of models, data sets and trainings."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from shared.auth.keys import Scope, create_key, rotate_key
from shared.db.session import Sessions
from shared.registry.aliases import read_aliases
from shared.registry.gates import list_gates
from shared.registry.states import Alias
from shared.settings import Settings
from shared.storage import UPLOADS_PREFIX
from shared.storage.s3 import S3Store
from shared.trainings.queue import get_training, list_trainings
from shared.trainings.states import TrainingStatus
from tests.datasets import drawn, ended, importing, zipped
from tests.integration.visitors import ADMIN, Visitor, told
from tests.registry import judged, registered_again
from tests.trainings import a_ready_dataset


@pytest.fixture
def admin(settings: Settings, sessions: Sessions, storage: S3Store) -> Visitor:
    return Visitor(settings, sessions, ADMIN)


def test_a_version_is_judged_and_its_verdict_shown(admin: Visitor, sessions: Sessions) -> None:
    assert "no_locked_test_set" in admin.post("/models/student/2/judge").text
    a_ready_dataset(sessions, locked=True)
    assert admin.post("/models/student/2/judge").status_code == 302
    (gate,) = list_gates(sessions, limit=5)
    assert (gate.candidate, gate.champion) == ("student@2", "ensemble@1")
    assert 'hx-trigger="every 2s"' in admin.get("/models/student/2")
    criterion = {"name": "recall.Pro", "passed": False, "detail": "Recall of Pro is low."}
    with sessions.begin() as session:
        report = json.dumps({"passed": False, "criteria": [criterion]})
        session.execute(
            text("UPDATE gates SET status = 'refused', finished_at = now(), report = :report"),
            {"report": report},
        )
    page = admin.get("/models/student/2/gates")
    assert "Recall of Pro is low." in page
    assert "not met" in page
    assert "hx-trigger" not in page


def test_a_promotion_without_a_passed_gate_takes_a_second_administrator(
    admin: Visitor, sessions: Sessions
) -> None:
    page = admin.get("/models/student/2/promote")
    assert "no gate was asked for" in page
    assert 'name="second_key"' in page
    refused = admin.post("/models/student/2/promote", reason="it is faster")
    assert (refused.status_code, "gate_not_passed" in refused.text) == (409, True)
    own = admin.post("/models/student/2/promote", reason="it is faster", second_key=admin.secret)
    assert (own.status_code, "second_key_invalid" in own.text) == (403, True)
    assert read_aliases(sessions) == {}
    other, secret = create_key(sessions, "second", [Scope.ADMIN])
    done = admin.post("/models/student/2/promote", reason="it is faster", second_key=secret)
    assert done.status_code == 302
    assert str(read_aliases(sessions)[Alias.CHAMPION]) == "student@2"
    ((actor, details),) = told(sessions, "model.promoted")
    assert (actor, details["approver"]) == (f"key:{admin.key.id}", f"key:{other.id}")


def test_nobody_agrees_with_themselves_by_a_key_that_they_made(
    admin: Visitor, sessions: Sessions
) -> None:
    def refused(secret: str) -> bool:
        asked = {"reason": "it is faster", "second_key": secret}
        return "second_key_invalid" in admin.post("/models/student/2/promote", **asked).text

    actor = f"key:{admin.key.id}"
    made, secret = create_key(sessions, "mine", [Scope.ADMIN], actor=actor)
    assert refused(secret)
    _, secret = create_key(sessions, "by it", [Scope.ADMIN], actor=f"key:{made.id}")
    assert refused(secret)
    another, _ = create_key(sessions, "another's", [Scope.ADMIN])
    _, secret = rotate_key(sessions, another.id, dt.timedelta(hours=1), actor=actor)
    assert refused(secret)
    assert read_aliases(sessions) == {}


def test_a_challenger_comes_and_goes(admin: Visitor, sessions: Sessions) -> None:
    assert admin.post("/models/student/2/challenger", canary_percent="0").status_code == 302
    assert str(read_aliases(sessions)[Alias.CHALLENGER]) == "student@2"
    assert "Retire the challenger" in admin.get("/models")
    for odd in ("all", "9" * 5000):
        wrong = admin.post("/models/student/2/challenger", canary_percent=odd)
        assert (wrong.status_code, "canary_percent" in wrong.text) == (422, True)
    assert admin.post("/models/retire").status_code == 302
    assert read_aliases(sessions) == {}
    assert admin.post("/models/retire").status_code == 409


def test_a_page_shows_what_another_process_has_just_changed(
    admin: Visitor, settings: Settings, sessions: Sessions
) -> None:
    other = Visitor(settings, sessions, ADMIN)
    pages = {"/models": "Retire the challenger", "/models/student/2": '"badge review">challenger'}
    pages["/models/cnn_custom/1/challenger"] = "The challenger is student@2 now."
    for change, shown in {"/models/student/2/challenger": True, "/models/retire": False}.items():
        assert other.post(change, canary_percent="0").status_code == 302
        assert [text in admin.get(page) for page, text in pages.items()] == [shown] * 3


def test_a_roll_back_names_the_version_that_goes(
    admin: Visitor, sessions: Sessions, storage: S3Store, policy: Any
) -> None:
    made = registered_again(sessions, storage, "cnn_custom@1")
    judged(sessions, "cnn_custom", 1001, "passed", champion="ensemble@1", policy=policy.sha256)
    assert 'name="second_key"' not in admin.get("/models/cnn_custom/1001/promote")
    assert admin.post("/models/cnn_custom/1001/promote").status_code == 302
    assert made in admin.get("/models")
    assert f'name="champion" value="{made}"' in admin.get("/models/rollback")
    assert admin.post("/models/rollback", champion="student@1").status_code == 409
    assert admin.post("/models/rollback", champion=made, reason="worse").status_code == 302
    assert str(read_aliases(sessions)[Alias.CHAMPION]) == "ensemble@1"


def test_two_versions_stand_side_by_side(admin: Visitor) -> None:
    page = admin.get("/models?a=student@2&b=cnn_custom@1")
    heads = re.findall(r'<th scope="col">(student@2|cnn_custom@1|ensemble@1)</th>', page)
    assert heads == ["student@2", "cnn_custom@1"]
    assert "513 / 516" in page


def test_a_version_that_was_measured_on_too_little_is_shown_all_the_same(
    admin: Visitor, sessions: Sessions, storage: S3Store
) -> None:
    registered_again(sessions, storage, "student@2")
    of_none = '{"value": null, "count": 0, "of": 0, "wilson95": null}'
    with sessions.begin() as session:
        for path in ("{review,unreviewed,errors}", "{robustness,perturbations,hue,1,accuracy}"):
            session.execute(
                text(
                    "UPDATE model_versions SET card ="
                    " jsonb_set(CAST(card AS jsonb), CAST(:path AS text[]), CAST(:none AS jsonb))"
                ),
                {"path": path, "none": of_none},
            )
    assert "student@1001" in admin.get("/models")
    assert "505 / 516" in admin.get("/models/student/1001")


@pytest.mark.parametrize("path", ["models/student/99", "models/nobody/1", "models/student/2/burn"])
def test_what_is_not_there_is_not_found(admin: Visitor, path: str) -> None:
    assert "not_found" in admin.get(f"/{path}", status=404)


@pytest.mark.parametrize("path", ["models/burn", "models/promote", "models/student/2/retire"])
def test_a_change_that_there_is_not_is_refused(admin: Visitor, path: str) -> None:
    assert admin.post(f"/{path}", reason="to see").status_code == 404


def test_a_zip_becomes_a_data_set(
    admin: Visitor, settings: Settings, sessions: Sessions, storage: S3Store, tmp_path: Path
) -> None:
    zip_file = io.BytesIO(zipped({**drawn(), "Pro/broken.png": b"no image"}))
    sent = admin.post("/data/uploads", name="March", locked="true", file=(zip_file, "x.zip"))
    assert sent.status_code == 302, sent.text
    dataset_id = sent.headers["Location"].rpartition("/")[2]
    page = admin.get(f"/data/{dataset_id}")
    assert "locked test set" in page
    assert "hx-trigger" in page
    with importing(settings, sessions, storage, tmp_path):
        admin.http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {admin.secret}"
        ended(admin.http, dataset_id)
    page = admin.get(f"/data/{dataset_id}")
    assert "hx-trigger" not in page
    assert "unsupported_media_type" in page
    assert "broken.png" not in page
    assert "March" in admin.get("/data")


def test_an_upload_without_the_token_is_kept_nowhere(admin: Visitor, storage: S3Store) -> None:
    before = {stored.key for stored in storage.list(UPLOADS_PREFIX, after="")}

    def sent(**fields: str) -> Any:
        data = {"file": (io.BytesIO(zipped(drawn())), "x.zip"), **fields}
        return admin.http.post("/console/data/uploads", data=data)

    assert sent().status_code == 400
    assert sent(csrf_token="forged").status_code == 400
    assert "There is no data set yet." in admin.get("/data")
    assert {stored.key for stored in storage.list(UPLOADS_PREFIX, after="")} == before


def test_reviews_become_a_data_set(admin: Visitor, sessions: Sessions) -> None:
    base = a_ready_dataset(sessions)
    made = admin.post("/data/reviews", base=str(base), reviews_since="", name="and reviews")
    assert made.status_code == 302
    assert "and reviews" in admin.get("/data")
    missing = admin.post("/data/reviews", base=str(uuid.uuid4()))
    assert (missing.status_code, "not_found" in missing.text) == (404, True)


def test_a_training_is_started_with_what_the_form_says(admin: Visitor, sessions: Sessions) -> None:
    form = {
        "architecture": "cnn_custom",
        "dataset_id": str(a_ready_dataset(sessions)),
        "protocol": "grouped",
        "recipe": "robust",
        "seeds": "3, 5",
        "base": "",
        "name": "a try",
        "max_epochs": "4",
        "learning_rate": "0.01",
        "patience": "",
        "with_validation": "true",
    }
    assert "a try" not in admin.get("/trainings")
    assert admin.post("/trainings", **form).status_code == 302
    (run,) = list_trainings(sessions, limit=5)
    assert (run.name, run.seeds) == ("a try", (3, 5))
    assert run.overrides == {"max_epochs": 4, "learning_rate": 0.01, "with_validation": True}
    refused = admin.post("/trainings", **{**form, "patience": "3"})
    assert (refused.status_code, "no patience" in refused.text) == (422, True)
    assert 'value="a try"' in refused.text
    curves = admin.http.get(f"/console/trainings/{run.id}/curves/loss").json
    assert curves == {"x": [], "labels": [], "series": [], "final": False}
    admin.post(f"/trainings/{run.id}/cancel")
    assert get_training(sessions, run.id).status is TrainingStatus.CANCELLED
    assert "hx-trigger" not in admin.get(f"/trainings/{run.id}")


def test_curves_are_by_seed(admin: Visitor, sessions: Sessions) -> None:
    dataset = str(a_ready_dataset(sessions))
    admin.post("/trainings", architecture="student", dataset_id=dataset, seeds="1")
    (run,) = list_trainings(sessions, limit=5)
    with sessions.begin() as session:
        for number, loss in ((1, 0.5), (2, 0.25)):
            told = {"seed": 1, "sibling": False, "epoch": number, "of": 2, "loss": loss}
            session.execute(
                text(
                    "INSERT INTO training_events (run_id, number, kind, key, document)"
                    " VALUES (:run, :number, 'epoch', :key, CAST(:told AS json))"
                ),
                {
                    "run": run.id,
                    "number": 10 + number,
                    "key": str(number),
                    "told": json.dumps(told),
                },
            )
    curves = admin.http.get(f"/console/trainings/{run.id}/curves/loss").json
    assert (curves["x"], curves["series"]) == ([1, 2], [[0.5, 0.25]])
