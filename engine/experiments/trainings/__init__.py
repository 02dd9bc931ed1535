"""Training as long work: what it gives, what it will cost, and what to begin with."""
