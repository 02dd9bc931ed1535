"""python -m tests.mutated KIND NUMBER [COUNT]: read a mutated file, or so many of them, as the program would.

A number stands for one file, always the same: a small valid one of its kind, mutated by chance. Of one file it is told
what came of it, with the whole traceback; of several, which of them did not end in a result or an EngineError of one
line within seconds and within the memory that a file may take. Several are read in processes of their own.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import logging
import os
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from engine.errors import EngineError
from tests import mutations
from tests.mutations import ANY, Mutation, inside

SECONDS, MEMORY, LONGEST = 5, 2**30, 600  # of a file; characters of what is said of it
SPENT = 1200  # seconds of CPU after which a process is ended that a killed one left behind
TOGETHER = 50  # so many compressed DICOM files are decompressed by one process
ROOT = Path(__file__).parents[1]

Read = Callable[[bytes], None]


@dataclass(frozen=True)
class Seed:
    """A valid file, and what the program does with one like it."""

    name: str
    data: bytes
    read: Read


@dataclass(frozen=True)
class Kind:
    """Files of a kind; `seeds` are made in a folder. `count` of them belong to the test."""

    seeds: Callable[[Path], list[Seed]]
    own: tuple[Mutation, ...]
    count: int


# ---- pictures


def _pictures(form: str, variants: dict[str, tuple[Image.Image, dict[str, object]]]) -> list[Seed]:
    return [Seed(name, _encoded(picture, form, options), partial(_uploaded, f".{form.lower()}"))
            for name, (picture, options) in variants.items()]


def _encoded(picture: Image.Image, form: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _wave(mode: str = "L") -> Image.Image:
    from tests.dicoms import gradient

    return Image.fromarray(gradient(8)).convert(mode)


def _uploaded(suffix: str, data: bytes) -> None:
    """Kept, and shown in the first and in the last of the ways that are offered."""
    from engine.data.upload import choices_of, load_upload, take_upload
    from engine.home import home

    name = take_upload([(data, suffix)])
    try:
        windows = list(choices_of(name).windows)
        for window in ("", *windows[-1:]):
            assert np.isfinite(load_upload(name, window=window).image).all()
    except EngineError as error:
        raise AssertionError(f"it was taken, and cannot be shown: {error}") from error
    finally:
        (home() / "uploads" / f"{name}.npz").unlink()


def _png(folder: Path) -> list[Seed]:
    from tests.dicoms import gradient

    clear = _wave("RGBA")
    clear.putalpha(_wave())
    return _pictures("PNG", {
        "8 bits": (_wave(), {}), "16 bits": (Image.fromarray(gradient(16)), {}), "palette": (_wave("P"), {}),
        "palette with a hole": (_wave("P"), {"transparency": 3}), "RGBA": (clear, {}), "RGB": (_wave("RGB"), {}),
        "1 bit": (_wave("1"), {}), "grey and alpha": (_wave("LA"), {})})


def _jpeg(folder: Path) -> list[Seed]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _pictures("JPEG", {
        "grey": (_wave(), {}), "colour": (_wave("RGB"), {}), "progressive": (_wave("RGB"), {"progressive": True}),
        "CMYK": (_wave("CMYK"), {}), "turned": (_wave(), {"exif": exif})})


def _tiff(folder: Path) -> list[Seed]:
    from tests.dicoms import gradient

    return _pictures("TIFF", {
        "grey": (_wave(), {}), "16 bits": (Image.fromarray(gradient(16)), {}),
        "LZW": (_wave("RGB"), {"compression": "tiff_lzw"}), "deflated": (_wave(), {"compression": "tiff_deflate"}),
        "JPEG": (_wave("RGB"), {"compression": "jpeg"}), "floats": (_wave("F"), {}),
        "pages": (_wave(), {"save_all": True, "append_images": [_wave()]})}) + _pictures("BMP", {
            "bmp": (_wave("RGB"), {}), "bmp palette": (_wave("P"), {})})


# ---- DICOM


def _ct() -> np.ndarray:
    from tests.dicoms import gradient

    return gradient(12).astype(np.int16) - 1024


def _dicom(folder: Path) -> list[Seed]:
    from pydicom import uid
    from pydicom.dataset import Dataset

    from tests.dicoms import dicom, gradient

    table = Dataset()
    table.LUTDescriptor, table.LUTData = [16, 0, 8], bytes(range(0, 256, 16))
    ramp = np.arange(256, dtype="<u2") * 257
    palette = {f"{colour}PaletteColorLookupTable{part}": value for colour in ("Red", "Green", "Blue")
               for part, value in (("Descriptor", [256, 0, 16]), ("Data", ramp.tobytes()))}
    frames = np.stack([gradient(8), gradient(8)[::-1]])
    colours = np.stack([gradient(8)] * 3, axis=-1)
    ct = {"Modality": "CT", "RescaleIntercept": "-1024", "RescaleSlope": "1.5", "WindowCenter": "-600",
          "WindowWidth": "1500", "PixelSpacing": ["0.7", "0.8"]}
    files = {
        "8 bits": dicom(gradient(8)), "12 bits": dicom(gradient(12), bits=12), "CT": dicom(_ct(), **ct),
        "implicit": dicom(_ct(), syntax=uid.ImplicitVRLittleEndian, **ct), "frames": dicom(frames),
        "colours": dicom(colours), "table": dicom(gradient(8), VOILUTSequence=[table], ModalityLUTSequence=[table]),
        "palette": dicom(gradient(8), PhotometricInterpretation="PALETTE COLOR", **palette),
        "sigmoid": dicom(gradient(16), WindowCenter="30000", WindowWidth="500", VOILUTFunction="SIGMOID"),
        "white": dicom(gradient(8), PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0),
        "deflated": dicom(gradient(8), syntax=uid.DeflatedExplicitVRLittleEndian)}
    return [Seed(name, data, partial(_uploaded, ".dcm")) for name, data in files.items()]


class _Decompressing:
    """`read_dicom`, many files after each other with one process for what must be decompressed apart."""

    def __init__(self) -> None:
        from engine.data.dicom_pixels import Decoders

        self._decoders, self._files = Decoders(), 0

    def __call__(self, data: bytes) -> None:
        from engine.data.dicom import read_dicom
        from engine.data.dicom_pixels import Decoders

        if self._files == TOGETHER:
            self._decoders.close()
            self._decoders, self._files = Decoders(), 0
        self._files += 1
        assert np.isfinite(read_dicom(data, decoders=self._decoders).pixels).all()


def _packed(folder: Path) -> list[Seed]:
    import pydicom
    from pydicom import uid

    from tests.dicoms import dicom, gradient

    frames = np.stack([gradient(8), gradient(8)[::-1]])
    read, files = _Decompressing(), {}
    for name, plain, syntax in (
            ("RLE", dicom(gradient(12), bits=12), uid.RLELossless), ("RLE frames", dicom(frames), uid.RLELossless),
            ("JPEG 2000", dicom(gradient(12), bits=12), uid.JPEG2000Lossless),
            ("JPEG 2000 CT", dicom(_ct(), Modality="CT", RescaleIntercept="0"), uid.JPEG2000Lossless),
            ("JPEG-LS", dicom(gradient(12), bits=12), uid.JPEGLSLossless),
            ("JPEG-LS CT", dicom(_ct()), uid.JPEGLSLossless)):
        source = pydicom.dcmread(io.BytesIO(plain))
        source.compress(syntax, generate_instance_uid=False)
        files[name] = _saved(source)
    for name, picture, bits in (("JPEG", _wave(), 8), ("JPEG colour", _wave("RGB"), 8)):
        from pydicom.encaps import encapsulate

        source = pydicom.dcmread(io.BytesIO(dicom(np.asarray(picture), bits=bits)))
        source.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
        source.PixelData = encapsulate([_encoded(picture, "JPEG", {})])
        source["PixelData"].VR = "OB"
        if picture.mode == "RGB":
            source.PhotometricInterpretation = "YBR_FULL_422"
        files[name] = _saved(source)
    return [Seed(name, data, read) for name, data in files.items()]


def _saved(source: object) -> bytes:
    file = io.BytesIO()
    source.save_as(file, enforce_file_format=True)  # type: ignore[attr-defined]
    return file.getvalue()


def _zip(folder: Path) -> list[Seed]:
    from tests.dicoms import dicom, gradient

    slices = [dicom(gradient(8, (24, 32)) // (number + 1), InstanceNumber=str(number), Modality="CT",
                    SeriesInstanceUID="1.2.3", ImagePositionPatient=["0", "0", str(number)],
                    ImageOrientationPatient=["1", "0", "0", "0", "1", "0"]) for number in range(3)]
    read = partial(_uploaded, ".zip")
    return [Seed(f"packed {kind}", mutations.zipped([*((f"ct/{number}.dcm", kind, data) for number, data in
                                                       enumerate(slices)), ("ct/notes.txt", kind, b"a note")]), read)
            for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


# ---- arrays and tables


def _npz(folder: Path) -> list[Seed]:
    from engine.data.dicom import scan_in
    from engine.data.upload import read_upload, save_scan, save_upload
    from engine.home import home
    from engine.work.store import Payload, Store
    from tests.dicoms import dicom, gradient

    chance = np.random.default_rng(0)
    arrays = {"images": chance.integers(0, 256, (4, 28, 28), np.uint8),
              "labels": np.array([[0], [1], [0], [1]], np.uint8)}
    published = {f"{part}_{what}": arrays[what] for part in ("train", "val", "test") for what in arrays}
    seeds = []
    for name, save in (("plain", np.savez), ("packed", np.savez_compressed)):
        save(file := io.BytesIO(), **published)  # type: ignore[arg-type]
        seeds.append(Seed(f"MedMNIST {name}", file.getvalue(), partial(_medmnist, folder)))
    store = Store(folder / "runs")
    store.put("k", "kind", "title", {"a": 1},
              Payload({"b": [1, 2]}, {"x": np.arange(6.0), "name": np.array(["a", "bc"])}))
    kept = folder / "runs" / "k.npz"
    seeds.append(Seed("result", kept.read_bytes(), partial(_result, store, kept)))
    small = gradient(8, (12, 16))
    for name, digest in (("upload", save_upload(read_upload(_encoded(Image.fromarray(small), "PNG", {})))),
                         ("scan", save_scan(scan_in(dicom(np.stack([small, small])))))):
        path = home() / "uploads" / f"{digest}.npz"
        seeds.append(Seed(f"kept {name}", path.read_bytes(), partial(_kept, path, digest)))
    return seeds


def _medmnist(folder: Path, data: bytes) -> None:
    import engine.data

    with _written(folder / "medmnist" / "pneumoniamnist.npz", data):
        opened = engine.data.load("pneumoniamnist", "train")
        for index in range(min(len(opened), 2)):
            assert np.isfinite(opened.image(index)).all() and opened.image(index).shape == (1, 28, 28)
            opened.findings(index)


def _result(store: object, path: Path, data: bytes) -> None:
    from engine.work.files import Files

    with _written(path, data):
        Files(path.parent).described("k")
        store.get("k")  # type: ignore[attr-defined]


def _kept(path: Path, digest: str, data: bytes) -> None:
    from engine.data.upload import choices_of, load_upload

    with _written(path, data):
        choices_of(digest)
        load_upload(digest)


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[None]:
    """A file of these bytes, for as long as it is read."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def _csv(folder: Path) -> list[Seed]:
    for name in ("a.png", "b.png", "c.png", "d.png", "mask.png"):
        _wave("1" if name == "mask.png" else "L").save(folder / name)
    rows = [("path", "label", "patient", "split", "mask", "box"), ("a.png", "no", "p1", "train", "", ""),
            ("b.png", "yes", "p2", "train", "mask.png", ""), ("c.png", "no", "p3", "test", "", "1 2 30 40;5 5 9 9"),
            ("d.png", "yes", "p4", "test", "mask.png", '"2,3,20,20"')]
    whole = "\n".join(map(",".join, rows)) + "\n"
    least = "\ufeffpath,label\r\na.png,x\r\nb.png,y\r\n"
    read = partial(_manifest, folder)
    return [Seed(name, text.encode(), read) for name, text in (("all columns", whole), ("two columns", least))]


