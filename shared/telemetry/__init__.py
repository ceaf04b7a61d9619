"""What tells of the service while it runs: whose work is done, for the logs; and traces."""
