# %% [markdown]
# # 03 Why doesn't it collapse?
#
# **Question:** two networks that only have to agree could agree on nothing; what stops them?
#
# 60 minutes · needs: notebook 02 or its summary · no GPU, no internet · Caron et al. 2021 (arXiv 2104.14294), Sec. 3.1, 5.3 and Fig. 7; Sinkhorn-Knopp: Caron et al. 2020 (arXiv 2006.09882), Sec. 3.1, and DINOv2 (arXiv 2304.07193), Sec. 4
#
# We compute by hand what a collapsed network says, find a three-line model of how it gets there, make both collapses happen in a system that
# trains in a second, learn to tell them apart by two numbers, and undo them.

# %%
from textwrap import fill

import numpy as np
import torch

from dino_core.measure.collapse import entropy, information
from dino_core.objective.targets import sinkhorn
from dino_core.telemetry.diagnosis import Diagnosis
from lab.analysis.simulate import Simulator
from notebooks.checks import n03 as check
from notebooks.course import gallery, look, predict, reveal, scaled, show
from notebooks.views import figure

torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. Answers that say nothing
#
# **Convention:** rows are images, columns are prototypes, and a row is the target that the teacher gives for an image. Four teachers, two images,
# four prototypes:

# %%
teachers = {
    "one prototype for all": torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0]]),
    "all prototypes alike": torch.full((2, 4), 0.25),
    "always the same doubt": torch.tensor([[0.5, 0.3, 0.2, 0], [0.5, 0.3, 0.2, 0]]),
    "each image its own": torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.01, 0.97, 0.01, 0.01]]),
}

# %% [markdown]
# Suppose the student agrees perfectly. Then KL is 0, and the loss is the teacher's entropy $H$ (notebook 02). Does the loss tell the first three,
# which say nothing about the image, from the fourth?

# %%
print(f"{'teacher':24} {'loss = mean H':>14} {'H of the mean':>14} {'difference':>11}")
for name, target in teachers.items():
    mean_entropy = entropy(target).mean()  # how undecided about each image
    entropy_of_mean = entropy(target.mean(dim=0))  # how widely all images together are spread
    told = entropy_of_mean - mean_entropy
    print(f"{name:24} {abs(mean_entropy):14.3f} {abs(entropy_of_mean):14.3f} {abs(told):11.3f}")

# %% [markdown]
# The loss prefers the collapsed first teacher (0) to the useful fourth (0.168). So the loss does *not* prevent collapse: it rewards it.
#
# The last column does tell: $I = H(\overline{P}) - \overline{H(P)}$ is the *mutual information* of image and prototype, how much the answer
# tells about the image. It is 0 for all three collapses, whatever they say. The fourth teacher says 0.62 of the $\ln 2 = 0.69$ nats that
# there are to say about two images. The library computes the same:

# %%
library = information(target.mean(dim=0), entropy(target).mean())
assert torch.isclose(library, told)
print(f"{name}: {library:.3f} nats")

# %% [markdown]
# ## 2. How it gets there: an ideal student
#
# Take a student that reaches its target in every step, and a teacher that is that student one step later. From
# $\text{softmax}(z'/\tau_s) = \text{softmax}((z - c)/\tau_t)$ follows, up to a constant that softmax does not see,
#
# $$z' = \frac{\tau_s}{\tau_t}\,(z - c).$$
#
# One thing is not ideal: the student has seen *another crop* and can only guess. A guess from worse evidence lies closer to the mean over images: the
# *differences* between images come out smaller by a factor $r < 1$. The *common* part, the same for all images, needs no evidence and is learnt in
# full. (This is our own model, cruder than anything in the papers. It will have to prove itself in section 3.)


# %%
def next_scores(z, centering, tau_t, r=0.8, tau_s=0.1):
    """One step of teacher and ideal student; z (images, prototypes)."""
    common = z.mean(dim=0)
    centre = common if centering else 0
    return tau_s / tau_t * (common - centre + r * (z - common))


