"""A child of the trainer that trains nothing: it does what the name of its run says.

It stands in for `services.trainer.child` where a test is about its trainer. TensorFlow is not
loaded, and each way to end takes a moment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid

from services.trainer.finish import RECORD, run_folder
from services.trainer.reports import Reports
from shared.db.session import create_database, create_sessions
from shared.errors import DatasetError
from shared.settings import Settings
from shared.storage import StorageUnavailableError
from shared.trainings.queue import get_training

RAISED = {
    "cannot": DatasetError("no Pro"),
    "outage": StorageUnavailableError(),
    "bug": ValueError("Ada Lovelace"),
}


def main() -> int:
    """Report a little, then end as it is told."""
    reports = Reports.on_stdout()
    settings = Settings()
    run_id = uuid.UUID(sys.argv[1])
    run = get_training(create_sessions(create_database(settings, pool_size=1)), run_id)
    reports.begin(run.attempts, "a device")
    os.write(sys.stdout.fileno(), b"what a library prints is no report\n")
    reports.log(f"attempt {run.attempts}")
    reports.epoch("1/run/1", {"seed": 1, "epoch": 1})
    reports.progress(0.5, 12.5)
    if run.name in RAISED:
        reports.failed(RAISED[run.name])
        return 1
    if run.name == "crashes":
        os.kill(os.getpid(), signal.SIGKILL)
    if run.name == "goes on":
        time.sleep(300)
    folder = run_folder(settings.trainer_work, run_id)
    if run.name == "torn":
        (folder / RECORD).write_text('{"models": ')
        return 0
    (folder / RECORD).write_text(json.dumps({"models": {run.name: {}}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
