"""What can go wrong with local processes."""

from __future__ import annotations

from shared.errors import HemotriageError


class LocalServiceError(HemotriageError):
    """A local process cannot be run."""

    code = "local_service_failed"


class AlreadyRunningError(LocalServiceError):
    """The service already runs from this folder."""

    code = "already_running"


class PrivilegeError(LocalServiceError):
    """PostgreSQL refuses to run as root, and this machine offers no other user to run it as."""

    code = "no_unprivileged_user"
