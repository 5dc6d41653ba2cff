# %% [markdown]
# # 11 Your own monitor, view and objective
#
# **Question:** how do you ask a run something that nobody has asked before?
#
# 50 minutes · needs: the objective by hand (02), Python functions · no GPU, no internet · Caron et al. 2021 (arXiv 2104.14294), Sec. 5.3;
# Wang and Isola 2020 (arXiv 2005.10242), Sec. 4 for the monitor that is built here
#
# The lab is made to be extended: a monitor is a pure function whose argument names say what it reads; a view is a function whose keyword
# arguments become controls; an objective has three verbs. We write one of each, test it against a loop, and use it on a real step.

# %%
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import torch
from torch.nn.functional import log_softmax, normalize

from dino_core.config import Machine
from dino_core.data.loader import Loader
from dino_core.data.multicrop import MultiCrop
from dino_core.data.sources import open_source
from dino_core.fit import fit
from dino_core.objective import Dino
from dino_core.objective.losses import Losses, Term
from dino_core.recipes import tiny
from dino_core.schedules import Schedule
from dino_core.seeds import generator
from dino_core.stopwatch import Stopwatch
from dino_core.telemetry.monitors import MONITORS, monitor
from dino_core.train import build_engine
from lab.run import Run
from lab.views.figures import FIGURES, figure as view
from notebooks.checks import n11 as check
from notebooks.course import gallery, look, predict, reveal, scaled, show, training
from notebooks.solutions import n11 as solution
from notebooks.views import figure

torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. A monitor
#
# *Uniformity* (Wang and Isola 2020): how evenly class tokens cover the sphere. For all pairs of different images,
#
# $$U = \ln \frac{1}{B(B-1)} \sum_{i \ne j} \exp(-2\,\|x_i - x_j\|^2), \qquad \|x_i\| = 1$$
#
# 0 when all are the same vector, lower the more they spread. By hand for three points on a circle:

# %%
x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
terms = []
for i in range(3):
    for j in range(3):
        if i != j:
            squared = float((x[i] - x[j]).square().sum())
            terms.append(np.exp(-2 * squared))
            print(f"{i} {j}: squared distance {squared:.0f}, exp(-2 d²) = {terms[-1]:.5f}")
by_hand = np.log(sum(terms) / 6)
print(f"U = {by_hand:.3f}")

# %%
predict("11.a", "All images get the same class token. What is U?", ["minus infinity", "0", "1"])

# %% [markdown]
# A monitor is that formula in a function with a decorator. Its argument `teacher_cls` is a name that the training step publishes, (T B D): the
# teacher's class tokens of its T global views.


# %%
def uniformity(teacher_cls):
    """How evenly the teacher's class tokens cover the sphere; 0 when all are the same (Wang and Isola 2020)."""
    x = normalize(teacher_cls[0].float(), dim=-1)
    squared = torch.cdist(x, x).square()
    others = ~torch.eye(len(x), dtype=torch.bool)
    return (-2 * squared[others]).exp().mean().log()


assert np.isclose(by_hand, float(uniformity(x[None])), atol=1e-4)
print("all the same:", float(uniformity(torch.ones(1, 5, 3))))
reveal("11.a", "0", "exp(0) = 1 for each pair, and ln 1 = 0. That is full collapse.")

# %%
if "course/uniformity" not in MONITORS:
    monitor("course/uniformity", unit="nats", better="lower", title="Uniformity of class tokens")(
        uniformity
    )
print(
    "reads",
    MONITORS["course/uniformity"].reads,
    "· about:",
    MONITORS["course/uniformity"].metric.about,
)
try:
    monitor("course/wrong", unit="1")(lambda teachers_mood: teachers_mood)
except ValueError as error:
    print("refused:", str(error)[:160], "...")

# %% [markdown]
# As a file `dino_core/telemetry/monitors/uniformity.py` with the same ten lines it would be logged in every run, and its curve would be on the
# lab's page under "Any metric", with title, unit and the docstring's first sentence. Nothing else has to be touched.
#
# Monitors that are there already say other things of the same collapse: information and KL fall to 0 where U rises to 0. Here they are, of your
# run if one trains beside this notebook (04 begins one; the widget follows it), else of the recorded one.

# %%
show("collapse", run=training(gallery()))

# %% [markdown]
# ## 2. A view
#
# What did it do during the recorded run? There it was not logged, but the probe images' class tokens are kept. A *figure* is a function whose
# first argument says what it reads; its keyword arguments become controls.


