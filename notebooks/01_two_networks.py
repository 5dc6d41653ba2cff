# %% [markdown]
# # 01 Two networks and one image
#
# **Question:** who sees what of an image, and how does one network follow the other?
#
# 55 minutes · needs: a little PyTorch · no GPU, no internet · Caron et al. 2021 (arXiv 2104.14294), Sec. 3.1 and Fig. 2; multi-crop: Caron et al. 2020 (arXiv 2006.09882), Sec. 3.2
#
# DINO trains a *student* to say about small parts of an image what a *teacher* says about large parts. The teacher is not trained: it is an
# average of earlier students. This notebook takes one image, cuts it as the training does, sends it through both networks, and does one whole
# training step by hand, to compare it with the library's.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

from dino_core.config import Dino, Shapes
from dino_core.data.loader import Loader
from dino_core.data.multicrop import MultiCrop
from dino_core.data.shapes import CLASSES, draw_scene
from dino_core.data.sources import open_source
from dino_core.fit import fit
from dino_core.objective.targets import Centering
from dino_core.objective.terms import cross_view
from dino_core.recipes import tiny
from dino_core.schedules import Now
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine
from notebooks.checks import n01 as check
from notebooks.course import gallery, look, predict, reveal, show, training
from notebooks.views import figure

torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. One image
#
# The course trains on *shapes*: scenes drawn by a program, an object made of parts on grey noise, 64 × 64 pixels. No download, no end, and
# for every image we know what nobody tells the networks: its class and where the object is.

# %%
scenes = [draw_scene(Shapes(), "train", index) for index in range(6)]
drawn, axes = figure(1, 6, height=1.6)
for place, scene in zip(axes, scenes):
    place.imshow(scene.image)
    place.set_title(CLASSES[scene.label])
    place.axis("off")
look(
    drawn,
    "the first six images of the training set and their classes.",
    "what distinguishes the classes: shape, parts, typical colours.",
)

# %% [markdown]
# ## 2. Multi-crop: one image becomes six views
#
# From each image the training cuts 2 *global* crops, which hold most of the image, and several *local* ones, which hold a small part. How large a
# crop is, is drawn at random: a share of the image's **area** and a ratio of width to height $r$. For a crop of area $a$:
#
# $$\text{width} = \sqrt{a\,r}, \qquad \text{height} = \sqrt{a / r}$$
#
# then it is placed at random, resized to a square (48 px for global crops of the recipe `tiny`, 24 px for local ones), perhaps mirrored, and its
# colours are distorted.

# %%
predict(
    "01.a",
    "A local crop takes 16 % of the area of a 64 × 64 image, and is square. How many pixels is it wide?",
)

# %%
area = 0.16 * 64 * 64
print(f"area {area:.0f} pixels, side {area**0.5:.1f}")
reveal(
    "01.a",
    round(area**0.5),
    "16 % of the area are 40 % of the width: shares of area and of length are easily mixed up.",
)

# %% [markdown]
# The library does this for a whole batch. A `Batch` has the pixels of all crops, with axes (view, image, colour, height, width), and remembers
# where each came from:

# %%
config = tiny()
source = open_source(config.data)
loader = Loader(source, batch_size=4, seed=0, decode_size=64, cache_mib=0, workers=1, on_skip=print)
decoded = loader.batch(0)
batch = MultiCrop(config.crops)(decoded, torch.Generator().manual_seed(3))
print("global crops", tuple(batch.globals.shape), "local crops", tuple(batch.locals.shape))
print("boxes of image 0's local crops: left, top, right, bottom as shares of the image")
print(batch.local_boxes.corners[:, 0])

# %%
mean, std = torch.tensor(config.crops.mean), torch.tensor(config.crops.std)
crops = [*batch.globals[:, 0], *batch.locals[:, 0]]
boxes = torch.cat([batch.global_boxes.corners[:, 0], batch.local_boxes.corners[:, 0]]) * 64
names = ["global 0", "global 1", "local 0", "local 1", "local 2", "local 3"]
drawn, axes = figure(1, 7, width=10, height=2.6, widths=[2.5, 1, 1, 1, 1, 1, 1])
axes[0].imshow(decoded.images[0].permute(1, 2, 0))
for i, (left, top, right, bottom) in enumerate(boxes.tolist()):
    box = plt.Rectangle(
        (left, top), right - left, bottom - top, fill=False, linewidth=1.5, edgecolor=f"C{i}"
    )
    axes[0].add_patch(box)
