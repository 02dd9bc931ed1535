"""Who fools whom: what was made on one model shown to others, and how alike their gradients are."""
