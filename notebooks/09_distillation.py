# %% [markdown]
# # 09 Distillation: one teacher, several students
#
# **Question:** how does a small network get what a large one has learnt, and why is a second student nearly free?
#
# 60 minutes · needs: the objective by hand (02), why it does not collapse (03) · no GPU, no internet · Oquab et al. 2023 (arXiv 2304.07193), Sec. 5;
# Siméoni et al. 2025 (arXiv 2508.10104), Sec. 5.2; Hinton et al. 2015 (arXiv 1503.02531), Sec. 2
#
# The small DINOv2 and DINOv3 networks that everybody uses were not trained alone: they are students of a large teacher that no longer learns. The
# objective is the one of notebook 02, and yet one of its two worries is gone. We find out which, compute what a step costs, and distil two real students.

# %%
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import log_softmax

from dino_core.config import Machine
from dino_core.data.loader import Loader
from dino_core.data.multicrop import MultiCrop
from dino_core.data.sources import open_source
from dino_core.distillation.students import settled
from dino_core.distillation.teacher import frozen_teacher
from dino_core.model import PRESETS
from dino_core.objective.terms import cross_view
from dino_core.recipes import recipe
from dino_core.schedules import Schedule
from dino_core.seeds import generator
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine
from lab.analysis import pca
from lab.analysis.simulate import Simulator
from notebooks.checks import n09 as check
from notebooks.course import QUICK, distil, gallery, look, predict, reveal, scaled, show
from notebooks.solutions import n09 as solution
from notebooks.views import figure

torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. What a soft answer tells
#
# A label says one thing: *tree*. A teacher's distribution says how well each of 512 prototypes fits, and so how images are alike. The scores that the recorded run's teacher
# gives to its 16 probe images:

# %%
run = gallery()
probe, labels = run.probe(), torch.from_numpy(run.probe_images.labels.astype(np.int64))
logits = torch.from_numpy(probe.logits.astype(np.float32))  # I K
print("images, prototypes:", tuple(logits.shape))
for temperature in (1.0, 0.1, 0.04):
    p = (logits[2] / temperature).softmax(dim=0)
    bits = -(p * p.clamp_min(1e-12).log()).sum() / np.log(2)
    print(f"temperature {temperature}: entropy {bits:.2f} bits, three largest", p.topk(3).values)

# %%
predict(
    "09.a",
    "Take two of these images that show the same class. In what percentage of such pairs is the largest of the 512 scores the same one?",
)

# %%
hard = (logits.argmax(1)[:, None] == logits.argmax(1)[None]).float()
soft = (logits / 0.1).softmax(dim=1).sqrt()
alike = soft @ soft.T  # Bhattacharyya: 1 for equal distributions, 0 for those that share nothing
same = (labels[:, None] == labels[None]) & ~torch.eye(len(labels), dtype=torch.bool)
other = labels[:, None] != labels[None]
print(f"{int(same.sum()) // 2} pairs of one class, {int(other.sum()) // 2} of two")
for name, table in (("largest score", hard), ("distribution ", alike)):
    print(f"{name}: same class {table[same].mean():.2f}, other classes {table[other].mean():.2f}")
reveal(
    "09.a",
    round(100 * float(hard[same].mean())),
    "As labels they say 'different' of nearly every pair. The distributions of one class overlap all the same, those of other classes much less.",
    within=10,
)

# %% [markdown]
# ## 2. The loss, by hand
#
# Teacher: frozen. Student: any network, with a head of as many prototypes as the teacher's. The loss is the cross-entropy of the teacher's *sharpened*
# answer (temperature $\tau_t$, below the student's $\tau_s$):
#
# $$L = -\frac1B\sum_b \sum_k P_{bk} \log Q_{bk}, \qquad P = \mathrm{softmax}(z^t/\tau_t),\quad Q = \mathrm{softmax}(z^s/\tau_s)$$
#
# **Convention:** rows are images, columns are prototypes. Three images, four prototypes, three students: one that gives the teacher's own scores *cooled* to its
# temperature, one that copies the scores as they are, one that finds all alike. First each row, then the loop over single numbers, then the library:

# %%
teacher = torch.tensor([[0.5, 0.4, 0.1, 0.3], [0.6, 0.2, 0.5, 0.1], [0.55, 0.15, 0.2, 0.5]])
targets = (teacher / 0.07).softmax(dim=1)
students = {"cooled": teacher * 0.1 / 0.07, "copied": teacher, "all alike": torch.zeros(3, 4)}
print("what the teacher says", targets, sep="\n")
for name, scores in students.items():
    log_q = log_softmax(scores / 0.1, dim=1)
    loop = 0.0
    for b in range(3):
        for k in range(4):
            loop -= float(targets[b, k] * log_q[b, k]) / 3
    library = float(cross_view(scores[None], targets[None], skip_same_view=False))
    assert np.isclose(loop, library, atol=1e-5)
    print(f"{name:9}: {loop:.3f} nats")
