"""python -m engine ...: everything without a browser."""

import argparse
import shlex
import sys
from pathlib import Path

from engine.errors import EngineError
from engine.home import home
from engine.progress import Progress


def _train(arguments: argparse.Namespace) -> None:
    from engine.models.train import TrainSpec, train

    spec = TrainSpec(dataset=arguments.dataset, arch=arguments.arch, name=arguments.name, epochs=arguments.epochs,
                     full_size_epochs=arguments.full_size_epochs, lr=arguments.lr, batch=arguments.batch, seed=arguments.seed,
                     precision=arguments.precision, tests=tuple(arguments.tests.split(",")), limits=arguments.limits,
                     command="python -m engine " + shlex.join(sys.argv[1:]))
    shown = [-1]

    def show(fraction: float, text: str) -> None:
        if int(fraction * 100) > shown[0]:
            shown[0] = int(fraction * 100)
            print(f"{fraction:5.0%} {text}", file=sys.stderr, flush=True)

    path = home() / "models" / f"{arguments.name}.safetensors"
    card = train(spec, path, Progress(show), arguments.device)
    print(path, card.evaluations)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine")
    commands = parser.add_subparsers(dest="command", required=True)
    t = commands.add_parser("train")
    t.add_argument("--dataset", required=True)
    t.add_argument("--arch", required=True)
    t.add_argument("--name", required=True)
    t.add_argument("--epochs", type=int, default=12)
    t.add_argument("--full-size-epochs", type=int, default=3)
    t.add_argument("--lr", type=float, default=1e-3)
    t.add_argument("--batch", type=int, default=32)
    t.add_argument("--seed", type=int, default=0)
    t.add_argument("--precision", default="bf16")
    t.add_argument("--tests", default="test")
    t.add_argument("--limits", default="")
    t.add_argument("--device", default="auto")
    t.set_defaults(run=_train)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
