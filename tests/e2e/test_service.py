"""Real processes, real HTTP, real servers: what a hospital would see."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from redis import Redis

from shared.client import Client
from shared.client.jobs import Job
from shared.db.roles.table import Role
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear
from tests.command_line import command_line
from tests.factories import BAD_IMAGES, smear_bytes
from tests.waiting import eventually

CLIENTS = 8
MANY = 200


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty drawn fields, as files of several formats and sizes."""
    folder = tmp_path_factory.mktemp("drawn")
    formats = ("png", "jpg", "bmp", "tiff", "webp")
    files = []
    for seed in range(40):
        size = 224 if seed % 4 else 400
        path = folder / f"{seed}.{formats[seed % len(formats)]}"
        draw_smear(seed, size=size, red_cells=15, nucleated_cells=seed % 9).save(path)
        files.append(path)
    return files


def predicted(files: list[Path]) -> dict[str, dict[str, float]]:
    done = command_line("predict", *map(str, files), "--jsonl")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["file"]: line["probabilities"] for line in lines}


def triaged(service: LocalService, files: list[Path]) -> dict[Path, Job]:
    """Post each file as a job of its own by 8 clients at once, and wait for all results."""

    def run(share: list[Path]) -> list[tuple[Path, Job]]:
        client = Client(service.url, service.api_key)
        accepted = [(path, client.submit([path]).id) for path in share]
        return [(path, client.wait(job_id, timeout=120)) for path, job_id in accepted]

    shares = [files[start::CLIENTS] for start in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        return {path: job for done in pool.map(run, shares) for path, job in done}


def assert_service_agrees_with_command_line(service: LocalService, files: list[Path]) -> None:
    jobs = triaged(service, files)
    expected = predicted(files)
    assert len(jobs) == len(files)
    assert len({job.id for job in jobs.values()}) == len(files)
    for path, job in jobs.items():
        assert job.status == "succeeded", job
        found = job.result.images[0].probabilities
        for label, probability in expected[str(path)].items():
            assert abs(found[label] - probability) < 1e-5, path


def test_drawn_images_of_8_clients_each_get_one_result_equal_to_the_command_lines(
    service: LocalService, drawn: list[Path]
) -> None:
    assert_service_agrees_with_command_line(service, drawn)
    # Whatever the broker kept as unacknowledged, it would keep for ever, or deliver again.
    broker = Redis.from_url(service.environment()["HEMOTRIAGE_BROKER_URL"])
    assert broker.exists("unacked", "unacked_index") == 0


@pytest.mark.dataset
def test_200_real_images_of_8_clients_each_get_one_result_equal_to_the_command_lines(
    service: LocalService, dataset: Path
) -> None:
    files = random.Random(1).sample(sorted(dataset.glob("*/*.jpg")), MANY)
    before = row_counts(service)
    assert_service_agrees_with_command_line(service, files)
    after = row_counts(service)
    assert [now - then for now, then in zip(after, before, strict=True)] == [MANY, MANY]


def row_counts(service: LocalService) -> list[int]:
    dsn = service.environment()["HEMOTRIAGE_DATABASE_URL"].replace("+psycopg2", "")
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM results)")
        return list(cursor.fetchone())


def test_every_bad_input_is_refused_and_the_service_stays_healthy(
    service: LocalService, client: Client
) -> None:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
        for kind, (data, status, code) in BAD_IMAGES.items():
            answer = http.post("/v1/jobs", files={"image": ("smear.jpg", data, "image/jpeg")})
            assert (answer.status_code, answer.json()["code"]) == (status, code), kind
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert http.get("/readyz").status_code == 200


