"""Webhooks: clients are told of the end of their jobs."""
