"""PostgreSQL: the truth. Typed models, sessions and migrations."""
