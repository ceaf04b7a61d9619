"""A past job runs again as it was run, and what differs is named."""

from __future__ import annotations

import copy
import io
import json
import uuid
from dataclasses import replace as changed
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from services.cli import jobs as command
from services.cli.replaying import (
    EngineUnknownError,
    ImageAlteredError,
    PolicyUnknownError,
    Replay,
    ResultInvalidError,
    replay,
)
from shared.auth.tenants import DEFAULT_TENANT
from shared.clock import utc_now
from shared.errors import HemotriageError, NoResultError, UnknownModelError
from shared.jobs.queries import get_job
from shared.retention.removed import ImagePurgedError
from shared.storage import ObjectMissingError, artefact_key
from tests.factories import smear_bytes
from tests.integration.posting import post
from tests.registry import SHIPPED, registered_again


@pytest.fixture
def finished(client, runner) -> Any:
    """Runs a job by a worker and gives its id."""

    def run(model: str = "cnn_custom@1", images: int = 1) -> uuid.UUID:
        fields = (smear_bytes(seed) for seed in range(images))
        job_id = uuid.UUID(post(client, *fields, model=model).json["id"])
        runner.run(job_id, worker="w")
        return job_id

    return run


@pytest.fixture
def again(settings, sessions) -> Any:
    """Replays a job, whose recorded document may be altered first."""

    def run(job_id: uuid.UUID, **alterations: Any) -> Replay:
        job = get_job(sessions, job_id, tenant=DEFAULT_TENANT)
        if alterations:
            document = copy.deepcopy(job.result)
            for name, value in alterations.items():
                document[name] = value
            job = changed(job, result=document)
        return replay(settings, sessions, job)

    return run


def pointers(found: Replay) -> list[str]:
    return [one.pointer for one in found.differences]


def test_a_result_in_float32_is_the_same_again(finished, again) -> None:
    found = again(finished(images=3))
    assert found.outcome in ("identical", "identical_but_for_rounding"), found.differences
    assert not [p for p in pointers(found) if not p.endswith(("/unlikeness", "/distance"))]
    assert (found.precision, found.surroundings, found.assumed) == ("f32", [], [])
    assert found.in_full is None


def test_a_result_of_a_lower_precision_is_the_same_in_it_and_float32_stands_beside(
    finished, again
) -> None:
    job_id = finished("student@2")
    found = again(job_id)
    if found.precision == "f32":
        pytest.skip("this processor has no lower precision")
    assert found.outcome in ("identical", "identical_but_for_rounding"), found.differences
    assert found.in_full is not None
    assert found.in_full.largest is not None
    assert found.in_full.largest.by > 0, "in another precision some number is another"


def test_an_altered_number_and_an_altered_word_are_shown_exactly(finished, again, sessions) -> None:
    job_id = finished()
    right = get_job(sessions, job_id, tenant=DEFAULT_TENANT).result
    found = again(job_id, confidence=right["confidence"] - 0.25, urgency="a lie")
    assert found.outcome == "differs"
    shown = {one.pointer: (one.recorded, one.now, one.by) for one in found.differences}
    wrong = right["confidence"] - 0.25
    assert shown["/confidence"] == (wrong, right["confidence"], pytest.approx(0.25))
    assert shown["/urgency"] == ("a lie", right["urgency"], None)


def test_the_policy_of_the_result_decides_again(finished, again, sessions) -> None:
    job_id = finished()
    found = again(job_id, policy_version="1")
    assert found.policy_version == "1"
    assert "/images/0/policy_version" in pointers(found), "the field still says 2"
    assert "/policy_version" not in pointers(found)
    with pytest.raises(PolicyUnknownError):
        again(job_id, policy_version="99")


def test_a_result_of_an_earlier_release_is_replayed_with_what_is_assumed(finished, again) -> None:
    found = again(finished(), provenance=None)
    assert found.outcome in ("identical", "identical_but_for_rounding"), found.differences
    assert found.assumed


def test_an_engine_that_is_not_here_is_told(finished, again, sessions) -> None:
    job_id = finished()
    models = [
        {**get_job(sessions, job_id, tenant=DEFAULT_TENANT).result["models"][0], "engine": "abacus"}
    ]
    with pytest.raises(EngineUnknownError):
        again(job_id, models=models)


