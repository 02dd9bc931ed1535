"""What the runner promises: memory, randomness, cancel, nothing left behind, the verdict, warnings, provenance."""

import json
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import batch, runner
from engine.attacks.spec import spec_from_facts
from engine.errors import Cancelled, EngineError
from engine.progress import Preview, Progress
from engine.serving.prepare import placed
from tests.tiny import DEVICE, Slope, attack, grey, nothing_left_behind, small_net, some_images

LABELS = [0, 1, 2, 0, 1, 2, 0]
IMAGES = some_images(len(LABELS))


class Cramped(nn.Module):
    """Has memory for `room` images at a time; from call number `later` on."""

    def __init__(self, module: nn.Module, room: int, later: int = 0, error: type[Exception] = RuntimeError,
                 says: str = "CUDA out of memory. Tried to allocate 2.00 GiB") -> None:
        super().__init__()
        self.module = module
        self.room, self.later, self.error, self.says = room, later, error, says
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if len(x) > self.room and self.calls > self.later:
            raise self.error(self.says)
        return self.module(x)


@pytest.mark.parametrize(("error", "says"), [
    (RuntimeError, "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    (RuntimeError, "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried"),
    (RuntimeError, "MPS backend out of memory (MPS allocated: 9 GB)"),
    (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    (torch.OutOfMemoryError, "CUDA out of memory."),
    (MemoryError, ""),
])
def test_short_memory_halves_the_batch_and_goes_on(error: type[Exception], says: str) -> None:
    model = small_net().to(DEVICE)
    plain = attack("pgd", model, IMAGES, LABELS, eps=0.05, batch=2)
    model.module = Cramped(model.module, room=2, error=error, says=says)
    with nothing_left_behind(model):
        cramped = attack("pgd", model, IMAGES, LABELS, eps=0.05, batch=5)
    assert cramped.provenance.batches == (2, 2, 2, 1)
    assert cramped.gradients.tolist() == [10] * 7
    assert cramped.adversarial.tobytes() == plain.adversarial.tobytes()
    assert any("memory was short: batches of 1 to 2 instead of 5" in w for w in cramped.warnings)
    assert not any("memory" in w for w in plain.warnings)


def test_short_memory_in_the_middle_costs_only_the_batch_under_way() -> None:
    model = small_net().to(DEVICE)
    model.module = Cramped(model.module, room=2, later=6)
    result = attack("bim", model, IMAGES, LABELS, eps=0.05, batch=4, steps=5)
    assert result.provenance.batches == (4, 1, 1, 1)
    assert result.gradients.tolist() == [5] * 7


def test_memory_too_short_for_one_image_is_explained() -> None:
    model = small_net().to(DEVICE)
    model.module = Cramped(model.module, room=0)
    with pytest.raises(EngineError, match="memory is too short for even one image"):
        attack("bim", model, IMAGES, LABELS, eps=0.05)


def test_an_attack_s_other_errors_are_passed_on_and_leave_nothing_behind() -> None:
    model = small_net().to(DEVICE)
    model.module = Cramped(model.module, room=0, later=3, says="shapes do not fit")
    with nothing_left_behind(model), pytest.raises(RuntimeError, match="shapes do not fit"):
        attack("pgd", model, IMAGES, LABELS, eps=0.05)
    assert model.module.calls == 4


def test_a_finished_run_leaves_nothing_behind() -> None:
    model = small_net()
    with nothing_left_behind(model):
        attack("pgd", model, IMAGES, LABELS, eps=0.05, restarts=2)


def test_cancel_in_the_middle() -> None:
    model = small_net().to(DEVICE)
    model.module = Cramped(model.module, room=99)
    cancel, reports = threading.Event(), []

    def watch(fraction: float, text: str) -> None:
        reports.append((fraction, text))
        if len(reports) == 4:
            cancel.set()

    with nothing_left_behind(model), pytest.raises(Cancelled):
        attack("pgd", model, IMAGES, LABELS, eps=0.05, progress=Progress(watch, cancel))
    assert len(reports) == 4
    assert model.module.calls == 4, "went on computing after cancel"
    again = attack("pgd", model, IMAGES, LABELS, eps=0.05)
    assert again.adversarial.tobytes() == attack("pgd", small_net(), IMAGES, LABELS, eps=0.05).adversarial.tobytes()


def test_progress_rises_step_by_step_to_the_end() -> None:
    reports: list[tuple[float, str]] = []
    progress = Progress(lambda fraction, text: reports.append((fraction, text)))
    attack("bim", small_net(), IMAGES, LABELS, eps=0.05, steps=3, batch=4, progress=progress)
    fractions = [f for f, _ in reports]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert reports[1] == (pytest.approx(4 / 7 / 3), "images 1 to 4 of 7, step 1 of 3")


@pytest.mark.parametrize(("name", "settings", "says"), [
    ("bim", {"steps": 4, "eps": 0.05}, "step 4 of 4"),
    ("boundary", {"queries": 60, "eps": None, "norm": "l2"}, "queries an image"),
])
def test_every_step_offers_a_look_at_the_first_image(name: str, settings: dict[str, Any], says: str) -> None:
    looks: list[Preview] = []
    progress = Progress(on_preview=lambda make: looks.append(make()))
    model = small_net()
    labels = model(IMAGES).argmax(dim=1)  # a model that is wrong already leaves a black-box attack nothing to do
    result = attack(name, model, IMAGES, labels, batch=len(labels), progress=progress, **settings)
    assert len(looks) >= 3 and says in looks[-1].text
    assert all(look.image.shape == IMAGES[0].shape and look.image.dtype == np.float32 for look in looks)
    assert len({look.image.tobytes() for look in looks}) >= 2, "copies, not the array that the attack goes on to change"
    if name == "bim":
        np.testing.assert_array_equal(looks[0].image, result.clean[0])
        logits = result.trace.logits[-1, 0]
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(looks[-1].probabilities, expected, rtol=1e-5)
    else:
        assert looks[-1].probabilities is None, "this attacker sees no probabilities"
        np.testing.assert_allclose(looks[-1].image, result.adversarial[0], atol=1e-6)


def test_nothing_is_copied_for_a_look_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_preview", lambda *_: pytest.fail("a copy for nobody"))
    attack("bim", small_net(), IMAGES, LABELS, eps=0.05, progress=Progress(on_preview=lambda make: None))


def test_same_spec_same_bytes_while_others_draw_random_numbers() -> None:
    model = small_net()
    quiet = attack("pgd", model, IMAGES, LABELS, eps=0.05, restarts=3)
    stop = threading.Event()

    def noise() -> None:
        while not stop.is_set():
            torch.manual_seed(1)
            torch.rand(100)
            np.random.seed(2)
            np.random.rand(100)

    others = [threading.Thread(target=noise) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        noisy = attack("pgd", model, IMAGES, LABELS, eps=0.05, restarts=3)
    finally:
        stop.set()
        for thread in others:
            thread.join()
    assert noisy.adversarial.tobytes() == quiet.adversarial.tobytes()
    assert noisy.trace.logits.tobytes() == quiet.trace.logits.tobytes()


def test_the_caller_s_images_and_model_stay_as_they_are() -> None:
    model, images = small_net(), IMAGES.clone()
    result = attack("bim", model, images, LABELS, eps=0.05)
    images.fill_(0)
    assert result.clean.tobytes() == IMAGES.numpy().tobytes()
    elsewhere = placed(model, "meta")
    assert elsewhere.device.type == "meta" and model.device.type == "cpu"
    assert placed(model, "cpu") is model


def test_results_cannot_be_changed() -> None:
    result = attack("bim", small_net(), IMAGES, LABELS, eps=0.05)
    for array in (result.clean, result.adversarial, result.logits_clean, result.trace.images, result.queries):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_success_counts_only_what_was_right_before() -> None:
    """Logit x0 - 0.5 moved by 0.1: of four images of class 0 one is wrong before, one falls, two stand."""
    images = torch.tensor([0.55, 0.45, 0.3, 0.2]).view(4, 1, 1, 1).expand(-1, -1, -1, 2)
    result = attack("fgsm", grey(Slope((1.0, 0.0), b=0.5)), images, [0] * 4, eps=0.1)
    assert result.attacked.tolist() == [False, True, True, True]
    assert result.success.tolist() == [False, True, False, False]
    summary = result.summary()
    assert summary["accuracy_clean"] == 0.75 and summary["accuracy_adversarial"] == 0.5
    assert summary["success_rate"] == pytest.approx(1 / 3)
    assert summary["linf_max"] == pytest.approx(0.1, abs=1e-6)


def test_targeted_success_leaves_out_images_of_the_target_class() -> None:
    images = torch.tensor([0.45, 0.6, 0.3]).view(3, 1, 1, 1).expand(-1, -1, -1, 2)
    result = attack("fgsm", grey(Slope((1.0, 0.0), b=0.5)), images, [0, 1, 0], eps=0.1, target=1)
    assert result.attacked.tolist() == [True, False, True]
    assert result.success.tolist() == [True, False, False]


def test_eight_bits_are_rounded_and_judged_again() -> None:
    images = torch.tensor([127, 126]).view(2, 1, 1, 1).expand(-1, -1, -1, 2) / 255
    model = grey(Slope((1.0, 0.0), b=127.3 / 255))
    result = attack("fgsm", model, images, [0, 0], eps=0.4 / 255)
    assert result.success.tolist() == [True, False] and result.success_8bit.tolist() == [False, False]
    np.testing.assert_array_equal(result.adversarial_8bit, np.round(result.adversarial * 255).astype(np.float32) / 255)
    assert "1 of 1 successes vanish when the image is saved with 8 bits" in result.warnings
    kept = attack("fgsm", model, images, [0, 0], eps=0.6 / 255)
    assert kept.success_8bit.tolist() == [True, False] and kept.warnings == ()


class Probabilities(Slope):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(dim=1)


class Broken(Slope):
    """A slope that is infinite at black pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sqrt())


@pytest.mark.parametrize(("module", "says"), [
    (Probabilities((1.0, 1.0)), "look like probabilities"),
    (Slope((0.0, 0.0)), "3 of 3 gradients were zero everywhere"),
    (Broken((1.0, 1.0)), "1 of 3 gradients held NaN or infinity"),
    (Slope((1.0, 1.0), b=-9.0), "no image was classified correctly"),
])
def test_warnings(module: nn.Module, says: str) -> None:
    images = torch.tensor([[0.0, 0.5], [0.2, 0.5], [0.3, 0.5]]).view(3, 1, 1, 2)
    result = attack("fgsm", grey(module), images, [0, 0, 0], eps=0.01)
    assert any(says in w for w in result.warnings), result.warnings
    quiet = attack("fgsm", grey(Slope((1.0, 1.0), b=1.0)), images, [0, 0, 0], eps=0.01)
    assert quiet.warnings == ()


def test_fast_numerics_find_the_same_and_leave_the_verdict_to_the_model_itself() -> None:
    model = small_net()
    with nothing_left_behind(model):
        fast = attack("pgd", model, IMAGES, LABELS, eps=0.05, numerics="fast", random_start=False)
    slow = attack("pgd", model, IMAGES, LABELS, eps=0.05, random_start=False)
    assert fast.warnings == slow.warnings == ()
    assert (np.abs(fast.adversarial - slow.adversarial) > 1e-5).mean() < 0.01
    with torch.no_grad():
        np.testing.assert_array_equal(fast.logits_adversarial, model(torch.tensor(fast.adversarial)).numpy())
    draft = attack("pgd", model, IMAGES, LABELS, eps=0.05, numerics="draft", random_start=False)
    assert draft.adversarial.dtype == np.float32
    assert (draft.success == slow.success).mean() > 0.7


def test_a_model_that_cannot_be_rearranged_is_attacked_as_it_is_and_that_is_said() -> None:
    class Stubborn(Slope):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if bool((x >= 0).all()) else x

    images = torch.full((1, 1, 1, 2), 0.4)
    result = attack("bim", grey(Stubborn((1.0, 1.0), b=1.0)), images, [0], eps=0.01, numerics="fast")
    assert any("reference instead of fast" in w for w in result.warnings)
    assert result.linf.max() == pytest.approx(0.01, abs=1e-6)


def test_a_run_can_be_repeated_from_its_facts() -> None:
    model = small_net()
    result = attack("mifgsm", model, IMAGES, LABELS, eps=2 / 255, steps=4, momentum=0.5, target=1, seed=3)
    facts = json.loads(json.dumps(result.facts()))
    spec = spec_from_facts(facts)
    assert spec == result.spec
    again = runner.run_attack(spec, model, IMAGES, torch.tensor(LABELS), device="cpu")
    assert again.adversarial.tobytes() == result.adversarial.tobytes()
    assert facts["provenance"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert facts["provenance"]["batches"] == [7]
    assert facts["provenance"]["model_digest"] == model.digest


@pytest.mark.parametrize("facts", [{}, [], {"spec": "pgd"}, {"spec": {}}, {"spec": {"attack": "fgsm", "eps": "much"}}])
def test_facts_of_something_else_are_refused(facts: object) -> None:
    with pytest.raises(EngineError):
        spec_from_facts(facts)


def test_the_data_digest_tells_images_and_labels_apart() -> None:
    base = attack("fgsm", small_net(), IMAGES, LABELS, eps=0.01).data_digest
    changed = IMAGES.clone()
    changed[6, 2, 7, 7] = torch.nextafter(changed[6, 2, 7, 7], torch.tensor(2.0)).clamp(max=1)
    assert attack("fgsm", small_net(), changed, LABELS, eps=0.01).data_digest != base
    assert attack("fgsm", small_net(), IMAGES, [*LABELS[:-1], 1], eps=0.01).data_digest != base


@pytest.mark.parametrize(("images", "labels", "says"), [
    (IMAGES[0], [0], "images must be"),
    (IMAGES[:0], [], "no image to attack"),
    ((IMAGES * 255).byte(), LABELS, "divide bytes by 255"),
    (IMAGES * 255, LABELS, "must lie in"),
    (IMAGES.where(IMAGES < 0.9, torch.nan), LABELS, "finite"),
    (IMAGES, LABELS[:-1], "one class for each"),
    (IMAGES, [*LABELS[:-1], 3], "labels must lie between 0 and 2"),
    (IMAGES[:, :2], LABELS, "1 or 3"),
])
def test_bad_input_is_explained_in_one_line(images: Tensor, labels: list[int], says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        attack("fgsm", small_net(), images, labels, eps=0.01)
    assert "\n" not in str(error.value)


def test_batches_that_stop_early_keep_their_last_state_in_the_trace() -> None:
    images = torch.tensor([0.54, 0.30]).view(2, 1, 1, 1).expand(-1, -1, -1, 2)
    result = attack("bim", grey(Slope((1.0, 0.0), b=0.55)), images, [0, 0], eps=0.1, steps=5, batch=1,
                    stop="first success")
    np.testing.assert_allclose(result.trace.images[:, 0, 0, 0, 0], [0.54, 0.56, 0.56, 0.56, 0.56], atol=1e-6)
    assert result.trace.logits.shape == (5, 2, 2)
