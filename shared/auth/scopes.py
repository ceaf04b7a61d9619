"""What a key may be allowed."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a key allows."""

    SUBMIT = "submit"  # post and cancel jobs
    READ = "read"  # read jobs, results, images and models
    REVIEW = "review"  # confirm or override results
    ADMIN = "admin"  # data sets, trainings, model aliases, audit