@pytest.mark.parametrize("megabytes", [100, 300])
def test_a_file_of_100_megabytes_is_refused_with_an_answer_that_arrives(
    service: LocalService, megabytes: int
) -> None:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    data = smear_bytes() + b"\x00" * (megabytes * 1024**2)
    answer = httpx.post(
        f"{service.url}/v1/jobs", files={"image": data}, headers=headers, timeout=120
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_an_upload_of_unknown_length_is_taken_up_to_the_limit(
    service: LocalService, client: Client
) -> None:
    headers = {"Authorization": f"Bearer {service.api_key}", "Content-Type": "image/png"}

    def body(padding: int) -> Iterator[bytes]:
        yield smear_bytes()
        for _ in range(padding):
            yield b"\x00" * 2**20

    answers = [
        httpx.post(f"{service.url}/v1/jobs", content=body(mebibytes), headers=headers, timeout=120)
        for mebibytes in (0, 40, 300)
    ]
    assert [answer.status_code for answer in answers] == [202, 413, 413]
    assert client.wait(answers[0].json()["id"]).status == "succeeded"


def test_a_connection_cut_in_the_middle_of_an_upload_does_no_harm(
    service: LocalService, client: Client, drawn: list[Path]
) -> None:
    def half() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        yield smear_bytes()[:1000]
        raise ConnectionAbortedError

    headers = {
        "Authorization": f"Bearer {service.api_key}",
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": "50000",
    }
    with pytest.raises(ConnectionAbortedError):
        httpx.post(f"{service.url}/v1/jobs", content=half(), headers=headers)
    job = client.wait(client.submit(drawn[:1]).id)
    assert job.status == "succeeded"


def test_a_stat_job_overtakes_the_routine_jobs_that_wait(
    service: LocalService, client: Client, drawn: list[Path]
) -> None:
    worker = service.applications["worker"]
    worker.pause()
    try:
        routine = [client.submit(drawn[:2]).id for _ in range(60)]
        stat = client.submit(drawn[:2], fields={"priority": "stat"}).id
    finally:
        worker.resume()
    started = client.wait(stat).started_at
    earlier = [job_id for job_id in routine if client.wait(job_id).started_at < started]
    assert len(earlier) < len(routine) / 2, "it was posted after all of them"


def test_a_worker_killed_in_the_middle_of_its_jobs_loses_none(
    service: LocalService, client: Client, drawn: list[Path]
) -> None:
    ids = [client.submit(drawn[:8]).id for _ in range(12)]
    service.applications["worker"].kill()
    deadline = time.monotonic() + 120
    jobs = []
    while time.monotonic() < deadline:
        service.ensure_alive()
        jobs = [client.job(job_id) for job_id in ids]
        if all(job.status == "succeeded" for job in jobs):
            break
        time.sleep(0.5)
    assert [job.status for job in jobs] == ["succeeded"] * len(ids)


def test_the_command_line_submits_waits_and_shows_the_result(
    service: LocalService, client: Client, drawn: list[Path]
) -> None:
    address = {"HEMOTRIAGE_URL": service.url, "HEMOTRIAGE_API_KEY": service.api_key}
    done = command_line("submit", str(drawn[0]), "--wait", "--priority", "stat", **address)
    assert done.returncode == 0, done.stderr
    assert "pattern consistent with" in done.stdout
    as_json = command_line("submit", *map(str, drawn[:3]), "--wait", "--json", **address)
    assert len(json.loads(as_json.stdout)["result"]["images"]) == 3


def test_the_command_line_leaves_the_priority_to_the_order(
    service: LocalService, client: Client, drawn: list[Path]
) -> None:
    address = {"HEMOTRIAGE_URL": service.url, "HEMOTRIAGE_API_KEY": service.api_key}
    order = {"accession_number": "ACC-4712", "priority": "stat"}
    with httpx.Client(base_url=service.url, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {service.api_key}"
        assert http.post("/v1/orders", json=order).status_code == 201
    for said, expected in (([], "stat"), (["--priority", "routine"], "routine")):
        named = ["--accession-number", "ACC-4712", *said]
        done = command_line("submit", drawn[0], *named, **address)
        assert client.job(done.stdout.split()[0]).priority == expected


def test_the_command_line_tells_errors_in_one_line_with_their_code(
    service: LocalService, tmp_path: Path, drawn: list[Path]
) -> None:
    address = {"HEMOTRIAGE_URL": service.url, "HEMOTRIAGE_API_KEY": service.api_key}
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    cases = [
        (["submit", str(text)], address, "unsupported_media_type"),
        (["submit", str(drawn[0]), "--model", "no_such"], address, "unknown_model"),
        (["submit", str(drawn[0])], {**address, "HEMOTRIAGE_API_KEY": "ht_a_b"}, "unauthorized"),
        (
            ["submit", str(drawn[0])],
            {**address, "HEMOTRIAGE_URL": "http://127.0.0.1:9"},
            "service_unreachable",
        ),
        (["predict", str(drawn[0]), "--model", "no_such"], {}, "unknown_model"),
        (["evaluate", str(tmp_path)], {}, "dataset_invalid"),
    ]
    for arguments, environment, code in cases:
        done = command_line(*arguments, **environment)
        assert done.returncode != 0, arguments
        assert f"hemotriage: {code}: " in done.stderr, arguments
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_keys_are_made_listed_and_revoked_at_the_command_line(service: LocalService) -> None:
    environment = service.environment(Role.OPERATOR)
    made = command_line("keys", "create", "--name=pacs", "--scopes=read", **environment)
    key = made.stdout.strip()
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{service.url}/v1/jobs", headers=headers).status_code == 200
    assert httpx.post(f"{service.url}/v1/jobs", headers=headers).status_code == 403
    key_id = key.split("_")[1]
    listed = command_line("keys", "list", **environment).stdout
    assert key_id in listed
    assert key not in listed
    assert command_line("keys", "revoke", key_id, **environment).returncode == 0
    assert httpx.get(f"{service.url}/v1/jobs", headers=headers).status_code == 401


def test_no_log_holds_a_key_a_password_or_what_names_a_patient(
    service: LocalService, client: Client, drawn: list[Path]
) -> None:
    accession, reference = "ACCESSION-47-11", "pseudonym-8-15"
    fields = {"accession_number": accession, "patient_ref": reference}
    client.wait(client.submit(drawn[:1], fields=fields).id)
    httpx.get(
        f"{service.url}/v1/jobs?accession_number={accession}",
        headers={"Authorization": f"Bearer {service.api_key}"},
    )
    dsn = service.environment()["HEMOTRIAGE_DATABASE_URL"].replace("+psycopg2", "")
    with (
        psycopg2.connect(dsn) as connection,
        connection.cursor() as cursor,
        pytest.raises(psycopg2.Error),
    ):
        cursor.execute("INSERT INTO jobs (accession_number) VALUES (%s)", (accession,))
    environment = service.environment()
    secrets = [service.api_key, environment["HEMOTRIAGE_S3_SECRET_KEY"]]
    secrets += [
        environment[name].split(":")[2].split("@")[0]
        for name in ("HEMOTRIAGE_DATABASE_URL", "HEMOTRIAGE_BROKER_URL")
    ]
    for name, process in {**service.applications, **service.servers.processes}.items():
        log = process.spec.log.read_text(errors="replace")
        for secret in (*secrets, accession, reference):
            assert secret not in log, name


def test_clients_that_wait_keep_nobody_from_being_served(
    service: LocalService, client: Client
) -> None:
    workers = [one for name, one in service.applications.items() if name.startswith("worker")]
    for worker in workers:
        worker.pause()
    try:
        image = ("image", ("field.png", smear_bytes(), "image/png"))
        headers = {"Authorization": f"Bearer {service.api_key}"}
        with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as http:
            job_id = http.post("/v1/jobs", files=[image]).json()["id"]
            sockets = [wait_without_reading(service, job_id) for _ in range(MANY)]
            for _ in range(3):
                assert http.get(f"/v1/jobs/{job_id}", timeout=25).json()["status"] == "queued"
    finally:
        for worker in workers:
            worker.resume()
    assert client.wait(job_id).status == "succeeded"
    for waiting in sockets:
        with waiting:
            waiting.settimeout(60)
            answer = b""
            while b'"status"' not in answer:
                chunk = waiting.recv(65536)
                assert chunk, "the connection was closed without an answer"
                answer += chunk
            assert b'"status":"succeeded"' in answer.replace(b'": "', b'":"')


def wait_without_reading(service: LocalService, job_id: str) -> socket.socket:
    """Ask for a job's end on a connection of its own; the answer is read later."""
    address = httpx.URL(service.url)
    waiting = socket.create_connection((address.host, address.port), timeout=10)
    request = (
        f"GET /v1/jobs/{job_id}?wait=30 HTTP/1.1\r\nHost: {address.host}\r\n"
        f"Authorization: Bearer {service.api_key}\r\n\r\n"
    )
    waiting.sendall(request.encode())
    return waiting


def test_the_api_stops_without_waiting_for_clients_that_ask_nothing(service: LocalService) -> None:
    api = service.applications["api"]
    with httpx.Client(base_url=service.url, trust_env=False) as http:
        assert http.get("/readyz").status_code == 200
        api.ask_to_stop()
        eventually(lambda: not api.is_running(), 20)
    assert api.exit_code == 0
    eventually(api.is_running, 20, meanwhile=service.ensure_alive)
    api.wait_ready()
