"""Keys that take others' places, and keys that are bound to hosts."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import Any

import pytest
from flask.testing import FlaskClient

from services.api.app import create_app
from shared.auth.hosts import client_address, parse_networks
from shared.auth.keys import (
    ApiKey,
    Scope,
    create_key,
    have_one_holder,
    list_keys,
    revoke_key,
    rotate_key,
)
from shared.clock import utc_now
from shared.errors import ConflictError, NotFoundError
from tests.command_line import command_line

DAY = dt.timedelta(days=1)
SOON = dt.timedelta(minutes=1)


def ask(client: FlaskClient, key: str, address: str = "127.0.0.1", **headers: str):
    return client.get(
        "/v1/jobs",
        headers={"Authorization": f"Bearer {key}", **headers},
        environ_overrides={"REMOTE_ADDR": address},
    )


def stored(sessions, key_id: str) -> ApiKey:
    return next(key for key in list_keys(sessions) if key.id == key_id)


def is_about(moment: dt.datetime | None, expected: dt.datetime) -> bool:
    return moment is not None and abs(moment - expected) < SOON


@pytest.fixture
def stranger(settings, sessions) -> FlaskClient:
    """A client without a key."""
    return create_app(settings).test_client()


def test_a_successor_is_what_the_key_was(sessions) -> None:
    old, _ = create_key(
        sessions,
        "pacs",
        [Scope.READ, Scope.SUBMIT],
        jobs_per_minute=7,
        allowed_hosts=parse_networks("10.0.0.0/8, fd00::1"),
    )
    new, text = rotate_key(sessions, old.id, DAY)
    assert text.startswith(f"ht_{new.id}_")
    assert (new.name, new.scopes, new.jobs_per_minute) == (old.name, old.scopes, 7)
    assert (new.allowed_hosts, new.successor_of) == (old.allowed_hosts, old.id)
    assert new.expires_at is None, "the key was not made to expire"
    assert is_about(stored(sessions, old.id).expires_at, utc_now() + DAY)


def test_a_successor_lives_as_long_as_the_key_was_to_live(sessions) -> None:
    old, _ = create_key(sessions, "pacs", [Scope.READ], expires_at=utc_now() + 90 * DAY)
    new, _ = rotate_key(sessions, old.id, DAY)
    newest, _ = rotate_key(sessions, new.id, 1000 * DAY)
    assert is_about(new.expires_at, utc_now() + 90 * DAY)
    assert is_about(newest.expires_at, utc_now() + 90 * DAY)
    assert is_about(stored(sessions, new.id).expires_at, utc_now() + 90 * DAY), "not longer"


def test_both_keys_work_until_the_overlap_is_over(stranger, sessions) -> None:
    old, old_text = create_key(sessions, "pacs", [Scope.READ])
    _, new_text = rotate_key(sessions, old.id, DAY)
    assert [ask(stranger, text).status_code for text in (old_text, new_text)] == [200, 200]
    other, other_text = create_key(sessions, "lis", [Scope.READ])
    _, new_text = rotate_key(sessions, other.id, dt.timedelta(0))
    assert ask(stranger, other_text).json["code"] == "key_expired"
    assert ask(stranger, new_text).status_code == 200


def test_a_key_has_one_successor_and_what_is_over_has_none(sessions) -> None:
    rotated, _ = create_key(sessions, "a", [Scope.READ])
    successor, _ = rotate_key(sessions, rotated.id, DAY)
    expired, _ = create_key(sessions, "b", [Scope.READ], expires_at=utc_now() - SOON)
    revoked, _ = create_key(sessions, "c", [Scope.READ])
    revoke_key(sessions, revoked.id)
    for key, reason in (
        (rotated, f"Its successor is {successor.id}"),
        (expired, "no longer valid"),
        (revoked, "no longer valid"),
    ):
        with pytest.raises(ConflictError, match=reason):
            rotate_key(sessions, key.id, DAY)
    with pytest.raises(NotFoundError):
        rotate_key(sessions, "none", DAY)
    assert len(list_keys(sessions)) == 4


def test_a_key_and_those_that_took_its_place_have_one_holder(sessions) -> None:
    first, _ = create_key(sessions, "a", list(Scope))
    second, _ = rotate_key(sessions, first.id, DAY)
    third, _ = rotate_key(sessions, second.id, DAY)
    other, _ = create_key(sessions, "a", list(Scope))
    for one, another in ((first, first), (first, second), (first, third), (third, first)):
        assert have_one_holder(sessions, one, another)
    for one in (first, second, third):
        assert not have_one_holder(sessions, one, other)
        assert not have_one_holder(sessions, other, one)


def test_nobody_agrees_with_themselves_by_a_successor(stranger, sessions) -> None:
    old, old_text = create_key(sessions, "a", list(Scope))
    _, new_text = rotate_key(sessions, old.id, DAY)
    answer = stranger.put(
        "/v1/models/cnn_custom/aliases/champion",
        json={"version": 1, "reason": "no test set yet"},
        headers={"Authorization": f"Bearer {old_text}", "X-Second-Key": new_text},
    )
    assert (answer.status_code, answer.json["code"]) == (403, "second_key_invalid")


BOUND = "10.0.0.0/8,192.168.7.3,fd00::/8"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.255.1.2", 200),
        ("192.168.7.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("fd00::7", 200),
        ("192.168.7.4", 403),
        ("127.0.0.1", 403),
        ("fe80::1", 403),
        ("", 403),
    ],
)
def test_a_key_works_from_its_hosts_alone(stranger, sessions, address: str, status: int) -> None:
    _, key = create_key(sessions, "pacs", [Scope.READ], allowed_hosts=parse_networks(BOUND))
    for _ in range(2):  # the second time it is known
        answer = ask(stranger, key, address)
        assert answer.status_code == status
    assert status == 200 or answer.json["code"] == "host_not_allowed"
    _, free = create_key(sessions, "lis", [Scope.READ])
    assert ask(stranger, free, address).status_code == 200


@pytest.mark.parametrize("text", ["10.0.0.1/8", "lis.example.org", "10.0.0.0/33", "10.0.0", "*"])
def test_what_names_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|has host bits set"):
        parse_networks(text)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
        ("10.9.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.9.0.1", "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.9.0.1", "10.0.0.1, 203.0.113.9, 10.9.0.2", "203.0.113.9"),
        ("10.9.0.1", "", "10.9.0.1"),
        ("10.9.0.1", "10.9.0.3", "10.9.0.3"),
        ("10.9.0.1", "10.0.0.1, unknown", None),
        ("10.9.0.1", "10.0.0.1,", None),
        (None, "10.0.0.1", None),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_no_proxy_of_ours(
    peer: str | None, forwarded_for: str, expected: str | None
) -> None:
    found = client_address(peer, forwarded_for, parse_networks("10.9.0.0/16"))
    assert found == (None if expected is None else ipaddress.ip_address(expected))


def test_a_forwarded_address_counts_from_a_trusted_proxy_alone(settings, sessions) -> None:
    _, key = create_key(sessions, "pacs", [Scope.READ], allowed_hosts=parse_networks(BOUND))
    header: dict[str, Any] = {"X-Forwarded-For": "10.1.2.3"}
    trusting = settings.model_copy(update={"trusted_proxies": "127.0.0.1"})
    for known, status in ((trusting, 200), (settings, 403)):
        assert ask(create_app(known).test_client(), key, **header).status_code == status


def test_keys_are_rotated_and_bound_at_the_command_line(stranger, sessions, servers) -> None:
    environment = servers.environment()
    made = command_line(
        "keys", "create", "--name=pacs", "--scopes=read", "--hosts", BOUND, **environment
    )
    key_id = made.stdout.split("_")[1]
    rotated = command_line("keys", "rotate", key_id, "--overlap=0.5", **environment)
    assert rotated.returncode == 0, rotated.stderr
    successor = rotated.stdout.split("_")[1]
    assert ask(stranger, rotated.stdout.strip(), "10.1.1.1").status_code == 200
    assert is_about(stored(sessions, key_id).expires_at, utc_now() + dt.timedelta(minutes=30))
    listed = command_line("keys", "list", **environment).stdout
    assert "192.168.7.3/32" in listed
    (row,) = (line for line in listed.splitlines() if line.startswith(f"│ {successor}"))
    assert key_id in row
    again = command_line("keys", "rotate", key_id, **environment)
    assert (again.returncode, again.stderr.split(":")[1]) == (1, " conflict")
    wrong = command_line("keys", "create", "--name=x", "--hosts=10.0.0.1/8", **environment)
    assert wrong.returncode != 0
    assert "--hosts" in wrong.stderr
