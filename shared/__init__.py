"""What the services share, a folder a domain. Nothing here imports `services`."""