# %%
def spread_through_training(run: Run, *, logarithmic: bool = True):
    """Uniformity of the probe images' class tokens at every recorded step."""
    values = [
        float(uniformity(torch.from_numpy(run.probe(s).cls.astype(np.float32))[None]))
        for s in run.probes
    ]
    drawn = go.Figure(
        go.Scatter(x=[s + 1 for s in run.probes], y=values, mode="lines+markers", name="teacher")
    )
    drawn.update_xaxes(title="training step + 1", type="log" if logarithmic else "linear")
    drawn.update_yaxes(title="uniformity (nats)")
    return drawn


view(
    page="monitor",
    title="Spread of class tokens",
    shows="How evenly the probe images' class tokens cover the sphere.",
    look="It falls as images become different from each other; a rise is a warning.",
)(spread_through_training)
print("controls:", FIGURES["spread_through_training"].view.controls)

# %%
run = gallery()
made = FIGURES["spread_through_training"](run, logarithmic=True)
curve = made.data[0]
drawn, axes = figure()
axes.plot(curve.x, curve.y, marker="o", label="16 probe images")
axes.set(
    xscale="log",
    xlabel="training step + 1",
    ylabel="uniformity (nats)",
    title="Spread of class tokens",
)
axes.legend()
look(
    drawn,
    "the figure's own numbers, drawn once more without JavaScript for this page: uniformity at every recorded step.",
    "where it begins to fall, compared with where k-NN begins to rise (notebook 10).",
)

# %% [markdown]
# ## 3. A real step
#
# To try an objective we need a training step. This is `tiny`, cut down to fit in seconds:

# %%
base = tiny()
small = replace(
    base,
    batch_size=8,
    data=replace(base.data, shapes=replace(base.data.shapes, images=64)),
    backbone=replace(base.backbone, dim=48, depth=2, heads=3),
    head=replace(base.head, prototypes=64, hidden=64, bottleneck=32),
    machine=Machine(device="cpu", precision="fp32", threads=1),
    steps=100,
)
source = open_source(small.data)
config, _ = fit(small, len(source))
loader = Loader(source, batch_size=8, seed=0, decode_size=64, cache_mib=8, workers=1, on_skip=print)
batch = MultiCrop(config.crops)(loader.batch(0), generator(0, "crops", 0))
print("global crops", tuple(batch.globals.shape), "local crops", tuple(batch.locals.shape))

# %%
engine, schedule = build_engine(config), Schedule(config)
result = engine.train_step(batch, schedule.at(0), Stopwatch(engine.device))
print(
    {name: f"{float(term.value):.3f}" for name, term in result.losses.terms.items()},
    "ln K",
    f"{np.log(64):.3f}",
)
print(
    "uniformity of this step:",
    f"{float(MONITORS['course/uniformity'].measure(result.targets.cls)):.3f} nats",
)

# %% [markdown]
# ## 4. An objective
#
# Three verbs: `targets(teacher, batch, now)` reads, `losses(student, batch, targets, now)` computes, `after_step(...)` writes. An objective
# of ours: DINO whose pairs do not count alike. The student's pairs with the *most different* boxes shall weigh more, so that it does not get
# away with easy ones. First the numbers: how much two crops of an image overlap, as intersection over union of their boxes.

# %%
boxes = batch.global_boxes.corners  # V B 4: left, top, right, bottom as shares of the image
one, other = boxes[0, 0], boxes[1, 0]
print("boxes of image 0", one, other)
print(f"overlap {float(solution.overlap(one[None], other[None])[0]):.3f}")

# %%
predict(
    "11.b",
    "Pairs weigh 1 - overlap, scaled so that the weights of a batch have mean 1. Compared with DINO's loss on the same batch, this loss will be",
    ["exactly the same", "nearly the same", "half as large"],
)


# %%
class FarPairs(Dino):
    """DINO whose pairs of views weigh by how little they overlap."""

    def losses(self, student, batch, targets, now):
        output = student([batch.globals, batch.locals], patches=False)
        corners = torch.cat([batch.global_boxes.corners, batch.local_boxes.corners])  # S B 4
        log_p = log_softmax(output.logits.float() / now.student_temperature, dim=-1)
        each = -torch.einsum("sbk,tbk->stb", log_p, targets.probabilities)  # S T B, nats
        weights = torch.stack(
            [1 - solution.overlap(corners, corners[t]) for t in range(len(targets.logits))], dim=1
        )
        weights[range(weights.shape[1]), range(weights.shape[1])] = 0  # a view with itself
        loss = (each * weights).sum() / weights.sum()
        return Losses({"dino": Term(loss, 1.0)}, output.logits, output.cls)


