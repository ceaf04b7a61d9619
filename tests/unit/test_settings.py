"""Settings come from the environment, are checked, and keep their secrets."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.secret_files import SecretFileError, SecretFiles, is_secret
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


SECRET = "HEMOTRIAGE_S3_SECRET_KEY"


@pytest.fixture
def secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a secret that is nowhere else."""
    file = tmp_path / "s3"
    monkeypatch.setenv(f"{SECRET}_FILE", str(file))
    monkeypatch.delenv(SECRET)
    return file


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"], ids=["none", "line", "line of Windows"])
def test_a_secret_comes_out_of_a_file_without_the_end_of_its_line(
    secret_file: Path, ending: str
) -> None:
    secret_file.write_bytes(f" of a file {ending}".encode())
    assert Settings().s3_secret_key.get_secret_value() == " of a file "


def test_every_secret_may_come_out_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = {name for name, field in Settings.model_fields.items() if is_secret(field)}
    assert secrets >= {"database_url", "broker_url", "console_secret", "pseudonym_secret"}
    for name in secrets:
        monkeypatch.delenv(f"HEMOTRIAGE_{name.upper()}", raising=False)
        (tmp_path / name).write_text(f"{name} of a file\n")
        monkeypatch.setenv(f"HEMOTRIAGE_{name.upper()}_FILE", str(tmp_path / name))
    assert SecretFiles(Settings)() == {name: f"{name} of a file" for name in secrets}


def test_a_secret_that_is_given_twice_is_refused(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_file.write_text("of-a-file")
    monkeypatch.setenv(SECRET, "of-the-environment")
    with pytest.raises(SecretFileError, match=f"{SECRET} and {SECRET}_FILE") as refused:
        Settings()
    assert "of-" not in str(refused.value)
    # As Compose gives what nobody has set.
    monkeypatch.setenv(SECRET, "")
    assert Settings().s3_secret_key.get_secret_value() == "of-a-file"
    monkeypatch.setenv(SECRET, "of-the-environment")
    monkeypatch.setenv(f"{SECRET}_FILE", "")
    assert Settings().s3_secret_key.get_secret_value() == "of-the-environment"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "FileNotFoundError"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff", "Unicode")],
)
def test_a_file_without_a_secret_is_named_and_its_content_is_not(
    secret_file: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        secret_file.write_bytes(content)
    with pytest.raises(SecretFileError, match=rf"{SECRET}_FILE: .*{reason}") as refused:
        Settings()
    assert refused.value.__cause__ is None


def test_what_is_no_secret_comes_out_of_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bucket").write_text("other")
    monkeypatch.setenv("HEMOTRIAGE_S3_BUCKET_FILE", str(tmp_path / "bucket"))
    assert Settings().s3_bucket == "hemotriage"


@pytest.mark.parametrize(
    "passwords",
    ["nobody=synthetic-password", "api", "api=short", "api=synthetic-one1,api=synthetic-two2"],
)
def test_wrong_role_passwords_are_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, passwords: str
) -> None:
    monkeypatch.setenv("HEMOTRIAGE_ROLE_PASSWORDS", passwords)
    with pytest.raises(ValidationError, match="role_passwords") as refused:
        Settings()
    assert "synthetic" not in str(refused.value)
    assert "short" not in str(refused.value).replace("too short", "")


@pytest.mark.parametrize("name", ["CERTIFICATE", "KEY"])
def test_a_certificate_and_its_key_are_set_together(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"HEMOTRIAGE_API_TLS_{name}", "/etc/tls/one.pem")
    with pytest.raises(ValidationError, match="set together"):
        Settings()
