"""PGN, SIA, USMM and STM: made on one network they fool another more often than MI-FGSM does."""

from engine.experiments.claims.declared import Claim, Network, declare, entry
from engine.experiments.claims.measures import FOOLED
from engine.zoo.architectures import ARCHITECTURES

SIDE = 64
BUDGET = {"eps": 16 / 255, "batch": 25}  # the papers' eps, and their settings, which are the defaults
NETWORKS = (Network("resnet18", 10), Network("densenet121", 6))

BASELINE = entry("mifgsm", [BUDGET])
CLAIMED = tuple(entry(attack, [BUDGET]) for attack in ("pgn", "sia", "usmm", "stm"))

for surrogate, target in (NETWORKS, NETWORKS[::-1]):
    declare(Claim(
        name=f"transfer-{surrogate.arch}-{target.arch}",
        title=f"Transfer from {ARCHITECTURES[surrogate.arch].title} to {ARCHITECTURES[target.arch].title}, "
              "chest X-rays",
        sentence="what PGN, SIA, USMM or STM makes on one network fools another more often than what MI-FGSM makes",
        dataset=f"kermany@{SIDE}",
        target=target,
        surrogate=surrogate,
        pictures=100,
        budgets=("eps 16/255",),
        entries=(BASELINE, *CLAIMED),
        contests=tuple((one.label, BASELINE.label) for one in CLAIMED),
        measure=FOOLED,
    ))
