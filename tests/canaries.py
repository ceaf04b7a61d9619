"""The patients of all tests, who do not exist, and the shape of what no log may hold.

What a test says of a patient is one of these values or has one of these shapes, so that
`tests.log_scan` finds it wherever it turns up.
"""

from __future__ import annotations

import re

PATIENT_ID = "SYN-000417"
PATIENT_NAME = "Synthetic^Person"
BIRTH_DATE = "19480229"
ACCESSION = "ACC-4711"
PATIENT_REF = "PAT-1234"
SENTINEL = "ZZNAMEZZ"
"""Part of a name or of an id, for tests that look for it themselves."""
FILE_NAME = "Jane Doe.png"

PATIENT_SHAPES = {
    "a patient's name": rf"Synthetic\^|\^Person|{SENTINEL}|\b(Jane|Doe|Roe)\b|Another\^Name",
    "a patient's id": r"\b(SYN|PAT)-\d+|\bpn-[0-9a-z]+",
    "a birth date": r"\b1948-?02-?29",
    "an accession number": r"(?<![\w.-])(A|ACC)-\d+",
    "a file's name": r"[\w-]\.(png|jpe?g|dcm|tiff?|bmp|webp|gif|hl7)(?!\.?\w|\()",
}
SECRET_SHAPES = {
    "an API key": r"\bht_[0-9a-f]{12}_[\w-]{16,}",
    "a token": r"\beyJ[\w-]{8,}\.[\w-]{8,}",
    "a secret of webhooks": r"\bwhsec_[\w+/=-]{16,}",
    "an address with a password": r"://[^/@\s:\"]*:(?!\*+@)[^/@\s:\"]+@",
    "an authorization": r"\b(Bearer|Basic) [\w.~+/=-]{8,}",
    "a secret of tests": r"secret-of-tests|database-secret|broker-secret",
}


def found_in(text: str, shapes: dict[str, str]) -> list[str]:
    """What of these shapes a text has."""
    return [kind for kind, shape in shapes.items() if re.search(shape, text)]
