"""What the routes work with, made once per process and hung on the application."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import cast

from flask import current_app

from services.api.polls import Polls
from shared.audit.calls import CallTrail
from shared.auth.attempts import FailedAttempts
from shared.auth.hosts import Networks, parse_networks
from shared.auth.known import KnownKeys
from shared.auth.tokens import Tokens
from shared.db.session import Sessions, create_database, create_sessions
from shared.decoding_places import decoding_places
from shared.explanations.watch import ExplanationWatch
from shared.jobs.admission import Admission
from shared.jobs.outbox import Outbox
from shared.jobs.watch import EndWatch
from shared.queue.app import create_celery
from shared.queue.send import CelerySender
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage import ObjectStore
from shared.storage.s3 import S3Store
from shared.trainings.watch import TrainingWatch

EXTENSION = "hemotriage"


@dataclass(frozen=True)
class Context:
    """The settings and the servers behind the API. Nothing of it connects before its first use."""

    settings: Settings
    sessions: Sessions
    storage: ObjectStore
    broker: CelerySender
    outbox: Outbox
    keys: KnownKeys
    attempts: FailedAttempts
    trusted_proxies: Networks
    calls: CallTrail
    polls: Polls
    admission: Admission
    registry: Catalogue
    ends: EndWatch
    explanations: ExplanationWatch
    trainings: TrainingWatch
    waiting_places: threading.BoundedSemaphore
    listening_places: threading.BoundedSemaphore
    decoding_places: threading.BoundedSemaphore
    stopping: threading.Event


def create_context(settings: Settings) -> Context:
    """Build the context of one process."""
    celery = create_celery(settings, answer_timeout=settings.connect_timeout_seconds)
    database = create_database(settings, pool_size=settings.api_database_connections)
    sessions = create_sessions(database)
    broker = CelerySender(celery)
    return Context(
        settings=settings,
        sessions=sessions,
        storage=S3Store(settings, pool_size=settings.api_database_connections),
        broker=broker,
        outbox=Outbox(sessions, broker),
        keys=KnownKeys(sessions, Tokens(settings)),
        attempts=FailedAttempts(settings.failed_sign_ins_per_minute),
        trusted_proxies=parse_networks(settings.trusted_proxies),
        calls=CallTrail(sessions),
        polls=Polls(),
        admission=Admission(sessions, settings),
        registry=Catalogue(settings, sessions),
        ends=EndWatch(database, sessions),
        explanations=ExplanationWatch(database, sessions),
        trainings=TrainingWatch(database, sessions),
        # Clients that wait hold a connection each; the other half stays free for everybody else.
        waiting_places=threading.BoundedSemaphore(settings.api_connections // 2),
        # Clients that listen to trainings stay for hours.
        listening_places=threading.BoundedSemaphore(max(1, settings.api_connections // 4)),
        # A decoded image may be large, so that few are in memory at once.
        decoding_places=decoding_places(settings.max_pixels, processes=settings.api_processes),
        stopping=threading.Event(),
    )


def context() -> Context:
    """The context of the running request's application."""
    return cast(Context, current_app.extensions[EXTENSION])
