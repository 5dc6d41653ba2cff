# %% [markdown]
# # 04 Train it
#
# **Question:** what does a run do while it trains, and how do you see that something is wrong?
#
# 60 minutes · needs: notebooks 02 and 03 or their summaries · no GPU, no internet · Caron et al. 2021 (arXiv 2104.14294), Sec. 3.2, 5.3; the run directory: `dino_core/rundir/FORMAT.md` in the docs
#
# You start a real training run beside this notebook: a Vision Transformer of half a million weights, 700 steps, some minutes on two cores of a laptop. While
# it trains you read what it writes, check its numbers against the formulas, and wait for features to appear. Then you break a run and mend it.

# %%
import json
import math

import numpy as np

from dino_core.rundir.schema import METRICS
from dino_core.schedules import Schedule, cosine
from notebooks.checks import n04 as check
from notebooks.course import (
    QUICK,
    fork,
    gallery,
    live_run,
    look,
    predict,
    reveal,
    scaled,
    show,
    stop,
)
from notebooks.views import figure

# %% [markdown]
# ## 1. Start
#
# `live_run` starts `dino-lab train tiny` as a process of its own and comes back as soon as the first step is logged. Run the cell again and it finds the run
# that is there; after a break or a crash it goes on where the run was stopped.

# %%
predict(
    "04.a",
    "Image classes are never shown to the training. A nearest-neighbour classifier on raw pixels reaches 64 %. After how many "
    "of the 700 steps does one on the student's features pass that?",
)

# %%
predict(
    "04.b",
    "The loss, from the first step to step 30:",
    ["falls", "rises", "stays within 0.2 nats"],
)

# %%
live = live_run("tiny", name="mine", steps=scaled(700, quick=30))
live

# %% [markdown]
# Give it a second look now and then: run this cell whenever you like (the first time it waits for step 30, some ten seconds). The widget (in JupyterLab) follows by itself.

# %%
live.wait(step=scaled(30, quick=10))
print(live)
show("loss", run=live.run)

# %% [markdown]
# ## 2. What a run writes
#
# Everything that anybody ever sees of a run is in its directory. Training writes there and nowhere else; the lab only reads, and could read a copy as
# well.

# %%
for path in sorted(live.path.iterdir()):
    if not path.name.startswith("."):
        print(
            f"{path.name + '/' if path.is_dir() else path.name:15} {path.stat().st_size:>8} bytes"
        )

# %% [markdown]
# `metrics.jsonl` has one JSON object a line, one line every ten steps. We read it by hand: split at the ends of lines, and leave out a last line that has no
# end yet, because the trainer may be in the middle of writing it.

# %%
text = (live.path / METRICS).read_text()
whole = text[: text.rfind("\n") + 1]
rows = [json.loads(line) for line in whole.splitlines()]
first = next(row for row in rows if "loss" in row)
print(len(rows), "lines; names in the first that has a loss:", len(first))
print({name: first[name] for name in ("step", "loss", "loss/dino", "kl", "teacher/entropy", "lr")})

# %% [markdown]
# The library does the same, and gives a table with a row for each logged step (an evaluation adds a line to a step that is there already; they are joined):

# %%
table = live.run.metrics()
by_hand = {row["step"]: row["loss/dino"] for row in rows if "loss/dino" in row}
by_lab = table.set_index("step")["loss/dino"]
assert all(math.isclose(by_lab[step], value, rel_tol=1e-6) for step, value in by_hand.items())
print(f"{len(by_hand)} losses agree")

# %% [markdown]
# ## 3. Are the numbers right?
#
# Notebook 02 said: loss = H(teacher) + KL(teacher || student). A trainer that logs all three must obey:

# %%
logged = table[["step", "loss/dino", "teacher/entropy", "kl"]].dropna()
gap = (logged["loss/dino"] - logged["teacher/entropy"] - logged["kl"]).abs().max()
print(logged.head(4).to_string(index=False))
print(f"largest difference in {len(logged)} rows: {gap:.1e} nats")
assert gap < 1e-3

# %%
early = logged[logged["step"] <= 30]
change = float(early["loss/dino"].iloc[-1] - early["loss/dino"].iloc[0])
happened = "stays within 0.2 nats" if abs(change) < 0.2 else "rises" if change > 0 else "falls"
reveal(
    "04.b",
    happened,
    f"It changed by {change:+.2f} nats. Look at its two parts above: which of them moved?",
)

# %% [markdown]
# In the beginning the centre is 0 and an untrained network prefers some prototypes for all images, so that sharp targets have little entropy. Within ten or
# twenty steps the centre has taken that preference away, and the entropy jumps up. The student, meanwhile, comes closer to its teacher: KL falls. Loss up, and
# all is well.
#
# The other thing to check are the *schedules*. The learning rate warms up in a straight line and falls along half a cosine (Sec. 3.2). By hand, for the constants of
# this run:

