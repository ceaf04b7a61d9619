"""The inference worker: claims jobs, runs the model on them in batches, writes their results."""
