"""The broker: Celery on Valkey. A message is a job id, nothing else."""