z = torch.tensor([[0.30, 0.20, 0.10, 0.00], [0.30, 0.10, 0.20, 0.00]])
print("common part", z.mean(dim=0))
print("differences", z - z.mean(dim=0), sep="\n")

# %% [markdown]
# Both images like prototype 0 best and differ a little in prototypes 1 and 2. With centering and sharpening ($\tau_t = 0.04$) one step is: the common part
# is taken away; the differences, ±0.05, become $0.1/0.04 \times 0.8 \times 0.05 = 2 \times 0.05 = 0.10$. They double.

# %%
print(next_scores(z, centering=True, tau_t=0.04))

# %%
predict(
    "03.a",
    "Centering is switched off, sharpening stays. The teacher ends with",
    list(teachers),
)

# %%
predict(
    "03.b",
    "Sharpening is switched off (teacher's temperature 0.1, like the student's), centering stays. It ends with",
    list(teachers),
)

# %% [markdown]
# The loop, six steps, all four combinations (printed: what is said about each image in the end, at the student's temperature):

# %%
modes = {
    "both": {"centering": True, "tau_t": 0.04},
    "no centering": {"centering": False, "tau_t": 0.04},
    "no sharpening": {"centering": True, "tau_t": 0.1},
    "neither": {"centering": False, "tau_t": 0.1},
}
for name, mode in modes.items():
    said = z
    for _ in range(6):
        said = next_scores(said, **mode)
    print(f"{name}\n{(said / 0.1).softmax(dim=1)}")

# %% [markdown]
# Read it off the formula. With $a = \tau_s/\tau_t$, a step multiplies
#
# | | common part by | differences by | so it ends with |
# |---|---|---|---|
# | both | 0 | $a\,r = 2$ | differences that grow: each image its own |
# | no centering | $a = 2.5$ | $a\,r = 2$ | the common favourite, which outgrows everything: one prototype |
# | no sharpening | 0 | $r = 0.8$ | nothing: all alike |
# | neither | 1 | $r = 0.8$ | the common part as it happened to be: always the same doubt |
#
# So **centering removes what all images share, sharpening amplifies what is left**, and the amplification must outweigh what is lost by seeing only a part:
# $r\,\tau_s/\tau_t > 1$. In reality scores are cosines and cannot grow beyond 1: where they saturate, training settles.

# %%
reveal("03.a", "one prototype for all", "The common favourite grows fastest.")
reveal(
    "03.b",
    "all prototypes alike",
    "Centering removes what is common, and nothing amplifies the rest.",
)

# %% [markdown]
# ## 3. A system that trains in a second
#
# Now with real networks and gradients, only small. *Images* are points in 16 dimensions around one of 8 class centres; a *view* is an image with noise.
# Student and teacher are 16 → 64 → 16 networks with 32 prototypes; everything else is DINO: two views, centre, temperatures, EMA 0.99, Adam. It is
# `lab.analysis.simulate`, and the lab's *Playground* page is the same system with sliders.

# %%
switched = {
    "both": {},
    "no centering": {"centering": False},
    "no sharpening": {"sharpening": False},
    "neither": {"centering": False, "sharpening": False},
}
rows = {name: list(Simulator(options, seed=3).rows(800)) for name, options in switched.items()}
runs = {
    name: {metric: np.array([row[metric] for row in lines]) for metric in lines[-1]}
    for name, lines in rows.items()
}
ln_k = np.log(32)

# %%
drawn, axes = figure(1, 3, width=10, height=3.2)
shown = {
    "teacher/entropy": "Teacher's entropy H",
    "kl": "KL(teacher || student)",
    "teacher/information": "Information about the image",
}
for place, (metric, title) in zip(axes, shown.items()):
    for name, run in runs.items():
        place.plot(run["step"], run[metric], label=name)
    place.axhline(ln_k, color="grey", linestyle=":", label="ln 32")
    place.set(title=title, xlabel="training step", ylabel="nats", ylim=(-0.1, ln_k + 0.2))
