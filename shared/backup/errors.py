"""What keeps a backup from being made or restored."""

from __future__ import annotations

from shared.errors import ConflictError, PermanentError, TransientError


class RemovalsGoOnError(TransientError):
    """Objects are being removed, or another backup is being made."""

    code = "removals_go_on"


class BackupFolderBusyError(ConflictError):
    """Another command works on this folder of backups."""

    code = "backup_folder_busy"


class NoBackupError(PermanentError):
    """There is no such backup in this folder."""

    code = "no_backup"


class BackupDamagedError(PermanentError):
    """The backup is not what was written."""

    code = "backup_damaged"


class BackupIncompleteError(PermanentError):
    """The backup was made, without objects that the store has lost or damaged."""

    code = "backup_incomplete"


class SchemaMismatchError(ConflictError):
    """The database and this software are of different releases."""

    code = "schema_mismatch"


class NotEmptyError(ConflictError):
    """A backup is restored into an empty database and an empty bucket alone."""

    code = "not_empty"


class RestoreFailedError(PermanentError):
    """What was restored is not what the backup holds."""

    code = "restore_failed"
