"""The trainer: data set versions, splits, training, evaluation and export."""

import shared.models  # noqa: F401 - before any module here imports OpenVINO or NNCF
