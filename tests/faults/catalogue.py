"""The faults, each really done to real processes."""

from __future__ import annotations

import random
import shutil
import socket
import time
from collections.abc import Callable

import httpx

from shared.queue.names import QUEUES
from tests.faults.copies import Copies
from tests.faults.pictures import pictures_of
from tests.faults.scene import Fault, Scene
from tests.faults.world import SERVERS, kill

WORK_RESUMES_WITHIN_SECONDS = 15.0
_CATCH_SECONDS = 20.0
_HALF_UPLOADS = 6
_BATCH = 4
_CUTS = 3
_LEAST_KILLS = 5
_CUT_PAUSE_SECONDS = 0.7
_DUPLICATING_SECONDS = 3.0
_BACKLOG = 20


def catch(holds: Callable[[], bool]) -> bool:
    """Look for a short-lived moment, closely."""
    deadline = time.monotonic() + _CATCH_SECONDS
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.002)
    return False


def kill_worker_mid_batch(scene: Scene) -> None:
    """All workers die while jobs are in their hands."""
    scene.resumes_within = WORK_RESUMES_WITHIN_SECONDS
    catch(lambda: len(scene.running()) >= _BATCH)
    kill(scene.world.named("worker"))
    scene.mark()
    held = scene.running()
    scene.require(bool(held), "no job was in the hands of a worker")
    scene.watch_held(held)


def kill_api_mid_upload(scene: Scene) -> None:
    """The API dies while it has received half of several uploads."""
    uploads = [_half_upload(scene) for _ in range(_HALF_UPLOADS)]
    time.sleep(0.5)
    kill(scene.world.named("api"))
    scene.mark()
    for upload in uploads:
        upload.close()


