"""`dino-lab convert SOURCE DEST --to LAYOUT`."""

from __future__ import annotations

import argparse
from pathlib import Path

LAYOUTS = ("safetensors", "timm", "transformers", "dino", "dinov2", "dinov3", "onnx")
USES = {
    "timm": 'timm.create_model("local-dir:{dest}", pretrained=True)',
    "transformers": 'transformers.AutoModel.from_pretrained("{dest}")',
    "onnx": 'onnxruntime.InferenceSession("{dest}").run(None, {{"images": images}})',
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab convert",
        description="Write a network in another layout, and read it back to see that it is still the same.",
        epilog="timm and transformers make a folder, the others a file. safetensors keeps everything; what another layout "
        "can't hold is said.",
    )
    parser.add_argument("source", help="a run, a checkpoint folder of one, a file of weights, or a name")
    parser.add_argument("dest", type=Path)
    parser.add_argument("--to", choices=LAYOUTS, required=True)
    parser.add_argument("--at", type=int, metavar="STEP", help="checkpoint of the run; the newest by default")
    parser.add_argument("--heads", type=int, help="attention heads, where the source does not tell them")
    options = parser.parse_args(arguments)

    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()
    from dino_core.commands.train import chosen
    from dino_core.model.convert import convert
    from dino_core.rundir.schema import CHECKPOINTS, step_name

    source = options.source
    if options.at is not None:
        source = str(Path(source) / CHECKPOINTS / step_name(chosen(Path(source), options.at)))
    done = convert(source, options.dest, options.to, heads=options.heads)
    print(f"{done.path}: {', '.join(done.files)}")
    for sentence in done.said:
        print(f"  {sentence}")
    for size, apart in done.differences.items():
        print(f"  read back, tokens of a {size} px image differ by {apart:.0e} of their length")
    if options.to in USES:
        print("  " + USES[options.to].format(dest=options.dest))
    return 0
