"""The threat-model objects: what they give, count and refuse."""

import pytest
import torch

from engine.serving.threat import DecisionBased, QueryBudgetSpent, ScoreBased, WhiteBox
from tests.tiny import Counted, Slope, grey, nothing_left_behind, small_net, some_images

IMAGES = some_images(3)
COMMON = {"device", "each", "far", "looks", "queries", "refusals", "left", "classes", "apart", "part", "rows_at_once",
          "shows"}


def _loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return logits[:, 0]


def test_each_shows_no_more_than_it_should() -> None:
    model = small_net()
    logits = model(IMAGES)
    assert torch.equal(WhiteBox(model, 3).logits(IMAGES), logits)
    torch.testing.assert_close(ScoreBased(model, 3).scores(IMAGES), logits.softmax(dim=1))
    assert torch.equal(DecisionBased(model, 3).decide(IMAGES), logits.argmax(dim=1))
    public = {cls: {n for n in dir(cls(model, 3)) if not n.startswith("_")} for cls in (ScoreBased, DecisionBased)}
    assert public[ScoreBased] == {"scores", *COMMON}
    assert public[DecisionBased] == {"decide", *COMMON}


def test_the_gradient_is_that_of_the_objective() -> None:
    oracle = WhiteBox(grey(Slope((3.0, -4.0))), 2)
    images = torch.tensor([[0.2, 0.1], [0.3, 0.3]]).view(2, 1, 1, 2)
    ascent = oracle.gradient(images, lambda logits, rows: logits[:, 1] * (rows + 1))
    torch.testing.assert_close(ascent.gradient.flatten(1), torch.tensor([[3.0, -4.0], [6.0, -8.0]]))
    torch.testing.assert_close(ascent.value, torch.tensor([0.2, -0.6]))
    assert not ascent.logits.requires_grad and not ascent.value.requires_grad and not images.requires_grad


def test_the_gradient_works_where_the_caller_has_switched_gradients_off() -> None:
    with torch.no_grad():
        ascent = WhiteBox(small_net(), 3).gradient(IMAGES, _loss)
    assert float(ascent.gradient.abs().max()) > 0


def test_queries_and_gradients_are_counted_per_image() -> None:
    model = small_net()
    counted = model.module = Counted(model.module)
    oracle = WhiteBox(model, 3)
    oracle.logits(IMAGES)
    oracle.gradient(IMAGES[:2], _loss, torch.tensor([0, 2]))
    oracle.logits(IMAGES[[0, 0, 0]], torch.tensor([1, 1, 2]))
    assert oracle.queries.tolist() == [2, 3, 3]
    assert oracle.gradients.tolist() == [1, 0, 1]
    assert sum(counted.forwards) == 8 and sum(counted.backwards) == 2


def test_beyond_the_budget_no_query_is_made() -> None:
    model = small_net()
    counted = model.module = Counted(model.module)
    oracle = DecisionBased(model, 3, max_queries=2)
    oracle.decide(IMAGES)
    assert oracle.left.tolist() == [1, 1, 1]
    with pytest.raises(QueryBudgetSpent):
        oracle.decide(IMAGES[:2], torch.tensor([1, 1]))
    assert oracle.left.tolist() == [1, 1, 1] and sum(counted.forwards) == 3
    oracle.decide(IMAGES[:1], torch.tensor([2]))
    assert oracle.left.tolist() == [1, 1, 0]


def test_rows_must_fit_the_images() -> None:
    with pytest.raises(ValueError, match="3 images belong to 2 rows"):
        ScoreBased(small_net(), 2).scores(IMAGES)


def test_broken_and_empty_gradients_are_mended_and_counted() -> None:
    class Root(torch.nn.Module):
        """Logits [sqrt(x0), x1]: the root's slope at 0 is infinite."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).sqrt() * torch.tensor([1.0, 0.0]) + x.flatten(1) * torch.tensor([0.0, 1.0])

    oracle = WhiteBox(grey(Root()), 3)
    images = torch.tensor([[0.0, 0.5], [0.25, 0.5], [0.25, 0.5]]).view(3, 1, 1, 2)
    ascent = oracle.gradient(images, lambda logits, rows: logits[:, 0] * (rows < 2))
    torch.testing.assert_close(ascent.gradient.flatten(1), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
    assert oracle.nan_gradients == 1
    assert oracle.zero_gradients == 1


def test_a_gradient_leaves_nothing_behind() -> None:
    model = small_net()
    with nothing_left_behind(model):
        WhiteBox(model, 3).gradient(IMAGES, _loss)
        ScoreBased(model, 3).scores(IMAGES)
