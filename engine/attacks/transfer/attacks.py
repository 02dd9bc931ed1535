"""The attacks, each of which names its pieces."""

from __future__ import annotations

from engine.attacks.declared.transfer import DIFGSM, NIFGSM, PGN, SEVEN, SIA, SIFGSM, STM, TIFGSM, USMM, VMIFGSM
from engine.attacks.transfer.blocks import Blocks
from engine.attacks.transfer.loop import Pieces, made_of
from engine.attacks.transfer.rules import PenalisedNorm, TunedVariance
from engine.attacks.transfer.transformations import Diversity, MixedScales, Scales, Styles


@made_of(DIFGSM)
def difgsm(attack: DIFGSM) -> Pieces:
    return Pieces((Diversity(attack.smallest, attack.probability),))


@made_of(TIFGSM)
def tifgsm(attack: TIFGSM) -> Pieces:
    return Pieces(kernel=attack.kernel)


@made_of(SIFGSM)
def sifgsm(attack: SIFGSM) -> Pieces:
    return Pieces((Scales(attack.copies),))


@made_of(NIFGSM)
def nifgsm(attack: NIFGSM) -> Pieces:
    return Pieces(ahead=True)


@made_of(VMIFGSM)
def vmifgsm(attack: VMIFGSM) -> Pieces:
    return Pieces(rule=TunedVariance(attack.neighbours, attack.reach))


@made_of(PGN)
def pgn(attack: PGN) -> Pieces:
    return Pieces(rule=PenalisedNorm(attack.neighbours, attack.reach, attack.balance))


@made_of(SIA)
def sia(attack: SIA) -> Pieces:
    return Pieces((Blocks(attack.copies, attack.blocks, attack.ways == SEVEN),))


@made_of(USMM)
def usmm(attack: USMM) -> Pieces:
    return Pieces((MixedScales(attack.scales, attack.masks, attack.mix, attack.lowest, attack.highest),))


@made_of(STM)
def stm(attack: STM) -> Pieces:
    return Pieces((Styles(attack.copies, attack.own, attack.reach, attack.style),))