axes[2].legend(loc="center right")
look(
    drawn,
    "the four combinations in 800 steps; compare Fig. 7 of the paper, which shows the first two panels for ImageNet.",
    "KL goes to 0 in all three collapses; H goes to 0, to ln 32 or anywhere, and says which one.",
)

# %% [markdown]
# The crude model was right about all four. Their last numbers, beside the purity: the share of images whose class is the most frequent one among those with
# the same first prototype (chance: 0.125).

# %%
print(f"{'':14} {'loss':>6} {'H':>6} {'KL':>6} {'H(mean)':>8} {'I':>6} {'purity':>7}")
for name, run in runs.items():
    last = {metric: values[-1] for metric, values in run.items()}
    print(
        f"{name:14} {last['cross_entropy']:6.2f} {last['teacher/entropy']:6.2f} {last['kl']:6.2f}"
        f" {last['target/mean_entropy']:8.2f} {last['teacher/information']:6.2f} {last['purity']:7.2f}"
    )
untrained = Simulator(seed=3).survey()
print(
    f"{'untrained':14} {'':29} {untrained['teacher/information']:6.2f} {untrained['purity']:7.2f}"
)
assert all(runs[name]["teacher/information"][-1] < 0.02 * ln_k for name in list(runs)[1:])

# %% [markdown]
# The healthy run has a *higher* loss than one collapsed run and the highest KL of all, and it is the only one whose purity is well above that of the untrained network (0.62 against 0.37). A falling loss is no good news by itself, here as in 02.4. Nor is
# information: the untrained network's answers tell *more* about the image (2.24 nats), but not its class. That it is not 0 says only that there is no collapse.
#
# ## 4. Naming a collapse
#
# The trainer reads these numbers at every logged line and names what it sees (`dino_core/telemetry/rules.py`). It believes a judgement that holds for several
# lines. Fed with our four runs:

# %%
for name, lines in rows.items():
    diagnosis, said = Diagnosis(prototypes=32), 0
    for row in lines:
        if diagnosis.update(row):
            said = row["step"]
    print(f"{name:14} {diagnosis.verdict.name}, said at step {said}:")
    print(fill(diagnosis.verdict.sentence, 90, initial_indent=15 * " ", subsequent_indent=15 * " "))

# %% [markdown]
# A sentence speaks of the step at which it was said: "healthy" of the beginning, since nothing has changed the verdict afterwards.
#
# ## 5. Break it and mend it
#
# A run that is healthy at step 400 loses its centering, or its sharpening. At step 1300 it gets it back.

# %%
predict(
    "03.c",
    "After 900 steps without centering everything is on one prototype. Centering comes back. The system",
    ["recovers", "stays collapsed", "collapses the other way"],
)

# %%
cuts = {
    "centering off 400 to 1300": {400: {"centering": False}, 1300: {"centering": True}},
    "sharpening off 400 to 1300": {400: {"sharpening": False}, 1300: {"sharpening": True}},
}
length = scaled(2400, quick=420)
broken = {name: Simulator(seed=3, changes=when).run(length) for name, when in cuts.items()}
drawn, axes = figure()
for name, run in broken.items():
    axes.plot(run["step"], run["teacher/information"], label=name)
axes.axvspan(400, 1300, color="grey", alpha=0.15, label="switched off")
axes.set(title="Collapse and recovery", xlabel="training step", ylabel="information (nats)")
axes.legend()
look(
    drawn,
    "what the teacher's answer tells about the image while one of the two forces is missing, and afterwards.",
    "the uniform collapse comes at once and goes slowly; falling onto one prototype is the reverse.",
)
back = broken["centering off 400 to 1300"]["teacher/information"][-1] > 0.5
reveal(
    "03.c",
    "recovers" if back else "stays collapsed",
    "Small differences between images are left, and they are amplified again.",
)

