# %% [markdown]
# # 06 Patches: components, similarity, correspondences
#
# **Question:** what does a network know about the *parts* of an image, which no label ever named?
#
# 60 minutes · needs: dot products, variance · no GPU, no internet · Oquab et al. 2023 (arXiv 2304.07193), Sec. 7.5 and Fig. 1; Siméoni et
# al. 2025 (arXiv 2508.10104), Sec. 6.1
#
# A Vision Transformer ends with one vector for each patch. We compare these vectors by hand, then let three principal components
# colour a picture, find the object without a mask, and match the patches of two images.

# %%
import numpy as np
from matplotlib.patches import ConnectionPatch, Rectangle

from lab.analysis import attention, baselines, pca, similarity
from notebooks.checks import n06 as check
from notebooks.course import gallery, look, predict, reveal, show
from notebooks.solutions import n06 as solution
from notebooks.views import figure, mostly_object

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## 1. What there is
#
# The recorded run keeps, for 16 probe images it never trained on, what its teacher said at 21 steps. **Convention:** axes are images (I),
# patches (N, row by row), features (D).

# %%
run = gallery()
probe, images = run.probe(), run.probe_images
patches = probe.patches.astype(np.float32)  # I N D
rows, columns = probe.grid
side = images.images.shape[-1] // columns  # pixels
print(f"patches {patches.shape}: {len(patches)} images of {rows} x {columns} patches")
print(f"images  {images.images.shape}, so a patch covers {side} x {side} pixels")

# %% [markdown]
# ## 2. Alike: the cosine
#
# Two patches are alike when their vectors point the same way, however long they are:
#
# $$\cos(x, y) = \frac{\langle x, y\rangle}{\|x\|\,\|y\|}$$
#
# By hand for three patches of two features:

# %%
a, b, c = np.array([3.0, 4.0]), np.array([8.0, 6.0]), np.array([-4.0, 3.0])
print("lengths", np.linalg.norm(a), np.linalg.norm(b), np.linalg.norm(c))
print(f"cos(a, b) = (3*8 + 4*6) / (5 * 10) = {a @ b / 50}")
print(f"cos(a, c) = (3*-4 + 4*3) / (5 * 5) = {a @ c / 25}")

# %% [markdown]
# $b$ is twice as long as $a$ and still much like it; $c$ has $a$'s length and nothing to do with it. Now one patch of a real image
# against all patches of all images: the loop, and the library.

# %%
IMAGE, PATCH = 2, 27  # row 3, column 3 of an 8 x 8 grid
query = patches[IMAGE, PATCH]
loop = np.zeros(patches.shape[:2])
for i in range(patches.shape[0]):
    for n in range(patches.shape[1]):
        x = patches[i, n]
        loop[i, n] = query @ x / (np.linalg.norm(query) * np.linalg.norm(x))
library = similarity.to_patch(patches, PATCH, IMAGE)
assert np.allclose(loop, library, atol=1e-5)
itself, rest = library[IMAGE, PATCH], np.delete(library, IMAGE * rows * columns + PATCH)
print(
    f"with itself {itself:.3f}, with the other patches of all images {rest.mean():.3f} on average"
)

# %%
predict(
    "06.a",
    "The same map is drawn for the untrained network (step 0). The patch is on an object. Which patches will be the most similar?",
    ["none", "those of similar colour", "those of the same part"],
)


# %%
def cell(place, picture, patch=None, title=""):
    """An image, or a map over patches; `patch` is framed."""
    drawn_as = place.imshow(picture, cmap="cividis", vmin=-0.2, vmax=1)
    if patch is not None:
        size = picture.shape[0] / rows
        corner = (patch % columns * size - 0.5, patch // columns * size - 0.5)
        place.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="white", linewidth=2))
    place.set_title(title, fontsize=8)
    place.axis("off")
    return drawn_as


# %%
others = [IMAGE, 1, 9]
drawn, axes = figure(3, 3, width=5.8, height=5.6)
for column, image in enumerate(others):
    marked = PATCH if image == IMAGE else None
    cell(axes[0, column], images.images[image].transpose(1, 2, 0), marked, f"image {image}")
    for row, step in enumerate((0, run.probes[-1]), start=1):
        x = run.probe(step).patches.astype(np.float32)
        cosines = similarity.to_patch(x, PATCH, IMAGE)[image].reshape(probe.grid)
        shown = cell(axes[row, column], cosines, marked, f"step {step}")
