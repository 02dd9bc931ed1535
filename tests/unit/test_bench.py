"""The benchmarks measure what they say: they reach into the runner, and nothing else would tell when it changes."""

from engine.attacks.spec import make_spec
from tests.bench.alone import attack_alone
from tests.tiny import small_net, some_images


def test_an_attack_alone_spends_what_it_declares() -> None:
    images = some_images(2)
    spec = make_spec("pgd", eps=0.1, batch=2, params={"steps": 3})
    assert attack_alone(spec, small_net(), images, small_net()(images).argmax(1)) == 2 * 3
