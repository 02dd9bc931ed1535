"""What the Explore page shows is computed right, in a worker, and the same for the same settings."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec, make_spec
from engine.data import phantom
from engine.data.upload import read_upload, save_upload, take_upload
from engine.errors import Cancelled, EngineError
from engine.experiments import attacking, sources, units
from engine.experiments.onepicture import explore
from engine.experiments.onepicture.explore import explore_task, heatmap_task, warm_task
from engine.experiments.onepicture.explored import Explored
from engine.experiments.sources import Source, picture
from engine.progress import Progress
from engine.work.kinds import Task
from engine.work.store import Payload
from engine.zoo import registry
from engine.zoo.classifier import Classifier
from tests import nets
from tests.dicoms import dicom, gradient
from tests.pictures import saved
from tests.tiny import small_net
from tests.working import perform

MODEL = "phantom-cxr/tiny"
SICK = Source("phantom-cxr", "test", next(i for i in range(9) if phantom.label_of("test", i)))


@pytest.fixture(scope="module")
def network() -> Classifier:
    made = small_net(seed=3)
    return Classifier(made.module, phantom.CLASSES, mean=(0.4,), std=(0.2,), name=MODEL)


@pytest.fixture(autouse=True)
def only_model(network: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "model_digest", lambda name: "digest of the weights")
    monkeypatch.setattr(sources, "model_card", lambda name: network)
    for module in (registry, attacking):
        monkeypatch.setattr(module, "load_model", lambda name: network)


def pgd(eps: float = 2 / 255, **options: object) -> AttackSpec:
    return make_spec("pgd", eps=eps, params={"steps": 6}, **options)  # type: ignore[arg-type]


def run(source: Source = SICK, attack: AttackSpec | None = None) -> Payload:
    return perform(explore_task(source, MODEL, attack or pgd(), "cpu"))


def test_a_new_version_of_an_attack_does_not_serve_what_an_old_one_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before = explore_task(SICK, MODEL, pgd(), "cpu").key
    assert explore_task(SICK, MODEL, pgd(), "cpu").key == before
    newer = replace(ATTACKS["pgd"].info, version=ATTACKS["pgd"].info.version + 1)
    monkeypatch.setattr(ATTACKS["pgd"], "info", newer)
    assert explore_task(SICK, MODEL, pgd(), "cpu").key != before


def test_the_result_says_what_the_model_says(network: Classifier) -> None:
    import torch

    done = run()
    for name, image in (("clean", "clean"), ("adversarial", "adversarial"), ("png8", "adversarial_8bit")):
        with torch.no_grad():
            expected = network(torch.from_numpy(done.arrays[image])[None]).softmax(1)[0].numpy()
        np.testing.assert_allclose(done.facts["probabilities"][name], expected, atol=1e-5)
    assert done.facts["label"] == picture(SICK).label
    assert done.facts["label_known"]


def test_the_perturbation_keeps_the_budget_and_its_size_is_told() -> None:
    done = run(attack=pgd(eps=1 / 255))
    change = np.abs(done.arrays["adversarial"] - done.arrays["clean"])
    assert 0 < change.max() <= 1 / 255 + 1e-6
    assert done.facts["size"]["linf"] == pytest.approx(float(change.max()))
    assert done.facts["size"]["l0"] == int((change > 0).any(axis=0).sum())
    rounded = np.rint(done.arrays["adversarial"] * 255) / np.float32(255)
    np.testing.assert_array_equal(done.arrays["adversarial_8bit"], rounded)


def test_every_step_has_loss_probabilities_and_a_picture() -> None:
    done = run()
    steps = done.facts["steps"]
    assert len(steps["loss"]) == len(steps["probabilities"]) == 7
    assert steps["shown"] == list(range(7)) and len(done.arrays["snapshots"]) == 7
    np.testing.assert_array_equal(done.arrays["snapshots"][-1], done.arrays["adversarial"])
    label = done.facts["label"]
    np.testing.assert_allclose(steps["loss"], [-np.log(p[label]) for p in steps["probabilities"]], rtol=1e-6)
    assert steps["probabilities"][-1] == done.facts["probabilities"]["adversarial"]


def test_of_many_steps_some_are_kept_as_pictures() -> None:
    done = run(attack=make_spec("bim", eps=1 / 255, params={"steps": 60}))
    shown = done.facts["steps"]["shown"]
    assert shown[0] == 0 and shown[-1] == 60
    assert len(shown) == len(done.arrays["snapshots"]) == explore.MOST_SNAPSHOTS + 1


def test_no_budget_no_change_and_still_json() -> None:
    done = run(attack=pgd(eps=0.0))
    np.testing.assert_array_equal(done.arrays["adversarial"], done.arrays["clean"])
    assert done.facts["size"]["psnr"] is None
    json.dumps(done.facts, allow_nan=False)


def test_the_same_settings_are_the_same_task_and_others_are_not() -> None:
    key = explore_task(SICK, MODEL, pgd()).key
    assert explore_task(SICK, MODEL, pgd()).key == key
    others = [explore_task(Source("phantom-cxr", "test", SICK.index + 1), MODEL, pgd()),
              explore_task(SICK, "another", pgd()), explore_task(SICK, MODEL, pgd(eps=1 / 255)),
              explore_task(SICK, MODEL, pgd(seed=1)), explore_task(SICK, MODEL, pgd(target=0)),
              explore_task(SICK, MODEL, pgd(), "mps")]
    assert key not in {task.key for task in others}


def test_a_task_survives_the_process_that_made_it() -> None:
    task = explore_task(SICK, MODEL, pgd(), "cpu")
    again = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert again == task and again.key == task.key


def test_what_has_changed_since_it_was_asked_for_is_not_done_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    task = explore_task(SICK, MODEL, pgd(), "cpu")
    monkeypatch.setattr(units, "model_digest", lambda name: "other weights")
    with pytest.raises(EngineError, match="have changed since"):
        perform(task)


def test_the_further_images_decide_too() -> None:
    usmm = make_spec("usmm", eps=1 / 255)
    keys = {explore_task(SICK, MODEL, usmm, further=further).key for further in ((), (0, 1), (0, 2))}
    assert len(keys) == 3
    assert explore_task(SICK, MODEL, pgd()).spec.others == ""


def test_the_same_settings_give_the_same_bytes() -> None:
    assert digest.of_arrays(run().arrays["adversarial"]) == digest.of_arrays(run().arrays["adversarial"])


def test_cancel_is_heard() -> None:
    progress = Progress()
    progress._cancel.set()
    with pytest.raises(Cancelled):
        perform(explore_task(SICK, MODEL, pgd(), "cpu"), progress)


def test_a_dicom_is_judged_in_the_values_of_its_file_too(network: Classifier, perturbscope_home) -> None:
    import torch

    levels = gradient(12, (260, 250)) // 2
    name = take_upload([(dicom(levels, bits=12, Modality="CT", RescaleSlope=2, RescaleIntercept=-1024,
                               WindowCenter=1024, WindowWidth=4097), ".dcm")])
    source = Source("phantom-cxr", "test", upload=name)
    explored, stored = Explored.of(run(source)), picture(source).stored
    assert stored is not None and explored.in_file is not None
    written = stored.written(explored.adversarial)
    with torch.no_grad():
        said = network(torch.from_numpy(np.stack([stored.rounded(explored.adversarial), stored.seen(written)])))
    expected = said.softmax(1).numpy()
    np.testing.assert_allclose([explored.in_file.rounded, explored.in_file.written], expected, atol=1e-5)
    assert (explored.in_file.unit, explored.in_file.step) == ("HU", 2.0)
    assert explored.in_file.largest == 2 * np.abs(written.astype(int) - levels).max()
    assert Explored.of(run(SICK)).in_file is None


def test_every_window_is_a_picture_of_its_own(perturbscope_home) -> None:
    name = take_upload([(dicom(np.stack([gradient(12)] * 2), bits=12, WindowCenter=1500, WindowWidth=3000), ".dcm")])
    sources = [Source("phantom-cxr", "test", upload=name, frame=frame, window=window)
               for frame, window in ((0, ""), (0, "full"), (0, "1000/500"), (2, "1000/500"))]
    keys = [explore_task(source, MODEL, pgd(), "cpu").key for source in sources]
    assert len(set(keys)) == 3 and keys[2] == keys[3]  # both frames show the same
    unit = explore_task(sources[3], MODEL, pgd(), "cpu").spec
    assert unit.source == sources[3] and units.unchanged(unit) == unit


def test_an_upload_is_led_away_from_what_the_model_says(perturbscope_home) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (300, 200)).astype(np.uint8)
    source = Source("phantom-cxr", "test", upload=save_upload(read_upload(saved(Image.fromarray(pixels)))))
    done = run(source)
    assert not done.facts["label_known"]
    assert done.facts["label"] == int(np.argmax(done.facts["probabilities"]["clean"]))
    assert done.facts["attacked"]
    assert any("stretched" in note for note in picture(source).notes)


def test_what_is_not_there_is_told_before_anything_is_computed() -> None:
    with pytest.raises(EngineError, match="images 0 to"):
        explore_task(Source("phantom-cxr", "test", 10**6), MODEL, pgd())
    with pytest.raises(EngineError, match="upload the picture again"):
        explore_task(Source("phantom-cxr", "test", upload="0" * 64), MODEL, pgd())


def test_a_class_the_model_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "model_card", lambda name: nets.card(classes=("a", "b")))
    last = Source("phantom-cxr", "test", next(i for i in range(9) if phantom.label_of("test", i) == 2))
    with pytest.raises(EngineError, match="choose another model"):
        run(last)


@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam"])
def test_heatmaps_are_those_of_what_the_model_says(network: Classifier, method: str) -> None:
    import torch

    from engine.explain.cam import cam

    explored = explore_task(SICK, MODEL, pgd(), "cpu")
    done = perform(explored)
    heat = perform(heatmap_task(explored, method, None))
    said = [int(np.argmax(done.facts["probabilities"][name])) for name in ("clean", "adversarial")]
    assert heat.facts["classes"] == said
    for name, image, index in zip(("before", "after"), ("clean", "adversarial"), said, strict=True):
        one = cam(network, torch.from_numpy(done.arrays[image])[None], [index], method=method)
        np.testing.assert_allclose(heat.arrays[name], one.maps[0], atol=1e-3)
    lesion = picture(SICK).lesion
    assert lesion is not None and heat.facts["lesion_share"] == pytest.approx(lesion.mean())
    assert all(0 <= share <= 1 for share in heat.facts["on_lesion"] if share is not None)


def test_heatmaps_of_another_method_are_another_task() -> None:
    explored = explore_task(SICK, MODEL, pgd(), "cpu")
    keys = {heatmap_task(explored, method, layer).key
            for method in ("grad-cam", "eigen-cam") for layer in (None, "0")}
    assert len(keys) == 4


def test_warming_leaves_nothing_on_disk() -> None:
    task = warm_task(MODEL)
    assert not task.keep
    assert perform(task).arrays == {}


def test_a_picture_in_its_company_is_the_one_that_was_counted() -> None:
    """Networks round differently for other batches: attacked alone it would be another one."""
    company = (SICK.index + 1, SICK.index + 2, SICK.index, SICK.index + 3)
    batch, = units.units_of("phantom-cxr", "test", company, MODEL, pgd())
    images = perform(units.images_task(batch, "cpu")).arrays["adversarial"]
    task = explore_task(SICK, MODEL, pgd(), "cpu", company)
    found = Explored.of(perform(task))
    assert found.adversarial.tobytes() == images[2].tobytes()
    assert np.array_equal(found.clean, picture(SICK).image) and found.run.n == 1
    assert task.spec.source == SICK and task.key != explore_task(SICK, MODEL, pgd(), "cpu").key
    heat = perform(heatmap_task(task, "grad-cam", None))
    assert heat.arrays["before"].shape == found.clean.shape[1:]


def test_nobody_looks_at_another_picture_of_the_company_meanwhile() -> None:
    looks: list[object] = []
    progress = Progress(on_preview=lambda make: looks.append(make()))
    perform(explore_task(SICK, MODEL, pgd(), "cpu", (SICK.index + 1, SICK.index)), progress)
    assert not looks
    perform(explore_task(SICK, MODEL, pgd(seed=5), "cpu"), progress)
    assert looks


def test_what_is_said_of_the_company_is_said_to_be_so() -> None:
    spec = make_spec("hopskipjump", params={"queries": 1})
    company = (SICK.index, *(i for i in range(40) if phantom.label_of("test", i) and i != SICK.index))[:3]
    found = Explored.of(perform(explore_task(SICK, MODEL, spec, "cpu", company)))
    assert any(line.startswith("of 3 images attacked together, ") for line in found.run.warnings)
