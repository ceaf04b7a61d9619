"""Rows for every table, as a hospital has them."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from typing import Any

from shared.storage import image_key

Rows = dict[str, list[dict[str, Any]]]

NOW = dt.datetime(2026, 5, 4, 3, 2, 1, 123456, dt.UTC)
LATER = NOW + dt.timedelta(minutes=5)
TENANT = "north"
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled", "dead")


def rows(mark: int) -> Rows:
    """The rows of every table."""
    return {
        **_keys(mark),
        **_jobs(mark),
        **_results(mark),
        **_datasets(mark),
        **_registry(mark),
        **_retention(mark),
        "orders": [
            {
                "id": made_id("order", mark),
                "api_key_id": key_id(mark),
                "accession_number": f"ACC-{mark}",
                "tenant": TENANT,
                "state": "claimed",
                "priority": "urgent",
                "transaction_uid": "1.2.3",
                "performer": key_id(mark),
            }
        ],
        "audit_seals": [
            {"position": position(mark), "event_id": 1_000_000 + mark, "hash": bytes([mark]) * 32}
        ],
        "audit_checkpoints": [
            {"position": position(mark), "hash": bytes([mark]) * 32, "at": LATER}
        ],
        "ended_sessions": [{"id": made_id("session", mark), "until": LATER}],
    }


def position(mark: int) -> int:
    """The place in the audit trail that is filled, with room for what is sealed between two."""
    return 100 * mark + 1


def key_id(mark: int) -> str:
    """The key that all jobs of a mark are of."""
    return f"key{mark:09d}"


def job_id(mark: int, status: str) -> uuid.UUID:
    """The job of a mark that has a status."""
    return made_id(f"job {status}", mark)


def _keys(mark: int) -> Rows:
    secret = {"secret_sha256": sha256(b"secret"), "scopes": ["submit", "read"]}
    return {
        "api_keys": [
            {"id": key_id(mark), "name": 'PACS; \\N\t"ü"', **secret, "jobs_per_minute": 60},
            {
                "id": f"new{mark:09d}",
                "name": "reader",
                **secret,
                "tenant": TENANT,
                "successor_of": key_id(mark),
                "allowed_hosts": ["10.0.0.0/8"],
                "issuer": "https://idp.example.org",
                "subject": f"reader {mark}",
            },
        ]
    }


def _jobs(mark: int) -> Rows:
    jobs = [_job(mark, status) for status in STATUSES]
    images = [
        {
            "job_id": job["id"],
            "index": 0,
            "object_key": image_key(job["id"], 0),
            "sha256": sha256(content(f"image {job['status']}", mark)),
            "media_type": "image/png",
            "bytes": len(content(f"image {job['status']}", mark)),
            "width": 224,
            "height": 224,
        }
        for job in jobs
    ]
    done, waiting = job_id(mark, "succeeded"), job_id(mark, "queued")
    source = dict.fromkeys(("study_uid", "series_uid", "instance_uid"), "1.2.3")
    hook = {"job_id": done, "event": "job.succeeded", "url": "https://lis.example.org/"}
    return {
        "jobs": jobs,
        "job_images": images,
        "dicom_sources": [
            {"job_id": done, "index": 0, **source, "sop_class_uid": "1.2", "frame": 1}
        ],
        "outbox": [{"job_id": waiting, "queue": "stat"}],
        "webhooks": [
            {"id": made_id("due", mark), **hook},
            {
                "id": made_id("done", mark),
                **hook,
                "attempts": 1,
                "next_attempt_at": None,
                "delivered_at": LATER,
            },
        ],
        "audit_events": [
            {
                "actor": f"key:{key_id(mark)}",
                "action": "job.submitted",
                "job_id": job["id"],
                "details": {"images": 1, "model": "m@1"},
            }
            for job in jobs
        ],
    }


def _job(mark: int, status: str) -> dict[str, Any]:
    job: dict[str, Any] = {
        "id": job_id(mark, status),
        "api_key_id": key_id(mark),
        "idempotency_key": f"{mark} {status}",
        "request_sha256": sha256(status.encode()),
        "status": status,
        "priority": "stat",
        "model_name": "m",
        "model_version": 1,
        "accession_number": f"ACC-{mark}",
        "tenant": TENANT,
        "request_id": "req-1",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "attempts": 2,
        "failures": 1,
        "submitted_at": NOW,
    }
    if status == "running":
        job.update(worker="w1", lease_expires_at=LATER, started_at=NOW)
    if status not in ("queued", "running"):
        job.update(started_at=NOW, finished_at=LATER)
    if status in ("failed", "dead"):
        job.update(error_code="corrupt_image", error_detail="It is cut off.")
    return job


def _results(mark: int) -> Rows:
    done = job_id(mark, "succeeded")
    picture = sha256(content("picture", mark))
    explained = {"job_id": done, "image_index": 0}
    window = 1_000_000 + mark
    measured = {"window_id": window, "model_name": "m", "model_version": 1, "measure": "score"}
    document = {"within_hours": 24, "Pro": 0.1 + 0.2, "Benign": 1e-17, "text": "ü\\ \t\n"}
    return {
        "results": [
            {
                "job_id": done,
                "prediction": "Early",
                "confidence": 0.1 + 0.2,
                "urgency": "urgent",
                "requires_review": False,
                "policy_version": "2",
                "document": document,
                "tenant": TENANT,
                "created_at": LATER,
                "case_state": "closed",
                "case_label": "Early",
            }
        ],
        "reviews": [
            {
                "job_id": done,
                "decision": "confirm",
                "label": "Early",
                "comment": "ok",
                "api_key_id": key_id(mark),
            }
        ],
        "explanations": [
            {**explained, "method": "lime"},
            {
                **explained,
                "method": "gradcam",
                "status": "succeeded",
                "attempts": 1,
                "finished_at": LATER,
                "document": {"b": 1, "a": 2},
                "png_sha256": picture,
            },
        ],
        "drift_windows": [{"id": window, "window_from": NOW, "window_to": LATER, "results": []}],
        "drift_measures": [{**measured, "fields": 5, "psi": 0.1, "level": "ok", "alert": False}],
    }


def _retention(mark: int) -> Rows:
    erased = made_id("erasure", mark)
    asked = {"reason": "patient_request", "requested_by": "operator"}
    held = {"value": f"pn-{mark}", "reason": "m-1", "placed_by": "operator"}
    return {
        "legal_holds": [
            {"id": made_id("hold", mark), "kind": "patient_ref", **held, "tenant": TENANT},
            {
                "id": made_id("released hold", mark),
                "kind": "accession_number",
                **held,
                "released_by": "operator",
                "released_at": LATER,
            },
        ],
        "erasures": [
            {
                "id": erased,
                **asked,
                "status": "done",
                "ref_digest": sha256(b"pseudonym"),
                "finished_at": LATER,
                "counts": {"jobs": 1},
                "job_ids": [made_id("erased job", mark)],
                "models": ["m@1"],
                "tenant": TENANT,
            },
            {"id": made_id("open erasure", mark), **asked, "patient_ref": f"pn-{mark}"},
        ],
        "removed_jobs": [
            {
                "job_id": made_id("erased job", mark),
                "why": "erased",
                "erasure_id": erased,
                "tenant": TENANT,
            },
            {"job_id": made_id("purged job", mark), "why": "purged"},
        ],
        "object_removals": [{"key": f"jobs/{made_id('erased job', mark)}/", "again_at": LATER}],
        "purges": [{"run_id": made_id("purge", mark), "kind": "jobs", "before": NOW, "removed": 7}],
    }


def _datasets(mark: int) -> Rows:
    image = {"sha256": sha256(content("field", mark)), "media_type": "image/png", "label": "Pro"}
    ready = made_id("dataset ready", mark)
    upload = {"source": "upload", "upload_sha256": sha256(content("zip", mark))}
    upload["upload_bytes"] = len(content("zip", mark))
    run = made_id("run", mark)
    return {
        "datasets": [
            {
                "id": ready,
                **upload,
                "locked": True,
                "status": "ready",
                "reviews_until": 0,
                "finished_at": LATER,
                "version": f"{mark:064d}",
                "record": {"version": f"{mark:064d}", "images": [image, image]},
                "statistics": {},
                "faults": [],
                "lineage": {},
                "leaks": [],
            },
            {"id": made_id("dataset open", mark), **upload, "locked": False, "reviews_until": 0},
            {
                "id": made_id("dataset of reviews", mark),
                "source": "reviews",
                "base_id": ready,
                "locked": False,
                "reviews_until": 7,
            },
        ],
        "training_runs": [
            {
                "id": run,
                "architecture": "cnn_custom",
                "dataset_id": ready,
                "protocol": "grouped",
                "recipe": "study",
                "seeds": [0, 1],
                "overrides": {},
                "status": "succeeded",
                "progress": 1.0,
                "last_event": 1,
                "finished_at": LATER,
                "record": {"seeds": [0, 1]},
            }
        ],
        "training_events": [
            {"run_id": run, "number": 1, "kind": "log", "key": "1", "document": {"line": "x"}}
        ],
    }


def _registry(mark: int) -> Rows:
    onnx = {"file": "model.onnx", "sha256": sha256(content("onnx", mark))}
    version = {"name": f"cnn{mark}", "version": 1001}
    challenged = {"job_id": job_id(mark, "succeeded"), "name": "s", "version": 2}
    aliases = ("champion", "challenger", "previous")
    return {
        "model_versions": [
            {**version, "card": {"artefacts": {"onnx": onnx}}, "training_id": made_id("run", mark)}
        ],
        "model_aliases": [{"alias": alias, **version} for alias in aliases[mark : mark + 1]],
        "gates": [
            {
                "id": made_id("gate", mark),
                **version,
                "dataset_id": made_id("dataset ready", mark),
                "status": "passed",
                "finished_at": LATER,
                "policy_sha256": sha256(b"policy"),
                "report": {"passed": True},
            }
        ],
        "shadow_results": [
            {
                **challenged,
                "agrees": True,
                "prediction": "Early",
                "confidence": 0.5,
                "urgency": "urgent",
                "document": {"prediction": "Early"},
            }
        ],
    }


def made_id(name: str, mark: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {mark}")


def content(name: str, mark: int) -> bytes:
    return f"the bytes of {name} {mark}\n".encode() * 50


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