@pytest.mark.parametrize("models", [[], [{}], None])
def test_a_document_that_is_no_result_is_told(finished, again, models: Any) -> None:
    with pytest.raises(ResultInvalidError):
        again(finished(), models=models)


def test_what_nobody_foresaw_is_not_taken_for_a_difference(monkeypatch) -> None:
    def fails() -> None:
        raise OSError("/secret is full")

    monkeypatch.setattr(command, "operator_settings", fails)
    done = CliRunner().invoke(command.command, ["replay", str(uuid.uuid4()), "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["error"]["code"]) == (2, "internal_error")
    assert "secret" not in done.output


def test_a_missing_image_and_another_image_are_told_apart(
    finished, again, sessions, storage
) -> None:
    job_id = finished()
    key = get_job(sessions, job_id, tenant=DEFAULT_TENANT).images[0].object_key
    other = smear_bytes(7)
    storage.put(key, io.BytesIO(other), len(other), "image/png")
    with pytest.raises(ImageAlteredError):
        again(job_id)
    storage.delete(key)
    with pytest.raises(ObjectMissingError):
        again(job_id)


def test_a_job_whose_images_are_not_kept_any_more_is_told(finished, settings, sessions) -> None:
    job = get_job(sessions, finished(), tenant=DEFAULT_TENANT)
    gone = tuple(changed(image, purged_at=utc_now()) for image in job.images)
    with pytest.raises(ImagePurgedError):
        replay(settings, sessions, changed(job, images=gone))


def test_a_version_that_is_gone_is_told(finished, again, settings, sessions, storage) -> None:
    job_id = finished()
    job = get_job(sessions, job_id, tenant=DEFAULT_TENANT)
    with pytest.raises(UnknownModelError):
        replay(settings, sessions, changed(job, model_version=77))


def test_a_registered_version_whose_artefact_is_gone_is_told(
    finished, own, sessions, storage
) -> None:
    job_id = finished()
    registered = registered_again(sessions, storage, "cnn_custom@1")
    number = int(registered.split("@")[1])
    job = changed(get_job(sessions, job_id, tenant=DEFAULT_TENANT), model_version=number)
    assert [p for p in pointers(replay(own, sessions, job)) if p == "/models/0/version"]
    for artefact in SHIPPED.resolve("cnn_custom@1").card["artefacts"].values():
        storage.delete(artefact_key(artefact["sha256"]))
        (own.registry_dir / "cnn_custom" / str(number) / artefact["file"]).unlink(missing_ok=True)
    with pytest.raises(HemotriageError) as refused:
        replay(own, sessions, job)
    assert refused.value.code == "object_missing"


def test_a_job_without_a_result_is_told(client, again) -> None:
    with pytest.raises(NoResultError):
        again(uuid.UUID(post(client, smear_bytes()).json["id"]))


def test_the_command_tells_by_its_exit_code_and_the_trail_keeps_what_came_of_it(
    finished, settings, sessions, storage, monkeypatch
) -> None:
    monkeypatch.setattr(command, "operator_settings", lambda: settings)
    job_id = finished()
    before = get_job(sessions, job_id, tenant=DEFAULT_TENANT)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(command.command, ["replay", *arguments])
        return done.exit_code, done.stdout

    assert run(str(job_id))[0] == 0
    assert get_job(sessions, job_id, tenant=DEFAULT_TENANT) == before, "the result stays as it is"
    alter = "UPDATE results SET document = jsonb_set(document::jsonb, '{urgency}', '\"lie\"')::json"
    with sessions.begin() as session:
        session.execute(text(alter))
    code, printed = run(str(job_id), "--json")
    assert code == 1
    shown = {one["pointer"]: one for one in json.loads(printed)["differences"]}
    assert shown["/urgency"]["recorded"] == "lie"
    storage.delete(before.images[0].object_key)
    code, printed = run(str(job_id), "--json")
    assert (code, json.loads(printed)["error"]["code"]) == (2, "object_missing")
    code, printed = run(str(uuid.uuid4()), "--json")
    assert (code, json.loads(printed)["error"]["code"]) == (2, "not_found")
    with sessions() as session:
        trail = session.execute(
            text("SELECT details FROM audit_events WHERE action = 'job.replayed' ORDER BY id")
        ).scalars()
        assert [one["outcome"] for one in trail] == ["identical", "differs", "cannot"]