drawn.colorbar(shown, ax=axes[1:], fraction=0.03, label="cosine to the framed patch")
look(
    drawn,
    "three images, and the cosine of each of their patches to the framed one of image 2, before and after training.",
    "the middle row follows colour and brightness; in the lowest row, does what lights up belong to objects?",
)

# %%
tiles = images.images.reshape(16, 3, rows, side, columns, side).mean((3, 5))  # I 3 r c
colour = tiles.reshape(16, 3, -1).transpose(0, 2, 1)  # I N 3
near = -np.linalg.norm(colour - colour[IMAGE, PATCH], axis=-1)
for step in (0, run.probes[-1]):
    x = similarity.to_patch(run.probe(step).patches.astype(np.float32), PATCH, IMAGE)
    ranked = np.corrcoef(x.ravel().argsort().argsort(), near.ravel().argsort().argsort())[0, 1]
    print(f"step {step}: rank correlation of the map with likeness of colour {ranked:.2f}")
reveal(
    "06.a",
    "those of similar colour",
    "Random weights keep what goes in: alike in pixels, alike in features. A baseline must always stand beside such maps.",
)

# %% [markdown]
# Hover instead of choosing: point at a patch, and every patch of every image answers at once.

# %%
show("patches", run=run, image=IMAGE)

# %% [markdown]
# ## 3. Principal components, by hand
#
# 96 features cannot be seen; three can, as red, green and blue. *Which* three directions? Those along which the patches differ most. In two
# features, with five points, it takes a pencil:

# %%
points = np.array([[2.0, 1.0], [4.0, 3.0], [6.0, 3.0], [8.0, 5.0], [5.0, 3.0]])
mean = points.mean(axis=0)
centred = points - mean
covariance = centred.T @ centred / len(points)
print("mean", mean)
print("covariance", covariance, sep="\n")

# %% [markdown]
# The direction $v$ of length one with the greatest variance $v^\top C v$ is the eigenvector of the largest eigenvalue of $C$. A point's
# *score* is how far it lies along it: $\langle x - \bar x, v\rangle$.

# %%
values, vectors = np.linalg.eigh(covariance)  # smallest first
first = vectors[:, -1]
print(
    f"eigenvalues {values[::-1]}: the first direction holds {values[-1] / values.sum():.1%} of the variance"
)
print("direction", first, " scores", centred @ first)
basis = pca.fit(points, components=2)
assert np.allclose(np.abs(basis.components[0]), np.abs(first))
assert np.allclose(basis.explained, values[::-1] / values.sum())

# %%
predict(
    "06.b",
    "An eigenvector v of C is computed on two computers, with two libraries. What must be the same?",
    ["v", "v up to its length", "v up to its sign"],
)

# %%
assert np.allclose(covariance @ -first, values[-1] * -first)
reveal(
    "06.b",
    "v up to its sign",
    "-v is an eigenvector as well. Nothing in the data prefers one, so 'high first component' means nothing by itself.",
)

# %% [markdown]
# ## 4. The object, without a mask
#
# In a trained network, the direction along which the patches of one image differ most is often *object against background*. To use it we
# have to choose a sign and a threshold, and may not look at a mask:
#
# - **sign**: objects seldom touch the border, so the border's mean score shall be the lower one;
# - **threshold**: Otsu's, which cuts the scores into two groups as far apart as possible.

# %%
scores = pca.project(patches, 1, per_image=True)[..., 0]  # I N
found, above = pca.foreground(scores, probe.grid, per_image=True)
objects = mostly_object(run)  # I N: patches that are mostly object
drawn, axes = figure(3, 5, width=7.2, height=4.4)
for column, image in enumerate((0, 2, 3, 5, 9)):
    cell(axes[0, column], images.images[image].transpose(1, 2, 0), None, f"image {image}")
    axes[1, column].imshow(above[image].reshape(probe.grid), cmap="cividis")
    axes[1, column].set_title("first component", fontsize=8)
    axes[2, column].imshow(found[image].reshape(probe.grid), cmap="gray", vmin=0, vmax=1)
    axes[2, column].set_title(
        f"IoU {attention.jaccard(found[image], objects[image]):.2f}", fontsize=8
    )
for place in axes.flat:
    place.axis("off")
