"""The process that trains one run: `python -m services.trainer.child RUN_ID`.

Whatever becomes of it, its trainer lives on; where its trainer is killed, the kernel ends it.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import uuid

from services.trainer.reports import Reports
from shared.logging import configure_logging
from shared.parent import dying_with_parent
from shared.settings import Settings

_ATTEMPT = "services.trainer.attempt"

_log = logging.getLogger(__name__)


def main() -> int:
    """Train one run, and report on standard output."""
    # Before TensorFlow is loaded, which takes seconds and may print.
    if (bind := dying_with_parent(signal.SIGKILL)) is not None:
        bind()
    reports = Reports.on_stdout()
    settings = Settings()
    configure_logging(settings.log_level, service="trainer-child")
    try:
        importlib.import_module(_ATTEMPT).train_run(uuid.UUID(sys.argv[1]), settings, reports)
    except Exception as error:  # the trainer is told what it was, whatever it was
        _log.exception("training failed")
        reports.failed(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
