# %% [markdown]
# # 10 Measuring: neighbours, probes, rank, likeness, and honest comparisons
#
# **Question:** how do you find out whether a network without labels has learnt anything, and whether it is better than another?
#
# 60 minutes · needs: cosine, softmax, standard deviation · no GPU, no internet · Caron et al. 2021 (arXiv 2104.14294), Sec. 4.1; Garrido
# et al. 2023 (RankMe, arXiv 2210.02885), Sec. 3; Kornblith et al. 2019 (CKA, arXiv 1905.00414), Sec. 2 and 3
#
# A loss says how well a student copies a teacher. It does not say whether the teacher is worth copying. We build the three usual
# measurements by hand, put baselines beside them, compare networks with each other, and see how far a difference can be trusted.

# %%
import numpy as np
import torch

from dino_core.data.sources import open_source
from dino_core.evaluation import knn
from dino_core.evaluation.images import normalised, read_images
from dino_core.measure.spectrum import rankme
from lab.analysis import cka
from notebooks.checks import n10 as check
from notebooks.course import QUICK, gallery, look, predict, reveal, scaled, show, training
from notebooks.solutions import n10 as solution
from notebooks.views import figure

torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. Neighbours
#
# The oldest test (Wu et al. 2018): take the features of labelled images, and let a new image ask its $k$ nearest neighbours for their
# labels. Each votes with weight $\exp(\cos(x, x_i)/0.07)$. No training, nothing to tune but $k = 20$. By hand, with four images of known label
# and $k = 3$:

# %%
known = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
labels = torch.tensor([0, 1, 1, 0])
new = torch.tensor([[0.96, 0.28]])
cosines = (known @ new[0]).tolist()
print("cosines  ", [round(c, 3) for c in cosines])
weights = [np.exp(c / 0.07) for c in cosines]
print("weights  ", [round(w) for w in weights])

# %%
votes = {0: 0.0, 1: 0.0}
for place in sorted(range(4), key=lambda i: -cosines[i])[:3]:
    votes[int(labels[place])] += weights[place]
print("votes    ", {label: round(v) for label, v in votes.items()})
assert max(votes, key=votes.get) == int(knn(known, labels, new, k=3)[0])

# %% [markdown]
# Label 1 has two of the three neighbours and loses: the nearest one alone outweighs them. The temperature 0.07 is low, and votes fall
# off steeply with distance.
#
# ## 2. The recorded run, measured
#
# Images of the built-in data which the run never trained on; the class token of its teacher at a few checkpoints; and beside it what costs
# no learning: the raw pixels, and the untrained network, which is the checkpoint of step 0.

# %%
run = gallery()
size = run.config.evaluation.size
train = read_images(open_source(run.config.data, split="train"), scaled(600, quick=80), size)
test = read_images(open_source(run.config.data, split="test"), scaled(400, quick=40), size)
print(
    f"{len(train.labels)} + {len(test.labels)} images of {size} px, {int(train.labels.max()) + 1} classes"
)
most = test.labels.bincount().max() / len(test.labels)
print(f"always naming the most frequent class: {most:.1%}")


# %%
def features(step, images, owner=run):
    """Class tokens (I D) of the teacher of a step (None: the last)."""
    teacher, data = owner.teacher(step), owner.config.crops
    with torch.inference_mode():
        batches = normalised(images.images, data.mean, data.std, torch.device("cpu")).split(100)
        return torch.cat([teacher(batch).cls for batch in batches])


def accuracy(known, asked):
    return float((knn(known, train.labels, asked) == test.labels).float().mean())


steps = [0, 500, 2000, 6000]
tokens = {step: (features(step, train), features(step, test)) for step in steps}
found = {step: accuracy(*tokens[step]) for step in steps}
pixels = accuracy(train.images.flatten(1).float(), test.images.flatten(1).float())
print({f"step {step}": f"{a:.1%}" for step, a in found.items()}, f"raw pixels: {pixels:.1%}")

# %%
predict(
    "10.a",
    "400 test images, 80 % right. If other 400 images of the same kind were drawn, by about how many points would the result differ?",
    ["0.1", "2", "10"],
)

# %% [markdown]
# Each image is right with probability $p$ or not, so the share of right ones among $n$ has standard deviation
#
# $$\sqrt{p(1-p)/n}$$

# %%
p, n = 0.8, 400
print(f"by the formula {100 * (p * (1 - p) / n) ** 0.5:.1f} points")
draws = np.random.default_rng(0).random((1000, n)) < p
print(f"by drawing 1000 times {100 * draws.mean(axis=1).std():.1f} points")
reveal(
    "10.a",
    "2",
    "So 80 % and 82 % on 400 images are the same result: two standard deviations of one number are 4 points, of a difference nearly 6 (10.3).",
)

