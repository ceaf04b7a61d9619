"""Deliveries: webhooks tell clients of the ends of their jobs, pushes bring results out."""
