"""python -m engine attack --image: attack a picture of one's own."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.options import bench
from engine.cli.output import Writer, as_json, as_npz, out_folder, print_json, remark, write
from engine.errors import EngineError
from engine.home import expanded

if TYPE_CHECKING:
    from engine.attacks.spec import AttackSpec
    from engine.experiments.onepicture.explored import Explained, Explored
    from engine.experiments.sources import Picture, Source

_OF_DATA_SETS = ("limit", "per_class", "index", "map", "split")


def add_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", metavar="PATH", help="attack this picture instead: PNG, JPEG or DICOM, or a series "
                        "as a ZIP or a folder of slices; --dataset names the data set whose classes it has")
    parser.add_argument("--frame", type=int, default=0, help="which frame or slice of --image (default: the middle)")
    parser.add_argument("--window", default="", help="how a DICOM is looked at: lung, mediastinum, bone, brain, full, "
                        "file-2, table-1, or centre/width such as 40/400 (default: as the file says)")
    parser.add_argument("--heatmap", default="", metavar="METHOD", help="also where the model looks in --image before "
                        "and after, such as grad-cam (python -m engine list heatmaps); --out has it as heatmaps.npz")
    parser.add_argument("--mark", action="store_true", help="write ADVERSARIAL - RESEARCH into a corner of --out's "
                        "adversarial.dcm")


def check_image_options(arguments: argparse.Namespace) -> None:
    """Raises EngineError where one of them is given without --image."""
    for option in ("frame", "window", "heatmap", "mark"):
        if arguments.image is None and getattr(arguments, option):
            raise EngineError(f"--{option} is for a picture of your own; give --image, too")


def attack_image(arguments: argparse.Namespace, spec: AttackSpec) -> None:
    """The attack on --image, as the page makes it; raises EngineError."""
    from engine.data import find
    from engine.data.upload import take_upload
    from engine.experiments.onepicture.explore import explore_task, heatmap_task
    from engine.experiments.onepicture.explored import Explained, Explored
    from engine.experiments.onepicture.suited import reservations
    from engine.experiments.sources import Source, picture
    from engine.explain.methods import CAMS, NO_HEATMAPS, methods_for
    from engine.zoo.registry import model_card

    for option in _OF_DATA_SETS:
        if getattr(arguments, option):
            raise EngineError(f"--{option.replace('_', '-')} is for a data set's images; leave it out with --image")
    upload = take_upload(list(_files(expanded(arguments.image))))
    source = Source(arguments.dataset, find(arguments.dataset).info.default_split, 0, upload, arguments.frame,
                    arguments.window)
    chosen, task = picture(source), explore_task(source, arguments.model, spec, arguments.device)
    method, card = arguments.heatmap and CAMS[arguments.heatmap].name, model_card(arguments.model)
    if method and not (known := methods_for(card.arch)):
        raise EngineError(f"{NO_HEATMAPS}; leave --heatmap out")
    if method and method not in known:
        raise EngineError(f"{card.arch} has no {method}; choose one of: {', '.join(known)}")
    for line in reservations(card, chosen):
        remark(line)
    out, where = out_folder(arguments.out), bench(arguments)
    explored = Explored.of(where.result(task))
    heat = Explained.of(where.result(heatmap_task(task, method, None))) if method else None
    facts = _facts(source, arguments.model, explored, chosen, heat)
    if arguments.json:
        print_json(facts)
    else:
        _print(explored, chosen, heat)
    if out is not None:
        write(out, _written(facts, explored, chosen, heat, arguments.mark))
        if chosen.stored is not None and (warning := chosen.stored.header.before_sharing) and not arguments.json:
            print(f"  warning: {warning}")


def _files(path: Path) -> Iterator[tuple[bytes, str]]:
    """The file, or those of the folder, with their suffixes; raises EngineError."""
    from engine.data.upload import MOST_BYTES, MOST_FILES

    try:
        paths = sorted(islice((p for p in path.rglob("*") if p.is_file()), MOST_FILES + 1)) if path.is_dir() else [path]
        left = MOST_BYTES + 1
        for one in paths:
            with one.open("rb") as file:
                data = file.read(left)
            left -= len(data)
            yield data, one.suffix
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a file"
        raise EngineError(f"--image cannot be read ({reason}); give the path of a picture, a ZIP or a folder") from None


def _facts(source: Source, model: str, explored: Explored, chosen: Picture,
           heat: Explained | None) -> dict[str, Any]:
    from engine.experiments.defended import priced
    from engine.work.specs import to_json

    said, run = to_json(explored), explored.run
    front = priced(run.spec, run.accuracy_clean, run.seconds, explored.queries)
    return {**said["run"], **front, "model": model, "attack": explored.run.spec.attack, **asdict(source),
            "notes": list(chosen.notes), "probabilities": said["probabilities"], "size": said["size"],
            "in_file": said["in_file"], **({} if heat is None else {"heatmaps": heat.payload().facts})}


def _print(explored: Explored, chosen: Picture, heat: Explained | None) -> None:
    from engine.experiments.defended import behind

    classes, said, file = explored.run.classes, explored.probabilities, explored.in_file

    def says(values: tuple[float, ...]) -> str:
        best = max(range(len(values)), key=values.__getitem__)
        return f"{classes[best]} {values[best]:.1%}"

    rows = [("before", said.clean), ("after the attack", said.adversarial), ("saved as 8-bit PNG", said.png8),
            ("saved as JPEG", said.jpeg90)]
    if file is not None:
        rows += [(f"in steps of {file.step:.3g} {file.unit}", file.rounded),
                 (f"written into {file.columns} x {file.rows}", file.written)]
    print(f"{explored.run.spec.attack} on {chosen.name}{behind(explored.run.spec)}")
    for title, values in rows:
        print(f"  {title:<23} {says(values)}")
    units = chosen.stored_units
    worth = "" if units is None else f" = {explored.size.linf * abs(units.scale):.3g} {units.name}"
    print(f"  largest pixel change    {explored.size.linf * 255:.3g}/255{worth}")
    if file is not None:
        print(f"  largest in the file     {file.largest:.4g} {file.unit}")
    if heat is not None:
        alike = "empty" if heat.shift.correlation is None else f"correlation {heat.shift.correlation:.2f}"
        print(f"  {heat.method:<23} before and after: {alike}")
    for note in (*chosen.notes, *explored.run.warnings):
        print(f"  note: {note}")


def _written(facts: dict[str, Any], explored: Explored, chosen: Picture, heat: Explained | None,
             mark: bool) -> dict[str, Writer]:
    from engine.attacks import ATTACKS
    from engine.data.dicom_export import adversarial_dicom

    made_by = ATTACKS[explored.run.spec.attack].info.title
    heatmaps = {} if heat is None else {"heatmaps.npz": as_npz({"before": heat.before, "after": heat.after})}
    return {"result.json": as_json(facts), **heatmaps,
            "adversarial.npz": as_npz({"clean": explored.clean, "adversarial": explored.adversarial}),
            "adversarial.dcm": lambda file: file.write(
                adversarial_dicom(explored.adversarial, chosen.stored, made_by, mark))}