# %% [markdown]
# One seed of training is another source of chance, usually the larger one: three seeds of `tiny` give 67.8, 72.5 and 71.0 % (README). A table
# with one number a method and no interval tells the reader little.

# %%
error = [2 * (a * (1 - a) / len(test.labels)) ** 0.5 for a in found.values()]
drawn, axes = figure()
axes.errorbar(
    [s + 1 for s in steps],
    list(found.values()),
    yerr=error,
    marker="o",
    capsize=3,
    label="teacher, k-NN",
)
axes.axhline(pixels, color="#D55E00", linestyle="--", label="raw pixels")
axes.axhline(found[0], color="grey", linestyle=":", label="untrained network")
axes.set(
    xscale="log",
    ylim=(0, 1),
    xlabel="training step + 1",
    ylabel="accuracy (share)",
    title="Has it learnt anything?",
)
axes.legend()
look(
    drawn,
    "k-NN accuracy of four checkpoints, with two standard deviations of chance, beside what needs no training.",
    "from where on the interval lies clear of both lines.",
)

# %% [markdown]
# The lab draws such measurements with the same lines beside them, while a run trains: of yours, if one does now (04 begins one; the widget
# follows it), else of the recorded run. It draws no intervals: on 400 images think of 4 points up and down.

# %%
show("emergence", run=training(run))

# %% [markdown]
# ## 3. A linear probe
#
# k-NN asks whether images of one class are *near*. A linear classifier on the frozen features asks whether a plane *can part* them; it is
# trained, on the training labels alone. The simplest one has a formula: ridge regression of one-hot labels,
#
# $$W = (X^\top X + \lambda I)^{-1} X^\top Y$$

# %%
one_hot = torch.nn.functional.one_hot(train.labels).float()
x, y = tokens[6000]
centre, spread = x.mean(0), x.std(0)
x1, y1 = ((f - centre) / spread for f in (x, y))
weights = torch.linalg.solve(
    x1.T @ x1 + 10 * torch.eye(x1.shape[1]), x1.T @ (one_hot - one_hot.mean(0))
)
linear = float(((y1 @ weights + one_hot.mean(0)).argmax(1) == test.labels).float().mean())
print(f"linear probe {linear:.1%}, k-NN {found[6000]:.1%}")

# %%
predict(
    "10.b",
    "The same probe on the raw pixels: 600 images of 3 * 64 * 64 = 12 288 numbers. On its own *training* images it will be right for",
    ["about as many as on the test images", "nearly all", "none"],
)

# %%
raw, asked = (f.images.flatten(1).float() / 255 for f in (train, test))
middle = raw.mean(0)
kernel = (raw - middle) @ (
    raw - middle
).T  # more numbers than images: the same formula from the other side
alpha = torch.linalg.solve(kernel + 10 * torch.eye(len(kernel)), one_hot - one_hot.mean(0))
own = ((kernel @ alpha + one_hot.mean(0)).argmax(1) == train.labels).float().mean()
others = (
    (((asked - middle) @ (raw - middle).T @ alpha + one_hot.mean(0)).argmax(1) == test.labels)
    .float()
    .mean()
)
print(f"pixels: {own:.1%} of its training images, {others:.1%} of the test images")
reveal(
    "10.b",
    "nearly all",
    "With more numbers than images a plane parts anything. Only images it was not fitted to count.",
)

# %% [markdown]
# ## 4. Without labels: how many directions?
#
# RankMe: take the singular values $\sigma_k$ of the features, as shares $p_k = \sigma_k/\sum_j\sigma_j$, and the exponential of their entropy. All
# directions alike: $D$. One direction only: 1. By hand for two images of two features:

# %%
two = torch.tensor([[3.0, 0.0], [0.0, 1.0]])  # singular values 3 and 1
shares = torch.tensor([0.75, 0.25])
by_hand = torch.exp(-(shares * shares.log()).sum())
print(f"exp(0.75 ln(1/0.75) + 0.25 ln(1/0.25)) = {by_hand:.3f}")
assert torch.isclose(rankme(two).float(), by_hand, atol=1e-4)

# %%
predict(
    "10.c",
    "A network collapses: every image gives the same vector v. RankMe of its features is",
    ["0", "1", "D"],
)

