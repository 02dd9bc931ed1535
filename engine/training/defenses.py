"""Defenses at training time: what each is, and what may be set of it. Listing them does not import torch.

A training applies the one that its settings name, or ends with an error (engine.training.practice has what they do).
One is written "at" or "at:eps=2/255,steps=5": what is not said has its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from engine.defenses.noise import LOUD, loud
from engine.errors import EngineError
from engine.metrics.masking import HUGE
from engine.papers import Paper, thesis_of_li_yang
from engine.params import Param, Value, build, param, params_of, values_of
from engine.registry import Registry
from engine.training.spec import TrainSpec

FGSM, N_FGSM, PGD, MIFGSM = "fgsm", "n-fgsm", "pgd", "mifgsm"
ONCE, ANEW = "once", "anew"
SAMPLE = 64  # pictures of the validation split that are attacked after each epoch


@dataclass(frozen=True)
class TrainingDefenseInfo:
    """A defense's declaration, from which pages, options and cards are made: `sentence` is plain words, `formula`
    LaTeX, `ours` says in what this differs from the source or what was left open there."""

    name: str
    title: str
    sentence: str
    formula: str
    paper: Paper
    ours: str = ""
    kind: str = "training"


class TrainingDefense:
    """A defense at training time. Subclasses are frozen, keyword-only data classes whose fields are made by
    engine.params.param."""

    info: ClassVar[TrainingDefenseInfo]

    @property
    def settings(self) -> Mapping[str, Value]:
        """What it decides of the training's own settings."""
        return {}

    @property
    def suited(self) -> Mapping[str, Value]:
        """Settings of the training that suit it, where nobody says otherwise."""
        return {}

    @property
    def watched(self) -> float | None:
        """The eps at which robust accuracy is looked at after each epoch; None: it is not."""
        return None

    @property
    def passes(self) -> float:
        """Passes forward and backward for each picture and epoch, of which a training without it takes 1."""
        return 1.0

    @property
    def first_passes(self) -> float:
        """Those for each picture before the first epoch."""
        return 0.0

    @property
    def together(self) -> int:
        """Images that pass the network at once for each picture of a batch."""
        return 1

    @property
    def needs_model(self) -> bool:
        """Whether the training has to start from an undefended model that tells the same classes apart."""
        return False

    def cautions(self) -> list[str]:
        """What is to be said of these settings before anything is trained, a line each."""
        return []


NOTHING = TrainingDefense()  # what a training without a defense costs and asks for

TRAINING_DEFENSES: Registry[type[TrainingDefense]] = Registry("defense at training time")


def _register(cls: type[TrainingDefense]) -> type[TrainingDefense]:
    TRAINING_DEFENSES.add(cls.info.name, cls)
    return cls


def defense_of(text: str) -> TrainingDefense | None:
    """The defense that `text` names, its settings checked; None for no text. Raises EngineError."""
    name, _, settings = text.strip().partition(":")
    if not name:
        return None
    pairs = [part.partition("=") for part in settings.split(",") if part.strip()]
    if any(not sign or not value.strip() for _, sign, value in pairs):
        raise EngineError(f"a defense's settings are written key=value, not '{settings}': like at:eps=2/255,steps=5")
    return build(TRAINING_DEFENSES[name.strip()], {key.strip(): value.strip() for key, _, value in pairs})


def written(defense: TrainingDefense | None) -> str:
    """The one way to write it, without what has its default: `defense_of` makes the same of it."""
    if defense is None:
        return ""
    changed = [f"{p.name}={_text(p, getattr(defense, p.name))}" for p in params_of(type(defense))
               if getattr(defense, p.name) != p.default]
    return defense.info.name + (f":{','.join(changed)}" if changed else "")


def _text(p: Param, value: Value) -> str:
    """What is read back as just that value; of fractions of 255 the numerator, if it is a short one."""
    if p.unit == "/255" and isinstance(value, float) and p.check(short := f"{value * 255:.6g}/255") == value:
        return short
    return repr(value) if isinstance(value, float) else str(value)


def applied(spec: TrainSpec) -> TrainSpec:
    """The same with its defense written in the one way, and what that decides of the other settings; raises
    EngineError for a defense that there is not, or that makes no sense there."""
    defense = defense_of(spec.defense)
    if spec.select == "robust" and (defense is None or defense.watched is None):
        raise EngineError("robust accuracy is looked at where the defense at training time has an eps (at, trades, "
                          "ant); choose the best epoch by accuracy, auc or loss")
    if defense is None:
        return spec
    if defense.needs_model and not spec.starts_from_model:
        raise EngineError(f"{defense.info.name} makes its adversarial images from an undefended model: say which one "
                          "of the same architecture the training starts from, or have them made anew "
                          f"({defense.info.name}:made={ANEW})")
    return replace(spec, defense=written(defense), **defense.settings)  # type: ignore[arg-type]


