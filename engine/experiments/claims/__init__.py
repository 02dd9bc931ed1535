"""What the attacks' papers claim: each claim is a declaration, measured as sweeps, and decided by tests of chance.

Most need millions of forward passes at 224 x 224, so they are measured on the same pictures made smaller, with networks
of the usual architectures that the project's own training fits to those, several from different seeds.
"""

# Each registers its claims; this is the order in which they are measured.
from engine.experiments.claims import nonsign, transfer, patches, decisions, trained, served  # noqa: F401, I001
from engine.experiments.claims.declared import CLAIMS, Claim

__all__ = ["CLAIMS", "Claim"]
