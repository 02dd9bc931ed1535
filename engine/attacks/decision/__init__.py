"""Decision-based attacks: the attacker sees the predicted class only, and looks for the nearest image that fools.

All begin at an image that the model already takes for something else (attack.py) and make it ever more similar to the
attacked one, along the boundary (geometry.py). Each image's attack is a coroutine of its own
(engine.attacks.coroutines), so the code here is about one image.
"""

from engine.attacks.decision import boundary, geoda, hopskipjump, opt

__all__ = ["boundary", "geoda", "hopskipjump", "opt"]
