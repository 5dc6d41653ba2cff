# %% [markdown]
# # 08 Dense features decay: Gram anchoring
#
# **Question:** why can patch features become worse while the network becomes better, and how are they held?
#
# 55 minutes · needs: the cosine of two patches (06) · no GPU, no internet · Siméoni et al. 2025 (arXiv 2508.10104), Sec. 4.1 to 4.3
#
# We compute Gram matrices by hand, find a decline in a real (small) run, cause, prevent and repair the decay in a toy of 196 patches, and
# watch DINOv3's loss do it in a second real run.

# %%
import numpy as np
import torch
from torch.nn.functional import normalize

from dino_core.objective.terms import gram
from lab.analysis import gram as gram_of
from lab.analysis import similarity
from notebooks.checks import n08 as check
from notebooks.course import gallery, look, predict, reveal, show
from notebooks.views import figure, mostly_object

np.set_printoptions(precision=3, suppress=True)
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. A matrix of who is like whom
#
# Take the patches of one image, each scaled to length one, as the rows of $X$ ($N \times D$). Then $X X^\top$ ($N \times N$) holds the cosine
# of each pair: the **Gram matrix**. It forgets *where* the vectors point and keeps *how they lie to each other*.

# %%
x = torch.tensor([[3.0, 4.0], [8.0, 6.0], [-4.0, 3.0]])  # three patches of two features
unit = normalize(x, dim=-1)
print("rows of length one", unit, sep="\n")
print("Gram matrix", unit @ unit.T, sep="\n")
for i in range(3):
    for j in range(3):
        assert torch.isclose((unit @ unit.T)[i, j], x[i] @ x[j] / (x[i].norm() * x[j].norm()))

# %%
predict(
    "08.a",
    "All features are turned by one rotation R, x -> x R, so every vector changes. What happens to the Gram matrix?",
    ["it is turned too", "nothing", "it becomes the identity"],
)

# %%
angle = torch.tensor(0.7)
rotation = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
turned = normalize(x @ rotation, dim=-1)
print(turned @ turned.T)
assert torch.allclose(turned @ turned.T, unit @ unit.T, atol=1e-6)
reveal(
    "08.a",
    "nothing",
    "Cosines do not change when everything turns together. So the features may go on learning.",
)

# %% [markdown]
# ## 2. The loss
#
# DINOv3 keeps an earlier teacher, the *Gram anchor*, and asks the student for the same matrix (Sec. 4.2):
#
# $$L_{\text{Gram}} = \frac{1}{N^2}\,\bigl\| X_S X_S^\top - X_A X_A^\top \bigr\|_F^2$$
#
# The paper writes the sum of squares; the released code and ours take the mean, so that a weight means the same for images of any size.

# %%
anchor = torch.tensor([[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0]])
a = normalize(anchor, dim=-1)
total = 0.0
for i in range(3):
    for j in range(3):
        total += (unit[i] @ unit[j] - a[i] @ a[j]) ** 2
loop = total / 9
library = gram(x[None], anchor[None])
print(f"loop {loop:.5f}, library {library:.5f}")
assert torch.isclose(loop, library)

# %%
predict(
    "08.b",
    "Student and anchor have different numbers of features (D = 64 and E = 1024). Can the loss be computed?",
    ["yes", "no", "after a projection"],
)

# %%
torch.manual_seed(0)
narrow, wide = torch.randn(1, 5, 64), torch.randn(1, 5, 1024)
print(f"loss {gram(narrow, wide):.4f}")
reveal(
    "08.b",
    "yes",
    "Both matrices are N x N, whatever the features. The anchor may even be another network.",
)

# %% [markdown]
# ## 3. Does it happen? A look at a real run
#
# In the paper, dense quality falls after 200 000 steps of very large networks while image classification still rises. Our recorded run is
# four orders of magnitude smaller. For each recorded step: **global** quality is k-NN accuracy; **dense** quality is the *contrast*, how much
# more alike two patches of one object are than a patch of the object and one of the background.

# %%
run = gallery()
objects = mostly_object(run)  # I N


