"""What the papers claim, measured on real data: make claims. What was found stands in CLAIMS.md.

Such comparisons take millions of forward passes at 224 x 224, so most are made on the same pictures made smaller,
with networks of the usual architectures that the project's own training fits to those (in minutes, and keeps).
"""
