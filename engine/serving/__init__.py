"""What an attacker asks: the threat-model objects, and the quick twins that answer them."""
