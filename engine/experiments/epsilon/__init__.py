"""How much it takes: curves against epsilon, each image's smallest one, and what the eye sees."""
