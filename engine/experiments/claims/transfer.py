"""PGN, SIA, USMM and STM: made on one network they fool another more often than MI-FGSM does.

The second pair sees smaller pictures, on which a CPU trains three of each in an hour or two.
"""

from engine.experiments.claims.declared import RESNET18, Claim, Network, declare, entry
from engine.experiments.claims.measures import FOOLED
from engine.zoo.architectures import ARCHITECTURES

BUDGET = {"eps": 16 / 255, "batch": 25}  # the papers' eps, and their settings, which are the defaults
RESNET, DENSENET = RESNET18["kermany"], Network("densenet121", 6)

BASELINE = entry("mifgsm", [BUDGET])
CLAIMED = tuple(entry(attack, [BUDGET]) for attack in ("pgn", "sia", "usmm", "stm"))

for surrogate, target, side in ((RESNET, DENSENET, 64), (DENSENET, RESNET, 32)):
    declare(Claim(
        name=f"transfer-{surrogate.arch}-{target.arch}",
        title=f"Transfer from {ARCHITECTURES[surrogate.arch].title} to {ARCHITECTURES[target.arch].title}, "
              "chest X-rays",
        sentence="what PGN, SIA, USMM or STM makes on one network fools another more often than what MI-FGSM makes",
        dataset=f"kermany@{side}",
        target=target,
        surrogate=surrogate,
        pictures=100,
        budgets=("eps 16/255",),
        entries=(BASELINE, *CLAIMED),
        contests=tuple((one.label, BASELINE.label) for one in CLAIMED),
        measure=FOOLED,
        because="on X-rays the networks misread many of USMM's darkened and mixed copies (counted once: 30 % at "
                "64 x 64, and 17, 20 and 20 % by three DenseNet-121 at 32 x 32, of the darkest 27 %), whose gradients "
                "then say little of the picture itself.",
    ))
