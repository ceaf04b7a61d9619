"""The retention policy, as its file has it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from shared.db.models import ERASURE_STATUSES, HOLD_KINDS
from shared.retention.erasures import ErasureStatus, digest_of
from shared.retention.holds import HoldKind
from shared.retention.kinds import PURGINGS
from shared.retention.policy import Kind, RetentionPolicyInvalidError, read_retention_policy
from shared.settings import PROJECT_ROOT
from tests.integration.retention.conftest import SECRET

POLICY_FILE = PROJECT_ROOT / "models" / "retention.toml"


def test_the_shipped_policy_keeps_what_is_clinical_for_ever() -> None:
    rules = read_retention_policy(POLICY_FILE).rules
    kept = {kind for kind, rule in rules.items() if rule.keep is None}
    assert kept == {Kind.IMAGES, Kind.JOBS, Kind.REVIEW_COMMENTS, Kind.AUDIT}
    assert rules[Kind.MONITORING].keep == dt.timedelta(days=30)
    assert str(rules[Kind.IMAGES]) == "forever"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('[images]\nkeep = "forever"', '[images]\nkeep = "for ever"', "images.keep"),
        ('keep = "30 days"', 'keep = "-1 days"', "monitoring.keep"),
        ('keep = "30 days"', "keep = 30", "monitoring.keep"),
        ('keep = "30 days"', "", "monitoring.keep: Field required"),
        ("[images]", "[image]", "lacks images"),
        ("[audit]", "[more]\nkeep = 'forever'\nreason = 'x'\n[audit]", "more"),
        ('version = "1"', 'version = ""', "version: "),
        ("[images]", "[images", "retention.toml: "),
    ],
)
def test_a_policy_that_is_misspelt_is_refused(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    content = POLICY_FILE.read_text()
    assert before in content
    path = tmp_path / POLICY_FILE.name
    path.write_text(content.replace(before, after, 1))
    with pytest.raises(RetentionPolicyInvalidError, match=said) as refused:
        read_retention_policy(path)
    assert (refused.value.code, refused.value.http_status) == ("retention_policy_invalid", 500)


def test_each_kind_of_the_policy_has_its_purge() -> None:
    assert set(PURGINGS) == set(Kind) - {Kind.AUDIT}


def test_the_schema_has_the_words_of_the_domain() -> None:
    assert tuple(HoldKind) == HOLD_KINDS
    assert tuple(ErasureStatus) == ERASURE_STATUSES


def test_a_digest_tells_patients_apart_to_who_has_the_secret() -> None:
    first, second = digest_of("pn-1", SECRET), digest_of("pn-2", SECRET)
    assert first != second
    assert first == digest_of("pn-1", SECRET)
    assert "pn-1" not in str(first)
    assert digest_of("pn-1", None) is None
