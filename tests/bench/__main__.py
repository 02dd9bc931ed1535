"""python -m tests.bench [SECTION ...] [--quick]: measure, and renew the sections in BENCHMARKS.md."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from tests.bench import architectures, attacks, blackbox, curves, report, training, transfer


def _of_pages(module: str, function: str) -> Callable[[bool], str | None]:
    """A section that needs what the pages need, imported when it is measured: a GPU machine may have none of it."""
    return lambda quick: getattr(import_module(f"tests.bench.{module}"), function)(quick)


# A section: text for BENCHMARKS.md, or None where this machine cannot measure it (what stands there then stays).
# `quick` asks for the smallest run that shows that the measuring works. New benchmarks are added here.
SECTIONS: dict[str, Callable[[bool], str | None]] = {
    **{f"pgd-{arch}-cpu": partial(attacks.on_cpu, arch) for arch in attacks.ARCHS},
    **{f"pgd-{arch}-gpu": partial(attacks.on_gpu, arch) for arch in attacks.ARCHS},
    **{f"{attack}-cpu": partial(blackbox.on_cpu, attack) for attack in blackbox.TITLES},
    **{f"{attack}-gpu": partial(blackbox.on_gpu, attack) for attack in blackbox.TITLES},
    "transfer-cpu": transfer.on_cpu,
    "transfer-gpu": transfer.on_gpu,
    "architectures-cpu": architectures.on_cpu,
    "curves-cpu": curves.on_cpu,
    "training-cpu": training.on_cpu,
    "explore": _of_pages("explore", "in_browser"),
    "visitors": _of_pages("visitors", "measured"),
    "large-cpu": _of_pages("large", "on_cpu"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure and write BENCHMARKS.md.")
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="only show that it runs; prints, writes nothing")
    parser.add_argument("--out", type=Path, default=report.FILE)
    arguments = parser.parse_args()
    for name in arguments.sections or SECTIONS:
        print(name, file=sys.stderr)
        text = SECTIONS[name](arguments.quick)
        if text is None:
            print(f"{name}: not on this machine", file=sys.stderr)
        elif arguments.quick:
            print(text)
        else:
            report.write(name, text, arguments.out)


if __name__ == "__main__":
    main()
