"""Attacks made on one model to fool another: they climb a loss seen from many sides, so as not to fit one model alone.

Four pieces make such an attack, and each is declared apart from the others: transformations (what copies of an image
the model sees), a gradient rule (where the gradient is taken), smoothing of the gradient, and momentum. An attack
(attacks.py) only names its pieces; `combined` lets a user name them.
"""

from engine.attacks.transfer import attacks, combined

__all__ = ["attacks", "combined"]