for i, (place, crop) in enumerate(zip(axes[1:], crops)):
    place.imshow((crop.permute(1, 2, 0) * std + mean).clamp(0, 1))
    place.set_title(names[i], color=f"C{i}")
axes[0].set_title("image")
for place in axes:
    place.axis("off")
look(
    drawn,
    "one image, the boxes of its six crops, and the crops as the networks get them.",
    "which local crops still show the object: for those that do not, the student can only guess from the background.",
)

# %% [markdown]
# ## 3. Two networks with the same weights
#
# Student and teacher have the same architecture: a Vision Transformer (the *backbone*) and a *head* that gives a score for each prototype. At the
# beginning they have the same weights too.

# %%
plain = replace(config, batch_size=4, objective=Dino())
plain = replace(
    plain, backbone=replace(plain.backbone, drop_path=0.0), optim=replace(plain.optim, clip=None)
)
plain, _ = fit(plain, len(source))
engine = build_engine(plain)
student, teacher = engine.student, engine.teacher
weights = {part: sum(p.numel() for p in parameters) for part, parameters in student.parts().items()}
print(weights, "weights;", plain.head.prototypes, "prototypes")
print(
    "same weights:",
    all(torch.equal(s, t) for s, t in zip(student.parameters(), teacher.parameters())),
)

# %% [markdown]
# **Convention:** S student views, T teacher views, B images, K prototypes, D features, N patches. The backbone cuts a crop into patches of 8 × 8
# pixels and gives a vector (token) for each, one for the whole crop (`cls`), and some *registers* that hold nothing in particular. A global crop of
# 48 px has 6 × 6 = 36 patches, a local one of 24 px has 9.

# %%
with torch.no_grad():
    tokens = student.backbone(batch.globals[0])
    small = student.backbone(batch.locals[0])
print(
    "cls",
    tuple(tokens.cls.shape),
    "registers",
    tuple(tokens.registers.shape),
    "patches",
    tuple(tokens.patches.shape),
)
print("patches of a local crop", tuple(small.patches.shape))

# %% [markdown]
# The student is shown all six views, the teacher only the two global ones. This asymmetry makes the task: *from a part, say what the whole is*.

# %%
answers = student([batch.globals, batch.locals], patches=False).logits
with torch.no_grad():
    scores = teacher([batch.globals], patches=False).logits
print(
    "student", tuple(answers.shape), " teacher", tuple(scores.shape), " (views, images, prototypes)"
)
print("the first two views agree:", torch.allclose(answers[:2], scores, atol=1e-5))

# %% [markdown]
# Same weights, same views, same answers. From the next step on they differ.
#
# ## 4. The teacher follows
#
# After each step of the student, every weight of the teacher moves a little towards the student's (Sec. 3.1):
#
# $$\theta_t \leftarrow m\,\theta_t + (1 - m)\,\theta_s$$
#
# with a momentum $m$ close to 1: an *exponential moving average* (EMA). One weight by hand, with $m = 0.9$. The student has jumped from 0 to 1
# and stays there:

# %%
m, theta_t, theta_s = 0.9, 0.0, 1.0
for step in range(1, 5):
    theta_t = m * theta_t + (1 - m) * theta_s
    print(
        f"step {step}: 0.9 x before + 0.1 x 1 = {theta_t:.4f}    1 - 0.9^{step} = {1 - m**step:.4f}"
    )
assert abs(theta_t - (1 - m**4)) < 1e-12

# %% [markdown]
# The distance shrinks by the factor $m$ in each step, so after $n$ steps it is $m^n$. It is halved when $m^n = \frac12$.

# %%
predict(
    "01.b", "DINO starts with m = 0.996. After how many steps has the teacher gone half of the way?"
)

# %%
m, n = 0.996, 0
while m**n > 0.5:
    n += 1
print(
    f"0.996^{n} = {m**n:.4f};  ln 0.5 / ln 0.996 = {torch.tensor(0.5).log() / torch.tensor(0.996).log():.1f}"
)
reveal(
    "01.b",
    n,
    "The teacher's memory is some hundreds of steps long; at m = 0.9 it would be 7.",
    within=20,
)