# %%
engine = build_engine(config)
torch.manual_seed(0)
targets = engine.objective.targets(engine.teacher, batch, schedule.at(0))
plain = engine.objective.losses(engine.student.eval(), batch, targets, schedule.at(0))
ours = FarPairs(config.objective, 64).losses(engine.student, batch, targets, schedule.at(0))
print(
    f"DINO {float(plain.detached().terms['dino'].value):.4f} nats, far pairs {float(ours.detached().terms['dino'].value):.4f} nats"
)
reveal(
    "11.b",
    "nearly the same",
    "A weighted mean of the same numbers. In a trained network far pairs are the harder ones, and the two part.",
)

# %% [markdown]
# Before training with it: is it the number that we mean? A loop over views and images has to say the same.

# %%
student = engine.student.eval()
output = student([batch.globals, batch.locals], patches=False)
corners = torch.cat([batch.global_boxes.corners, batch.local_boxes.corners])
total = weight = 0.0
for s in range(len(corners)):
    for t in range(2):
        for b in range(corners.shape[1]):
            if s == t:
                continue
            w = 1 - float(solution.overlap(corners[s, b][None], corners[t, b][None])[0])
            p, q = (
                targets.probabilities[t, b],
                log_softmax(output.logits[s, b].detach() / 0.1, dim=-1),
            )
            total, weight = total - w * float((p * q).sum()), weight + w
assert np.isclose(total / weight, float(ours.detached().terms["dino"].value), rtol=1e-4)
print(f"loop {total / weight:.4f} nats")

# %%
engine.objective, values = FarPairs(config.objective, 64), []
engine.student.train()
for step in range(scaled(30, quick=4)):
    batch = MultiCrop(config.crops)(loader.batch(step % 8), generator(0, "crops", step))
    done = engine.train_step(batch, schedule.at(step), Stopwatch(engine.device))
    values.append(float(done.losses.terms["dino"].value))
assert all(np.isfinite(values))
print(
    f"loss at the first step {values[0]:.3f}, at the last {values[-1]:.3f} nats; ln K = {np.log(64):.3f}"
)

# %% [markdown]
# It rises towards ln K as any run of DINO does at first, while the centre takes away what all images share (notebook 04, section 3). That it
# trains says nothing yet about whether it is *better*: that takes runs of full length, several seeds, and baselines (notebook 10).
#
# ## What was learnt
#
# - A monitor is a pure function; its argument names are its contract, and an unknown one is refused with what there is.
# - A figure's keyword arguments are its controls; one function serves page, notebook and export.
# - An objective is three verbs. Test it as the loop nest of its equation before you train with it.
#
# In the code: `dino_core/telemetry/monitors/`, `lab/views/`, `dino_core/objective/`. `CONTRIBUTING.md` says what tests will ask of yours.
#
# ## Exercises
#
# **11.1** (10 minutes) Uniformity, for class tokens of any length.


# %% exercise="11.1"
def uniform(cls):
    """Class tokens (B D), of any length -> ln of the mean of exp(-2 d²) over pairs of different images, on the unit sphere."""
    ### BEGIN SOLUTION
    x = normalize(cls, dim=-1)
    squared = (x[:, None] - x[None]).square().sum(dim=-1)
    others = ~torch.eye(len(x), dtype=torch.bool)
    return (-2 * squared[others]).exp().mean().log()
    ### END SOLUTION


# %% check="11.1" points=2
check.uniform(uniform)
### BEGIN HIDDEN TESTS
check.uniform(uniform, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **11.2** (10 minutes) The overlap of boxes, as section 4 uses it.


# %% exercise="11.2"
def overlap(boxes, others):
    """Boxes (... 4) and (... 4): left, top, right, bottom -> intersection over union (...), 0 where they do not meet."""
    ### BEGIN SOLUTION
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    sizes = [(b[..., 2:] - b[..., :2]).prod(dim=-1) for b in (boxes, others)]
    return shared / (sizes[0] + sizes[1] - shared)
    ### END SOLUTION


# %% check="11.2" points=2
check.overlap(overlap)
### BEGIN HIDDEN TESTS
check.overlap(overlap, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **11.3** (5 minutes, in words) You want to know during training whether the *student's* class tokens differ between global and local crops of one image. Which
# signals would your monitor read, what would it return, and how would you test it?

# %% [markdown] written="11.3" points=2
# ### BEGIN SOLUTION
# It reads `student_cls` (S B D), whose first views are the global ones: the mean cosine between the mean global and the mean local token of each image, a
# mean over images, so the mean over ranks is right without gathering. A test: two views made identical give 1, orthogonal ones 0, and a loop over images
# and views gives the same number as the function on random tensors.
# ### END SOLUTION
