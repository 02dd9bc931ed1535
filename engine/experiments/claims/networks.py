"""The networks on which claims are measured: trained when first asked for, and kept. Does not import torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from engine import digest
from engine.data.shrunk import SEPARATOR
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.claims.declared import Bundled, Network
from engine.params import params_of, values_of
from engine.training.defenses import defense_of, on_card
from engine.training.spec import TrainSpec
from engine.work.kinds import Bench
from engine.zoo.cards import read_card
from engine.zoo.registry import trained_path


def name_of(network: Network | Bundled, dataset: str, seed: int) -> str:
    """The name under which the network is kept among the models."""
    if isinstance(network, Bundled):
        return network.model
    defense = network.defense.partition(":")[0]
    return f"claims/{dataset.replace(SEPARATOR, '-')}-{network.arch}-s{seed}" + (f"-{defense}" if defense else "")


def ready(network: Network | Bundled, dataset: str, seed: int, bench: Bench) -> str:
    """The network's name, once it is there: trained now unless it was before; raises EngineError and Cancelled."""
    name = name_of(network, dataset, seed)
    if isinstance(network, Network):
        if network.start is not None:
            ready(network.start, dataset, seed, bench)
        spec, path = _spec(network, dataset, seed, name), trained_path(name)
        with bench.store.lease(digest.of_spec({"network": name}), bench.progress):
            if not _kept(path, spec):
                _train(spec, path, bench)
    return name


def _spec(network: Network, dataset: str, seed: int, name: str) -> TrainSpec:
    """In float32: a processor that knows no bfloat16 takes eight times as long for that."""
    start = "" if network.start is None else name_of(network.start, dataset, seed)
    further = "".join(f" --{option} {value}" for option, value in (("start-from", start), ("defense", network.defense))
                      if value)
    command = (f"python -m engine train --dataset {dataset} --arch {network.arch} --name {name} --epochs "
               f"{network.epochs} --full-size-epochs {network.epochs} --seed {seed} --precision float32{further}")
    spec = TrainSpec(dataset=dataset, arch=network.arch, name=name, epochs=network.epochs, seed=seed, command=command,
                     full_size_epochs=network.epochs, precision="float32", start_from=start, defense=network.defense,
                     limits="Trained to measure on it what papers claim.")
    defense = defense_of(network.defense)
    return spec if defense is None else replace(spec, **defense.suited)  # type: ignore[arg-type]


def _kept(path: Path, spec: TrainSpec) -> bool:
    """Whether the network is there, trained as the spec says."""
    if not os.path.isfile(path):
        return False
    try:
        card = read_card(path)
    except EngineError:
        return False
    # What the card does not know of was not there to be chosen, and was as it is by default.
    settings = {p.name: p.default for p in params_of(TrainSpec)} | card.training.get("settings", {})
    told = on_card(spec).get("defense"), spec.start_from
    return (card.dataset, card.arch, settings) == (spec.dataset, spec.arch, values_of(spec)) and told == (
        card.training.get("defense"), card.training.get("start_from", ""))


def _train(spec: TrainSpec, path: Path, bench: Bench) -> None:
    bench.progress.report(0.0, f"training {spec.name}")
    load_libraries()
    from engine.training.train import train

    train(spec, path, bench.progress, bench.device)
