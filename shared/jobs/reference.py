"""What identifiers of orders, specimens and patients may look like, wherever they come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

Reference = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00-\x1f]*[^\s\x00-\x1f][^\x00-\x1f]*$",
    ),
]
"""1 to 128 characters, not all of them spaces, and none a control character of ASCII."""
