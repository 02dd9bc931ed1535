"""An attack by itself: what the runner does for one batch, without the three verdicts that follow."""

import torch
from torch import Tensor

from engine.attacks import runner
from engine.attacks.base import ATTACKS, Others
from engine.attacks.batch import BatchRun, Learned, Setting
from engine.attacks.spec import AttackSpec
from engine.params import build
from engine.serving.served import Served
from engine.zoo.classifier import Classifier


def attack_alone(spec: AttackSpec, model: Classifier, images: Tensor, labels: Tensor,
                 others: Others | None = None) -> int:
    """Attack `images` [N, C, H, W], all in one batch, on `model` as it is; returns the queries of all together."""
    others = others or Others(images[:0], labels[:0])
    setting = Setting(spec, build(ATTACKS[spec.attack], spec.params), Served(model), others, images.device, False,
                      Learned({}))
    run = BatchRun(setting, list(map(str, range(len(images)))), images, lambda fraction, text: None, lambda make: None)
    with torch.no_grad():
        return int(runner._one_batch(setting, images, labels, None, run).queries.sum())