def _drowned(sigma: float, mu: float) -> list[str]:
    """What is to be said of noise with that deviation and mean on every picture."""
    shade = "white" if mu > 0 else "black"
    lost = f"noise with mean {mu:g} makes every picture nearly {shade}: expect clean accuracy near chance"
    return [line for line in (loud(sigma), lost if abs(mu) > LOUD else None) if line]


def on_card(spec: TrainSpec) -> dict[str, object]:
    """What a card says of the defense; nothing where there is none."""
    defense = defense_of(spec.defense)
    if defense is None:
        return {}
    return {"defense": {"name": defense.info.name, "title": defense.info.title, "written": written(defense),
                        "settings": values_of(defense)}}


# ---- what several have in common


def _eps() -> Any:
    return param(1 / 255, title="Epsilon", low=0.01 / 255, high=0.5, step=0.1 / 255, unit="/255",
                 help="How far an adversarial image may differ from the picture, in every pixel.")


def _steps(default: int, of: str) -> Any:
    return param(default, title="Steps", low=1, high=100, step=1,
                 help=f"Of {of}; each costs one more pass forward and backward.")


def _warmup() -> Any:
    return param(0.0, title="Warm-up", low=0.0, high=1000.0, step=0.5, unit="epochs",
                 help="Epsilon rises evenly from 0 over the first so many epochs; 0: all of it at once.")


def _sigma() -> Any:
    return param(0.03, title="Sigma", low=0.0, high=1.0, step=0.01,
                 help="Standard deviation of the noise in each pixel, where black is 0 and white 1.")


def _mu() -> Any:
    return param(0.0, title="Mu", low=-1.0, high=1.0, step=0.01,
                 help="Mean of the noise; other than 0 it makes every picture brighter or darker.")


_MADRY = Paper("Madry, Makelov, Schmidt, Tsipras, Vladu",
               "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018, "https://arxiv.org/abs/1706.06083")
_ZHANG = Paper("Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan",
               "Theoretically Principled Trade-off between Robustness and Accuracy", 2019,
               "https://arxiv.org/abs/1901.08573")
_SHORTEN = Paper("Shorten, Khoshgoftaar", "A Survey on Image Data Augmentation for Deep Learning", 2019,
                 "https://doi.org/10.1186/s40537-019-0197-0")


@dataclass(frozen=True, kw_only=True)
class Attacked(TrainingDefense):
    """What those have in common that learn from attacked images: how well the network withstands attacks is looked at
    after each epoch, and decides which is kept."""

    eps: float = _eps()

    @property
    def suited(self) -> Mapping[str, Value]:
        # Steps of 1/255 are lost where pictures are rounded to bfloat16.
        return {"select": "robust", "precision": "float32"}

    @property
    def watched(self) -> float:
        return self.eps

    def cautions(self) -> list[str]:
        if self.eps < HUGE:
            return []
        return [f"an attack that may move every pixel by {self.eps * 255:.4g}/255 leaves hardly anything of a picture: "
                "expect accuracy near chance"]


@_register
@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Attacked):
    """Adversarial images of each batch, made from the network as it is at that step."""

    info: ClassVar[TrainingDefenseInfo] = TrainingDefenseInfo(
        name="at",
        title="Adversarial training (AT)",
        sentence="The network learns from pictures that were just attacked, so that it learns not to be fooled.",
        formula=r"\min_\theta\ \mathbb{E}\,\max_{\lVert\delta\rVert_\infty\le\varepsilon} L(f_\theta(x+\delta), y)",
        paper=_MADRY,
        ours="The images are made in eval mode (batch-norm learns nothing of them) and learned from in train mode. pgd "
             "takes steps of 2.5 eps / steps from a random start; fgsm one of 1.25 eps from there, back into the "
             "budget (Wong et al. 2020); n-fgsm one of eps from noise of twice eps, without a way back (de Jorge et "
             "al. 2022).",
    )
    attack: str = param(PGD, title="Attack", choices=(PGD, FGSM, N_FGSM),
                        help="Which makes the adversarial images: pgd takes several steps; fgsm (from a random start) "
                             "and n-fgsm (from wider noise) take one, and may collapse, which is watched for.")
    steps: int = _steps(3, "pgd")
    share: float = param(1.0, title="Share", low=0.01, high=1.0, step=0.1,
                         help="How many of a batch's pictures are attacked; the others stay clean.")
    warmup: float = _warmup()

    @property
    def passes(self) -> float:
        return 1.0 + self.share * (self.steps if self.attack == PGD else 1)


