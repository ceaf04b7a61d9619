"""Which jobs and orders are of a patient of a tenant.

Those that carry the pseudonym. Where one of a job and its order carries none, the other's counts;
where neither does, that of any other job with the same accession number, which is one patient's.
In another tenant the same pseudonym may be somebody else's.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.orm import Session

_JOBS = text(
    """
    SELECT j.id FROM jobs AS j WHERE j.tenant = :tenant AND j.patient_ref = :patient_ref
    UNION
    SELECT j.id FROM orders AS o JOIN jobs AS j
        ON j.tenant = o.tenant AND j.accession_number = o.accession_number
    WHERE o.tenant = :tenant AND o.patient_ref = :patient_ref AND j.patient_ref IS NULL
    UNION
    SELECT j.id FROM jobs AS n JOIN jobs AS j
        ON j.tenant = n.tenant AND j.accession_number = n.accession_number
        LEFT JOIN orders AS o ON o.tenant = j.tenant AND o.accession_number = j.accession_number
    WHERE n.tenant = :tenant AND n.patient_ref = :patient_ref
        AND j.patient_ref IS NULL AND o.patient_ref IS NULL
    """
)
_ORDERS = text(
    """
    SELECT o.id FROM orders AS o WHERE o.tenant = :tenant AND o.patient_ref = :patient_ref
    UNION
    SELECT o.id FROM jobs AS j JOIN orders AS o
        ON o.tenant = j.tenant AND o.accession_number = j.accession_number
    WHERE j.tenant = :tenant AND j.patient_ref = :patient_ref AND o.patient_ref IS NULL
    """
)

_IDS = (bindparam("job_ids", type_=ARRAY(Uuid)), bindparam("order_ids", type_=ARRAY(Uuid)))
_NAMES = text(
    """
    SELECT patient_ref, accession_number FROM jobs WHERE id = ANY(:job_ids)
    UNION
    SELECT patient_ref, accession_number FROM orders WHERE id = ANY(:order_ids)
    """
).bindparams(*_IDS)


@dataclass(frozen=True)
class Subjects:
    """Jobs and orders of one patient."""

    job_ids: tuple[uuid.UUID, ...]
    order_ids: tuple[uuid.UUID, ...]


def subjects_of(session: Session, tenant: str, patient_ref: str) -> Subjects:
    """Find what is of a tenant's patient, by the pseudonym."""
    values = {"tenant": tenant, "patient_ref": patient_ref}
    jobs, orders = (tuple(session.scalars(found, values)) for found in (_JOBS, _ORDERS))
    return Subjects(jobs, orders)


def names_of(session: Session, found: Subjects) -> tuple[set[str], set[str]]:
    """The pseudonyms and the accession numbers that jobs and orders carry."""
    ids = {"job_ids": list(found.job_ids), "order_ids": list(found.order_ids)}
    rows = session.execute(_NAMES, ids).all()
    refs = {row.patient_ref for row in rows if row.patient_ref is not None}
    return refs, {row.accession_number for row in rows if row.accession_number is not None}
