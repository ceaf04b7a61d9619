"""A laboratory's system sends orders over MLLP; what is acknowledged is committed."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import select, text

from shared.auth.hosts import parse_networks
from shared.auth.keys import Scope, create_key, revoke_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow, Base, OrderRow
from shared.db.session import create_database
from shared.local.ports import HOST, free_ports
from shared.orders.claim import claim
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.orders.queries import find_order
from shared.settings import Settings
from tests.hl7_orders import AUTHORITY, BIRTH, NAME, NUMBER, PID, fields, message, order, placed
from tests.integration.jobs import count
from tests.mllp_sender import Sender, told


def test_an_order_is_acknowledged_once_it_is_committed(port: int, sessions, key_id: str) -> None:
    with Sender(port) as sender:
        answer = sender.send(placed("ACC-1"))
    assert fields(answer, "MSA") == ["MSA", "AA", "MSG-1"]
    found = find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT)
    assert found is not None
    assert (found.state, found.api_key_id, found.specimen_id) == ("expected", key_id, "SLIDE-1")


def test_the_same_message_again_is_no_second_order_and_no_change(port: int, sessions) -> None:
    with Sender(port) as sender:
        answers = [sender.send(placed("ACC-1")) for _ in range(2)]
    assert [told(answer)[0] for answer in answers] == ["AA", "AA"]
    assert count(sessions, OrderRow) == 1
    with sessions() as session:
        actions = session.scalars(select(AuditRow.action).where(AuditRow.action.like("order.%")))
        assert list(actions) == ["order.placed"]


def test_an_order_is_changed_and_cancelled(port: int, sessions) -> None:
    with Sender(port) as sender:
        sender.send(placed("ACC-1"))
        sender.send(message(*order("ACC-1", "XO", "S")))
        assert find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT).priority == "stat"
        assert told(sender.send(message("ORC|CA|ACC-1")))[0] == "AA"
        assert told(sender.send(message("ORC|DC|ACC-1")))[0] == "AA"
    assert find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT).state == "cancelled"


def test_of_a_message_all_orders_are_taken_or_none(port: int, sessions) -> None:
    lines = (*order("A"), *order("B"), "ORC|CA|UNKNOWN")
    with Sender(port) as sender:
        answer = sender.send(message(*lines))
        assert told(answer) == ("AR", "204")
        assert fields(answer, "ERR")[2] == "ORC^3^2"
        assert count(sessions, OrderRow) == 0
        assert told(sender.send(placed("B", "A")))[0] == "AA"
    assert count(sessions, OrderRow) == 2


def test_an_order_that_others_have_claimed_is_not_changed(port: int, sessions, key_id) -> None:
    with Sender(port) as sender:
        sender.send(placed("ACC-1"))
        claim(
            sessions,
            find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT).id,
            "1.2.3",
            key_id=key_id,
            tenant=DEFAULT_TENANT,
        )
        for control in ("XO", "CA"):
            assert told(sender.send(message(*order("ACC-1", control)))) == ("AR", "206")
    assert find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT).state == "claimed"


def test_an_order_whose_answer_was_lost_is_accepted_again_though_it_was_claimed(
    port: int, sessions, key_id: str
) -> None:
    with Sender(port) as sender:
        sender.send(placed("ACC-1"))
        claim(
            sessions,
            find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT).id,
            "1.2.3",
            key_id=key_id,
            tenant=DEFAULT_TENANT,
        )
        assert told(sender.send(placed("ACC-1")))[0] == "AA"
    assert find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT).state == "claimed"


def test_an_order_of_another_sender_is_neither_changed_nor_cancelled(port: int, sessions) -> None:
    with Sender(port) as sender:
        sender.send(placed("ACC-1"))
        before = find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT)
        for lines, code in (((PID, *order("ACC-1")), "205"), (("ORC|CA|ACC-1",), "204")):
            other = message(*lines).replace("|LIS|LAB|", "|LIS|OTHER|")
            assert told(sender.send(other)) == ("AR", code)
    assert find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT) == before


def test_a_sender_takes_over_an_order_that_names_no_placer(port: int, sessions, key_id) -> None:
    place(sessions, NewOrder("ACC-1"), key_id=key_id, tenant=DEFAULT_TENANT)
    with Sender(port) as sender:
        assert told(sender.send(placed("ACC-1")))[0] == "AA"
    assert find_order(sessions, "ACC-1", tenant=DEFAULT_TENANT).placer == "LIS|LAB"


def test_nothing_of_a_patient_reaches_the_database_or_the_log(
    port: int, database, caplog: pytest.LogCaptureFixture
) -> None:
    bad = message(f"PID|1||{NUMBER}\\Q\\^^^{AUTHORITY}||{NAME}^Person||{BIRTH}", *order("B"))
    strange = message(*order(NAME, NAME), f"NTE|1||{NAME}", kind=f"{NAME}^O01", id=f"M-{NAME}")
    with caplog.at_level(logging.DEBUG), Sender(port) as sender:
        assert told(sender.send(placed("ACC-1")))[0] == "AA"
        sender.send("")
        (refused,) = [each for each in caplog.records if "refused" in each.getMessage()]
        assert (refused.code, refused.address) == ("hl7_segment_sequence", HOST)
        assert told(sender.send(bad)) == ("AE", "102")
        assert told(sender.send(strange)) == ("AR", "200")
    with database.connect() as connection:
        rows = [
            row
            for table in Base.metadata.sorted_tables
            for row in connection.scalars(text(f"SELECT t::text FROM {table.name} t"))
        ]
    assert any("ACC-1" in row for row in rows)
    logged = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    for word in (NAME, BIRTH, NUMBER, AUTHORITY):
        assert not [line for line in (*rows, *logged) if word in line], word


def test_without_the_database_the_sender_is_told_to_try_again(
    listen, told_settings: Settings, sessions
) -> None:
    (closed,) = free_ports(1)
    engine = create_database(
        told_settings.model_validate(
            {
                **told_settings.model_dump(),
                "database_url": f"postgresql+psycopg2://u:p@{HOST}:{closed}/x",
            }
        ),
        pool_size=1,
    )
    port = listen()
    with Sender(port) as sender, pytest.MonkeyPatch.context() as moved:
        # The server goes away under a listener that runs.
        moved.setitem(sessions.kw, "bind", engine)
        assert told(sender.send(placed("ACC-1"))) == ("AR", "207")
        moved.undo()
        assert told(sender.send(placed("ACC-1")))[0] == "AA"
    engine.dispose()


def test_a_key_that_was_revoked_takes_no_orders_and_loses_none(
    port: int, sessions, key_id: str
) -> None:
    revoke_key(sessions, key_id)
    with Sender(port) as sender:
        answer = sender.send(placed("ACC-1"))
    assert told(answer) == ("AR", "207")
    assert fields(answer, "MSA")[3] == "key_revoked"
    assert count(sessions, OrderRow) == 0


def test_a_key_of_other_hosts_takes_no_orders(listen, sessions) -> None:
    bound, _ = create_key(
        sessions, "elsewhere", [Scope.SUBMIT], allowed_hosts=parse_networks("192.0.2.0/24")
    )
    with Sender(listen(hl7_api_key_id=bound.id)) as sender:
        assert fields(sender.send(placed("ACC-1")), "MSA")[3] == "host_not_allowed"
