"""Attacks made on one model to fool another: they climb a loss seen from many sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import PAPER_PRESET, Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.params import param

# What the loop does with the gradient that the pieces give, for the formulas of the attacks.
STEP = r"m_{t+1} = \mu\,m_t + \frac{\bar g_t}{\mathrm{mean}\,|\bar g_t|},\quad " \
        r"x_{t+1} = \mathrm{clip}_{x,\varepsilon}\big(x_t + \alpha\,\mathrm{sign}(m_{t+1})\big)"


@dataclass(frozen=True, kw_only=True)
class TransferAttack(Attack):
    """The loop: `steps` steps along the sign of the velocity, which gathers the gradients that the pieces give.

    Made on a surrogate where there is one, otherwise on the target itself. All steps are taken, as an image that fools
    the surrogate need not fool the target. The trace shows the mean over all copies that a step's passes saw.
    """

    steps: int = param(10, title="Steps", low=1, high=1000, step=1, help="How many times the image is moved.")
    step_size: float = param(0.0, title="Step size", low=0.0, high=1.0, step=0.1 / 255, unit="/255",
                             help="How far one step moves the image. 0: the papers' rule, eps divided by the steps.")
    momentum: float = param(1.0, title="Momentum", low=0.0, high=2.0, step=0.1,
                            help="How much of the earlier directions is kept at each step; 0 forgets them.")

    def cost(self) -> Cost:
        passes = self.seen * self.looks
        return Cost(gradients=passes, queries=passes)

    @property
    def seen(self) -> int:
        """How many copies of an image the model sees at each look."""
        return 1

    @property
    def looks(self) -> int:
        """How often all steps together ask for the gradient, of each copy."""
        return self.steps


_XIE = Paper("Xie, Zhang, Zhou, Bai, Wang, Ren, Yuille",
             "Improving Transferability of Adversarial Examples with Input Diversity", 2019,
             "https://arxiv.org/abs/1803.06978")
_DONG = Paper("Dong, Pang, Su, Zhu",
              "Evading Defenses to Transferable Adversarial Examples by Translation-Invariant Attacks", 2019,
              "https://arxiv.org/abs/1904.02884")
_LIN = Paper("Lin, Song, He, Wang, Hopcroft",
             "Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks", 2020,
             "https://arxiv.org/abs/1908.06281")
_WANG_HE = Paper("Wang, He", "Enhancing the Transferability of Adversarial Attacks through Variance Tuning", 2021,
                 "https://arxiv.org/abs/2103.15571")
_GE_PGN = Paper("Ge, Liu, Wang, Shang, Liu",
                "Boosting Adversarial Transferability by Achieving Flat Local Maxima", 2023,
                "https://arxiv.org/abs/2306.05225")
_WANG_SIA = Paper("Wang, Zhang, Zhang",
                  "Structure Invariant Transformation for better Adversarial Transferability", 2023,
                  "https://arxiv.org/abs/2309.14700")
_WANG_USMM = Paper("Wang, Ying, Li, Li, Huang",
                   "Boost Adversarial Transferability by Uniform Scale and Mix Mask Method", 2023,
                   "https://arxiv.org/abs/2311.12051")
_GE_STM = Paper("Ge, Shang, Liu, Liu, Wan, Feng, Wang",
                "Improving the Transferability of Adversarial Examples with Arbitrary Style Transfer", 2023,
                "https://arxiv.org/abs/2308.10601")
TEN, SEVEN = "ten", "seven"


@register
@dataclass(frozen=True, kw_only=True)
class DIFGSM(TransferAttack):
    """Diverse-input FGSM (Xie et al. 2019) with momentum: the model sees the image resized and padded at random.

    Deviations: the image is made smaller and padded back to its own size, as networks here are trained for one size
    (the paper makes it larger and feeds it so); every image draws its own size.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="difgsm",
        title="DI-FGSM",
        sentence="Before each step the image is shrunk and shifted a little at random, so that the change does not "
                 "depend on exact positions.",
        formula=r"\bar g_t = \nabla_x L(D(x_t; p), y),\quad " + STEP,
        paper=_XIE,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="On the model it was made on it is a little weaker than MI-FGSM; look at the other model instead.",
        version=2,
    )
    smallest: float = param(0.9, title="Smallest size", low=0.1, high=1.0, step=0.05,
                            help="The image is shrunk to between this share of its size and all of it.")
    probability: float = param(0.5, title="Probability", low=0.0, high=1.0, step=0.1,
                               help="How often an image is shrunk at all.")


