"""What the services share, a folder a domain. Nothing here imports `services`."""

__version__ = "0.1.0"
"""Of the package; an image has its sources alone, and knows no distribution of that name."""