def _manifest(folder: Path, data: bytes) -> None:
    import engine.data

    with _written(folder / "list.csv", data):
        opened = engine.data.load(f"manifest:{folder / 'list.csv'}", "all")
        for index in range(min(len(opened), 4)):
            assert np.isfinite(opened.image(index)).all()
            for ask in (opened.lesion, opened.item_name, opened.patient, opened.origin):
                ask(index)


# ---- checkpoints and runs


def _checkpoint(folder: Path) -> list[Seed]:
    import torch

    from engine.zoo.architectures import ARCHITECTURES, Architecture
    from engine.zoo.cards import card_path
    from tests import nets

    # Alone: to be told which other one the weights are of, the large ones would be built.
    ARCHITECTURES._items = {  # type: ignore[assignment]
        "small-cnn": Architecture("small-cnn", "", "", "", nets.small_cnn, "head", ("conv",))}
    seeds = []
    for storage in ("float16", "uint8"):
        path = folder / f"{storage}.safetensors"
        nets.kept(path, storage=storage)
        seeds.append(Seed(storage, path.read_bytes(), partial(_loaded, path, path)))
    card = card_path(path)
    seeds.append(Seed("card", card.read_bytes(), partial(_loaded, path, card)))
    nets.kept(pickled := folder / "net.pt")
    state = nets.seeded(3).state_dict()
    for name, content in (("state dict", state), ("inside", {"epoch": 3, "state_dict": state})):
        torch.save(content, file := io.BytesIO())
        seeds.append(Seed(f"pt {name}", file.getvalue(), partial(_loaded, pickled, pickled)))
    torch.save(state, file := io.BytesIO(), _use_new_zipfile_serialization=False)
    seeds.append(Seed("pt of old", file.getvalue(), partial(_loaded, pickled, pickled)))
    return seeds


