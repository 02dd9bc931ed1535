"""The non-sign forms of FGSM, BIM and PGD are stronger than the sign forms where eps is small.

Clipping to the budget cuts off what a non-sign step does to the pixels that matter most, so one step is also compared
without that limit, at the length (L2) of the sign step.
"""

from engine.attacks import ATTACKS
from engine.experiments.claims.declared import RESNET18, Claim, declare, entry
from engine.experiments.claims.measures import FOOLED

SIDE = 64
LEVELS = (1, 2, 4)
EPS = tuple(level / 255 for level in LEVELS)
STEPS = 10
BATCH = 25
PAIRS = (("fgnm", "fgsm"), ("binm", "bim"), ("pgdnm", "pgd"))
UNLIMITED = "FGNM, pixels unlimited"

ONE_STEP = [{"eps": eps, "batch": BATCH} for eps in EPS]
# The same steps for all, as PGD's own default is 2.5 times as long as PGDNM's.
ITERATED = [{"eps": eps, "batch": BATCH, "params": {"steps": STEPS, "step_size": eps / STEPS}} for eps in EPS]
# One step along the gradient itself is PGD's in L2. The sign of a grey picture's gradient has the length SIDE.
FREE = [{"eps": eps * SIDE, "batch": BATCH, "norm": "l2",
         "params": {"steps": 1, "step_size": eps * SIDE, "random_start": False}} for eps in EPS]

ENTRIES = (*(entry(attack, ONE_STEP if "fg" in attack else ITERATED) for pair in PAIRS for attack in pair),
           entry("pgd", FREE, UNLIMITED, ATTACKS["fgnm"].info.paper))
LABELS = {one.specs[0].attack: one.label for one in ENTRIES[:-1]}

for dataset, network in RESNET18.items():
    declare(Claim(
        name=f"nonsign-{dataset}",
        title=f"Sign or not, ResNet-18 on {dataset}",
        sentence="at small eps the non-sign forms fool more than the sign forms",
        dataset=f"{dataset}@{SIDE}",
        target=network,
        pictures=100,
        budgets=tuple(f"eps {level}/255" for level in LEVELS),
        entries=ENTRIES,
        contests=(*((LABELS[better], LABELS[other]) for better, other in PAIRS), (UNLIMITED, LABELS["fgsm"])),
        measure=FOOLED,
        notes=f"No pixel moves by more than eps, but in the row '{UNLIMITED}', whose one step is as long (L2) as that "
              f"of FGSM. All iterated attacks take {STEPS} steps of eps / {STEPS}.",
        because="the limit per pixel cuts short what a non-sign step does to the pixels that matter most; the row "
                "without that limit shows what it costs.",
    ))