@register
@dataclass(frozen=True, kw_only=True)
class TIFGSM(TransferAttack):
    """Translation-invariant FGSM (Dong et al. 2019) with momentum: the direction is blurred before each step."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="tifgsm",
        title="TI-FGSM",
        sentence="The direction of each step is blurred, as if the image had been shifted to all sides.",
        formula=r"\bar g_t = W * \nabla_x L(x_t, y),\quad " + STEP,
        paper=_DONG,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="The difference is made of smooth blobs instead of fine grain.",
        version=2,
    )
    kernel: int = param(15, title="Kernel", low=1, high=63, step=2, unit="px",
                        help="The width of the blur; 1 is none.")


@register
@dataclass(frozen=True, kw_only=True)
class SIFGSM(TransferAttack):
    """Scale-invariant FGSM (Lin et al. 2020) with momentum: the model sees the image at several brightnesses."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="sifgsm",
        title="SI-FGSM",
        sentence="Each step is the mean over darker and darker copies of the image.",
        formula=r"\bar g_t = \frac{1}{n}\sum_{i=0}^{n-1}\nabla_x L(x_t / 2^i, y),\quad " + STEP,
        paper=_LIN,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="Compared with MI-FGSM the pattern changes where the image is bright.",
        version=2,
    )
    copies: int = param(5, title="Copies", low=1, high=10, step=1,
                        help="How many brightnesses, each half of the one before; each costs a forward and a backward "
                             "pass a step.")

    @property
    def seen(self) -> int:
        return self.copies


@register
@dataclass(frozen=True, kw_only=True)
class NIFGSM(TransferAttack):
    """Nesterov iterative FGSM (Lin et al. 2020): momentum that looks ahead to where it is about to go."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="nifgsm",
        title="NI-FGSM",
        sentence="Steps with momentum that ask for the direction not here but where the momentum leads.",
        formula=r"\bar g_t = \nabla_x L(x_t + \alpha\,\mu\,m_t, y),\quad " + STEP,
        paper=_LIN,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="It looks like MI-FGSM's; it differs most when the steps are few and large.",
        version=2,
    )


@register
@dataclass(frozen=True, kw_only=True)
class VMIFGSM(TransferAttack):
    """Variance-tuned momentum FGSM (Wang and He 2021): each direction is corrected by how it varied around the last.

    The variance after the last step, which nobody needs, is not computed.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="vmifgsm",
        title="VMI-FGSM",
        sentence="Steps with momentum, corrected by how the direction varied in the neighbourhood of the step before.",
        formula=r"\bar g_t = \nabla_x L(x_t, y) + v_t,\quad v_{t+1} = \frac{1}{N}\sum_{i=1}^{N}\nabla_x L(x_t + r_i, y)"
                r" - \nabla_x L(x_t, y),\ r_i \sim U(\pm\beta\varepsilon),\quad " + STEP,
        paper=_WANG_HE,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="A step costs a pass for every neighbour; compare its success on another model with MI-FGSM's.",
        version=2,
    )
    neighbours: int = param(20, title="Neighbours", low=1, high=100, step=1,
                            help="How many random places around the image are looked at in each step.")
    reach: float = param(1.5, title="Reach", low=0.0, high=10.0, step=0.1,
                         help="How far away the neighbours are, in units of eps.")

    @property
    def looks(self) -> int:
        return self.steps + (self.steps - 1) * self.neighbours