def contrast(patches, objects=objects):
    """Mean cosine within an object minus that across its edge, over images."""
    matrices = gram_of.matrix(patches.astype(np.float32))  # I N N
    inside = [m[np.ix_(o, o)].mean() for m, o in zip(matrices, objects)]
    across = [m[np.ix_(o, ~o)].mean() for m, o in zip(matrices, objects)]
    return float(np.mean(inside) - np.mean(across))


dense = {step: contrast(run.probe(step).patches) for step in run.probes}
best = max(dense, key=dense.get)
print(
    f"contrast: untrained {dense[0]:.2f}, best {dense[best]:.2f} at step {best}, last {dense[run.probes[-1]]:.2f}"
)

# %%
table = run.metrics()[["step", "knn/teacher"]].dropna()
drawn, axes = figure()
axes.plot(
    np.array(list(dense)) + 1, list(dense.values()), marker="o", label="dense: contrast of patches"
)
axes.plot(table["step"] + 1, table["knn/teacher"], marker="s", label="global: k-NN accuracy")
axes.axvline(best + 1, color="grey", linestyle=":", label=f"best contrast, step {best}")
axes.set(
    xscale="log",
    ylim=(0, 1),
    xlabel="training step + 1",
    ylabel="contrast (cosine), accuracy (share)",
)
axes.set_title("Two qualities of one network")
axes.legend()
look(
    drawn,
    "how well the class token tells classes apart, and how well patches tell the object from the rest, in one run.",
    "whether the two go on rising together, and which step one would keep for segmentation.",
)

# %% [markdown]
# Read it with care. It looks like the paper's Fig. 5 in small, and is not the same thing: this is one seed, 16 images, and contrast is not
# segmentation. Measured with a linear probe over the *parts* of the objects, the patches of this very run improve to the end (parts mIoU
# 13.9 at step 500, 21.7 at step 6000, `docs/study.md`). A network may give up cosine contrast and still know more about parts. So: two
# measures of dense quality, two answers; the paper's decline was seen by segmentation and depth, in networks and runs far larger than ours.
#
# The matrices themselves, for one image (2, counted from 0 as Python does; the widget below it counts from 1, and calls it 3); rows and columns are
# sorted, object first:

# %%
IMAGE = 2
order = np.argsort(~objects[IMAGE], kind="stable")
drawn, axes = figure(1, 3, width=7.2, height=2.6)
for place, step in zip(axes, (0, best, run.probes[-1])):
    matrix = gram_of.matrix(run.probe(step).patches[IMAGE].astype(np.float32))[np.ix_(order, order)]
    shown = place.imshow(matrix, cmap="cividis", vmin=-0.2, vmax=1)
    place.axhline(objects[IMAGE].sum() - 0.5, color="white", linewidth=0.7)
    place.axvline(objects[IMAGE].sum() - 0.5, color="white", linewidth=0.7)
    place.set(title=f"step {step}", xlabel="patch (object first)")
axes[0].set_ylabel("patch (object first)")
drawn.suptitle(f"Cosines between the patches of image {IMAGE}", fontsize=10)
drawn.colorbar(shown, ax=axes, label="cosine", fraction=0.02, shrink=0.75)
look(
    drawn,
    "the Gram matrix of one image at three steps; white lines part object (upper left) and background.",
    "the two diagonal blocks bright and the others dark is what dense tasks want.",
)

# %%
show("gram", run=run, image=IMAGE, anchor=best)

# %% [markdown]
# ## 4. A toy: cause, prevent, repair
#
# Why should patches decay? The class token is what the DINO loss asks for, and each patch contributes to it. A caricature: **each patch is
# pulled a little towards the mean of its image in every step**, and nothing else. 196 patches on four parts:

# %%
draw = np.random.default_rng(0)
parts = np.repeat(np.arange(4), 49)  # 196 patches
start = similarity.normalised(draw.normal(size=(4, 32))[parts] + 0.6 * draw.normal(size=(196, 32)))


def part_contrast(patches):
    matrix = gram_of.matrix(patches)
    same = parts[:, None] == parts
    return matrix[same].mean() - matrix[~same].mean()


def gram_gradient(patches, anchor):
    """Of the mean squared difference of Gram matrices, with respect to unit patches (N D), times N."""
    difference = patches @ patches.T - anchor @ anchor.T
    return 4 / len(patches) * difference @ patches


