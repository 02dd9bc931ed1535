"""How the Epsilon page is looked at: readings, measure, axis. All of it is in the address."""

from engine.experiments.epsilon import lines
from engine.experiments.epsilon.ladder import INDEPENDENT, READINGS, WORST
from pages.epsilons.figures import AXES
from pages.ui import controls
from pages.ui.address import Address

BOTH = "both"
_READINGS = {BOTH: (INDEPENDENT, WORST), WORST: (WORST,), INDEPENDENT: (INDEPENDENT,)}
_TITLES = {BOTH: "Both, side by side", WORST: "Worst case within the budget", INDEPENDENT: "Independent runs"}


def readings(address: Address) -> tuple[str, ...]:
    """Which readings are computed."""
    chosen = controls.choice(
        address, "reading", "Reading", list(_READINGS), BOTH, format_func=_TITLES.__getitem__,
        help="An attack at a larger epsilon may do worse, as its steps grow with it: independent runs show that. In "
             "the worst case an image counts as fooled from the smallest epsilon on that fools it, so the curve cannot "
             "rise; alone it takes about a quarter of the time of attacks with many steps, as it is found by halving, "
             "image by image.")
    return _READINGS[chosen]


def measure(address: Address, classes: tuple[str, ...]) -> str:
    """What is drawn against epsilon."""
    return controls.choice(address, "measure", "What is measured", lines.measures(classes), lines.ACCURACY,
                           help="Recall: the share of a class's images that is recognised. AUC: how well the model's "
                                "probabilities rank the classes, 0.5 is chance.")


def axis(address: Address) -> str:
    """How epsilon is spread."""
    return controls.choice(address, "axis", "Axis of epsilon", list(AXES), next(iter(AXES)),
                           format_func=lambda name: AXES[name].title,
                           help="Medical models often give way below 2/255: the first axis shows that part largest.")


def titles(reading: str) -> str:
    """A reading as a heading."""
    return _TITLES[reading]


def described(reading: str) -> str:
    """A reading explained."""
    return READINGS[reading]