# %%
same = torch.randn(1, 96, generator=torch.Generator().manual_seed(0)).expand(200, 96)
print(f"collapsed: {rankme(same):.2f}")
print({f"step {step}": f"{rankme(tokens[step][0]):.1f} of 96" for step in steps})
reveal(
    "10.c",
    "1",
    "One direction holds everything. Had we subtracted the mean first, nothing would be left to measure.",
)

# %% [markdown]
# A high rank alone proves nothing: noise has the highest rank of all, and its neighbours know no more than chance. A rank that *falls* is a
# warning. It is a smoke detector, not an exam.

# %%
noise = torch.randn(len(train.labels), 96, generator=torch.Generator().manual_seed(1))
asked_noise = torch.randn(len(test.labels), 96, generator=torch.Generator().manual_seed(2))
print(f"noise: RankMe {rankme(noise):.1f}, k-NN {accuracy(noise, asked_noise):.1%}")

# %% [markdown]
# ## 5. How alike are two networks?
#
# Features of two networks have different axes, even different numbers of them, so they can't be subtracted. *Linear CKA* (Kornblith et al.
# 2019, Sec. 3) asks whether the same **rows** (images) are alike in both. With columns of mean 0,
#
# $$\mathrm{CKA}(X, Y) = \frac{\|Y^\top X\|^2}{\|X^\top X\|\;\|Y^\top Y\|}$$
#
# By hand for four rows; $Y$ is $X$ turned by a quarter and doubled, $Z$ is something else with one feature only. The norm of a matrix is the
# root of the sum of its squares.

# %%
X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
Y = 2 * X @ np.array([[0.0, 1.0], [-1.0, 0.0]])
Z = np.array([[1.0], [-1.0], [1.0], [-1.0]])


def squared(a, b):
    """The squared norm of aᵀb in single numbers."""
    pairs = [(i, j) for i in range(a.shape[1]) for j in range(b.shape[1])]
    return sum(sum(a[r, i] * b[r, j] for r in range(len(a))) ** 2 for i, j in pairs)


for name, other in (("Y", Y), ("Z", Z)):
    parts = squared(X, other), squared(X, X), squared(other, other)
    loop = parts[0] / (parts[1] ** 0.5 * parts[2] ** 0.5)
    print(f"CKA(X, {name}) = {parts[0]:.0f} / (√{parts[1]:.0f} · √{parts[2]:.0f}) = {loop:.3f}")
    assert np.isclose(loop, cka.linear(X, other))

# %%
predict(
    "10.d",
    "Two networks were trained apart: the recorded run, and one with DINOv3's objective. The untrained start of the first is the third. "
    "Which two are the most alike?",
    ["the two trained ones", "the first and its own start", "the other and that start"],
)