entropy = -(targets * targets.log()).sum(dim=1).mean()
print(f"entropy of the targets: {entropy:.3f} nats; ln 4 = {np.log(4):.3f}")

# %% [markdown]
# The least that any student can reach is the entropy $H(P)$; what is above it is $\mathrm{KL}(P\,\|\,Q)$, which the student can learn. The logged *loss* of a distillation
# therefore never goes to 0; its `kl` may.
#
# ## 3. What is no longer needed
#
# In notebook 03 two things kept teacher and student from agreeing on nonsense: centering and sharpening. Take centering away, in the system of notebook 03,
# once with a teacher that follows its student and once with one that is frozen as it was born.

# %%
predict(
    "09.b",
    "Without centering, after 800 steps: which *student* still tells images apart?",
    ["both", "the one whose teacher follows", "the one whose teacher is frozen", "neither"],
)


# %%
def told_apart(momentum):
    """Information of the student's answers about the images, as a share of ln 32, after 800 steps without centering."""
    system = Simulator({"centering": False, "momentum": momentum}, seed=3)
    kl = system.run(800)["kl"]
    system.teacher = system.student  # survey() asks the teacher; we want to hear the student
    return system.survey()["teacher/information"] / np.log(32), kl[[0, -1]] / np.log(32)


apart = {name: told_apart(m) for name, m in (("follows", 0.99), ("frozen", 1.0))}
for name, (information, kl) in apart.items():
    print(f"teacher {name}: information {information:.2f}, KL {kl[0]:.2f} -> {kl[1]:.2f} of ln 32")

# %%
alive = [name for name, (information, _) in apart.items() if information > 0.1]
answers = {0: "neither", 2: "both"}
one = "the one whose teacher is frozen" if "frozen" in alive else "the one whose teacher follows"
reveal(
    "09.b",
    answers.get(len(alive), one),
    "A frozen teacher's targets do not depend on the student: they cannot be dragged along. The worst a student can do is not to learn.",
)

# %% [markdown]
# So nothing has to be *balanced* any more. What was learnt of the centre is part of what the teacher says; here a student's objective begins with the teacher's
# centre, and the moving average, which goes on, has nowhere to go (DINOv3's code balances each batch with Sinkhorn-Knopp instead, as its teacher was trained).
# Masking and stochastic depth are dropped too (DINOv2, Sec. 5). The EMA of the student stays, but it teaches nobody: it is what one *keeps*.
#
# ## 4. A real step: the loop, then the library
#
# `tiny_student`, 0.1 M weights, and the recorded run as its teacher, on one batch. The teacher looks *once*; whoever asks later gets the same answer.

# %%
cpu = Machine(device="cpu", precision="fp32", threads=1)
asked = frozen_teacher(run.path)
small = replace(recipe("tiny_student"), batch_size=8, machine=cpu)
source = open_source(small.data)
student = settled("tiny_student", small, asked, source)
loader = Loader(
    source, batch_size=8, seed=0, decode_size=96, cache_mib=8, workers=1, on_skip=lambda *_: None
)
batch = MultiCrop(student.config.crops)(loader.batch(0), generator(0, "crops", 0))
asked.look(batch.globals)
first, second = (asked([batch.globals]).logits for _ in range(2))  # two students ask
assert torch.equal(first, second)
print("teacher's scores T B K:", tuple(first.shape), "· passes of the teacher:", asked.passes)

# %%
engine, now = build_engine(student.config), Schedule(student.config).at(0)
asked.hand_on(engine.objective)  # the teacher's centre
centre = engine.objective.centre.clone()
weights = {name: tensor.clone() for name, tensor in asked.state_dict().items()}
p = ((first - centre) / now.teacher_temperature).softmax(-1)  # T B K
with torch.no_grad():
    scores = engine.student([batch.globals, batch.locals], patches=False).logits
log_q = log_softmax(scores / now.student_temperature, dim=-1)  # S B K
pairs = [(s, t) for s in range(len(log_q)) for t in range(len(p)) if s != t]
loop = sum(float(-(p[t] * log_q[s]).sum(-1).mean()) for s, t in pairs) / len(pairs)
result = engine.train_step(batch, now, Stopwatch(engine.device), asked=asked)
library = float(result.losses.terms["dino"].value)
print(f"{len(pairs)} pairs of crops: loop {loop:.4f}, library {library:.4f} nats")
assert np.isclose(loop, library, atol=1e-3)

