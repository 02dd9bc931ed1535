"""PwP, a patch on the hottest region and noise elsewhere, fools more often than a patch in a random place.

On the bundled models and pictures of full size: a heatmap of smaller ones would be too coarse to aim by.
"""

from engine.experiments.claims.declared import Bundled, Claim, declare, entry
from engine.experiments.claims.measures import FOOLED

SIDE = 0.1  # of a patch, as a share of the picture's
EPS = 0.5 / 255  # of PwP outside the patch, and of the FGSM that it is compared with

PATCH = {"batch": 10, "params": {"height": SIDE, "width": SIDE}}
PWP, ANYWHERE = entry("pwp", [{**PATCH, "eps": EPS}]), entry("randompatch", [PATCH])

for dataset in ("kermany", "covid-ct"):
    declare(Claim(
        name=f"patches-{dataset}",
        title=f"Patches, DenseNet-121 on {dataset}",
        sentence="a patch on the hottest region with noise elsewhere (PwP) fools more than a patch in a random place",
        dataset=dataset,
        target=Bundled(f"{dataset}/densenet121"),
        pictures=40,
        budgets=(f"a square of {SIDE:.0%} of the side",),
        entries=(PWP, entry("campatch", [PATCH]), ANYWHERE, entry("fgsm", [{"eps": EPS, "batch": 10}], "FGSM alone")),
        contests=((PWP.label, ANYWHERE.label),),
        measure=FOOLED,
        notes=f"PwP moves what lies outside its patch by {EPS * 255:g}/255, as 'FGSM alone' moves the whole picture.",
    ))