# %%
config = live.run.config
peak, end, steps = config.optim.peak_lr(config.batch_size), config.optim.final_lr, config.steps
warmup = round(config.schedules.lr_warmup * steps)
print(f"peak {peak}, end {end}, {steps} steps, warm-up {warmup}")
for step in (0, warmup // 2, warmup, (warmup + steps) // 2, steps):
    share = (step - warmup) / (steps - warmup)
    fallen = end + (peak - end) * (1 + math.cos(math.pi * share)) / 2
    rate = peak * step / warmup if step < warmup else fallen
    print(f"step {step:4}: {rate:.6f}   library {cosine(peak, end, steps, warmup)(step):.6f}")
    assert math.isclose(rate, cosine(peak, end, steps, warmup)(step), abs_tol=1e-12)

# %% [markdown]
# And the log: the row of step $n$ has the constants of the step that made it the $n$-th, which is number $n - 1$.

# %%
schedule = Schedule(config)
for _, row in table.dropna(subset=["lr"]).iterrows():
    now = schedule.at(int(row["step"]) - 1)
    assert math.isclose(now.learning_rate, row["lr"], rel_tol=1e-5, abs_tol=1e-9)
    assert math.isclose(now.momentum, row["momentum"], rel_tol=1e-5)
print("learning rate and momentum of every logged step are those of the schedule")

# %%
drawn, axes = figure(1, 3, width=9.5, height=2.8)
at = [schedule.at(step) for step in range(steps)]
for place, name, title in (
    (axes[0], "learning_rate", "Learning rate"),
    (axes[1], "momentum", "Momentum of the teacher"),
    (axes[2], "teacher_temperature", "Teacher's temperature"),
):
    place.plot([getattr(now, name) for now in at])
    place.set(title=title, xlabel="training step", ylabel="value (no unit)")
look(
    drawn,
    "the constants of every step of this run, known before it began.",
    "what is still moving near the end: almost nothing, so nothing can go wrong there, nor be mended.",
)

# %% [markdown]
# ## 4. Is it collapsing?
#
# The numbers of notebook 03, in your own run, and the sentence in which the trainer itself says how it is doing:

# %%
live.wait(step=scaled(200, quick=20))
show("collapse", run=live.run)

# %%
diagnosis = live.run.diagnosis  # None before there is anything to say
if diagnosis is not None:
    print(diagnosis["name"], "since step", diagnosis["since_step"])
    print(diagnosis["sentence"])

# %% [markdown]
# ## 5. What emerges
#
# Every 70 steps the run is measured with labels and masks, which training never sees: k-nearest neighbours on the class token; how well the first principal component of
# patches cuts out the object; how well one attention head does. Each has a baseline that needs no learning. This cell waits for the end of the run (go and look at the
# lab meanwhile: `dino-lab watch runs` in a terminal, in the folder of this notebook).

# %%
run = live.wait(seconds=3600)
baselines = run.about["baselines"]
print(live, baselines)

# %%
show("emergence", run=run)

# %%
table = run.metrics()
past = 0
if "knn/student" in table:
    measured = table[["step", "knn/student"]].dropna()
    beyond = measured[measured["knn/student"] > baselines.get("knn_raw_pixels", 1)]
    past = int(beyond["step"].iloc[0]) if len(beyond) else 0
reveal("04.a", past, "Measured every 70 steps on 400 images; 0 means never.", within=70)

# %% [markdown]
# ## 6. Break it
#
# A *fork* is a new run that starts from a checkpoint of another with something changed: the cleanest experiment there is, since everything before is the same. We fork the
# recorded run at step 500 of 6000, where 72 of its 512 prototypes are in use (the perplexity of the mean target, $\exp H(\overline P)$), and take its centering away. KoLeo, which
# also pushes images apart, is taken away too, and the teacher made faster, so that you need not wait.

# %%
predict(
    "04.c",
    "Without centering, how many of 512 prototypes (perplexity) are in use 60 steps later? Before the cut it was about 72.",
)

# %%
parent, at = (gallery(), 500) if not QUICK else (run, 20)
faster = {"objective__koleo_weight": 0, "schedules__momentum": (0.99, 1.0)}
broken = fork(parent, at, "no_centre", objective__centering="none", **faster)
broken.wait(step=at + scaled(60, quick=5))
stop(broken)
print(broken)

# %%
used = broken.run.metrics()[["step", "prototypes/perplexity"]].dropna()
print(used.tail(4).to_string(index=False))
reveal(
    "04.c",
    round(float(used["prototypes/perplexity"].iloc[-1])),
    "What all images share takes over.",
    within=5,
)

# %% [markdown]
# It is a collapse in progress, not one that is over: several prototypes still tell images apart, so KL and information are not 0, and the diagnosis, which waits for those, may
# still call the run healthy. (We let it go on to step 860: 4 prototypes, and the teacher's k-NN accuracy at step 750 was 63 % against 73 % of the parent.) A monitor shows what it
# measures; the *number of prototypes in use* shows this one first.
#
# The other collapse: centering stays, sharpening goes. The teacher becomes as warm as the student.

# %%
flat = fork(parent, at, "no_sharpening", schedules__teacher_temperature=(0.1, 0.1), **faster)
flat.wait(step=at + scaled(60, quick=5))
stop(flat)
print(flat)

# %% [markdown]
# ## 7. Mend it
#
# Stopped runs are saved. A fork of the broken run with its centering back:

# %%
predict(
    "04.d",
    "60 steps later the number of prototypes in use is",
    ["above 30 again", "between 10 and 30", "below 10"],
)

# %%
mended = fork(broken.run, broken.run.checkpoints[-1], "mended", objective__centering="centre")
mended.wait(step=broken.run.checkpoints[-1] + scaled(60, quick=5))
stop(mended)

# %%
drawn, axes = figure(1, 2, width=9.5, height=3.4)
for name, branch in (
    ("parent", parent), ("no centering", broken.run), ("no sharpening", flat.run), ("mended", mended.run),
):  # fmt: skip
    table = branch.metrics()
    table = table[(table["step"] > at - scaled(100, 5)) & (table["step"] < at + scaled(160, 40))]
    for place, metric in zip(axes, ("prototypes/perplexity", "teacher/entropy")):
        line = table[["step", metric]].dropna()
        place.plot(line["step"], line[metric], label=name, marker="o", markersize=2)
axes[0].set(
    title="Prototypes in use",
    xlabel="training step",
    ylabel="perplexity of the mean target",
    yscale="log",
)
axes[1].set(title="Teacher's entropy", xlabel="training step", ylabel="nats")
axes[1].axhline(np.log(parent.config.head.prototypes), color="grey", linestyle=":")
axes[0].legend()
look(
    drawn,
    "one run and three forks of it, on one clock.",
    "the forks leave the parent where they were cut, in opposite directions; the mended one comes back. Dotted: ln K.",
)

# %%
last = float(mended.run.metrics()["prototypes/perplexity"].dropna().iloc[-1])
found = "above 30 again" if last > 30 else "between 10 and 30" if last > 10 else "below 10"
reveal("04.d", found, f"Perplexity {last:.0f}.")

# %% [markdown]
# ## What was learnt
#
# - A run is a directory that grows: whole lines, whole folders. Whoever reads it needs no trainer.
# - Loss = H + KL holds in every row of a log; a loss that rises in the first steps is the centre at work.
# - Labels and masks measure, they do not teach; a curve means something once it has passed its baseline.
# - A fork changes one thing from a checkpoint on. Without centering few prototypes take over; without sharpening all become alike; a fork mends what a fork broke, if the schedules still move.
# - The same on the command line: `dino-lab train`, `resume`, `fork`, `watch`.
#
# ## Exercises
#
# **04.1** (10 minutes) A reader of `metrics.jsonl` that survives a trainer which is just writing.


# %% exercise="04.1"
def read_lines(text):
    """Text of a metrics file → its rows as dictionaries, in order, without a last line that is not whole."""
    ### BEGIN SOLUTION
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]
    ### END SOLUTION


