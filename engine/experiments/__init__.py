"""What runs an attack on many images, or for a page.

Importing this package registers every kind of work, so that what a stopped server left is known again before anyone
asks for its like. It does not import torch.
"""

from engine.experiments import certifying, fooling, sweeps, units
from engine.experiments.datasets import checking, downloading, predicting
from engine.experiments.defending import judging, seeing
from engine.experiments.epsilon import eyes, ladder, minimal
from engine.experiments.onepicture import answers, explore
from engine.experiments.queries import walks
from engine.experiments.runs import again
from engine.experiments.transfers import alignment, transfer

__all__ = ["again", "alignment", "answers", "certifying", "checking", "downloading", "explore", "eyes", "fooling",
           "judging", "ladder", "minimal", "predicting", "seeing", "sweeps", "transfer", "units", "walks"]
