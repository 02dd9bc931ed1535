"""Attacks by a network that draws the perturbation: trained once against a model, it then attacks at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from engine.attacks.base import Attack, AttackInfo, Ball, Cost, Goal, Knowledge, Paper, Run, length, register
from engine.params import param

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from engine.serving.threat import WhiteBox
    from engine.zoo.classifier import Classifier

BATCH = 4  # further images that decide one step of the training
NOISE = 16  # random numbers that AdvGAN++ adds to the features of an image

Normal = Callable[["Tensor"], "Tensor"]  # standard normal numbers, shaped like the argument
Terms = Callable[["Tensor", "Tensor"], dict[str, "Tensor"]]  # (clean, attacked images) -> losses by name


@dataclass(frozen=True, kw_only=True)
class Generative(Attack):
    """The training and the attack; a subclass says what its network looks at and how it changes an image.

    The model's gradient with respect to the attacked images comes from the oracle and is passed on into the network, so
    the model is never part of the network's graph. An attack costs one forward pass, which shows the clean image.
    """

    rate: ClassVar[float]  # Adam's
    betas: ClassVar[tuple[float, float]]

    epochs: int = 1

    @abstractmethod
    def network(self, images: Tensor, seen: Tensor) -> nn.Module:
        """The generator, still without weights, for such images and what is `seen` of them."""

    @abstractmethod
    def draw(self, network: Any, seen: Tensor, images: Tensor, ball: Ball) -> Tensor:
        """`images` as the network attacks them, in [0,1]."""

    @abstractmethod
    def reward(self, goal: Goal, logits: Tensor, rows: Tensor) -> Tensor:
        """What the network learns to increase, per row [R]."""

    def see(self, target: WhiteBox, images: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """What the network looks at, and the model's logits; one query an image."""
        return images, target.logits(images)

    def stir(self, seen: Tensor, normal: Normal) -> Tensor:
        """What is `seen`, with random numbers where the network wants some."""
        return seen

    def terms(self, images: Tensor, ball: Ball, generator: Generator) -> Terms:
        """Losses beside the attack's own, to be made small; those without a gradient are only shown."""
        return lambda clean, attacked: {}

    def kept(self, network: Any, seen: Tensor) -> dict[str, Tensor]:
        """What of the trained network is worth looking at."""
        return {}

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=1)

    def learning_cost(self, images: int) -> Cost:
        return Cost(gradients=self.epochs * images, queries=(self.epochs + 1) * images)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        learned = run.learned(lambda: self._train(target, goal, ball, run), show=self.shown())
        seen, logits = self.see(target, clean, run)
        run.record(0, 1, clean, logits, goal.objective(logits, torch.arange(len(clean), device=clean.device)))
        seen = self.stir(seen, run.normal)
        network = self.network(clean, seen).to_empty(device=clean.device)
        network.load_state_dict({name: learned[name] for name in network.state_dict()})
        with torch.no_grad():
            return self.draw(network, seen, clean, ball)

    def shown(self) -> tuple[str, ...]:
        """The names of what `kept` returns."""
        return ()

    def _train(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> dict[str, Tensor]:
        """The weights of the generator, and what else is kept."""
        import torch

        from engine.attacks.networks.generators import initialised
        from engine.serving.crossing import Tally, sent

        images, generator = run.others.images, run.generator()
        oracle, goal = target.apart(len(images)), goal.of(run.others.labels)

        def normal(like: Tensor) -> Tensor:
            return sent(torch.randn(like.shape, generator=generator), like.device)

        def reward(logits: Tensor, rows: Tensor) -> Tensor:
            return self.reward(goal, logits, rows)

        seen, logits = self.see(oracle, images, run)
        missed = ~goal.reached(logits)  # before: the others are no success of the network
        network = initialised(self.network(images, self.stir(seen, normal)), generator).to(images.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.rate, betas=self.betas)
        terms = self.terms(images, ball, generator)
        step, steps = 0, self.epochs * -(-len(images) // BATCH)
        for _ in range(self.epochs):
            tally = Tally()
            for rows in sent(torch.randperm(len(images), generator=generator), images.device).split(BATCH):
                with torch.enable_grad():
                    attacked = self.draw(network, self.stir(seen[rows], normal), images[rows], ball)
                    losses = terms(images[rows], attacked)
                    ascent = oracle.gradient(attacked, reward, rows)
                    optimiser.zero_grad()
                    pulls = [loss for loss in losses.values() if loss.requires_grad]
                    torch.autograd.backward([attacked, *pulls], [-ascent.gradient / len(rows), *[None] * len(pulls)])
                    optimiser.step()
                tally.add("attack", -ascent.value.sum())
                tally.add("fooling", (goal.reached(ascent.logits, rows) & missed[rows]).sum())
                for name, loss in losses.items():
                    tally.add(name, loss.detach(), len(rows))
                step += 1
                run.learning(step, steps)
            sums = tally.read()
            fooling = sums.pop("fooling") / max(1, int(missed.sum()))
            run.learning(step, steps, **{name: total / len(images) for name, total in sums.items()}, fooling=fooling)
        with torch.no_grad():
            return {**network.state_dict(), **self.kept(network, seen)}


_XIAO = Paper("Xiao, Li, Zhu, He, Liu, Song", "Generating Adversarial Examples with Adversarial Networks", 2018,
              "https://arxiv.org/abs/1801.02610")
_JANDIAL = Paper("Jandial, Mangla, Varshney, Balasubramanian", "AdvGAN++: Harnessing latent layers for adversary "
                 "generation", 2019, "https://arxiv.org/abs/1908.00706")
_LI = Paper("Li, Ji", "Generative Dynamic Patch Attack", 2021, "https://arxiv.org/abs/2111.04266")


@register
@dataclass(frozen=True, kw_only=True)
class AdvGAN(Generative):
    """AdvGAN (Xiao et al. 2018): a generator learns to fool the model, a discriminator that it must not show.

    The attack's loss is Carlini and Wagner's margin, cut off once an image is fooled by `confidence` logits; the GAN's
    is the least-squares one; the hinge loss lets the perturbation be as long as `free` allows. As published.
    Deviation: the generator's output goes through tanh to +-eps instead of being cut off there, where its gradient
    would vanish; and its statistics are those of each image alone.
    """

    rate: ClassVar[float] = 1e-3
    betas: ClassVar[tuple[float, float]] = (0.5, 0.999)
    info: ClassVar[AttackInfo] = AttackInfo(
        name="advgan",
        title="AdvGAN",
        sentence="A network learns from other pictures to draw what fools the model; after that one look is enough.",
        formula=r"x' = x + \mathcal{G}(x),\quad \min_{\mathcal{G}} \max_{\mathcal{D}}\ L_{\mathrm{adv}} "
                r"+ \alpha\,L_{\mathrm{GAN}} + \beta\,L_{\mathrm{hinge}},\quad "
                r"L_{\mathrm{hinge}} = \max\big(0, \lVert\mathcal{G}(x)\rVert_2 - c\big)",
        paper=_XIAO,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="The change follows what is in the picture, and looks alike from one picture to the next.",
        others=32,
    )
    epochs: int = param(30, title="Epochs", low=1, high=1000, step=1,
                        help="How often every further picture is looked at in training; a trained network is kept.")
    confidence: float = param(5.0, title="Confidence", low=0.0, high=100.0, step=1.0,
                              help="By how many logits a picture must fool the model before training leaves it alone.")
    gan: float = param(1.0, title="Weight of the discriminator", low=0.0, high=100.0, step=0.1,
                       help="How much it counts that a second network cannot tell attacked pictures from clean ones.")
    hinge: float = param(1.0, title="Weight of the size", low=0.0, high=100.0, step=0.1,
                         help="How much it counts that the change is no longer than what is free.")
    free: float = param(0.5, title="Free size", low=0.0, high=1.0, step=0.05,
                        help="How long (L2) the change may be at no cost, as a share of the longest one within eps.")

    def network(self, images: Tensor, seen: Tensor) -> nn.Module:
        from engine.attacks.networks.generators import ImagePerturber

        return ImagePerturber(images.shape[1])

    def draw(self, network: Any, seen: Tensor, images: Tensor, ball: Ball) -> Tensor:
        return (images + ball.eps * network(seen)).clamp(0.0, 1.0)

    def reward(self, goal: Goal, logits: Tensor, rows: Tensor) -> Tensor:
        return goal.margin(logits, rows).clamp_max(self.confidence)

    def terms(self, images: Tensor, ball: Ball, generator: Generator) -> Terms:
        import torch

        from engine.attacks.networks.generators import Discriminator, initialised

        critic = initialised(Discriminator(images.shape[1]), generator).to(images.device)
        optimiser = torch.optim.Adam(critic.parameters(), lr=self.rate, betas=self.betas)
        free = self.free * ball.eps * images[0].numel() ** 0.5

        def losses(clean: Tensor, attacked: Tensor) -> dict[str, Tensor]:
            told = (critic(clean) - 1).square().mean() + critic(attacked.detach()).square().mean()
            optimiser.zero_grad()
            told.backward()
            optimiser.step()
            return {"GAN": self.gan * (critic(attacked) - 1).square().mean(),
                    "size": self.hinge * (length(attacked - clean) - free).clamp_min(0.0).mean(),
                    "discriminator": told.detach()}

        return losses


@register
@dataclass(frozen=True, kw_only=True)
class AdvGANPlusPlus(AdvGAN):
    """AdvGAN++ (Jandial et al. 2019): AdvGAN whose generator sees the model's own last feature map and some noise.

    Deviation: the generator draws a perturbation, not the whole picture: from a 7 x 7 feature map no picture of 224 x
    224 can be drawn within a budget of some grey levels.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="advganpp",
        title="AdvGAN++",
        sentence="Like AdvGAN, but the drawing network starts from what the model itself makes of the picture.",
        formula=r"x' = x + \mathcal{G}\big(f(x), z\big),\quad z \sim \mathcal{N}(0, 1),\quad "
                r"\min_{\mathcal{G}} \max_{\mathcal{D}}\ L_{\mathrm{adv}} + \alpha\,L_{\mathrm{GAN}} "
                r"+ \beta\,L_{\mathrm{hinge}}",
        paper=_JANDIAL,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="The change is coarse: it is drawn from what the model has left of the picture, not from the picture.",
        others=32,
    )

    def network(self, images: Tensor, seen: Tensor) -> nn.Module:
        from engine.attacks.networks.generators import FeaturePerturber

        return FeaturePerturber(seen.shape, images.shape)

    def see(self, target: WhiteBox, images: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        import torch

        logits: list[Tensor] = []

        def look(model: Classifier, some: Tensor, rows: Tensor) -> Tensor:
            features, of = model.features(some)
            logits.append(of)
            return features

        return target.inspect(look, images, gradients=0), torch.cat(logits)

    def stir(self, seen: Tensor, normal: Normal) -> Tensor:
        import torch

        noise = normal(seen.new_empty(len(seen), NOISE))[:, :, None, None]
        return torch.cat([seen, noise.expand(-1, -1, *seen.shape[2:])], dim=1)


DYNAMIC, STATIC = "dynamic", "static"


@register
@dataclass(frozen=True, kw_only=True)
class GDPA(Generative):
    """Generative dynamic patch attack (Li and Ji 2021): a network paints a patch for each image and places it.

    Adam at 5e-4, a patch of 2 % of the image, the loss is the cross-entropy, as published. A static patch is one patch
    at one place for all images: the network then sees the mean of the further images instead of each image. An opacity
    below 1 makes the patch less visible. Deviations: a smaller network, in proportion to which the slope of the place
    is scaled (engine.attacks.networks.generators.Patcher); the paint always goes through tanh to between black and
    white, which the authors' code does in one of its settings, while by default it takes the network's output as it
    comes.
    """

    rate: ClassVar[float] = 5e-4
    betas: ClassVar[tuple[float, float]] = (0.5, 0.9)
    info: ClassVar[AttackInfo] = AttackInfo(
        name="gdpa",
        title="GDPA",
        sentence="A network learns from other pictures to paint a small patch and to choose where to stick it.",
        formula=r"x' = (1 - \alpha\,m_t) \odot x + \alpha\,m_t \odot p_t,\quad (p, t) = \mathcal{G}(x),\quad "
                r"\max_{\mathcal{G}} L(x', y)",
        paper=_LI,
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="One square, plain to see, and nothing else: compare where it sits with where the model looks.",
        bounded=False,
        others=32,
    )
    epochs: int = param(30, title="Epochs", low=1, high=1000, step=1,
                        help="How often every further picture is looked at in training; a trained network is kept.")
    share: float = param(0.02, title="Patch", low=0.0001, high=0.5, step=0.005,
                         help="How much of the picture the square patch covers, as a share of its area.")
    opacity: float = param(1.0, title="Opacity", low=0.01, high=1.0, step=0.05,
                           help="1: the patch hides what is under it; less: the picture shines through.")
    place: str = param(DYNAMIC, title="Patch and place", choices=(DYNAMIC, STATIC),
                       help="'dynamic': for every picture its own; 'static': the same for all pictures.")

    def network(self, images: Tensor, seen: Tensor) -> nn.Module:
        from engine.attacks.networks.generators import Patcher

        height, width = images.shape[2:]
        side = round((self.share * height * width) ** 0.5)
        return Patcher(images.shape, min(max(1, side), height, width))

    def see(self, target: WhiteBox, images: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        seen = images if self.place == DYNAMIC else run.others.images.mean(dim=0).expand_as(images)
        return seen, target.logits(images)

    def draw(self, network: Any, seen: Tensor, images: Tensor, ball: Ball) -> Tensor:
        from engine.attacks.networks.generators import pasted

        patches, places = network(seen)
        return pasted(images, patches, places, self.opacity).clamp(0.0, 1.0)

    def reward(self, goal: Goal, logits: Tensor, rows: Tensor) -> Tensor:
        return goal.objective(logits, rows)

    def kept(self, network: Any, seen: Tensor) -> dict[str, Tensor]:
        return {"pattern": network(seen[:1])[0][0]} if self.place == STATIC else {}

    def shown(self) -> tuple[str, ...]:
        return ("pattern",) if self.place == STATIC else ()
