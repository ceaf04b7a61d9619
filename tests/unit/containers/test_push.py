"""Who pushes results adds a file, which gives the relay alone a way out and the credentials."""

from __future__ import annotations

from shared.settings import PROJECT_ROOT
from tests.unit.containers.support import OURS, PUSH_FILE, SECRETS, resolve, settings_of

PUSHING = {
    **SECRETS,
    "HEMOTRIAGE_RESULT_DESTINATIONS": "stow+https://pacs.example.org/dicom-web",
    "HEMOTRIAGE_RESULT_CREDENTIALS": "pacs.example.org=bearer:synthetic",
}


def test_without_it_the_relay_reaches_no_other_network() -> None:
    assert list(resolve(PUSHING)["relay"]["networks"]) == ["internal"]


def test_with_it_the_relay_reaches_destinations_and_nobody_else_changes() -> None:
    before, after = resolve(PUSHING), resolve(PUSHING, PUSH_FILE)
    assert {name for name in before if before[name] != after[name]} == {"relay"}
    assert set(after["relay"]["networks"]) == {"internal", "edge"}
    assert not after["relay"].get("ports")
    changed = {"networks", "environment"}
    assert {key for key in after["relay"] if after["relay"][key] != before["relay"].get(key)} == (
        changed
    )


def test_the_relay_alone_has_the_credentials() -> None:
    after = resolve(PUSHING, PUSH_FILE)
    told = {name: settings_of(after[name]) for name in OURS}
    assert {name for name in OURS if told[name].result_credentials.get_secret_value()} == {"relay"}
    assert all(settings.result_destinations for settings in told.values())


def test_the_page_says_how_to_start_it() -> None:
    command = "docker compose -f docker-compose.yml -f docker-compose.push.yml up"
    assert command in (PROJECT_ROOT / "docs" / "pushes.md").read_text()
    assert command in PUSH_FILE.read_text()
