"""Names that sender and worker must agree on."""

INFER_TASK = "triage.infer"

QUEUES = ("stat", "urgent", "routine")
"""One queue a priority, in the order in which a worker looks at them."""
