# %% [markdown]
# # 00 A tour
#
# **Question:** what can one see of a network that learnt without labels?
#
# 35 minutes · needs: Python, what a neural network is · no GPU, no internet · Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers" (arXiv 2104.14294), Fig. 1 and Sec. 4
#
# The lab ships the record of a real training run: a small Vision Transformer that saw 8000 drawn scenes for 6000 steps, with DINO's objective and without a single
# label. You open it and look at everything once. Nothing is explained to the end here; each section names the notebook that does.
#
# **How these notebooks work.** Run cells from top to bottom with Shift-Enter. Where you are asked to *predict*, do it before you run what follows: a guess that turned out wrong
# is worth more than a page read. Exercises at the end have checks that tell what is wrong; `hint("00.1")` helps.

# %%
import numpy as np
import torch

from dino_core.config import Shapes
from dino_core.data.shapes import CLASSES, draw_scene
from dino_core.evaluation.knn import knn
from lab.analysis import pca
from notebooks.checks import n00 as check
from notebooks.course import gallery, look, predict, reveal, scaled, show
from notebooks.views import figure

# %% [markdown]
# ## 1. A run
#
# A run is a folder; `Run` reads it. The training has written down what it is, every number it logged, and, at some steps, what its networks said about 16 fixed images.

# %%
run = gallery()
about = run.about
print(f"{run.name}: recipe {about['recipe']}, {about['images']} images, {run.config.steps} steps")
print("teacher kept at steps", run.checkpoints)
print("probe images shown at", len(run.probes), "steps, the last", run.probes[-1])

# %%
images = run.probe_images
drawn, axes = figure(2, 8, width=7.4, height=2.4)
for place, picture, label in zip(axes.flat, images.images, images.labels):
    place.imshow(picture.transpose(1, 2, 0))
    place.set_title(CLASSES[label], fontsize=9)
    place.axis("off")
look(
    drawn,
    "the 16 probe images and their classes.",
    "the grey background: it is noise, drawn anew for each image, and tells nothing.",
)

# %% [markdown]
# The names above the pictures are ours. Training never saw them, nor where the object is.
#
# ## 2. Does it know the classes?
#
# A network that sorts images by itself puts images of one class near each other. The test: describe each image by the network's vector for it (the *class token*, 96
# numbers), and give a new image the class of the training image whose vector is nearest. Nothing is trained for this.

# %%
predict(
    "00.a",
    "The same test on the pixels themselves gets about 60 % right; guessing gets 10 %. What does the network reach, in %?",
)

# %%
count, tests = scaled((1000, 300), quick=(200, 60))
train = [draw_scene(Shapes(), "train", index) for index in range(count)]
test = [draw_scene(Shapes(), "test", index) for index in range(tests)]
mean, std = (torch.tensor(x).view(3, 1, 1) for x in (run.config.crops.mean, run.config.crops.std))


def pixels(scenes):
    """Scenes → normalised images (B 3 H W)."""
    stack = np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2)
    return (torch.from_numpy(stack).float() / 255 - mean) / std


teacher = run.teacher()
with torch.no_grad():
    described = [
        torch.cat([teacher(part).cls for part in pixels(s).split(100)]) for s in (train, test)
    ]
labels = torch.tensor([s.label for s in train]), torch.tensor([s.label for s in test])
print(
    "vectors of the training images",
    tuple(described[0].shape),
    "and of the test images",
    tuple(described[1].shape),
)

# %% [markdown]
# **Near** means: the angle between the vectors is small. Its cosine is the dot product of the vectors, divided by their lengths. For the first test image and three
# training images, by hand:

# %%
query = described[1][0]
for index in range(3):
    other = described[0][index]
    cosine = (query * other).sum() / (query.square().sum().sqrt() * other.square().sum().sqrt())
    print(
        f"test 0 ({CLASSES[test[0].label]}) and training {index} ({CLASSES[train[index].label]}): {cosine:.3f}"
    )

# %%
unit_train, unit_test = (rows / rows.norm(dim=1, keepdim=True) for rows in described)
likeness = unit_test @ unit_train.T  # (test, training)
drawn, axes = figure(3, 7, width=6.8, height=3.4)
for row, line in zip(range(3), axes):
    nearest = likeness[row].argsort(descending=True)[:6]
    pictures = [test[row], *(train[i] for i in nearest)]
    names = ["test", *(f"{likeness[row, i]:.2f}" for i in nearest)]
    for place, scene, name in zip(line, pictures, names):
        place.imshow(scene.image)
        place.set_title(name, fontsize=9)
        place.axis("off")
look(
    drawn,
    "three test images (left) and the six training images nearest to each, with their cosines.",
    "what makes images near: class, colour, pose, or where the object is?",
)

# %% [markdown]
# Now for all test images: a loop, and the library's k-nearest neighbours with k = 1. They must agree.

# %%
right = 0
for row in range(len(test)):
    right += int(labels[0][likeness[row].argmax()] == labels[1][row])
found = knn(described[0], labels[0], described[1], k=1)
assert right == (found == labels[1]).sum()
raw = knn(pixels(train).flatten(1), labels[0], pixels(test).flatten(1), k=1)
print(
    f"network {100 * right / len(test):.1f} %, raw pixels {100 * (raw == labels[1]).float().mean():.1f} %"
)

# %%
reveal("00.a", round(100 * right / len(test)), f"With k = 1 and {count} training images.", within=8)

# %% [markdown]
# How such numbers are measured honestly, and what a difference of 2 points means with 300 test images, is notebook 10. How the number grew while the network
# trained (measured there with 20 neighbours on 1000 + 400 images), and two other numbers, each beside what costs no learning. The best attention head finds the object early and then loses
# part of it: notebook 05 finds out where it went.

