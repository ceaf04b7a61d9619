"""Training runs: asked for over HTTP, taken by the trainer, told of while they run."""
