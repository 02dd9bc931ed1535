"""Perturbscope's engine: everything that works without a browser."""
