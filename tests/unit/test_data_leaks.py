"""`data check`: damage, gaps, and what two splits of a data set share."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine.data
from engine.cli import main
from engine.data import likeness
from engine.data.check import check
from engine.errors import EngineError
from tests import collected


def waves(seed: int, side: int = 96) -> np.ndarray:
    """A smooth picture of its own, uint8, as different from another as two X-rays or more."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    field = sum(rng.normal() / (1 + k + m) * np.cos(np.pi * (k * rows + m * columns) + rng.uniform(0, 6.3))
                for k in range(20) for m in range(20))
    return np.uint8(255 * (field - field.min()) / np.ptp(field))


def apart(one: np.ndarray, other: np.ndarray) -> int:
    hashes = [likeness.seen(pixels[None].astype(np.float32) / 255) for pixels in (one, other)]
    return int(np.bitwise_count(hashes[0] ^ hashes[1]).sum())


def jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


def test_a_picture_is_known_again_and_another_is_not() -> None:
    for seed in range(10):
        pixels = waves(seed)
        copies = {"jpeg": jpeg(pixels), "half": np.asarray(Image.fromarray(pixels).resize((48, 48))),
                  "gamma": np.uint8(255 * (pixels / 255) ** 0.8), "darker": np.uint8(pixels * 0.7)}
        assert not {name: bits for name, copy in copies.items() if (bits := apart(pixels, copy)) > likeness.NEAR}
        assert apart(pixels, waves(seed + 100)) > likeness.NEAR


def test_pairs_are_found_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "_CHUNK", 30)
    hashes = np.random.default_rng(0).integers(0, 2**64, (40, 4), np.uint64)
    others = hashes[[39, 7, 7]] ^ np.array([[0, 1, 0, 0]], np.uint64)
    assert list(likeness.pairs(hashes, others)) == [(7, 1, 1), (7, 2, 1), (39, 0, 1)]
    assert not list(likeness.pairs(hashes[:0], others)) and not list(likeness.pairs(hashes, others[:0]))


@pytest.fixture
def leaky(tmp_path: Path) -> str:
    """A manifest of 24 pictures of 12 patients, of whom one is in train and test, as is a re-saved picture."""
    lines = ["path,label,patient,split"]
    for i in range(24):
        split = ("train", "train", "test")[i // 2 % 3]
        collected.save(tmp_path / "p" / f"{i}.png", waves(i))
        lines.append(f"p/{i}.png,{'ab'[i % 2]},MRN-{i // 2 if i != 5 else 0},{split}")
    collected.save(tmp_path / "p" / "4.png", jpeg(waves(1)))  # in test; 1 is in train
    (tmp_path / "p" / "7.png").write_bytes(b"")
    whole = (tmp_path / "p" / "8.png").read_bytes()
    (tmp_path / "p" / "8.png").write_bytes(whole[:200] + bytes(100) + whole[300:])
    collected.save(tmp_path / "p" / "unnamed.png", waves(99))
    lines += ["p/gone.png,a,MRN-50,train"]
    (tmp_path / "scans.csv").write_text("\n".join(lines))
    return f"manifest:{tmp_path / 'scans.csv'}"


def test_what_splits_share_is_told_without_names(leaky: str) -> None:
    found = check(leaky)
    (leak,) = found.leaks
    assert leak.splits == ("train", "test") and leak.patients == 1 and leak.examples == (("p/0.png", "p/5.png"),)
    assert leak.near_identical == 1 and leak.pairs[0][:2] == ("p/1.png", "p/4.png")
    assert {damaged.name for damaged in found.damaged} == {"p/7.png", "p/8.png"}
    assert (found.without_file, found.without_label) == (1, 1)
    parts = {part.split: part for part in found.parts}
    assert parts["train"].images == 15 and parts["train"].classes == {"a": 8, "b": 7} and parts["test"].patients == 5
    assert len(found.warnings) == 4 and "MRN" not in repr(found)


def test_the_command_warns(leaky: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", leaky, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["leaks"][0]["patients"] == 1 and len(facts["warnings"]) == 4
    assert main(["data", "check", leaky]) == 0
    out = capsys.readouterr().out
    assert "WARNING: train and test share 1 patient or case, and 1 pair of" in out and "MRN" not in out
    assert main(["data", "check", "kermani"]) == 2 and "kermany" in capsys.readouterr().err


def test_what_is_damaged_inside_is_left_out_once_it_was_found(leaky: str, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    before = engine.data.load(leaky, "all")
    broken = next(i for i in range(len(before)) if before.item_name(i) == "p/8.png")
    with pytest.raises(EngineError, match=r"8\.png"):
        before.image(broken)
    check(leaky)
    after = engine.data.load(leaky, "all")
    assert len(after) == len(before) - 1 and len(after.images(range(len(after)))) == len(after)
    assert [damaged.name for damaged in after.gaps.damaged] == ["p/7.png", "p/8.png"]
    assert check(leaky).damaged[1].name == "p/8.png"
    collected.save(tmp_path / "p" / "8.png", waves(8))  # put back
    assert len(engine.data.load(leaky, "all")) == len(before)
    (tmp_path / "home" / "damaged.json").write_text("[nonsense")
    assert len(engine.data.load(leaky, "all")) == len(before)


def test_a_clean_data_set_has_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(40):
        collected.save(tmp_path / "ab"[i % 2] / f"{i}.png", waves(i))
    assert main(["data", "check", f"folder:{tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "nothing is wrong" in out and "train: 32 images (a 16, b 16)" in out


def test_a_class_missing_from_a_split_is_told(tmp_path: Path) -> None:
    for i in range(6):
        collected.save(tmp_path / ("train" if i < 4 else "test") / ("ab"[i % 2] if i < 4 else "a") / f"{i}.png",
                       waves(i))
    assert check(f"folder:{tmp_path}").warnings == ("test has no image of the class b",)


def test_random_splits_of_kermany_share_children_and_those_by_patient_do_not(data_home: Path) -> None:
    random, by_patient = ([engine.data.load("kermany", f"{scheme}{part}") for part in ("train", "test")]
                          for scheme in ("random-", ""))
    shared = [len({one.patient(i) for i in range(len(one))} & {other.patient(i) for i in range(len(other))})
              for one, other in (random, by_patient)]
    assert shared[0] > 100 and shared[1] == 0