# %%
steps = torch.arange(600)
noise = torch.randn(600, generator=torch.Generator().manual_seed(0))
wandering = (
    1 - torch.exp(-steps / 100) + 0.15 * noise
)  # a weight that learns, with the noise of small batches
drawn, axes = figure()
axes.plot(steps, wandering, color="lightgrey", label="student")
for momentum in (0.9, 0.99, 0.996):
    average, value = [], wandering[0]
    for theta_s in wandering:
        value = momentum * value + (1 - momentum) * theta_s
        average.append(value.item())
    axes.plot(steps, average, label=f"teacher, m = {momentum}")
axes.set(
    title="The teacher: less noise, more delay",
    xlabel="training step",
    ylabel="value of one weight (no unit)",
)
axes.legend()
look(
    drawn,
    "a made-up weight of a student that learns in noise, and three teachers.",
    "what a larger momentum costs: the teacher is late while the student still moves.",
)

# %% [markdown]
# Averaging takes the noise of single batches away: the teacher can be *better* than the student that it is made of, which is why it can teach
# (the paper's Sec. 5.2 and Fig. 6; Polyak and Ruppert averaged weights for the same reason). But it is late.
#
# ## 5. One whole step by hand
#
# Everything together, in the order of Algorithm 1. What the loss is exactly is the subject of notebook 02; here it is one call. First the constants
# of this step:

# %%
now = Now(step=0, learning_rate=1e-3, weight_decay=0.04, momentum=0.996,
          teacher_temperature=0.04, student_temperature=0.1, last_layer_frozen=False)  # fmt: skip
other = build_engine(plain)  # the same weights once more, for the library's turn
centering = Centering(plain.head.prototypes)
optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.0)

# %%
with torch.no_grad():  # the teacher gets no gradient
    scores = teacher([batch.globals], patches=False).logits
    targets = centering(scores, temperature=0.04)
answers = student([batch.globals, batch.locals], patches=False).logits
loss = cross_view(answers, targets, temperature=0.1)
loss.backward()
optimizer.step()
with torch.no_grad():
    for theta_t, theta_s in zip(teacher.parameters(), student.parameters()):
        theta_t.mul_(0.996).add_(0.004 * theta_s)
centering.update(scores)
print(f"loss {loss:.4f} nats; ln K = {torch.tensor(float(plain.head.prototypes)).log():.4f}")

# %% [markdown]
# The same step by the library (`dino_core/engine.py`, `train_step`: the teacher's targets, the student's losses, backward, optimizer, the
# teacher follows, the centre moves):

# %%
result = other.train_step(batch, replace(now, weight_decay=0.0), Stopwatch(torch.device("cpu")))
print(f"loss {result.losses.total:.4f} nats")
assert torch.isclose(loss, result.losses.total, atol=1e-5)
for ours, theirs in zip(
    [*student.parameters(), *teacher.parameters()],
    [*other.student.parameters(), *other.teacher.parameters()],
):
    assert torch.allclose(ours, theirs, atol=1e-5)
assert torch.allclose(centering.centre, other.objective.centre, atol=1e-6)
distance = sum(
    (s - t).square().sum() for s, t in zip(student.parameters(), teacher.parameters())
).sqrt()
print(
    f"student and teacher are now {distance:.4f} apart; loss, all weights and the centre agree with the library's"
)

# %% [markdown]
# A training run is this cell some thousand times, with other images, and a schedule for each constant.
#
# ## 6. Who is better?
#
# The lab ships a recorded run: this recipe for 6000 steps. Every 250 steps both networks were measured: a k-nearest-neighbour classifier on
# their features of 400 test images. Labels are used here, for measuring, and nowhere else.

# %%
predict(
    "01.c",
    "In the recorded run, which network classifies better for most of the training?",
    ["teacher", "student", "no difference"],
)

