"""Starts the API: `python -m services.api.main`."""

from __future__ import annotations

import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from services.api.app import create_app
from shared.logging import configure_logging
from shared.settings import Settings

GRACE_SECONDS = 30


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with its options from our settings instead of its own files and flags."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        options: dict[str, Any] = {
            "bind": f"{settings.api_host}:{settings.api_port}",
            "workers": settings.api_processes,
            "worker_class": "gthread",
            "threads": settings.api_threads,
            "graceful_timeout": GRACE_SECONDS,
            "keepalive": 30,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        configure_logging(self._settings.log_level, service="api")
        return create_app(self._settings)


def main() -> int:
    """Serve until SIGTERM; requests that run are finished first."""
    settings = Settings()
    configure_logging(settings.log_level, service="api")
    _Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
