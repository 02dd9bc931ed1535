"""A run as a report, in HTML and PDF."""