# %%
table = gallery().metrics()[["step", "knn/teacher", "knn/student"]].dropna()
drawn, axes = figure()
axes.plot(table["step"], 100 * table["knn/student"], label="student")
axes.plot(table["step"], 100 * table["knn/teacher"], label="teacher")
axes.axhline(
    100 * gallery().about["baselines"]["knn_raw_pixels"],
    color="grey",
    linestyle=":",
    label="k-NN on raw pixels",
)
axes.set(
    title="k-NN of student and teacher in the recorded run",
    xlabel="training step",
    ylabel="accuracy (% of 400 images)",
)
axes.legend()
look(
    drawn,
    "how well each network's class token tells the ten classes of shapes apart.",
    "the distance between the curves, early and late; and where both pass raw pixels.",
)
ahead = (table["knn/student"] > table["knn/teacher"]).sum()
print(f"the student is ahead at {ahead} of {len(table)} measurements")

# %%
better = "student" if ahead > len(table) / 2 else "teacher"
reveal(
    "01.c",
    better,
    "In the paper's long runs it is the teacher (Fig. 6). Here the network changes faster than the teacher's memory lasts.",
)

# %% [markdown]
# That is worth a thought, because the paper says the opposite of *its* runs. Early on, the student gains several points in the 250 steps between two
# measurements, and a teacher with a half-life of 173 steps is late by about as much. Late, both are equal: the learning rate is small, and there is
# nothing to average away. 400 images leave about 2 points of chance. What is true of 100 epochs of ImageNet need not be true of a run of
# minutes: measure.
#
# The same two curves in the lab. If a run of yours trains beside this notebook (04 begins one), the widget follows it; if none does, it
# shows the recorded run.

# %%
show("emergence", run=training(gallery()))

# %% [markdown]
# ## What was learnt
#
# - An image becomes 2 global and some local crops; shares are of the *area*, and each crop remembers its box.
# - The student sees all crops, the teacher the global ones. Only the student gets gradients.
# - The teacher is an exponential moving average of the student's weights; its half-life is ln ½ / ln m: 173 steps at 0.996.
# - A step: targets from the teacher, loss of the student, backward, optimizer, the teacher follows, the centre moves. In the code:
#   `dino_core/engine.py`, `data/multicrop.py`, `model/network.py` (`follow`).
# - Averaging gives less noise and more delay; which one wins depends on the run.
#
# ## Exercises
#
# **01.1** (5 minutes) The height and width of a crop, in whole pixels (`round`).


# %% exercise="01.1"
def crop_sides(height, width, share, ratio):
    """A crop with this `share` of the area of a height × width image and this `ratio` of width to height → (tall, wide)."""
    ### BEGIN SOLUTION
    area = share * height * width
    return round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
    ### END SOLUTION


# %% check="01.1" points=1
check.crop_sides(crop_sides)
### BEGIN HIDDEN TESTS
check.crop_sides(crop_sides, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **01.2** (5 minutes) One step of the teacher. Weights come as dictionaries of tensors; give a new dictionary and leave the old ones alone.


# %% exercise="01.2"
def follow(teacher, student, momentum):
    """Weights of both by name → the teacher's weights after the step."""
    ### BEGIN SOLUTION
    return {name: momentum * teacher[name] + (1 - momentum) * student[name] for name in teacher}
    ### END SOLUTION


# %% check="01.2" points=1
check.follow(follow)
### BEGIN HIDDEN TESTS
check.follow(follow, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **01.3** (10 minutes) Your run is a tenth as long as the one whose momentum you took over, so the teacher's memory should be a tenth as
# long too. For that you need the momentum of a given half-life. (`dino-lab train tiny` does this; it is in `dino_core/fit.py`.)


# %% exercise="01.3"
def momentum_of(half_life):
    """The EMA momentum with which the teacher has gone half of the way after `half_life` steps."""
    ### BEGIN SOLUTION
    return 0.5 ** (1 / half_life)
    ### END SOLUTION


# %% check="01.3" points=2
check.momentum_of(momentum_of)
### BEGIN HIDDEN TESTS
check.momentum_of(momentum_of, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **01.4** (5 minutes, in words) Momentum 0 would make the teacher a copy of the student after every step. What is lost? (The paper tried it: Sec. 5.2.)

# %% [markdown] written="01.4" points=2
# ### BEGIN SOLUTION
# The average: the teacher would have all the noise of the last batch and would change as fast as the student, so that the student chases targets
# that move with it. In the paper this does not converge, while a teacher copied once an *epoch* works: what matters is that targets stay put for a
# while. The two networks would still differ in what they see, and in centering and sharpening.
# ### END SOLUTION
