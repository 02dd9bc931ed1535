"""Training: the loop and what a user may set of it."""
