"""Kept runs: found, shown, compared, repeated, checked, given away and taken in."""
