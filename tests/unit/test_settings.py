"""Settings come from the environment, are checked, and keep their secrets."""

import pytest
from pydantic import ValidationError

from shared.settings import Settings

COMPLETE = {
    "HEMOTRIAGE_DATABASE_URL": "postgresql+psycopg2://u:database-secret@h/d",
    "HEMOTRIAGE_BROKER_URL": "redis://:broker-secret@h/0",
    "HEMOTRIAGE_S3_ENDPOINT": "h:1",
    "HEMOTRIAGE_S3_ACCESS_KEY": "access-secret",
    "HEMOTRIAGE_S3_SECRET_KEY": "key-secret",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEMOTRIAGE_MAX_FILES", "7")
    settings = Settings()
    assert settings.max_files == 7
    assert settings.api_host == "127.0.0.1", "nothing listens further unless told to"


@pytest.mark.parametrize("name", COMPLETE)
def test_a_missing_setting_is_named_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert name.removeprefix("HEMOTRIAGE_").lower() in str(refused.value)
    assert "secret@" not in str(refused.value)
    assert "-secret" not in str(refused.value)


def test_settings_show_no_secret_and_do_not_change() -> None:
    settings = Settings()
    assert "-secret" not in repr(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.max_files = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"), [("ENGINE", "onnx"), ("MAX_FILES", "0"), ("API_PORT", "99999")]
)
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HEMOTRIAGE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()
