"""gunicorn with gevent: a request that waits for a server or for a job's end holds no thread."""

from __future__ import annotations

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
            "worker_class": "gevent",
            "worker_connections": settings.api_connections,
            "graceful_timeout": GRACE_SECONDS,
            "keepalive": 30,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        configure_logging(self._settings.log_level, service="api")
        return create_app(self._settings)


def serve() -> int:
    """See `services.api.main`, which this module must be imported by."""
    settings = Settings()
    configure_logging(settings.log_level, service="api")
    _Server(settings).run()
    return 0