def toy(steps, weight, begin=0, rate=0.004):
    patches, curve = start.copy(), []
    for step in range(steps):
        pull = similarity.normalised(patches.mean(axis=0)) - patches
        hold = -gram_gradient(patches, start) if step >= begin else 0
        patches = similarity.normalised(patches + rate * (pull + weight * hold))
        curve.append(part_contrast(patches))
    return np.array(curve)


# %%
predict(
    "08.c",
    "The anchor is switched on in the middle, when two thirds of the contrast are lost. What will happen?",
    ["nothing, what is lost is lost", "the decay stops there", "the contrast comes back"],
)

# %%
curves = {
    "no anchor": toy(400, 0),
    "anchor from the start": toy(400, 8),
    "anchor from step 200": toy(400, 8, begin=200),
}
print({name: f"{curve[-1]:.2f}" for name, curve in curves.items()})

# %%
drawn, axes = figure()
for name, curve in curves.items():
    axes.plot(curve, label=name)
axes.axhline(part_contrast(start), color="grey", linestyle=":", label="at the beginning")
axes.axvline(200, color="grey", linestyle="--", linewidth=0.8, label="the late anchor begins")
axes.set(
    xlabel="step of the toy",
    ylabel="contrast between parts (cosine)",
    title="A constructed system, not a trained network",
)
axes.legend()
look(
    drawn,
    "contrast between four parts while every patch is pulled to the mean: without an anchor, with one, and with a late one.",
    "how fast the late anchor brings the contrast back.",
)

# %%
assert curves["no anchor"][-1] < 0.8 * curves["anchor from step 200"][-1]
reveal(
    "08.c",
    "the contrast comes back",
    "The anchor remembers the old matrix, and here nothing that separates the parts was destroyed, only drowned. In the paper "
    "most of the repair comes within 10 000 steps, after 1 000 000 without an anchor (Sec. 4.2).",
)

# %% [markdown]
# ## 5. What DINOv3 adds
#
# - **The anchor is the teacher of an early step**, chosen where dense quality was best, and renewed every 10 000 steps in the Gram phase.
# - **A sharper anchor** (Sec. 4.3): the anchor sees the image at twice the size; its patches are averaged down to the student's grid and so
#   are smoother than any that the student can compute itself.
# - **Crops without distortions** for the anchor, so that it compares what is there.
# - The phase comes *after* the main training: a million steps first.
#
# Averaging down, by hand: four patches of the finer grid become one.

# %%
fine = torch.arange(16.0).view(4, 4)  # one feature on a 4 x 4 grid
coarse = fine.view(2, 2, 2, 2).mean(dim=(1, 3))
print(fine, coarse, sep="\n")
assert coarse[0, 0] == (0 + 1 + 4 + 5) / 4

# %% [markdown]
# ## 6. An anchor in a real run
#
# The second recorded run has DINOv3's phases in small: DINO and iBOT without an anchor up to step 1800; then the student has to keep the matrix of an earlier teacher, that of step 900
# (renewed once, at 2175), which sees crops at 64 px where the student has 48; from 2550 on crops are larger. The contrast of section 3, before the anchor:

# %%
phased = gallery("dinov3_shapes")
GRAM, LARGE = 1800, 2550  # where its phases begin
seen = mostly_object(phased)
held = {step: contrast(phased.probe(step).patches, seen) for step in phased.probes}
print({step: f"{value:.3f}" for step, value in held.items() if 300 <= step <= GRAM})

# %%
predict(
    "08.d",
    "The anchor comes at step 1800. 600 steps later the contrast will be",
    ["lower than at step 1800", "as at step 1800", "higher than at step 1800"],
)

# %%
table = phased.metrics()[["step", "knn/teacher"]].dropna()
drawn, axes = figure()
axes.plot(list(held), list(held.values()), marker="o", label="dense: contrast of patches")
axes.plot(table["step"], table["knn/teacher"], marker="s", label="global: k-NN accuracy")
axes.axvline(GRAM, color="grey", linestyle="--", label="the anchor comes")
axes.axvline(LARGE, color="grey", linestyle=":", label="larger crops")
axes.set(
    title="A run with a Gram phase",
    ylim=(0.25, 0.9),
    xlabel="training step",
    ylabel="contrast (cosine), accuracy (share)",
)
axes.legend(ncols=2, loc="upper left", fontsize=8)
look(
    drawn,
    "the two qualities of section 3 in a run that trains without an anchor, with one, and with one at larger crops.",
    "where the contrast turns round, and that k-NN is none the worse for it.",
)
later = held[2400] - held[GRAM]
change = "as" if abs(later) < 0.01 else "higher than" if later > 0 else "lower than"
reveal("08.d", f"{change} at step 1800", f"It went from {held[GRAM]:.3f} to {held[2400]:.3f}.")