def _loaded(weights: Path, mutated: Path, data: bytes) -> None:
    import torch

    from engine.zoo import checkpoints

    before = mutated.read_bytes()
    mutated.write_bytes(data)
    try:
        model = checkpoints.load(weights)
        model(torch.zeros(1, model.channels, 16, 16))
    finally:
        mutated.write_bytes(before)


def _archive(folder: Path) -> list[Seed]:
    from engine.experiments.runs.archive import export
    from engine.experiments.runs.kept import read
    from engine.work.store import Store
    from tests.made import keep

    store = Store(folder / "theirs")
    export(store, read(store, keep(store)), file := io.BytesIO())
    with zipfile.ZipFile(file) as archive:
        members = [(name, zipfile.ZIP_DEFLATED, archive.read(name)) for name in archive.namelist()]
    members = [(name, kind, re.sub(rb'"created": [\d.]+', b'"created": 1.5', data)) for name, kind, data in members]
    return [Seed("run", mutations.zipped(members), partial(_imported, folder))]


def _imported(folder: Path, data: bytes) -> None:
    from engine.experiments.runs.archive import imported, open_archive
    from engine.experiments.runs.kept import read
    from engine.experiments.runs.pictures import table_of
    from engine.work.store import store_in

    found = open_archive(io.BytesIO(data))
    store = store_in(folder / "ours")
    key = imported(store, found)
    try:
        table_of(read(store, key))
    except EngineError as error:
        raise AssertionError(f"it was imported, and cannot be read: {error}") from error
    finally:
        store.delete(key)


