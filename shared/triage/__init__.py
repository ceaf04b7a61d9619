"""From probabilities to a triage result: labels, calibration, policy and wording."""
