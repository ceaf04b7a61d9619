"""The change-control policy, as its file has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.registry.policy import PolicyInvalidError, read_policy
from shared.settings import PROJECT_ROOT

POLICY_FILE = PROJECT_ROOT / "models" / "change-control.toml"


def test_the_policy_is_named_by_the_bytes_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(POLICY_FILE.read_bytes())
    assert read_policy(path) == read_policy(POLICY_FILE)
    path.write_bytes(POLICY_FILE.read_bytes() + b"\n")
    assert read_policy(path).sha256 != read_policy(POLICY_FILE).sha256


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("floor = 0.90", "flor = 0.90", "sensitivity.flor: Extra inputs"),
        ("floor = 0.90", "", "sensitivity.floor: Field required"),
        ("floor = 0.90", "floor = nan", "sensitivity.floor: "),
        ("floor = 0.90", "floor = 90", "sensitivity.floor: "),
        ('version = "1"', 'version = ""', "version: "),
        ("[speed]", "[speeds]", "speeds: Extra inputs"),
        ('["grouped"]', '["published"]', "training_protocols"),
        ("images = 96", "images = 3", "robustness.images: "),
        ("[size]", "[size", "change-control.toml: "),
    ],
)
def test_a_policy_that_is_misspelt_is_refused(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    text = POLICY_FILE.read_text()
    assert before in text
    path = tmp_path / POLICY_FILE.name
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(PolicyInvalidError, match=said) as refused:
        read_policy(path)
    assert (refused.value.code, refused.value.http_status) == (
        "change_control_policy_invalid",
        500,
    )


def test_a_policy_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalidError, match="No such file"):
        read_policy(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyInvalidError, match=r"binary\.toml"):
        read_policy(tmp_path / "binary.toml")
