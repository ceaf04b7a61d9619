"""Tables that a command prints into a file are whole, however narrow the terminal is."""

from __future__ import annotations

from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.retention.holds import HoldKind, place
from tests.command_line import command_line

NARROW = {"COLUMNS": "40"}


def test_each_key_is_a_line_with_its_whole_id_and_name(sessions, servers) -> None:
    name = "the laboratory's information system, in the cellar"
    key, _ = create_key(sessions, name, list(Scope))
    lines = command_line("keys", "list", **servers.environment(), **NARROW).stdout.splitlines()
    (row,) = (line for line in lines if key.id in line)
    assert name in row
    assert ", ".join(sorted(Scope)) in row
    assert key.created_at.isoformat(timespec="seconds") in row


def test_each_hold_is_a_line_with_its_whole_id_and_pseudonym(sessions, servers) -> None:
    value = f"pn-{'0123456789abcdef' * 4} [a] :key:"
    named = {"tenant": DEFAULT_TENANT, "reason": "matter-2026-17", "actor": "operator"}
    hold = place(sessions, HoldKind.PATIENT_REF, value, **named)
    lines = command_line("holds", "list", **servers.environment(), **NARROW).stdout.splitlines()
    (row,) = (line for line in lines if str(hold.id) in line)
    assert value in row
    assert "matter-2026-17" in row
