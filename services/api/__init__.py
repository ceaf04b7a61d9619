"""The intake API."""