@register
@dataclass(frozen=True, kw_only=True)
class PGN(TransferAttack):
    """Penalised gradient norm (Ge et al. 2023): towards flat maxima, from the gradients at random places around the
    image and at a step back down from each."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="pgn",
        title="PGN",
        sentence="Looks for a broad region in which the model is wrong, as other models are likely to be wrong there "
                 "too.",
        formula=r"\bar g_t = \frac{1}{N}\sum_{i=1}^{N}(1-\gamma)\,g_i + \gamma\,g_i',\quad "
                r"g_i = \nabla_x L(x_i, y),\ x_i \sim U(x_t \pm \zeta\varepsilon),\quad "
                r"g_i' = \nabla_x L\Big(x_i - \alpha\frac{g_i}{\mathrm{mean}\,|g_i|}, y\Big),\quad " + STEP,
        paper=_GE_PGN,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="The difference is coarser and smoother than MI-FGSM's.",
        version=2,
    )
    neighbours: int = param(20, title="Neighbours", low=1, high=100, step=1,
                            help="How many random places around the image are looked at in each step; each costs two "
                                 "forward and backward passes.")
    reach: float = param(3.0, title="Reach", low=0.0, high=10.0, step=0.1,
                         help="How far away the neighbours are, in units of eps.")
    balance: float = param(0.5, title="Balance", low=0.0, high=1.0, step=0.1,
                           help="The share of the look back down; 0 is the mean around the image alone.")

    @property
    def looks(self) -> int:
        return 2 * self.steps * self.neighbours


@register
@dataclass(frozen=True, kw_only=True)
class SIA(TransferAttack):
    """Structure-invariant attack (Wang et al. 2023): copies cut into blocks, to each of which something else is done.

    What that may be are the ten transformations of the authors' code, or seven of them.
    Deviation: every image has its own blocks, where the published code cuts a whole batch alike.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="sia",
        title="SIA",
        sentence="Each step is the mean over copies whose pieces were shifted, flipped, dimmed, blurred or roughened "
                 "at random.",
        formula=r"\bar g_t = \frac{1}{n}\sum_{i=1}^{n}\nabla_x L\big(T_i(x_t), y\big),\ T_i:\ b \times b\text{ blocks, "
                r"each rolled, flipped, turned, scaled, resized, smoothed, with noise or short of a channel},\quad "
                + STEP,
        paper=_WANG_SIA,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="Of all attacks here it fits the model it was made on least closely.",
        version=2,
    )
    copies: int = param(20, title="Copies", low=1, high=100, step=1,
                        help="How many copies are made in each step; each costs a forward and a backward pass.")
    blocks: int = param(3, title="Blocks", low=1, high=16, step=1, help="Into how many blocks each side is cut.")
    ways: str = param(TEN, title="Transformations", choices=(TEN, SEVEN),
                      help="What may be done to a block. Seven: shift down or across, flip either way, turn, dim, add "
                           "noise. Ten, as the authors do: shrink and enlarge, lose the highest frequencies, or lose a "
                           "channel, too.")

    @property
    def seen(self) -> int:
        return self.copies


