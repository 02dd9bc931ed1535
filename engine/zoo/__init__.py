"""Networks and what is known of them: architectures, checkpoints with their cards, and the classifier."""
