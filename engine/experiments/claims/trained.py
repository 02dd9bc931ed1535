"""Training on adversarial images with noise (ANT) leaves more pictures right under attack than adversarial training
(AT), and that more than none; noise alone helps against one step.

On networks of one architecture: the defended ones are the undefended one, trained on. What the source does not say is
chosen here: eps, steps and noise of the trainings stand on the models' cards.
"""

from collections.abc import Mapping
from typing import Any

from engine.attacks import ATTACKS
from engine.experiments.claims.declared import RESNET18, Bundled, Claim, Entry, Network, declare, entry
from engine.experiments.claims.measures import RIGHT
from engine.training.defenses import TRAINING_DEFENSES

UNDEFENDED, NOISE, AT, ANT = "undefended", "noise", "AT", "ANT"
Twins = Mapping[str, Bundled | Network]  # one network by what defends it, the undefended one first

LEVELS = (1, 2)
BUDGETS = [{"eps": level / 255, "batch": 10} for level in LEVELS]
ATTACKED = ("fgsm", "mifgsm", "pgd")
LAST_WORD = "autoattack"
TITLES = {name: ATTACKS[name].info.title for name in (*ATTACKED, LAST_WORD)}
THESIS = TRAINING_DEFENSES["ant"].info.paper
# Accuracy under FGSM and MI-FGSM, DenseNet-121, as published (tables 4-3 and 4-1), in percent.
PUBLISHED = {"kermany": "On 580 X-rays: undefended 83.3 under FGSM and 0 under MI-FGSM, AT 91.2 and 75.7, ANT 92.2 and "
                        "85.3",
             "covid-ct": "On 75 slices: undefended 40.0 under FGSM and 0 under MI-FGSM, AT 74.7 and 49.3, ANT 76.0 and "
                         "73.3"}

KERMANY: Twins = {defense: Bundled(f"kermany/mobilenet_v3_small{suffix}")
                  for defense, suffix in ((UNDEFENDED, ""), (NOISE, "-noise"), (AT, "-at"), (ANT, "-ant"))}
SLICES = RESNET18["covid-ct"]
COVID_CT: Twins = {UNDEFENDED: SLICES, **{defense: Network("resnet18", 20, written, SLICES) for defense, written in (
    (NOISE, "noise"), (AT, "at:eps=2/255"), (ANT, "ant:eps=2/255,steps=3"))}}


def _label(defense: str, attack: str) -> str:
    return f"{defense}, {TITLES[attack]}"


def _entries(twins: Twins, attack: str, params: Mapping[str, Any]) -> tuple[Entry, ...]:
    budgets = [{**budget, "params": params} for budget in BUDGETS]
    return tuple(entry(attack, budgets, _label(defense, attack), THESIS, network) for defense, network in twins.items())


def _trained(name: str, dataset: str, twins: Twins, pictures: int) -> Claim:
    contests = [(better, other, attack) for attack in ("fgsm", "mifgsm")
                for better, other in ((AT, UNDEFENDED), (ANT, AT))] + [(NOISE, UNDEFENDED, "fgsm")]
    return Claim(
        name=f"trained-{name}",
        title=f"Defenses in training, {name}",
        sentence="under FGSM and MI-FGSM adversarial training leaves more right than none, and with noise (ANT) more "
                 "still; under FGSM training on noise alone helps, too",
        dataset=dataset,
        target=twins[UNDEFENDED],
        pictures=pictures,
        budgets=tuple(f"eps {level}/255" for level in LEVELS),
        entries=tuple(one for attack in ATTACKED for one in _entries(twins, attack, {})),
        contests=tuple((_label(better, attack), _label(other, attack)) for better, other, attack in contests),
        measure=RIGHT,
        misread=True,
        networks=1,
        notes=f"{PUBLISHED[name]} (percent right, of a DenseNet-121; the source gives neither eps nor noise).",
    )


def _last_word(name: str, dataset: str, twins: Twins, pictures: int) -> Claim:
    """AutoAttack, which nobody asked in the source, on fewer pictures and with fewer queries than usual."""
    settings = {"steps": 20, "queries": 500}
    return Claim(
        name=f"trained-{name}-last-word",
        title=f"Defenses in training under AutoAttack, {name}",
        sentence="adversarial training leaves more right than none, and with noise (ANT) more still",
        dataset=dataset,
        target=twins[UNDEFENDED],
        pictures=pictures,
        budgets=tuple(f"eps {level}/255" for level in LEVELS),
        entries=_entries(twins, LAST_WORD, settings),
        contests=tuple((_label(better, LAST_WORD), _label(other, LAST_WORD))
                       for better, other in ((AT, UNDEFENDED), (ANT, AT))),
        measure=RIGHT,
        misread=True,
        networks=1,
        notes=f"AutoAttack takes {settings['steps']} steps and {settings['queries']} queries here; the source does not "
              "ask it.",
    )


for name, dataset, twins, pictures in (("kermany", "kermany", KERMANY, 100), ("covid-ct", "covid-ct@64", COVID_CT, 70)):
    declare(_trained(name, dataset, twins, pictures))
    declare(_last_word(name, dataset, twins, 20))
