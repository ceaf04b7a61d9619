"""The model versions of a service at the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from subprocess import CompletedProcess
from typing import Any, Protocol

import pytest
from sqlalchemy import update
from werkzeug.serving import make_server
from werkzeug.wsgi import LimitedStream

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.db.models import GateRow
from shared.db.session import Sessions
from shared.registry.policy import ChangeControlPolicy
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.command_line import command_line
from tests.registry import judged
from tests.trainings import a_ready_dataset

REPORT = {
    "passed": False,
    "criteria": [
        {"name": "accuracy", "passed": False, "detail": "0.50, which is below 0.80."},
        {"name": "size", "passed": True, "detail": "1 MB."},
    ],
    "reasons": ["0.50, which is below 0.80."],
}


class Models(Protocol):
    """`hemotriage models` at the service under test."""

    def __call__(self, *arguments: str, **environment: str) -> CompletedProcess[str]: ...


def bounded(app: Callable[..., Any]) -> Callable[..., Any]:
    """An application that reads no more than was sent, as behind gunicorn."""

    def call(environ: dict[str, Any], start: Any) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], length)
        return app(environ, start)

    return call


@pytest.fixture
def models(settings: Settings, sessions: Sessions, storage: S3Store) -> Iterator[Models]:
    server = make_server("127.0.0.1", 0, bounded(create_app(settings)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _, key = create_key(sessions, "admin", [Scope.READ, Scope.ADMIN])
    url = f"http://127.0.0.1:{server.server_port}"
    yield partial(command_line, "models", HEMOTRIAGE_URL=url, HEMOTRIAGE_API_KEY=key)
    server.shutdown()
    thread.join()
    server.server_close()


def test_two_admins_promote_a_version_and_one_rolls_it_back(
    models: Models, sessions: Sessions
) -> None:
    refused = models("promote", "student@2")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "gate_not_passed" in refused.stderr
    half = models("promote", "student@2", "--reason", "we need it")
    assert "X-Second-Key" in half.stderr
    _, second = create_key(sessions, "second", [Scope.ADMIN])
    done = models("promote", "student@2", "--reason=we need it", HEMOTRIAGE_SECOND_KEY=second)
    assert done.stdout.splitlines() == ["champion: student@2", "previous: ensemble@1"], done.stderr
    listed = models("registered", "--json")
    assert json.loads(listed.stdout)["aliases"]["champion"] == "student@2"
    back = models("rollback", "--reason", "too many reviews", "--json")
    assert json.loads(back.stdout)["aliases"]["champion"] == "ensemble@1"


def test_a_challenger_is_set_looked_at_and_retired(
    models: Models, sessions: Sessions, policy: ChangeControlPolicy
) -> None:
    judged(sessions, "student", 2, "passed", champion="ensemble@1", policy=policy.sha256)
    done = models("challenge", "student@2", "--canary", "25")
    assert "challenger: student@2, 25 % of its jobs" in done.stdout, done.stderr
    assert "student@2" in models("registered").stdout
    assert "less urgent than the result" in models("shadow", "student@2").stdout
    figures = json.loads(models("shadow", "student@2", "--json").stdout)
    assert (figures["model"], figures["jobs"]) == ("student@2", 0)
    assert models("retire").stdout == "champion: ensemble@1\n"


def test_a_refused_version_is_told_by_its_criteria_and_the_exit_code(
    models: Models, sessions: Sessions
) -> None:
    none = models("judge", "student@2")
    assert (none.returncode, "no_locked_test_set" in none.stderr) == (1, True)
    dataset = a_ready_dataset(sessions, locked=True)
    queued = models("judge", "student@2", "--json")
    assert (queued.returncode, json.loads(queued.stdout)["status"]) == (0, "queued")

    judging = threading.Thread(target=_refuse_the_next, args=(sessions,))
    judging.start()
    waited = models("judge", "student@2", "--dataset", str(dataset), "--wait")
    judging.join()
    assert waited.returncode == 1
    for shown in ("student@2 against ensemble@1", "accuracy", "size", "refused: 0.50, which is"):
        assert shown in waited.stdout


@pytest.mark.parametrize("named", ["student", "champion", "student@0", "../student@1"])
def test_a_version_is_named_in_full(models: Models, named: str) -> None:
    done = models("promote", named)
    assert done.returncode == 2
    assert "NAME@VERSION" in done.stderr


def _refuse_the_next(sessions: Sessions) -> None:
    """As a trainer would, once a second gate waits."""
    verdict = {"status": "refused", "finished_at": GateRow.requested_at, "report": REPORT}
    refusing = update(GateRow).values(policy_sha256="0" * 64, **verdict)
    changed = 0
    while changed < 2:
        with sessions.begin() as session:
            changed += session.execute(refusing.where(GateRow.status == "queued")).rowcount
