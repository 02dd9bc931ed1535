"""An attack of pieces that the user names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import PAPER_PRESET, AttackInfo, Knowledge, register
from engine.attacks.transfer.attacks import STM, WANG_HE
from engine.attacks.transfer.blocks import Blocks
from engine.attacks.transfer.loop import STEP, Pieces, TransferAttack
from engine.attacks.transfer.rules import AtThePoint, PenalisedNorm, Rule, TunedVariance
from engine.attacks.transfer.transformations import Diversity, MixedScales, Scales, Styles, Transformation
from engine.params import param

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
_MOMENTUM = ("mi", "ni")


@register
@dataclass(frozen=True, kw_only=True)
class Combined(TransferAttack):
    """Any combination of the pieces of the other transfer attacks; the default is SI-VMI-DI (Wang and He 2021).

    Transformations follow one another (copies, then scales, then diversity), so their numbers of copies multiply. By
    default fewer neighbours than the paper's 20 (the preset "paper"), as each is looked at in every scale. What is not
    a setting here is as in the attack of its own.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="combined",
        title="Combined transfer attack",
        sentence="Puts together what the other transfer attacks do: choose the copies, the rule and the momentum.",
        formula=r"\bar g_t = W * R\Big[x \mapsto \frac{1}{n}\sum_{i=1}^{n}\nabla_x L\big(T_i(x), y\big)\Big](x_t),"
                r"\quad " + STEP,
        paper=WANG_HE,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="More pieces cost more passes; on another model each should add to the success.",
        others=4,
        presets={PAPER_PRESET: {"neighbours": 20}},
        version=2,
    )
    kind: str = param("none", title="Copies by", choices=tuple(_COPIES),
                      help="Which copies the model sees: blocks (SIA), scales with other images (USMM), styles (STM).")
    copies: int = param(10, title="Number of copies", low=1, high=100, step=1,
                        help="How many of them, for SIA and STM; USMM always makes 15.")
    scales: int = param(5, title="Scales (SI)", low=1, high=10, step=1,
                        help="How many brightnesses, each half of the one before; 1 is the image as it is.")
    diversity: float = param(0.5, title="Diversity (DI)", low=0.0, high=1.0, step=0.1,
                             help="How often a copy is shrunk and shifted at random; 0 is never.")
    kernel: int = param(1, title="Kernel (TI)", low=1, high=63, step=2, unit="px",
                        help="How far the direction is blurred; 1 is not at all.")
    rule: str = param("vmi", title="Rule", choices=tuple(_RULES),
                      help="Where the direction is taken: at the image, corrected by its neighbourhood (VMI), or "
                           "towards flat regions (PGN).")
    neighbours: int = param(5, title="Neighbours", low=1, high=100, step=1,
                            help="How many random places VMI and PGN look at in each step.")
    acceleration: str = param("mi", title="Kind of momentum", choices=_MOMENTUM,
                              help="Plain momentum (MI), or one that looks ahead (NI); the amount is set by Momentum.")

    def pieces(self) -> Pieces:
        scales = (Scales(self.scales),) if self.scales > 1 else ()
        diversity = (Diversity(probability=self.diversity),) if self.diversity else ()
        return Pieces((*_COPIES[self.kind](self), *scales, *diversity), _RULES[self.rule](self), self.kernel,
                      self.acceleration == "ni")

    def files(self) -> dict[str, str]:
        return STM().files() if self.kind == "stm" else {}