# %%
assert all(torch.equal(tensor, weights[name]) for name, tensor in asked.state_dict().items())
moved = (engine.objective.centre - centre).norm() / centre.norm()
assert torch.allclose(engine.objective.centre, 0.9 * centre + 0.1 * first.mean((0, 1)), atol=1e-4)
print(
    f"the teacher: bit for bit as before; its centre: moved by {moved:.1%} of its length, the chance of one batch of 8"
)

# %% [markdown]
# ## 5. What it costs
#
# A step: one pass of the teacher, forward only, and for each student a forward and a backward pass. With the teacher at $t$ seconds and students at
# $s_1, s_2$:
#
# | | seconds |
# |---|---|
# | two distillations, one after the other | $2t + s_1 + s_2$ |
# | both students in one step, from one pass of the teacher | $t + s_1 + s_2$ |
#
# From DINOv3's 7B teacher to its students, $t$ is nearly everything. With the number of weights as a measure of a forward pass, and a backward pass as two of them:

# %%
millions = {
    name: PRESETS[f"dinov3_{name}"].parameters / 1e6
    for name in ("vit7b16", "vits16", "vitb16", "vitl16")
}
t = millions["vit7b16"]
for names in (["vits16", "vitb16"], ["vits16", "vitb16", "vitl16"]):
    own = [3 * millions[name] for name in names]
    share = (t + sum(own)) / (len(own) * t + sum(own))
    print(f"{' + '.join(names)}: together {share:.0%} of the cost of one after the other")

# %%
predict(
    "09.c",
    "Ten students of 1 second each, a teacher of 9 seconds. One after the other: 100 s a step. Together, in seconds?",
)

# %%
reveal("09.c", 9 + 10 * 1, "One pass of the teacher for all of them.")

# %% [markdown]
# On many GPUs each student gets its own share of them, and *all* compute the teacher's pass, each on its share of the images; then they exchange what it said
# (DINOv3, Sec. 5.2; `torchrun ... -m dino_core.commands.distill --ranks 48 48 80 120`).
#
# ## 6. Another family: grids that match
#
# A ViT with patches of 8 px makes a grid of 6 × 6 out of a crop of 48 px; a ConvNeXt, whose stride is 32, would make one of 1 × 1. For a loss on patches both have to
# speak of the same places, so the ConvNeXt gets the *same crop, cut out larger*:

# %%
convnext = settled("tiny_convnext", replace(recipe("tiny_convnext"), machine=cpu), asked, source)
for name, size, stride in (
    ("teacher", convnext.sight.crops.global_size, asked.backbone.patch),
    ("tiny_convnext", convnext.config.crops.global_size, 32),
):
    print(f"{name}: {size} px, one place every {stride} px: {size // stride} x {size // stride}")
assert solution.matching_size(48, 8, 32) == convnext.config.crops.global_size

# %% [markdown]
# ## 7. Two students, live
#
# `distil` runs `dino-lab distill --teacher RUN --students tiny_student tiny_convnext` as a process of its own. Each student's run is a run like any other. The ConvNeXt has
# sixteen times as many pixels to look at, so it takes most of the time. 60 steps of 8 images are half a minute on one core that is free, and show how it begins; set `STEPS = 600` and
# `batch_size=32` for a quarter of an hour or more that shows where it leads.

# %%
predict(
    "09.d",
    "After these few steps, which student is closer to its teacher (KL, in nats)?",
    ["the ViT, of the teacher's family", "the ConvNeXt", "within 0.1 of each other"],
)

# %%
STEPS = scaled(60, quick=4)
live = distil(
    run,
    ["tiny_student", "tiny_convnext"],
    name=f"students_{STEPS}",
    steps=STEPS,
    batch_size=scaled(8, quick=4),
    machine__threads=1,
    evaluation__every=0,
    evaluation__train_images=scaled(200, quick=40),
    evaluation__test_images=scaled(100, quick=20),
)
live

# %% [markdown]
# Run these two cells whenever you like; in JupyterLab the widgets follow by themselves.

# %%
live["tiny_student"].wait(step=scaled(20, quick=2))
print(live["tiny_student"])
show("loss", run=live["tiny_student"].run)

# %%
print(live["tiny_convnext"])
show("loss", run=live["tiny_convnext"].run)

