"""Orders: cases that are expected, from their placement to their end."""
