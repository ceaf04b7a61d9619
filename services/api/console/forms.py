"""What a form of a page sends."""

from __future__ import annotations

from collections.abc import Mapping

_TOKEN = "csrf_token"  # noqa: S105 - the name of a field


def given(form: Mapping[str, str]) -> dict[str, str]:
    """The fields that were filled in, without the token: an empty field says nothing."""
    stripped = {name: value.strip() for name, value in form.items() if name != _TOKEN}
    return {name: value for name, value in stripped.items() if value}