# %% [markdown]
# The next cell waits for their end.

# %%
done = {name: one.wait(seconds=1800) for name, one in live.items()}
tables = {name: student.metrics() for name, student in done.items()}
drawn, axes = figure()
for name, table in tables.items():
    line = table[["step", "kl"]].dropna()
    weights = sum(p.numel() for p in done[name].teacher().parameters()) / 1e6
    axes.plot(line["step"], line["kl"], marker=".", label=f"{name}: {weights:.2f} M weights")
axes.set(
    title="Two students of one teacher",
    xlabel="training step",
    ylabel="KL(teacher || student), nats",
    ylim=(0, None),
)
axes.legend()
look(
    drawn,
    "what each student still has to learn of what its teacher says.",
    "both fall from the first step on, up and down with batches of 8 images: nothing is to be discovered, only copied.",
)

# %%
last = {name: float(table["kl"].dropna().iloc[-3:].mean()) for name, table in tables.items()}
gap = last["tiny_convnext"] - last["tiny_student"]
closer = "the ViT, of the teacher's family" if gap > 0 else "the ConvNeXt"
reveal(
    "09.d",
    "within 0.1 of each other" if abs(gap) < 0.1 else closer,
    ", ".join(f"{name} {value:.2f}" for name, value in last.items()) + ".",
)
if not QUICK:
    for table in tables.values():
        assert table["kl"].dropna().iloc[-3:].mean() < 0.8 * table["kl"].dropna().iloc[0]

# %% [markdown]
# Where the seconds went, from the students' own logs (milliseconds a step). The teacher's pass stands in both and happened once:

# %%
parts = {
    name: {
        part: float(table[f"time/{part}"].mean())
        for part in ("teacher", "student", "backward", "update")
    }
    for name, table in tables.items()
}
for name, spent in parts.items():
    print(name, {part: round(value) for part, value in spent.items()})
once = parts["tiny_student"].pop("teacher")
own = [sum(value for part, value in spent.items() if part != "teacher") for spent in parts.values()]
print(
    f"one after the other would take {solution.saving(once, own):.2f} times as long: this teacher is small"
)

# %% [markdown]
# ## 8. Did they get it?
#
# KL says how well a student copies. Whether it has got *what the teacher knows about images* is asked with labels and masks nobody trained on (notebook 10): k-NN, and the first
# principal component of patches against the object. Beside what needs no learning:

# %%
rows = []
for name, student in done.items():
    known, measured = student.about["baselines"], tables[name]
    rows += [
        (
            f"{name}, untrained",
            known["knn_teacher_untrained"],
            known["pca_iou_untrained"],
        ),
        (
            f"{name}, distilled",
            *(float(measured[m].dropna().iloc[-1]) for m in ("knn/teacher", "pca_iou")),
        ),
    ]
rows += [
    ("raw pixels | centred box", known["knn_raw_pixels"], known["jaccard_centred_box"]),
    ("the teacher", known["knn_distilled_from"], known["pca_iou_distilled_from"]),
]
for name, neighbours, overlap in rows:
    print(f"{name:26} k-NN {neighbours:.1%}   PCA IoU {overlap:.1%}")

# %%
drawn, axes = figure(1, 2, width=9.5, height=3.2)
colours = ["#56B4E9", "#0072B2", "#E69F00", "#D55E00", "grey", "black"]
for place, column, title in (
    (axes[0], 1, "k-NN accuracy"),
    (axes[1], 2, "First component on the object"),
):
    values = [100 * row[column] for row in rows]
    place.barh([row[0] for row in rows], values, color=colours)
    for line, value in enumerate(values):
        place.text(value + 1, line, f"{value:.0f}", va="center", fontsize=8)
    place.set(title=title, xlabel="%", xlim=(0, 105), ylabel="")
    place.invert_yaxis()
    place.set_ylabel("network")
axes[1].set_yticklabels([])
look(
    drawn,
    "both students before and after, their teacher, and what needs no learning; 200 + 100 images, so that differences of k-NN below 10 points are chance.",
    "how far each is from its own untrained start, and which of them has passed the grey bar.",
)

# %% [markdown]
# Half a minute shows that they *copy*; what the teacher knows about images they do not have yet, and we do not say that they do. (One bar may stand out: the ConvNeXt's first component. Nothing but overlap of one direction with the
# object is measured there, on 100 images and one seed; its k-NN has not moved. A number that flatters wants a second measurement before it is believed.) With `tiny_student`'s own batch of 32, 300 steps gave k-NN of 65 % (ViT) and 55 % (ConvNeXt), and
# 360 of 600 steps 73 and 62 %, against 64 % of raw pixels and 89 % of the teacher (1000 + 400 images; LOG.md, "students to their end"). So the ConvNeXt had not passed raw pixels by then.
#
# What a patch looks like to each of them, the teacher's way and the students':

