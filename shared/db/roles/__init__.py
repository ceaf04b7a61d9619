"""The database roles: what each process may do, and how they come into a database."""