# %% check="04.1" points=2
check.read_lines(read_lines)
### BEGIN HIDDEN TESTS
check.read_lines(read_lines, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **04.2** (10 minutes) The learning rate of a step.


# %% exercise="04.2"
def rate_at(step, peak, end, steps, warmup):
    """A straight line from 0 to `peak` over `warmup` steps, then half a cosine down to `end` at `steps`, where it stays."""
    ### BEGIN SOLUTION
    if step < warmup:
        return peak * step / warmup
    share = min(1.0, (step - warmup) / (steps - warmup))
    return end + (peak - end) * (1 + math.cos(math.pi * share)) / 2
    ### END SOLUTION


# %% check="04.2" points=2
check.rate_at(rate_at)
### BEGIN HIDDEN TESTS
check.rate_at(rate_at, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **04.3** (5 minutes) The options of a fork that makes the teacher's answer flat, in the words of `fork` (`__` for a dot). Then try it on your own run:
# `fork(live.run, 280, "flat", **flattening())`.


# %% exercise="04.3"
def flattening():
    """Options by name, such as {"objective__centre_momentum": 0.9}."""
    ### BEGIN SOLUTION
    return {"schedules__teacher_temperature": (0.1, 0.1)}
    ### END SOLUTION


# %% check="04.3" points=1
check.flattening(flattening)

# %% [markdown]
# **04.4** (5 minutes, in words) Your fork without centering is called healthy by the diagnosis, and its loss falls. What would you show a colleague to convince her that it is not?

# %% [markdown] written="04.4" points=2
# ### BEGIN SOLUTION
# The number of prototypes in use beside that of the parent, on one axis and from the same checkpoint: it falls by a factor of ten within 60 steps while the parent's does not. And a measurement that does not depend on
# prototypes at all, such as k-NN of both at the same step. The loss is no argument: it falls because the teacher's entropy does.
# ### END SOLUTION