ARRAYS = inside(*ANY, mutations.npy_header, mutations.npy_header, suffix=".npy")
KINDS = {
    "png": Kind(_png, (mutations.png_chunks,), 400),
    "jpeg": Kind(_jpeg, (mutations.jpeg_segments,), 250),
    "tiff": Kind(_tiff, (mutations.tiff_entries,), 100),
    "dicom": Kind(_dicom, (mutations.dicom_elements, mutations.dicom_sizes), 350),
    "dicom-packed": Kind(_packed, (mutations.dicom_elements, mutations.dicom_sizes), 100),
    "npz": Kind(_npz, (mutations.zip_fields, ARRAYS, ARRAYS), 300),
    "csv": Kind(_csv, (mutations.csv_cells,), 200),
    "zip": Kind(_zip, (mutations.zip_fields, inside(*ANY, mutations.dicom_elements, mutations.dicom_sizes)), 100),
    "safetensors": Kind(_checkpoint, (mutations.safetensors_header, mutations.zip_fields, mutations.json_values,
                                      inside(*ANY)), 150),
    "archive": Kind(_archive, (mutations.zip_fields, ARRAYS, inside(mutations.json_values, suffix=".json")), 80),
}


# ---- reading them


def mutated(kind: str, number: int, seeds: list[Seed]) -> tuple[Seed, str, bytes]:
    """File `number` of a kind: of what it was made, how, and its bytes."""
    chance = Random(f"{kind} {number}")
    seed = chance.choice(seeds)
    data, names = seed.data, []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        mutation = chance.choice(KINDS[kind].own if chance.random() < 0.6 else ANY)
        data = mutation(chance, data)
        names.append(mutation.__name__)
    return seed, f"{seed.name}: {', '.join(names)}", data