# %%
pictures = run.probe_images.images
drawn, axes = figure(4, 5, width=7.2, height=5.8)
networks = {"teacher": run, "ViT": done["tiny_student"], "ConvNeXt": done["tiny_convnext"]}
for column, image in enumerate((0, 2, 5, 9, 12) if not QUICK else (0, 1, 2, 3, 0)):
    axes[0, column].imshow(pictures[image].transpose(1, 2, 0))
    axes[0, column].set_title(f"image {image}", fontsize=8)
    for place, (name, owner) in zip(axes[1:, column], networks.items()):
        shown = owner.probe()
        x = shown.patches.astype(np.float32)[image][None]
        scores = pca.project(x, 1, per_image=True)[..., 0]
        _, turned = pca.foreground(scores, shown.grid, per_image=True)
        place.imshow(turned.reshape(shown.grid), cmap="cividis")
        place.set_title(name, fontsize=8)
for place in axes.flat:
    place.axis("off")
look(
    drawn,
    "the first component of one image's patches in teacher and students, its sign chosen so that the border is dark.",
    "whether a student lights up the same places as its teacher, though its loss never spoke of patches.",
)

# %% [markdown]
# ## What was learnt
#
# - A soft answer says how images are alike; a label of the largest score loses most of it.
# - The loss is the cross-entropy of the frozen teacher's sharpened answer; the least it can be is that answer's entropy.
# - Targets that do not depend on the student cannot collapse with it, so nothing has to be balanced; the student's EMA is kept, and teaches nobody.
# - One pass of the teacher serves all students; the larger the teacher, the cheaper the second student.
# - A student of another family gets the crop at the size at which the grids match.
# - KL measures copying; whether a student is any good is asked with other measurements, beside baselines.
#
# In the code: `dino_core/distillation/` (`teacher.py`, `sight.py`, `lockstep.py`), `dino-lab distill --help`.
#
# ## Exercises
#
# **09.1** (10 minutes) The loss of a student from both networks' scores, for one view.


# %% exercise="09.1"
def distilled(student, teacher, student_temperature=0.1, teacher_temperature=0.07):
    """Scores (B K) of both -> the mean cross-entropy over images, in nats; the teacher's side is a constant (no gradient)."""
    ### BEGIN SOLUTION
    targets = (teacher / teacher_temperature).softmax(dim=-1).detach()
    return -(targets * log_softmax(student / student_temperature, dim=-1)).sum(dim=-1).mean()
    ### END SOLUTION


# %% check="09.1" points=2
check.distilled(distilled)
### BEGIN HIDDEN TESTS
check.distilled(distilled, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **09.2** (5 minutes) What is saved: seconds of the steps of n students one after the other, over those of one common step.


# %% exercise="09.2"
def saving(teacher, students):
    """Seconds of the teacher's pass, and a list of seconds of each student's own part -> how many times longer one after the other takes."""
    ### BEGIN SOLUTION
    return (len(students) * teacher + sum(students)) / (teacher + sum(students))
    ### END SOLUTION


# %% check="09.2" points=1
check.saving(saving)
### BEGIN HIDDEN TESTS
check.saving(saving, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **09.3** (5 minutes) The size of the student's crop.


# %% exercise="09.3"
def matching_size(teacher_size, teacher_patch, student_stride):
    """Pixels of the teacher's crop, its patch and the student's stride -> pixels at which the student's grid is the teacher's."""
    ### BEGIN SOLUTION
    return teacher_size // teacher_patch * student_stride
    ### END SOLUTION


# %% check="09.3" points=1
check.matching_size(matching_size)
### BEGIN HIDDEN TESTS
check.matching_size(matching_size, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **09.4** (5 minutes, in words) Why is the EMA of the student kept, though no teacher is made of it?

# %% [markdown] written="09.4" points=1
# ### BEGIN SOLUTION
# The student jumps around a good solution with each batch; the average of its weights over the last steps lies nearer to the middle and is usually the better
# network, at no cost of training (Polyak averaging; DINOv2, Sec. 5 keeps it as the final model). It has no other use in distillation: targets come from the frozen teacher.
# Early in a short run it can be the worse one, because it still remembers the first steps: compare `knn/teacher` (the EMA) with `knn/student` in your own log.
# ### END SOLUTION