# %%
show("emergence", run=run)

# %% [markdown]
# ## 3. Where does it look?
#
# In a Vision Transformer the class token collects what it needs from the patches of the image: *attention* says from where. The last layer does that six times in
# parallel, in six *heads*. (The lab counts from 1 and Python from 0: `image=2` below is the lab's image 3, and its head 1 is number 0 of a list.)

# %%
predict(
    "00.b",
    "Nobody said what the object is. Does one head look at the object better than a box in the middle of the image would?",
    ["yes", "no", "about the same"],
)

# %%
show("attention", run=run, image=2)

# %%
best = run.metrics()["jaccard/best_head"].dropna().iloc[-1]
box = about["baselines"]["jaccard_centred_box"]
answer = "about the same" if abs(best - box) < 0.02 else "yes" if best > box else "no"
reveal(
    "00.b",
    answer,
    f"Overlap (Jaccard) with the object: best head {best:.2f}, centred box {box:.2f}.",
)

# %% [markdown]
# It is better, not by much: this is a network of half a million weights after an hour on one core. The paper's Fig. 1 shows a far larger network, trained for days. Notebook 05
# takes attention apart.
#
# ## 4. What are patches like?
#
# Each patch of 8 × 8 pixels has a vector too. The three directions in which these vectors differ most (their principal components) shown as red, green and blue:

# %%
drawn, axes = figure(2, 6, width=8.5, height=3.1)
shown = [step for step in (0, 100, 500, 2000, 6000) if step in run.probes]
reference = pca.project(run.probe(shown[-1]).patches.astype(np.float32), 3)
for line, image in zip(axes, (2, 8)):
    line[0].imshow(images.images[image].transpose(1, 2, 0))
    line[0].set_title("image", fontsize=9)
    for place, step in zip(line[1:], shown):
        probe = run.probe(step)
        scores, _ = pca.align(pca.project(probe.patches.astype(np.float32), 3), reference)
        colours = 1 / (1 + np.exp(-2 * scores / scores.std(axis=(0, 1))))
        place.imshow(colours[image].reshape(*probe.grid, 3))
        place.set_title(f"step {step}", fontsize=9)
for place in axes.flat:
    place.axis("off")
look(
    drawn,
    "three principal components of all patches of the 16 images, at five moments of training, colours turned to fit the last.",
    "the object comes apart from the background; in the last column parts of one kind tend to share a colour.",
)

# %% [markdown]
# Notebook 06 does this from the first line, and 08 asks what becomes of it in very long trainings.
#
# ## 5. What does it minimise?

# %%
predict(
    "00.c",
    "The loss at the end of this successful training is, compared with the first step,",
    ["lower", "higher", "about the same"],
)

# %%
show("loss", run=run)

# %%
table = run.metrics()[["step", "loss/dino"]].dropna()
start, end = table["loss/dino"].iloc[0], table["loss/dino"].iloc[-10:].mean()
answer = "about the same" if abs(start - end) < 0.3 else "lower" if end < start else "higher"
reveal(
    "00.c",
    answer,
    f"{start:.2f} nats in the first step, {end:.2f} at the end, and up to {table['loss/dino'].max():.2f} between.",
)

# %% [markdown]
# The curve rises steeply before it falls. What the number is, notebook 02 computes by hand; why it does not simply go to 0, and why a loss of 0 would be a disaster, is notebook
# 03.
#
# ## 6. Where to go from here
#
# | | question |
# |---|---|
# | 01 | Who sees what of an image, and how does one network follow the other? |
# | 02 | What number does DINO make small, exactly? |
# | 03 | Two networks that only have to agree could agree on nothing; what stops them? |
# | 04 | What does a run do while it trains? Your own, live |
# | 05, 06 | Attention heads; patches |
# | 07, 08, 09 | DINOv2: masked patches. DINOv3: Gram anchoring. Distillation |
# | 10, 11, 12 | Measuring; your own monitor, view and objective; your own photographs and published models |
#
# The same views, larger and linked to each other, are in the lab: `dino-lab watch` in a terminal, or `make lab` to train a run of your own with it.
#
# ## What was learnt
#
# - A run is a folder that can be read: numbers, and what the networks said about fixed images.
# - Without labels the network came to put images of one class near each other, beyond raw pixels; one head looks at objects; patches of objects come apart from the background.
# - Each of these is measured against something that costs no learning.
# - The loss does not tell any of it.
#
# ## Exercises
#
# **00.1** (5 minutes) The nearest neighbour of a row, among all other rows.


# %% exercise="00.1"
def nearest(vectors, index):
    """Which row of `vectors` (N D) has the largest cosine with row `index`, not counting itself?  An int."""
    ### BEGIN SOLUTION
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    likeness = unit @ unit[index]
    likeness[index] = -torch.inf
    return int(likeness.argmax())
    ### END SOLUTION


# %% check="00.1" points=1
check.nearest(nearest)
### BEGIN HIDDEN TESTS
check.nearest(nearest, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **00.2** (10 minutes) Leave one out: give each row the label of its nearest other row. What share is right?


# %% exercise="00.2"
def leave_one_out(vectors, labels):
    """Vectors (N D) and labels (N) → the share of rows whose nearest other row has their label, from 0 to 1."""
    ### BEGIN SOLUTION
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    likeness = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return (labels[likeness.argmax(dim=1)] == labels).float().mean()
    ### END SOLUTION


# %% check="00.2" points=2
check.leave_one_out(leave_one_out)
### BEGIN HIDDEN TESTS
check.leave_one_out(leave_one_out, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# Try it on the training images of section 2, and on their pixels: `leave_one_out(described[0], labels[0])`.
