"""`dino-lab remeasure RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab remeasure",
        description="Take measures that a run did not log, on the checkpoints it kept, and add them to its metrics.",
    )
    parser.add_argument("run", type=Path)
    options = parser.parse_args(arguments)

    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()
    from dino_core.remeasuring import remeasure

    added = remeasure(options.run, lambda words: print(words, flush=True))
    print(f"{options.run}: {sum(map(len, added.values()))} figures added at {len(added)} steps")
    return 0