look(
    drawn,
    "five images, their first component (each by itself, sign chosen by the border) and what lies above Otsu's threshold.",
    "where it fails: an object that reaches the border turns the sign around (image 3).",
)

# %% [markdown]
# One number for all images, at every recorded step, beside the cheapest answer there is: one centred box, the best of all sizes.

# %%
box, _ = baselines.centred_box(images.masks > 0)
overlap = []
for step in run.probes:
    x = run.probe(step).patches.astype(np.float32)
    mask, _ = pca.foreground(pca.project(x, 1, per_image=True)[..., 0], probe.grid, per_image=True)
    overlap.append(np.nanmean(attention.jaccard(mask, objects)))
print(
    f"untrained {overlap[0]:.2f}, best {max(overlap):.2f}, last {overlap[-1]:.2f}, centred box {box:.2f}"
)

# %%
drawn, axes = figure()
axes.plot(np.array(run.probes) + 1, overlap, marker="o", label="first component, 16 images")
axes.axhline(overlap[0], color="grey", linestyle=":", label="the untrained network")
axes.axhline(box, color="grey", linestyle="--", label="the best centred box")
axes.set(
    xscale="log",
    xlabel="training step + 1",
    ylabel="IoU with the object",
    title="The foreground emerges",
    ylim=(0, 0.7),
)
axes.legend()
look(
    drawn,
    "how well the first component finds the object; nobody ever told the network what an object is.",
    "when it passes the box, and that it does not go on rising for ever: dense features have a best moment (notebook 08).",
)

# %% [markdown]
# ## 5. Colours that keep their meaning
#
# Draw three components as red, green and blue at two checkpoints, and all colours change: signs flip, and components trade places. For a
# film the second basis is turned towards the first by the best rotation (Procrustes):
#
# $$R = \arg\min_{R^\top R = I} \|S R - S_0\|,\qquad S^\top S_0 = U \Sigma V^\top \;\Rightarrow\; R = U V^\top$$

# %%
before, after = (pca.project(run.probe(s).patches.astype(np.float64), 3) for s in (2000, 6000))
left, _, right = np.linalg.svd(after.reshape(-1, 3).T @ before.reshape(-1, 3))
turned, rotation = pca.align(after, before)
assert np.allclose(after @ (left @ right), turned)


def change(one, other):
    """Mean distance between the colours of a patch, in standard deviations of the scores."""
    return np.linalg.norm(one - other, axis=-1).mean() / before.std()


print("rotation", rotation, sep="\n")
print(
    f"mean change of colour: {change(after, before):.2f} raw, {change(turned, before):.2f} turned"
)
print(
    "distances between patches kept:",
    np.allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(after, axis=-1)),
)

# %% [markdown]
# What is left after turning is what *really* changed. Alignment hides rotations of the features; a fair film says by how much it turned.
#
# ## 6. Correspondences
#
# Which patch of one image is which patch of another? Take for each patch its nearest neighbour in the other image, and keep the pairs that
# choose each other: **mutual nearest neighbours**. By hand on a 3 × 3 matrix of similarities (rows: patches of image A):

# %%
table = np.array([[0.9, 0.2, 0.1], [0.8, 0.3, 0.4], [0.1, 0.5, 0.6]])
to_b, to_a = table.argmax(axis=1), table.argmax(axis=0)
for row in range(3):
    answer = "mutual" if to_a[to_b[row]] == row else f"no: B{to_b[row]} prefers A{to_a[to_b[row]]}"
    print(f"A{row} -> B{to_b[row]} -> {answer}")

# %%
predict(
    "06.c",
    "Of the 64 patches of one image and 64 of another, how many mutual pairs can there be at most?",
)

# %%
reveal(
    "06.c",
    64,
    "One for each patch, if all choose each other. A network that sees everything alike has few.",
)
same = [1, 2]  # two images of one class
one, other = (similarity.normalised(patches[i]) for i in same)
pairs = solution.mutual(one @ other.T)
print(f"{len(pairs)} mutual pairs between images {same[0]} and {same[1]}")
both = np.array([objects[same[0], i] and objects[same[1], j] for i, j in pairs])
print(f"{both.sum()} of them lie on both objects")

