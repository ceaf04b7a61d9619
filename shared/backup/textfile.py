"""What Prometheus sees of backups: a file that its node exporter serves, as no process stays."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from shared.backup.manifest import Manifest


def write_textfile(path: Path, whole: Manifest) -> None:
    """Tell of the backup that was found whole last; a reader never sees half of the file.

    Raises:
        OSError: The file cannot be written.
    """
    registry = CollectorRegistry()
    for name, what, value in (
        ("taken_timestamp_seconds", "When it was taken.", whole.taken_at.timestamp()),
        ("objects", "Its objects.", whole.objects.count),
        ("objects_bytes", "Bytes of its objects.", whole.objects.bytes),
        ("lost_objects", "Objects that the store had lost by then.", len(whole.lost)),
    ):
        told = f"Of the backup that was found whole last. {what}"
        Gauge(f"hemotriage_backup_{name}", told, registry=registry).set(value)
    write_to_textfile(str(path), registry)
