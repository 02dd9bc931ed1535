"""With which arithmetic the attacked copy of a model computes: one record each. Does not import torch."""

from dataclasses import dataclass

from engine.registry import Registry


@dataclass(frozen=True)
class Numerics:
    """`tolerances`: the largest relative difference of logits, and of gradients in L2, from the network as trained.

    Gradients of ReLU networks jump where a unit is about to close, so rounding shows more there. What is not `exact`
    is used where a run asks for it only, and never what a model is limited to.
    """

    name: str
    title: str
    tolerances: tuple[float, float]
    exact: bool = True


NUMERICS: Registry[Numerics] = Registry("numerics")
for _numerics in (
    Numerics("fast", "fast: same mathematics, layers merged", (1e-3, 0.1)),
    Numerics("reference", "reference: the network as trained", (0.0, 0.0)),
    Numerics("draft", "draft: 16-bit arithmetic, verdict in full", (0.1, 0.5), exact=False),
):
    NUMERICS.add(_numerics.name, _numerics)