# %%
kinds = {True: ("#D55E00", "both mostly object"), False: ("#0072B2", "not both")}
drawn, axes = figure(1, 2, width=6.4, height=3.4)
for place, image in zip(axes, same):
    cell(place, images.images[image].transpose(1, 2, 0), None, f"image {image}")
strongest = sorted(pairs, key=lambda pair: -(one @ other.T)[pair])[:12]
for i, j in strongest:
    ends = [((n % columns + 0.5) * side, (n // columns + 0.5) * side) for n in (i, j)]
    on_objects = objects[same[0], i] and objects[same[1], j]
    colour, _ = kinds[bool(on_objects)]
    drawn.add_artist(
        ConnectionPatch(*ends, "data", "data", axesA=axes[0], axesB=axes[1], color=colour)
    )
    for place, (x, y) in zip(axes, ends):
        place.plot(x, y, "o", color=colour, markersize=5)
for colour, word in kinds.values():
    axes[0].plot([], [], "o-", color=colour, label=word)
drawn.legend(loc="outside lower center", ncols=2, fontsize=8)
look(
    drawn,
    "the twelve strongest mutual pairs of two images; orange where both patches are mostly object.",
    "whether lines lead from part to like part, and how many join background to background, where nothing is to be found.",
)

# %% [markdown]
# ## What was learnt
#
# - Patches are compared by the cosine; an untrained network answers with colour, so it has to stand beside every such map.
# - A principal component is a direction of greatest variance; it has no sign. Sign and threshold are choices and must be said.
# - The first component of one image is often object against background, and its IoU is a number that can be followed through training.
# - Colours of different checkpoints mean the same only after a Procrustes rotation; what it hides is the rotation.
# - Mutual nearest neighbours are the simplest correspondences, without any training for it.
#
# In the code: `lab/analysis/similarity.py`, `pca.py` (`fit`, `project`, `foreground`, `align`).
#
# ## Exercises
#
# **06.1** (10 minutes) The share of the variance that each principal component holds, largest first.


# %% exercise="06.1"
def explained(points):
    """Points (M D), M > D -> shares of the variance along the D principal components (D), largest first; they sum to 1."""
    ### BEGIN SOLUTION
    centred = points - points.mean(axis=0)
    values = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    return values / values.sum()
    ### END SOLUTION


# %% check="06.1" points=2
check.explained(explained)
### BEGIN HIDDEN TESTS
check.explained(explained, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **06.2** (10 minutes) Turn a map of scores so that the border is background, and cut it at a threshold.


# %% exercise="06.2"
def object_of(scores, threshold):
    """A map of scores (r c) and a threshold -> bool (r c): True where the turned score is above the threshold.

    The map is turned (multiplied by -1) if the mean of its outermost ring is greater than the mean of the whole map."""
    ### BEGIN SOLUTION
    ring = np.ones(scores.shape, dtype=bool)
    ring[1:-1, 1:-1] = False
    turned = -scores if scores[ring].mean() > scores.mean() else scores
    return turned > threshold
    ### END SOLUTION


# %% check="06.2" points=2
check.object_of(object_of)
### BEGIN HIDDEN TESTS
check.object_of(object_of, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **06.3** (10 minutes) Mutual nearest neighbours from a matrix of similarities.


# %% exercise="06.3"
def mutual(table):
    """Similarities (N M) of the patches of A (rows) to those of B -> list of pairs (row, column) that choose each other, by row."""
    ### BEGIN SOLUTION
    to_b, to_a = table.argmax(axis=1), table.argmax(axis=0)
    return [(row, int(to_b[row])) for row in range(len(table)) if to_a[to_b[row]] == row]
    ### END SOLUTION


# %% check="06.3" points=2
check.mutual(mutual)
### BEGIN HIDDEN TESTS
check.mutual(mutual, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **06.4** (5 minutes, in words) A paper shows the three components of two models side by side and says that model A "separates parts better, as its
# colours are more vivid". Name two reasons why the colours alone cannot show that, and one measurement that could.

# %% [markdown] written="06.4" points=2
# ### BEGIN SOLUTION
# Colours are scaled by each model's own spread (or whitened), so vividness says how the picture was stretched; and each model has its own basis, fitted
# to its own patches, so the same colour means different things. Components also hold different shares of the variance in the two models. A measurement:
# IoU or mIoU of a linear probe over part labels on the same images, or of the first component against object masks, with an untrained network beside both.
# ### END SOLUTION
