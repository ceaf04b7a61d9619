"""Backups of the database and the object store at one moment, and their restoration."""