# %% [markdown]
# By itself that proves little, for the learning rate changes at step 1800 as well. So the phase was begun twice more from there: with the anchor the contrast is 0.486 at step 2100,
# without it 0.467 (`dino-lab fork lab/gallery/dinov3_shapes --at 1800 --phase gram`, and the same with `--gram.weight 0`). It is the anchor. And it is one seed, 16 images and two
# hundredths of one measure: the first component's overlap with the object (`pca_iou` of the metrics) rises throughout, and an anchor from too early holds back patches that still get
# better (`docs/study.md`).
#
# ```
# dino-lab train tiny_dinov3_gram            # such a run of your own
# dino-lab train tiny_dinov3_gram --help     # gram.weight, gram.anchor, gram.size, gram.refresh-every, gram.negatives
# ```
#
# ## What was learnt
#
# - A Gram matrix holds the cosines between all patches of an image; turning or widening the features leaves it alone.
# - Holding it still leaves the features free to go on learning: that is why the loss is on the matrix and not on the features.
# - Dense and global quality are two things, with two best moments in one run.
# - An anchor can prevent decay and repair it, in a toy and in a small run; a sharper one, made at twice the size, can improve on what the student ever had.
#
# In the code: `dino_core/objective/terms.py` (`gram`), `dinov3.py` (the anchor), `lab/analysis/gram.py`.
#
# ## Exercises
#
# **08.1** (5 minutes) The Gram matrix of patches of any length.


# %% exercise="08.1"
def gram_matrix(patches):
    """Patches (N D), of any length -> cosines (N N), as a torch tensor."""
    ### BEGIN SOLUTION
    unit = normalize(patches, dim=-1)
    return unit @ unit.T
    ### END SOLUTION


# %% check="08.1" points=1
check.gram_matrix(gram_matrix)
### BEGIN HIDDEN TESTS
check.gram_matrix(gram_matrix, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **08.2** (10 minutes) The loss for a batch.


# %% exercise="08.2"
def gram_loss(student, anchor):
    """Student (B N D) and anchor (B N E) -> the mean squared difference of the Gram matrices, per image, over the batch."""
    ### BEGIN SOLUTION
    ours, theirs = normalize(student, dim=-1), normalize(anchor, dim=-1)
    return (ours @ ours.mT - theirs @ theirs.mT).square().mean()
    ### END SOLUTION


# %% check="08.2" points=2
check.gram_loss(gram_loss)
### BEGIN HIDDEN TESTS
check.gram_loss(gram_loss, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **08.3** (10 minutes) The anchor's patches, seen at twice the size, on the student's grid.


# %% exercise="08.3"
def averaged_down(patches, grid):
    """Patches (4N D) of a grid of (2r, 2c), row by row, `grid` = (r, c) -> (N D): the mean of each 2 x 2 block, row by row."""
    ### BEGIN SOLUTION
    rows, columns = grid
    return patches.view(rows, 2, columns, 2, -1).mean(dim=(1, 3)).flatten(0, 1)
    ### END SOLUTION


# %% check="08.3" points=2
check.averaged_down(averaged_down)
### BEGIN HIDDEN TESTS
check.averaged_down(averaged_down, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **08.4** (5 minutes, in words) Somebody proposes to hold the *features* still instead: the mean squared distance between the student's and the anchor's
# patches. Why is that worse?

# %% [markdown] written="08.4" points=2
# ### BEGIN SOLUTION
# It forbids what does no harm: turning the feature space, adding features, rescaling them, which the network does all the time while it goes on
# learning. So the class token's improvement would be held back together with the patches, and an anchor of another width could not be used at all. The
# Gram matrix fixes the relations between patches and nothing else.
# ### END SOLUTION
