"""Networks that attackers bring along: generators, and the style network with its training."""