def failures(kind: str, first: int, count: int) -> list[str]:
    """What is wrong with how so many files are read, from number `first` on, and how to see it again."""
    found, end = [], first + count
    while first < end:
        run = subprocess.run([sys.executable, "-m", "tests.mutated", kind, str(first), str(end - first), "--inside"],
                             capture_output=True, text=True, cwd=ROOT, check=False,
                             env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
        lines = [line.partition(" ") for line in run.stdout.splitlines()]
        found += [_how(kind, int(number), said) for number, _, said in lines if said]
        if run.returncode == 0:
            break
        if not lines:
            return [*found, f"{kind}: the whole files cannot be read:\n{run.stderr}"]
        last = int(lines[-1][0])
        found.append(_how(kind, last, f"ended the process ({run.returncode})\n{run.stderr[-3000:]}"))
        first = last + 1
    return found


def _how(kind: str, number: int, said: str) -> str:
    return f"python -m tests.mutated {kind} {number}: {said}"


def _inside(kind: str, first: int, count: int) -> None:
    """Read the files here, and print the number of each before it is read, with what is wrong about it after it."""
    with _prepared(kind) as seeds:
        before = most = _memory()
        for number in range(first, first + count):
            print(number, flush=True)
            seed, how, data = mutated(kind, number, seeds)
            most = max(most, _memory())
            with _hurried():
                said = wrong_with(seed, data)
            if _memory() > max(most, before + MEMORY):
                said = f"took {(_memory() - before) / 2**20:.0f} MiB"
            if said:
                print(number, f"({how}) {said}", flush=True)


@contextmanager
def _prepared(kind: str) -> Iterator[list[Seed]]:
    """The whole files, each of which was read once."""
    logging.disable()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"PERTURBSCOPE_HOME": str(folder / "home"), "PERTURBSCOPE_DATA": name}
        seeds = KINDS[kind].seeds(folder)
        for seed in seeds:
            seed.read(seed.data)
        _limit()
        yield seeds


@contextmanager
def _hurried() -> Iterator[None]:
    """Ends the process, and says where it was, when a file takes too long; even in a decoder that never returns."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def wrong_with(seed: Seed, data: bytes) -> str:
    """What is wrong with how a file is read; nothing where it is read, or refused as it should be."""
    from tests.dicoms import SECRETS

    try:
        seed.read(data)
    except EngineError as error:
        said = str(error)
        if not said or not said.isprintable() or len(said) >= LONGEST or any(secret in said for secret in SECRETS):
            return f"is refused with {said!r}"
        return "asked for too much memory" if "more memory than is free" in said else ""
    except BaseException as error:
        return f"raised {error!r:.300} {_where(error)}"
    return ""


def _where(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if Path(frame.filename).is_relative_to(ROOT / "engine")]
    return f"in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _memory() -> int:
    """The most that this process has taken so far, and any that it started, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * unit


def _limit() -> None:
    """No file takes the machine's memory, or its time for ever, whatever is wrong with how it is read."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 2 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (SPENT, SPENT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutated", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("number", type=int)
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write the file there, too")
    given = parser.parse_args()
    if given.inside:
        _inside(given.kind, given.number, given.count)
    elif given.count:
        found = failures(given.kind, given.number, given.count)
        print("\n".join([*found, f"{len(found)} of {given.count}"]))
        sys.exit(bool(found))
    else:
        with _prepared(given.kind) as seeds:
            seed, how, data = mutated(given.kind, given.number, seeds)
            print(f"{how}, {len(data)} bytes")
            if given.out:
                given.out.write_bytes(data)
            with _hurried():
                seed.read(data)
            print("it is read")


if __name__ == "__main__":
    main()