# %% [markdown]
# Do not rely on it: here nothing forces weights to zero, the learning rate is constant, and what is left of the differences is small but not nothing. Late in a
# real run, with a small learning rate and a teacher that hardly moves, there is no time to recover, nor to collapse: LOG.md tells of a run whose centering was cut
# at step 2000 of 2400, and nothing happened.
#
# ## 6. How warm may the teacher be?
#
# Section 2 says that there is a limit: $\tau_t < r\,\tau_s$. Beyond it the differences shrink. We do not know $r$ of this system, so let us warm the teacher up:

# %%
temperatures = scaled([0.03, 0.04, 0.05, 0.055, 0.06, 0.065, 0.07, 0.08], quick=[0.05, 0.08])
told = [
    Simulator({"teacher_temperature": t}, seed=3).run(800)["teacher/information"][-1]
    for t in temperatures
]
drawn, axes = figure()
axes.plot(temperatures, told, marker="o")
axes.axvline(0.1, color="grey", linestyle="--")
axes.annotate("student's temperature", (0.0995, max(told) * 0.9), ha="right", color="grey")
axes.set(
    title="Sharpening has to be strong enough",
    xlabel="teacher's temperature",
    ylabel="information after 800 steps (nats)",
)
look(
    drawn,
    "one simulation a point, all with centering, seed 3.",
    "information is gone well before the teacher is as warm as the student.",
)

# %% [markdown]
# Information is gone well before the temperatures are equal, as the model says. The limit is soft: $r$ is not one number, since some differences between images survive a crop better than
# others. The paper found the limit on ImageNet: above 0.06 the loss went to ln K, unless training began colder and warmed the teacher up over the first epochs (Appendix D).
#
# ## 7. The other way: Sinkhorn-Knopp
#
# Centering asks for prototypes to be used alike *on average over time*. Sinkhorn-Knopp (SwAV; DINOv2 and DINOv3 took it over) makes it so *in each batch*: exponentiate, then divide
# columns by their sums and rows by theirs, in turn. The first round by hand, on the scores of notebook 02:

# %%
scores = torch.tensor(
    [[0.50, 0.40, 0.10, 0.30], [0.60, 0.20, 0.50, 0.10], [0.55, 0.15, 0.20, 0.50]]
)
q = (scores / 0.1).exp()
print("column sums", q.sum(dim=0))
q = q / q.sum(dim=0)  # every prototype gets the same
q = q / q.sum(dim=1, keepdim=True)  # every image gives 1
print(q, "column sums", q.sum(dim=0), sep="\n")

# %% [markdown]
# Prototype 0 had 797 of the 1193 that all columns have together. After one round it has 0.72 of 3, where a quarter, 0.75, would be fair. The loop, three
# rounds as in the papers, and the library:

# %%
q = (scores / 0.1).exp()
for _ in range(3):
    q = q / q.sum(dim=0)
    q = q / q.sum(dim=1, keepdim=True)
print(q, "column sums", q.sum(dim=0), sep="\n")
assert torch.allclose(q, sinkhorn(scores, temperature=0.1, iterations=3), atol=1e-6)

# %%
balanced = Simulator({"sinkhorn": True}, seed=3).run(800)
drawn, axes = figure(1, 2, width=9, height=3.2)
for place, metric, title in (
    (axes[0], "target/mean_entropy", "H of the mean target: use of prototypes"),
    (axes[1], "teacher/information", "Information about the image"),
):
    place.plot(runs["both"]["step"], runs["both"][metric], label="centre")
    place.plot(balanced["step"], balanced[metric], label="Sinkhorn-Knopp")
    place.axhline(ln_k, color="grey", linestyle=":", label="ln 32")
    place.set(title=title, xlabel="training step", ylabel="nats", ylim=(0, ln_k + 0.2))
axes[1].legend()
look(
    drawn,
    "a centre that follows slowly against balancing each batch.",
    "Sinkhorn holds the use of prototypes at its largest value, ln 32; the centre lets some be used more.",
)

