"""Attacks by a network that draws the perturbation: trained once against a model, it then attacks at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from engine.attacks.base import Ball, Goal, Run, implements, length
from engine.attacks.declared.generative import DYNAMIC, GDPA, STATIC, AdvGAN, AdvGANPlusPlus, Generative
from engine.attacks.networks.generators import (
    Discriminator,
    FeaturePerturber,
    ImagePerturber,
    Patcher,
    initialised,
    pasted,
)
from engine.serving.crossing import Tally, sent
from engine.serving.threat import WhiteBox
from engine.zoo.classifier import Classifier

BATCH = 4  # further images that decide one step of the training
NOISE = 16  # random numbers that AdvGAN++ adds to the features of an image

Normal = Callable[[Tensor], Tensor]  # standard normal numbers, shaped like the argument
Terms = Callable[[Tensor, Tensor], dict[str, Tensor]]  # (clean, attacked images) -> losses by name


class _Drawing(ABC):
    """The training and the attack; a subclass says what its network looks at and how it changes an image."""

    def __init__(self, attack: Generative) -> None:
        self.attack = attack

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

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
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

        images, generator = run.others.images, run.generator()
        goal = goal.of(run.others.labels)
        oracle = target.apart(len(images)).aiming(goal)

        def normal(like: Tensor) -> Tensor:
            return sent(torch.randn(like.shape, generator=generator), like.device)

        def reward(logits: Tensor, rows: Tensor) -> Tensor:
            return self.reward(goal, logits, rows)

        seen, logits = self.see(oracle, images, run)
        missed = ~goal.reached(logits)  # before: the others are no success of the network
        network = initialised(self.network(images, self.stir(seen, normal)), generator).to(images.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.attack.rate, betas=self.attack.betas)
        terms = self.terms(images, ball, generator)
        step, steps = 0, self.attack.epochs * -(-len(images) // BATCH)
        for _ in range(self.attack.epochs):
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


@implements(AdvGAN)
class _AdvGAN(_Drawing):
    attack: AdvGAN

    def network(self, images: Tensor, seen: Tensor) -> nn.Module:
        return ImagePerturber(images.shape[1])

    def draw(self, network: Any, seen: Tensor, images: Tensor, ball: Ball) -> Tensor:
        return (images + ball.eps * network(seen)).clamp(0.0, 1.0)

    def reward(self, goal: Goal, logits: Tensor, rows: Tensor) -> Tensor:
        return goal.margin(logits, rows).clamp_max(self.attack.confidence)

    def terms(self, images: Tensor, ball: Ball, generator: Generator) -> Terms:
        critic = initialised(Discriminator(images.shape[1]), generator).to(images.device)
        optimiser = torch.optim.Adam(critic.parameters(), lr=self.attack.rate, betas=self.attack.betas)
        free = self.attack.free * ball.eps * images[0].numel() ** 0.5

        def losses(clean: Tensor, attacked: Tensor) -> dict[str, Tensor]:
            told = (critic(clean) - 1).square().mean() + critic(attacked.detach()).square().mean()
            optimiser.zero_grad()
            told.backward()
            optimiser.step()
            return {"GAN": self.attack.gan * (critic(attacked) - 1).square().mean(),
                    "size": self.attack.hinge * (length(attacked - clean) - free).clamp_min(0.0).mean(),
                    "discriminator": told.detach()}

        return losses


@implements(AdvGANPlusPlus)
class _AdvGANPlusPlus(_AdvGAN):
    def network(self, images: Tensor, seen: Tensor) -> nn.Module:
        return FeaturePerturber(seen.shape, images.shape)

    def see(self, target: WhiteBox, images: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        logits: list[Tensor] = []

        def look(model: Classifier, some: Tensor, rows: Tensor) -> Tensor:
            features, of = model.features(some)
            logits.append(of)
            return features

        return target.inspect(look, images, gradients=0), torch.cat(logits)

    def stir(self, seen: Tensor, normal: Normal) -> Tensor:
        noise = normal(seen.new_empty(len(seen), NOISE))[:, :, None, None]
        return torch.cat([seen, noise.expand(-1, -1, *seen.shape[2:])], dim=1)


@implements(GDPA)
class _GDPA(_Drawing):
    attack: GDPA

    def network(self, images: Tensor, seen: Tensor) -> nn.Module:
        height, width = images.shape[2:]
        side = round((self.attack.share * height * width) ** 0.5)
        return Patcher(images.shape, min(max(1, side), height, width))

    def see(self, target: WhiteBox, images: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        seen = images if self.attack.place == DYNAMIC else run.others.images.mean(dim=0).expand_as(images)
        return seen, target.logits(images)

    def draw(self, network: Any, seen: Tensor, images: Tensor, ball: Ball) -> Tensor:
        patches, places = network(seen)
        return pasted(images, patches, places, self.attack.opacity).clamp(0.0, 1.0)

    def reward(self, goal: Goal, logits: Tensor, rows: Tensor) -> Tensor:
        return goal.objective(logits, rows)

    def kept(self, network: Any, seen: Tensor) -> dict[str, Tensor]:
        return {"pattern": network(seen[:1])[0][0]} if self.attack.place == STATIC else {}

    def shown(self) -> tuple[str, ...]:
        return ("pattern",) if self.attack.place == STATIC else ()
