"""`python -m benchmarks.study [groups...] [--photos FOLDER]`: train what is missing, measure, write JSON, print tables.

Stopped and started again it goes on; runs and measurements that are finished are kept in the folder."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, machine, table, write
from benchmarks.study.arms import GROUPS, Group, quick
from benchmarks.study.runs import Trial, trained, trained_abreast, trials

TITLES = {
    "knn": "k-NN",
    "attention": "best head",
    "together": "heads together",
    "pca": "PCA IoU",
    "parts": "parts mIoU",
}
SHOWN = ("features/rankme", "patches/rankme", "patches/mean_cosine", "teacher/information", "kl")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="group", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--runs", type=Path, default=Path("runs/study"), help="where the runs are kept")
    parser.add_argument("--photos", help="a folder of labelled photographs with masks, for the group `photographs`")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--jobs", type=int, default=1, help="train so many at a time, each in a process of its own")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these")
    parser.add_argument("--arms", nargs="+", help="only these")
    parser.add_argument("--measure-only", action="store_true", help="train nothing: measure what is there")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that it works; the numbers mean nothing"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args(arguments)
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group {sorted(unknown)[0]!r}. Groups: {', '.join(GROUPS)}.")
    found: dict[str, Any] = {}
    for name in options.groups or GROUPS:
        group = quick(GROUPS[name]) if options.quick else GROUPS[name]
        if group.photographs and not options.photos:
            print(f"{name}: left out; give --photos FOLDER.", flush=True)
            continue
        found[name] = studied(group, options)
        print("", group.says, table(rows(found[name])), sep="\n\n", flush=True)
    about = {"quick": options.quick, "device": device_name(options.device), "machine": machine()}
    result = {"benchmark": "study", **about, "groups": found}
    print(f"-> {write('study', result, options.out)}")
    return 0


def device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def studied(group: Group, options: argparse.Namespace) -> dict[str, Any]:
    """Every run of a group, trained and measured."""
    set_up = ("--machine.threads", "1", "--machine.precision", options.precision, "--machine.device", options.device)
    data = ("--data.source", options.photos) if group.photographs else ()
    shown_data = ("--data.source", "PHOTOS") if data else ()
    images = (200, 200) if options.quick else (2000, 1000)
    ledger = Ledger(options.runs / group.name / "measured.json", images, options.device)
    done: list[dict[str, Any]] = []
    wanted = [
        trial
        for trial in trials(group)
        if trial.seed in (options.seeds or [trial.seed]) and trial.arm.name in (options.arms or [trial.arm.name])
    ]
    if options.jobs > 1 and not options.measure_only:
        trained_abreast(wanted, options.runs, (*set_up, *data), options.jobs)
    for trial in wanted:
        if options.measure_only and not (options.runs / trial.name / "run.json").is_file():
            continue
        if not options.measure_only and not trained(trial, options.runs, (*set_up, *data)):
            break
        done.append(described(trial, options.runs, ledger, (*set_up, *shown_data)))
        shown = {TITLES[k]: f"{100 * v['value']:.1f}" for k, v in done[-1]["looks"][-1]["measured"].items()}
        print(f"  {trial.name}: {shown}", flush=True)
    return {"says": group.says, "steps": group.steps, "recipe": group.recipe, "figures": ledger.figures, "runs": done}


class Ledger:
    """What has been measured so far, in a file, and the images it is measured on, read when they are first needed."""

    def __init__(self, path: Path, counts: tuple[int, int], device: str = "cpu") -> None:
        self.path, self.counts, self.device, self.images = path, counts, device, None
        self.kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    @property
    def figures(self) -> dict[str, float]:
        return self.kept.get("figures", {})

    def look(self, run: Path, name: str, step: int) -> dict[str, Any]:
        from benchmarks.study.looks import Images, look
        from dino_core.rundir.read import read_config

        key = f"{name}@{step}"
        if key not in self.kept:
            if self.images is None:
                self.images = Images.of(read_config(run), *self.counts)
                self.kept["figures"] = self.images.figures()
            self.kept[key] = look(run, step, self.images, self.device)
            self.path.write_text(json.dumps(self.kept, indent=1) + "\n")
        return self.kept[key]


def described(trial: Trial, runs: Path, ledger: Ledger, options: tuple[str, ...]) -> dict[str, Any]:
    """A run's command, its figures at each look, and what it said of itself."""
    from benchmarks.study.looks import findings, monitors
    from dino_core.rundir.read import checkpoints

    path = runs / trial.name
    steps = [s for s in checkpoints(path) if s in (*trial.group.looks, trial.group.steps) and s > trial.arm.at]
    looks = [{"step": s, "measured": ledger.look(path, trial.name, s), "monitors": monitors(path, s)} for s in steps]
    command = shlex.join(["dino-lab", *trial.command(Path("RUNS"), options)])
    return {"arm": trial.arm.name, "seed": trial.seed, "command": command, "looks": looks, "findings": findings(path)}


def rows(group: dict[str, Any]) -> list[list[str]]:
    """Percentages, each with the half 95 % interval that the test images alone give it; then monitors."""
    lines = [["arm", "seed", "step", *TITLES.values(), *SHOWN, "findings"]]
    for run in group["runs"]:
        said = ", ".join(sorted({f["name"] for f in run["findings"]})) or "none"
        for seen in run["looks"]:
            measured, monitored = seen["measured"], seen["monitors"]
            shares = [percent(measured.get(name)) for name in TITLES]
            told = [f"{monitored[name]:.3g}" if name in monitored else "" for name in SHOWN]
            lines.append([run["arm"], str(run["seed"]), str(seen["step"]), *shares, *told, said])
    return lines


def percent(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{100 * found['value']:.1f} ± {100 * found['chance']:.1f}"


if __name__ == "__main__":
    sys.exit(main())
