"""Messages of orders, as a laboratory's system sends them, of patients that do not exist."""

from __future__ import annotations

from tests.canaries import BIRTH_DATE as BIRTH
from tests.canaries import PATIENT_ID as NUMBER
from tests.canaries import PATIENT_NAME

NAME, AUTHORITY = PATIENT_NAME.partition("^")[0], "SYNTHETIC-CLINIC"

MSH = (
    "MSH|^~\\&|LIS|LAB|HEMOTRIAGE|HOSPITAL|20260102030405+0100||{kind}|{id}|P|2.5.1||||||{charset}"
)
PID = f"PID|1||{NUMBER}^^^{AUTHORITY}&1.2.3&ISO^MR~OTHER^^^X||{PATIENT_NAME}||{BIRTH}|O"


def message(*segments: str, kind: str = "OML^O21^OML_O21", **header: str) -> str:
    """A message with a header of its own; it ends as the standard says."""
    values = {"id": "MSG-1", "charset": "UNICODE UTF-8", **header}
    return "".join(f"{one}\r" for one in (MSH.format(kind=kind, **values), *segments))


def order(number: str = "ACC-1", control: str = "NW", priority: str = "R") -> tuple[str, ...]:
    """One order, with its patient left to others."""
    return (
        f"ORC|{control}|{number}^LIS|FILL-1^LAB",
        f"TQ1|1||||||20260103||{priority}",
        f"OBR|1|{number}^LIS|FILL-1^LAB|5909-7^Smear^LN",
        "SPM|1|SLIDE-1&LIS^S-1&LAB||BLD",
    )


def placed(*numbers: str, **header: str) -> str:
    """A message that places orders of the synthetic patient."""
    return message(PID, *(each for number in numbers for each in order(number)), **header)


def fields(acknowledgement: str, segment: str) -> list[str]:
    """The fields of a segment of an acknowledgement, from 0: its name; none where it is not."""
    lines = [line for line in acknowledgement.split("\r") if line.startswith(segment)]
    return lines[0].split("|") if lines else []
