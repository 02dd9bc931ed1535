"""python -m engine list: what there is."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from engine import params
from engine.cli.output import print_json
from engine.cli.parser import Commands
from engine.registry import Registry


def add(commands: Commands) -> None:
    parser = commands.add_parser("list", help="what there is")
    parser.add_argument("what", choices=LISTS)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_run)


def _datasets() -> list[dict[str, Any]]:
    from engine.data import DATASETS, findings

    return [{"name": e.info.name, "title": e.info.title, "sentence": e.info.sentence, "classes": list(e.info.classes),
             "splits": dict(e.info.splits), "synthetic": e.info.synthetic, "source": e.info.source,
             "terms": e.info.terms, "modality": e.info.modality, "population": e.info.population,
             "obtain": e.info.obtain,
             "layouts": list(e.info.layouts), "grouping": e.info.grouping, "missing": e.missing(),
             "findings": list(findings.names(e.info))}
            for e in DATASETS.values()]


def _models() -> list[dict[str, Any]]:
    from engine.zoo.registry import models

    return [{"name": m.name, "title": m.title, "sentence": m.card.limits, "bundled": m.bundled, "card": asdict(m.card)}
            for m in models()]


def _architectures() -> list[dict[str, Any]]:
    from engine.explain.methods import methods_for
    from engine.zoo.architectures import ARCHITECTURES
    from engine.zoo.variants import HEADS

    return [{"name": a.name, "title": a.title, "sentence": a.sentence, "paper": a.paper, "size": a.size,
             "only_that_size": a.fixed, "imagenet": a.imagenet is not None, "head": a.head,
             "heads": list(HEADS), "heatmap_layers": list(a.cam_layers), "heatmaps": methods_for(a.name)}
            for a in ARCHITECTURES.values()]


def _attacks() -> list[dict[str, Any]]:
    from engine.attacks import ATTACKS

    return [{**asdict(a.info), "knowledge": a.info.knowledge.name.lower(),
             "params": [{**asdict(p), "kind": p.kind.__name__} for p in params.params_of(a)]}
            for a in ATTACKS.values()]


def _defenses() -> list[dict[str, Any]]:
    from engine.defenses import DEFENSES
    from engine.training.defenses import TRAINING_DEFENSES

    return [declaration for registry in (DEFENSES, TRAINING_DEFENSES) for declaration in _declared(registry)]


def _declared(registry: Registry[Any]) -> list[dict[str, Any]]:
    """What is declared of its defenses, which have `info` and parameters."""
    return [{**asdict(d.info), "params": [{**asdict(p), "kind": p.kind.__name__} for p in params.params_of(d)]}
            for d in registry.values()]


def _heatmaps() -> list[dict[str, Any]]:
    from engine.explain.methods import CAMS, methods_for
    from engine.zoo.architectures import ARCHITECTURES

    return [{"name": m.name, "title": m.title, "sentence": m.sentence, "formula": m.formula, "paper": m.paper,
             "architectures": [arch for arch in ARCHITECTURES if m.name in methods_for(arch)]} for m in CAMS.values()]


LISTS = {"datasets": _datasets, "models": _models, "architectures": _architectures, "attacks": _attacks,
         "defenses": _defenses, "heatmaps": _heatmaps}


def _run(arguments: argparse.Namespace) -> None:
    rows = LISTS[arguments.what]()
    if arguments.json:
        return print_json(rows)
    width = max((len(r["name"]) for r in rows), default=0)
    for row in rows:
        print(f"{row['name']:{width}}  {row['title']}: {row['sentence']}")
        if row.get("missing"):
            print(f"{'':{width}}  ({row['missing']})")
        for view in row.get("findings", ()):
            print(f"{'':{width}}  {view}")
    if not rows:
        print(f"no {arguments.what} are registered")