@_register
@dataclass(frozen=True, kw_only=True)
class Trades(Attacked):
    """Being right about clean images, and saying the same of adversarial ones."""

    info: ClassVar[TrainingDefenseInfo] = TrainingDefenseInfo(
        name="trades",
        title="TRADES",
        sentence="The network learns to be right about clean pictures, and to say the same of attacked ones; beta "
                 "says how much the second counts.",
        formula=r"\min_\theta\ \mathbb{E}\,\Big[L(f_\theta(x), y) + \beta\max_{\lVert\delta\rVert_\infty\le\varepsilon}"
                r"\mathrm{KL}\big(f_\theta(x)\,\Vert\,f_\theta(x+\delta)\big)\Big]",
        paper=_ZHANG,
        ours="The inner steps begin at a uniform random point of the budget, not at Gaussian noise of 0.001, and are "
             "2.5 eps / steps long. Clean and attacked pictures pass the network one after the other, as in the "
             "authors' code.",
    )
    beta: float = param(6.0, title="Beta", low=0.0, high=100.0, step=0.5,
                        help="Weight of saying the same of clean and attacked pictures, against being right.")
    steps: int = _steps(3, "the inner attack")
    warmup: float = _warmup()

    @property
    def passes(self) -> float:
        return 2.4 + self.steps

    @property
    def together(self) -> int:
        return 2


@_register
@dataclass(frozen=True, kw_only=True)
class Ant(Attacked):
    """Clean and adversarial images in turn, with Gaussian noise on each."""

    info: ClassVar[TrainingDefenseInfo] = TrainingDefenseInfo(
        name="ant",
        title="Adversarial noise training (ANT)",
        sentence="The network learns from every picture and its attacked twin, both with fresh noise on them.",
        formula=r"M = \{o_1, a_1, o_2, a_2, \dots\},\quad a_i = \mathrm{attack}(o_i),\quad "
                r"m \leftarrow \mathrm{clip}(m + \mathcal{N}(\mu, \sigma^2))",
        paper=thesis_of_li_yang(),
        ours="The thesis gives neither eps nor the attack's steps nor mu and sigma. A batch is twice as long as it is "
             "otherwise. Made once, the adversarial images are of whole pictures, and are turned and brightened as "
             "these are. With the noise they are clipped to [0,1].",
    )
    attack: str = param(MIFGSM, title="Attack", choices=(FGSM, MIFGSM, PGD),
                        help="Which makes the adversarial images.")
    steps: int = _steps(10, "mifgsm and pgd")
    sigma: float = _sigma()
    mu: float = _mu()
    made: str = param(ONCE, title="Made", choices=(ONCE, ANEW),
                      help="once: before training, from the undefended model that it starts from, as in the thesis; "
                           "anew: at each step, from the network as it is then.")

    @property
    def passes(self) -> float:
        return 2.0 + (0 if self.made == ONCE else self._making)

    @property
    def together(self) -> int:
        return 2

    @property
    def first_passes(self) -> float:
        return float(self._making) if self.made == ONCE else 0.0

    @property
    def _making(self) -> int:
        return 1 if self.attack == FGSM else self.steps

    @property
    def needs_model(self) -> bool:
        return self.made == ONCE

    def cautions(self) -> list[str]:
        return [*super().cautions(), *_drowned(self.sigma, self.mu)]


@_register
@dataclass(frozen=True, kw_only=True)
class Noise(TrainingDefense):
    """Gaussian noise on every clean picture, fresh each time, clipped to [0,1]."""

    info: ClassVar[TrainingDefenseInfo] = TrainingDefenseInfo(
        name="noise",
        title="Noise training",
        sentence="The network learns from pictures with fresh Gaussian noise on them, and from no attacked ones.",
        formula=r"x \leftarrow \mathrm{clip}(x + \mathcal{N}(\mu, \sigma^2))",
        paper=thesis_of_li_yang(),
        ours="The thesis gives neither mu nor sigma. With the noise pictures are clipped to [0,1].",
    )
    sigma: float = _sigma()
    mu: float = _mu()

    def cautions(self) -> list[str]:
        return _drowned(self.sigma, self.mu)


@_register
@dataclass(frozen=True, kw_only=True)
class Augment(TrainingDefense):
    """The augmentation of every training, as strong as said here."""

    info: ClassVar[TrainingDefenseInfo] = TrainingDefenseInfo(
        name="augment",
        title="Augmentation",
        sentence="The network learns from pictures that are turned, shifted, mirrored and re-exposed at random.",
        formula=r"x \leftarrow g\,T(x)^{\gamma} + b,\quad T\ \text{random turn, shift, scale, mirror}",
        paper=_SHORTEN,
    )
    strength: str = param("strong", title="Strength", choices=("mild", "strong"),
                          help="How far pictures are turned, shifted, scaled and re-exposed.")
    flips: str = param("modality", title="Flips", choices=("none", "horizontal", "all", "modality"),
                       help="Mirror images; all: also upside down; modality: as these data allow.")

    @property
    def settings(self) -> Mapping[str, Value]:
        return {"augmentation": self.strength, "flips": self.flips}