# %%
described = {
    "trained": tokens[6000][1],
    "its start": tokens[0][1],
    "DINOv3": features(None, test, gallery("dinov3_shapes")),
    "raw pixels": torch.nn.functional.avg_pool2d(test.images.float(), size // 8).flatten(1),
}
names, rows = list(described), [x.numpy() for x in described.values()]
table = cka.matrix(rows, rows)

# %%
drawn, axes = figure(width=4.6, height=3.4)
axes.imshow(table, cmap="cividis", vmin=0, vmax=1)
for row in range(len(names)):
    for column in range(len(names)):
        colour = "white" if table[row, column] < 0.6 else "black"
        axes.text(column, row, f"{table[row, column]:.2f}", ha="center", va="center", color=colour)
axes.set_xticks(range(len(names)), names)
axes.set_yticks(range(len(names)), names)
axes.set(
    title=f"Linear CKA over {len(test.labels)} test images", xlabel="network", ylabel="network"
)
axes.grid(False)
look(
    drawn,
    "how alike networks are in which images they find alike; 1 on the diagonal by definition.",
    "whether what two trained networks have in common exceeds what each has with a network that never learnt, and with pixels.",
)

# %%
pairs = {
    "the two trained ones": table[0, 2],
    "the first and its own start": table[0, 1],
    "the other and that start": table[1, 2],
}
reveal(
    "10.d",
    max(pairs, key=pairs.get),
    "CKA: "
    + ", ".join(f"{name} {value:.2f}" for name, value in pairs.items())
    + ". And it says *alike*, not *good*.",
)

# %% [markdown]
# ## 6. Honest comparisons
#
# The same features, four different tables:

# %%
x, y = tokens[6000]
for count in (50, 200, len(x)):
    predicted = knn(x[:count], train.labels[:count], y, k=20)
    print(f"{count:4d} known images: {float((predicted == test.labels).float().mean()):.1%}")
for k in (1, 5, 20, 100):
    predicted = knn(x, train.labels, y, k=k)
    print(f"k = {k:3d}: {float((predicted == test.labels).float().mean()):.1%}")

# %% [markdown]
# So two numbers can be compared only if the known images, their count, $k$, the resolution and the test images are the same. What a comparison
# has to say:
#
# 1. the baselines: chance, raw pixels, the untrained network;
# 2. the number of test images, and an interval;
# 3. how many seeds, and all of them, not the best;
# 4. which checkpoint, chosen *before* looking at the test images;
# 5. what was tuned, on what.
#
# ## What was learnt
#
# - k-NN asks for nearness, a linear probe for a plane, a patch probe (`dino-lab evaluate`, mIoU over parts) for local knowledge, RankMe for
#   directions. Each can be high while another is low.
# - A probe that is fitted says something only on images it was not fitted to.
# - CKA compares which rows are alike, whatever the axes; between trained networks it is a finding as far as it exceeds that of untrained ones.
# - Chance alone moves an accuracy by $\sqrt{p(1-p)/n}$; a second seed moves it more.
#
# In the code: `dino_core/evaluation/` (`knn.py`, `linear.py`, `segmentation.py`), `dino_core/measure/spectrum.py`, `lab/analysis/cka.py`.
#
# ## Exercises
#
# **10.1** (10 minutes) The vote of the nearest neighbours.


# %% exercise="10.1"
def nearest_label(known, labels, new, k=3, temperature=0.07):
    """Known features (N D), their labels (N), one new feature (D) -> the label (int) with the greatest sum of weights."""
    ### BEGIN SOLUTION
    cosines = torch.nn.functional.normalize(known, dim=-1) @ torch.nn.functional.normalize(
        new, dim=-1
    )
    weight, place = cosines.topk(k)
    votes = torch.zeros(int(labels.max()) + 1)
    votes.index_add_(0, labels[place], (weight / temperature).exp())
    return int(votes.argmax())
    ### END SOLUTION


# %% check="10.1" points=2
check.nearest_label(nearest_label)
### BEGIN HIDDEN TESTS
check.nearest_label(nearest_label, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **10.2** (5 minutes) RankMe.


# %% exercise="10.2"
def effective_rank(features):
    """Features (N D) -> exp of the entropy of the singular values' shares, features as they are; a number from 1 to min(N, D)."""
    ### BEGIN SOLUTION
    values = torch.linalg.svdvals(features)
    shares = values / values.sum()
    return torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum())
    ### END SOLUTION


# %% check="10.2" points=2
check.effective_rank(effective_rank)
### BEGIN HIDDEN TESTS
check.effective_rank(effective_rank, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **10.3** (5 minutes) Is it a difference? Two accuracies on test sets of n images each; the standard deviation of a difference of two independent
# numbers is the root of the sum of their squares.


# %% exercise="10.3"
def differs(first, second, n):
    """Two accuracies (shares) on n images each -> True if they are more than two standard deviations of their difference apart."""
    ### BEGIN SOLUTION
    deviation = (first * (1 - first) / n + second * (1 - second) / n) ** 0.5
    return abs(first - second) > 2 * deviation
    ### END SOLUTION


# %% check="10.3" points=1
check.differs(differs)
### BEGIN HIDDEN TESTS
check.differs(differs, seed=1)
### END HIDDEN TESTS

# %%
print("step 2000 against step 6000:", solution.differs(found[2000], found[6000], len(test.labels)))
if not QUICK:
    assert solution.differs(found[0], found[6000], len(test.labels))

# %% [markdown]
# **10.4** (5 minutes) Linear CKA.


# %% exercise="10.4"
def alike(one, other):
    """Features (R P) and (R Q) of the same R rows -> linear CKA, a number from 0 to 1."""
    ### BEGIN SOLUTION
    x, y = one - one.mean(axis=0), other - other.mean(axis=0)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return np.linalg.norm(y.T @ x) ** 2 / own
    ### END SOLUTION


# %% check="10.4" points=2
check.alike(alike)
### BEGIN HIDDEN TESTS
check.alike(alike, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **10.5** (5 minutes, in words) "Our method reaches 74.1 % k-NN, the baseline 73.2 %, on 1000 test images, best of five checkpoints." What do you ask?

# %% [markdown] written="10.5" points=2
# ### BEGIN SOLUTION
# One standard deviation of each number is about 1.4 points, of their difference 2, so 0.9 points are chance. Best of five checkpoints was chosen with the
# test images, which favours whoever tried more; was the baseline given five tries too? How many seeds, what do pixels and an untrained network reach, are
# k, resolution and the known images the same, and what was tuned for each?
# ### END SOLUTION
