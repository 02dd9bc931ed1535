"""One picture and one attack, as Explore shows it."""