@register
@dataclass(frozen=True, kw_only=True)
class USMM(TransferAttack):
    """Uniform scale and mix mask (Wang et al. 2023): copies darkened evenly and by another image laid over them.

    As in the published code the gradients at the copies are added as they are. Deviation: the other image comes from
    the attacker's further images (in the data set: the training split), so that a single image can be attacked.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="usmm",
        title="USMM",
        sentence="Each step is the mean over copies at several brightnesses, with other images laid over them.",
        formula=r"\bar g_t = \sum_{i=1}^{s}\sum_{j=1}^{m}\nabla_{x_{ij}} L(x_{ij}, y),\quad "
                r"x_{ij} = \mathrm{clip}\big(c_i\,x_t \odot ((1-r) + 2r\,x_j')\big),\quad " + STEP,
        paper=_WANG_USMM,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="The change is spread over the whole image, dark parts included.",
        others=4,
        version=2,
    )
    scales: int = param(5, title="Scales", low=1, high=20, step=1, help="How many brightnesses.")
    masks: int = param(3, title="Masks", low=1, high=20, step=1,
                       help="How many other images are laid over each brightness.")
    mix: float = param(0.5, title="Mix", low=0.0, high=0.5, step=0.05,
                       help="How strong the other image is: 0 not at all, 0.5 fully.")
    lowest: float = param(0.1, title="Lowest scale", low=0.0, high=1.0, step=0.05, help="The darkest copy.")
    highest: float = param(0.75, title="Highest scale", low=0.0, high=1.0, step=0.05, help="The brightest copy.")

    @property
    def seen(self) -> int:
        return self.scales * self.masks


@register
@dataclass(frozen=True, kw_only=True)
class STM(TransferAttack):
    """Style transfer method (Ge et al. 2023): copies mixed with themselves in a random style, plus noise.

    Deviation: the style network is this project's own, small and trained on phantoms (its card lies beside it).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="stm",
        title="STM",
        sentence="Each step is the mean over copies that look as if taken by other machines.",
        formula=r"\bar g_t = \frac{1}{n}\sum_{i=1}^{n}\nabla_x L\big(\gamma x_t + (1-\gamma)\,S_i(x_t) + r_i, y\big),"
                r"\ r_i \sim U(\pm\beta\varepsilon),\quad " + STEP,
        paper=_GE_STM,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="Compared with MI-FGSM the pattern follows the anatomy more than the grain of the picture.",
        version=2,
    )
    copies: int = param(20, title="Copies", low=1, high=100, step=1,
                        help="How many styles are drawn in each step; each costs a forward and a backward pass.")
    own: float = param(0.5, title="Own share", low=0.0, high=1.0, step=0.1,
                       help="How much of the image itself is in a copy; the rest is the styled one.")
    reach: float = param(2.0, title="Noise", low=0.0, high=10.0, step=0.1,
                         help="How strong the noise on each copy is, in units of eps.")
    style: str = param("phantom", title="Style network",
                       help="The name of a bundled style network, or of one made by 'python -m engine train-style'.")

    @property
    def seen(self) -> int:
        return self.copies

    def files(self) -> dict[str, str]:
        from engine.zoo.registry import style_digest

        return {"style": style_digest(self.style)}


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
        paper=_WANG_HE,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="More pieces cost more passes; on another model each should add to the success.",
        others=4,
        presets={PAPER_PRESET: {"neighbours": 20}},
        version=2,
    )
    kind: str = param("none", title="Copies by", choices=("none", "sia", "usmm", "stm"),
                      help="Which copies the model sees: blocks (SIA), scales with other images (USMM), styles (STM).")
    copies: int = param(10, title="Number of copies", low=1, high=100, step=1,
                        help="How many of them, for SIA and STM; USMM always makes 15.")
    scales: int = param(5, title="Scales (SI)", low=1, high=10, step=1,
                        help="How many brightnesses, each half of the one before; 1 is the image as it is.")
    diversity: float = param(0.5, title="Diversity (DI)", low=0.0, high=1.0, step=0.1,
                             help="How often a copy is shrunk and shifted at random; 0 is never.")
    kernel: int = param(1, title="Kernel (TI)", low=1, high=63, step=2, unit="px",
                        help="How far the direction is blurred; 1 is not at all.")
    rule: str = param("vmi", title="Rule", choices=("plain", "vmi", "pgn"),
                      help="Where the direction is taken: at the image, corrected by its neighbourhood (VMI), or "
                           "towards flat regions (PGN).")
    neighbours: int = param(5, title="Neighbours", low=1, high=100, step=1,
                            help="How many random places VMI and PGN look at in each step.")
    acceleration: str = param("mi", title="Kind of momentum", choices=("mi", "ni"),
                              help="Plain momentum (MI), or one that looks ahead (NI); the amount is set by Momentum.")

    @property
    def seen(self) -> int:
        return self.scales * {"none": 1, "sia": self.copies, "usmm": USMM().seen, "stm": self.copies}[self.kind]

    @property
    def looks(self) -> int:
        return {"plain": self.steps, "vmi": VMIFGSM(steps=self.steps, neighbours=self.neighbours).looks,
                "pgn": PGN(steps=self.steps, neighbours=self.neighbours).looks}[self.rule]

    def files(self) -> dict[str, str]:
        return STM().files() if self.kind == "stm" else {}
