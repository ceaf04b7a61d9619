"""The processes: each imports `shared`, none imports another."""
