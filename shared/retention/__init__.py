"""How long data are kept, what keeps them longer, and how they are removed for good."""
