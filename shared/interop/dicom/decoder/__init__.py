"""Decodes compressed frames, hostile ones in a child process."""
