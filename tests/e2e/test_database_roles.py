"""The running service: each process asks the database as the role that is its own."""

from __future__ import annotations

from collections import defaultdict

import psutil
from sqlalchemy import create_engine, make_url, text

from shared.client import Client
from shared.db.roles.table import OWNER, Role, role_name
from shared.local.process import LocalProcess
from shared.local.service import APPLICATIONS, LocalService
from tests.command_line import command_line
from tests.waiting import eventually

SESSIONS = text("""
    SELECT client_port, usename FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
""")


def users_by_port(service: LocalService) -> dict[int, str]:
    engine = create_engine(service.environment(OWNER)["HEMOTRIAGE_DATABASE_URL"])
    with engine.connect() as connection:
        found = dict(connection.execute(SESSIONS).all())
    engine.dispose()
    return found


def ports_of(process: LocalProcess, database: int) -> set[int]:
    """The ports that a process and its children speak to the database from."""
    leader = psutil.Process(process.pid)
    members = [leader, *leader.children(recursive=True)]
    connections = [one for member in members for one in member.net_connections("tcp")]
    return {one.laddr.port for one in connections if one.raddr and one.raddr.port == database}


def test_each_process_is_its_own_role_and_none_is_the_owner(
    service: LocalService, client: Client
) -> None:
    client.jobs()  # the API connects when it is asked
    database = make_url(service.environment(OWNER)["HEMOTRIAGE_DATABASE_URL"]).port
    seen: dict[str, set[str]] = defaultdict(set)

    def look() -> None:
        before = users_by_port(service)
        ports = {name: ports_of(service.applications[name], database) for name in APPLICATIONS}
        # A port that was given back meanwhile may have been another's since.
        lasting = before.items() & users_by_port(service).items()
        for name, own in ports.items():
            seen[name] |= {user for port, user in lasting if port in own}

    eventually(lambda: all(seen[name] for name in APPLICATIONS), meanwhile=look)
    assert seen == {name: {role_name(own.role)} for name, own in APPLICATIONS.items()}
    assert set(users_by_port(service).values()) <= {role_name(role) for role in Role}


def test_commands_of_an_operator_change_no_schema(service: LocalService) -> None:
    assert command_line("keys", "list", **service.environment(Role.OPERATOR)).returncode == 0
    refused = command_line("migrate", **service.environment(Role.OPERATOR))
    assert refused.returncode == 1
    assert "hemotriage: role_not_allowed: " in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
