"""Training on adversarial images with noise (ANT) leaves more pictures right under attack than adversarial training
(AT), and that more than none; noise alone helps against one step.

On bundled models of one architecture: the defended ones are the undefended one, trained on. What the source does not
say is chosen here: eps, steps and noise of the trainings stand on the models' cards.
"""

from engine.attacks import ATTACKS
from engine.experiments.claims.declared import Bundled, Claim, declare, entry
from engine.experiments.claims.measures import RIGHT

LEVELS = (1, 2)
BUDGETS = [{"eps": level / 255, "batch": 10} for level in LEVELS]
DEFENSES = {"undefended": "", "noise": "-noise", "AT": "-at", "ANT": "-ant"}
# AutoAttack, the last word, with as many queries as leave it affordable.
ATTACKED = {"fgsm": {}, "mifgsm": {}, "pgd": {}, "autoattack": {"steps": 20, "queries": 500}}
TITLES = {name: ATTACKS[name].info.title for name in ATTACKED}
THESIS = ATTACKS["gbba"].info.paper
# Accuracy under FGSM and MI-FGSM, DenseNet-121, as published (tables 4-1 and 4-3), in percent.
PUBLISHED = {
    "kermany": "On 580 X-rays: undefended 83.3 under FGSM and 0 under MI-FGSM, AT 91.2 and 75.7, ANT 92.2 and 85.3",
    "covid-ct": "On 75 slices: undefended 40 under FGSM and 0 under MI-FGSM, AT 74.7 and 49.3, ANT 76 and 73.3",
}


def _label(defense: str, attack: str) -> str:
    return f"{defense}, {TITLES[attack]}"


def _claim(dataset: str, arch: str, pictures: int) -> Claim:
    entries = tuple(entry(attack, [{**budget, "params": params} for budget in BUDGETS], _label(defense, attack), THESIS,
                          Bundled(f"{dataset}/{arch}{ending}"))
                    for attack, params in ATTACKED.items() for defense, ending in DEFENSES.items())
    contests = [(better, other, attack) for attack in ("fgsm", "mifgsm")
                for better, other in (("AT", "undefended"), ("ANT", "AT"))] + [("noise", "undefended", "fgsm")]
    return Claim(
        name=f"trained-{dataset}",
        title=f"Defenses in training, {dataset}",
        sentence="under FGSM and MI-FGSM adversarial training leaves more right than none, and with noise (ANT) more "
                 "still; under FGSM training on noise alone helps, too",
        dataset=dataset,
        target=Bundled(f"{dataset}/{arch}"),
        pictures=pictures,
        budgets=tuple(f"eps {level}/255" for level in LEVELS),
        entries=entries,
        contests=tuple((_label(better, attack), _label(other, attack)) for better, other, attack in contests),
        measure=RIGHT,
        misread=True,
        notes=f"AutoAttack takes {ATTACKED['autoattack']['steps']} steps and {ATTACKED['autoattack']['queries']} queries "
              f"here. {PUBLISHED[dataset]} (percent right; the source gives neither eps nor noise, and a DenseNet-121).",
    )


for dataset, pictures in (("kermany", 100), ("covid-ct", 73)):
    declare(_claim(dataset, "mobilenet_v3_small", pictures))
