"""An attack of pieces that the user names."""

from __future__ import annotations

from collections.abc import Callable

from engine.attacks.declared.transfer import Combined
from engine.attacks.transfer.blocks import Blocks
from engine.attacks.transfer.loop import Pieces, made_of
from engine.attacks.transfer.rules import AtThePoint, PenalisedNorm, Rule, TunedVariance
from engine.attacks.transfer.transformations import Diversity, MixedScales, Scales, Styles, Transformation

_COPIES: dict[str, Callable[[Combined], tuple[Transformation, ...]]] = {
    "none": lambda chosen: (),
    "sia": lambda chosen: (Blocks(chosen.copies),),
    "usmm": lambda chosen: (MixedScales(),),
    "stm": lambda chosen: (Styles(chosen.copies),),
}
_RULES: dict[str, Callable[[Combined], Rule]] = {
    "plain": lambda chosen: AtThePoint(),
    "vmi": lambda chosen: TunedVariance(chosen.neighbours),
    "pgn": lambda chosen: PenalisedNorm(chosen.neighbours),
}


@made_of(Combined)
def combined(attack: Combined) -> Pieces:
    scales = (Scales(attack.scales),) if attack.scales > 1 else ()
    diversity = (Diversity(probability=attack.diversity),) if attack.diversity else ()
    return Pieces((*_COPIES[attack.kind](attack), *scales, *diversity), _RULES[attack.rule](attack), attack.kernel,
                  attack.acceleration == "ni")
