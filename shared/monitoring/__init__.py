"""Monitoring of models in use: drift against the reference in a version's card."""
