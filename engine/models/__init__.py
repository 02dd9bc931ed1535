"""Models: architectures, checkpoints and the classifier that attacks see."""