def _half_upload(scene: Scene) -> socket.socket:
    address = httpx.URL(scene.world.service.url)
    data = pictures_of("1")[0].data
    boundary = "half"
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: {address.host}\r\n"
        f"Authorization: Bearer {scene.world.service.api_key}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
        f"Content-Length: {len(data) + 500}\r\n\r\n"
    )
    connection = socket.create_connection((address.host, address.port or 80), timeout=10)
    connection.sendall(head.encode() + part.encode() + data[: len(data) // 2])
    return connection


def kill_api_between_commit_and_send(scene: Scene) -> None:
    """The API dies after it has committed jobs and before it has sent their messages."""
    valkey = scene.world.named("valkey")[0]
    valkey.pause()
    waiting = "SELECT count(*) FROM outbox"
    caught = catch(lambda: scene.world.query(waiting)[0][0] > 0)
    kill(scene.world.named("api"))
    left = scene.world.query(waiting)[0][0]
    valkey.resume()
    scene.mark()
    scene.require(caught and left > 0, "no committed message waited to be sent")
    scene.note(f"{left} committed, not sent")


def killing(name: str) -> Callable[[Scene], None]:
    """One process dies at any moment."""

    def act(scene: Scene) -> None:
        kill(scene.world.named(name))
        scene.mark()

    return act


def freezing(name: str) -> Callable[[Scene], None]:
    """A process stands still for a while, with its connections open."""

    def act(scene: Scene) -> None:
        frozen = scene.world.named(name)
        for process in frozen:
            process.pause()
        # Nobody is supervised meanwhile: a supervisor has no way to tell, and tending a frozen
        # server would hold up the harness itself.
        time.sleep(scene.form.freeze)
        for process in frozen:
            process.resume()
        scene.mark()

    return act


def empty_valkey(scene: Scene) -> None:
    """The queue is emptied under load, with messages in it and in the workers' hands."""
    workers = scene.world.named("worker")
    for worker in workers:
        worker.pause()
    client = scene.world.valkey()
    caught = catch(lambda: _queued(scene) >= _BACKLOG)
    lost = _queued(scene)
    client.flushall()
    for worker in workers:
        worker.resume()
    scene.mark()
    scene.require(caught, "no messages gathered in the queue")
    scene.note(f"{lost} messages lost")


def _queued(scene: Scene) -> int:
    client = scene.world.valkey()
    return sum(int(client.llen(queue)) for queue in QUEUES)


def kill_valkey_with_data(scene: Scene) -> None:
    """Valkey dies and its disk with it: it comes back empty."""
    kill(scene.world.named("valkey"))
    shutil.rmtree(scene.world.root / "data" / "valkey" / "appendonlydir")
    scene.mark()


def cutting(server: str) -> Callable[[Scene], None]:
    """Every connection to a server is reset, several times."""

    def act(scene: Scene) -> None:
        counts = []
        for _ in range(_CUTS):
            counts.append(scene.world.proxies[server].cut())
            scene.mark()
            scene.world.wait(_CUT_PAUSE_SECONDS)
        scene.require(sum(counts) > 0, "there was no connection to cut")
        scene.note(f"{sum(counts)} connections cut")

    return act


def half_opening(server: str) -> Callable[[Scene], None]:
    """Every connection to a server falls silent and stays open; new ones work."""

    def act(scene: Scene) -> None:
        count = scene.world.proxies[server].half_open()
        scene.mark()
        scene.require(count > 0, "there was no connection to silence")
        scene.note(f"{count} connections silent")

    return act


def deliver_twice(scene: Scene) -> None:
    """Every message is sent twice more, and those that are seen waiting are copied as they are."""
    copies = Copies(scene)
    workers = scene.world.named("worker")
    deadline = time.monotonic() + _DUPLICATING_SECONDS
    while time.monotonic() < deadline:
        for worker in workers:  # so that messages stay to be seen
            worker.pause()
        time.sleep(0.3)
        copies.copy_waiting()
        for worker in workers:
            worker.resume()
        copies.send_again()
        time.sleep(0.3)
    scene.world.wait(scene.form.after)
    copies.copy_late()
    scene.mark()
    scene.require(copies.count > 0, "no message was seen")
    scene.note(f"{copies.count} copies sent")


def restart_everything(scene: Scene) -> None:
    """All processes are stopped by SIGTERM under load, and started again."""
    service = scene.world.service
    service.stop()
    codes = {name: process.exit_code for name, process in service.applications.items()}
    scene.require(set(codes.values()) == {0}, f"exit codes: {codes}")
    scene.world.start()
    scene.mark()


def restart_one_by_one(scene: Scene) -> None:
    """Each of our processes in turn is stopped by SIGTERM under load, and started again."""
    world = scene.world
    codes, slowest = {}, (0.0, "")
    for name, process in world.service.applications.items():
        began = time.monotonic()
        process.stop()
        slowest = max(slowest, (time.monotonic() - began, name))
        codes[name] = process.exit_code
        scene.mark()
        world.wait(_CATCH_SECONDS, until=world.is_ready)
    scene.note(f"the slowest to stop: {slowest[1]}, {slowest[0]:.1f} s")
    scene.require(set(codes.values()) == {0}, f"exit codes: {codes}")


def chaos(scene: Scene) -> None:
    """A random process dies, again and again, while many jobs go through."""
    seed = random.randrange(10_000)
    dice = random.Random(seed)
    killed: list[float] = []
    deadline = time.monotonic() + scene.form.chaos_seconds
    while time.monotonic() < deadline:
        scene.world.wait(scene.form.chaos_every)
        if not scene.load.is_running() and len(killed) >= _LEAST_KILLS:
            break
        name = dice.choice(sorted(scene.world.processes))
        kill([scene.world.processes[name]])
        killed.append(time.monotonic())
    scene.note(f"{len(killed)} kills, seed {seed}; the seconds are the longest after any kill")
    scene.require(bool(killed), "all jobs had ended before the first kill")
    first_after = scene.world.timeline.first_after
    scene.moment = max(killed, default=scene.moment, key=lambda at: first_after(at) or 0.0)


def disturb_nothing(scene: Scene) -> None:
    """After all of that, the service works as before, and its objects are in order."""
    scene.mark()


FAULTS = [
    Fault("worker-killed", kill_worker_mid_batch),
    Fault("api-killed-mid-upload", kill_api_mid_upload),
    Fault("api-killed-before-send", kill_api_between_commit_and_send),
    *[Fault(f"{name}-killed", killing(name)) for name in ("relay", *SERVERS)],
    Fault("valkey-emptied", empty_valkey),
    Fault("valkey-killed-data-lost", kill_valkey_with_data),
    *[Fault(f"{name}-frozen", freezing(name)) for name in ("worker", "api", "relay", *SERVERS)],
    *[Fault(f"{name}-cut", cutting(name)) for name in SERVERS],
    *[Fault(f"{name}-half-open", half_opening(name)) for name in SERVERS],
    Fault("messages-doubled", deliver_twice),
    Fault("restart-one-by-one", restart_one_by_one),
    Fault("restart-everything", restart_everything),
    Fault("chaos", chaos, chaos=True),
    Fault("nothing-more", disturb_nothing, last=True),
]