# %% [markdown]
# (Exercise 07.3 has you write it.) Sinkhorn balances *columns*; it does not sharpen. With the teacher as warm as the student it goes the way of "no sharpening" (try it: `Simulator({"sinkhorn": True, "sharpening": False})`).
#
# ## 8. A real run
#
# The same quantities in the recorded run of the lab, with 512 prototypes ($\ln 512 = 6.24$):

# %%
show("collapse", run=gallery())

# %% [markdown]
# ## What was learnt
#
# - The loss rewards collapse. What says whether there is one is KL near 0; which one, the entropy: 0 (one prototype), ln K (all alike), anything (a constant).
# - Information, H(mean) - mean H, is 0 in every collapse and nowhere else. That it is large does not say that anything was learnt.
# - Centering removes what images share and drives towards uniform; sharpening amplifies what they do not share and drives towards one-hot. Each alone
#   collapses; together they hold if the teacher is cold enough.
# - Sinkhorn-Knopp replaces the centre, not the sharpening.
# - In the code: `dino_core/objective/targets.py`, `dino_core/measure/collapse.py`, `dino_core/telemetry/rules.py`.
#
# ## Exercises
#
# **03.1** (5 minutes) Information, from the targets of a batch.


# %% exercise="03.1"
def informed(targets):
    """Targets (B K), rows summing to 1 → H of the mean minus the mean H, in nats.  0 ln 0 counts as 0."""
    ### BEGIN SOLUTION
    return entropy(targets.mean(dim=0)) - entropy(targets).mean()
    ### END SOLUTION


# %% check="03.1" points=1
check.informed(informed)
### BEGIN HIDDEN TESTS
check.informed(informed, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **03.2** (10 minutes) A doctor for runs. A run counts as collapsed when its answers tell less than 2 % of ln K about the image. Then: `"one prototype"` where the mean
# entropy of targets is below 2 % of ln K, `"uniform"` above 98 %, else `"constant"`. Otherwise it is `"healthy"`.


# %% exercise="03.2"
def diagnose(mean_entropy, entropy_of_mean, prototypes):
    """Two entropies in nats and the number of prototypes → "healthy", "one prototype", "uniform" or "constant"."""
    ### BEGIN SOLUTION
    whole = np.log(prototypes)
    if entropy_of_mean - mean_entropy >= 0.02 * whole:
        return "healthy"
    if mean_entropy < 0.02 * whole:
        return "one prototype"
    return "uniform" if mean_entropy > 0.98 * whole else "constant"
    ### END SOLUTION


# %% check="03.2" points=2
check.diagnose(diagnose)
### BEGIN HIDDEN TESTS
check.diagnose(diagnose, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **03.3** (10 minutes) Sabotage. Leave `centering` and `sharpening` both on and make the simulator fall onto **one prototype** within 800 steps all the same. What else must be true for
# centering to do its work? (`help(Options)` from `lab.analysis.simulate` lists what can be changed.)


# %% exercise="03.3"
def sabotage():
    """Options of the simulator, as a dictionary."""
    ### BEGIN SOLUTION
    return {"centre_momentum": 0.999}  # the centre is always too late
    ### END SOLUTION


# %% check="03.3" points=3
check.sabotage(sabotage)

# %% [markdown]
# **03.4** (5 minutes, in words) BYOL and SimSiam have neither centre nor prototypes, and do not collapse either. Which part of this notebook's model cannot be all of the story?

# %% [markdown] written="03.4" points=1
# ### BEGIN SOLUTION
# The model explains collapse by the *targets* alone: what is common is removed, what differs is amplified. BYOL and SimSiam do neither; they have a predictor that only the student has, and stop the
# gradient. So asymmetry between the two networks can prevent collapse in other ways, through the dynamics of learning and not through the targets. The paper says that DINO needs neither predictor nor batch
# normalisation, only centering and sharpening of a momentum teacher's output (Sec. 3.1): sufficient there, not necessary everywhere.
# ### END SOLUTION
