# %% [markdown]
# # 05 Attention heads: where segmentation comes from
#
# **Question:** nobody told the network what an object is; so why does a head look at it, and how would one prove that it does?
#
# 50 minutes · needs: softmax, dot products · no GPU, no internet · Caron et al. 2021 (arXiv 2104.14294), Sec. 4.2.2, Fig. 1 and 4;
# Abnar and Zuidema 2020 (rollout, arXiv 2005.00928)
#
# We compute one attention row by hand, cut it the way the paper's figure does, and measure the overlap with the object beside three
# baselines, through training.

# %%
import numpy as np
import torch

from dino_core.evaluation.images import normalised
from lab.analysis import attention, baselines
from lab.analysis.rollout import rollout
from notebooks.checks import n05 as check
from notebooks.course import gallery, look, predict, reveal, show
from notebooks.solutions import n05 as solution
from notebooks.views import figure, mostly_object

np.set_printoptions(precision=3, suppress=True)
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. One row, by hand
#
# Each token asks with a *query* $q$ and is asked by its *key* $k$. The weights with which token $i$ collects from the others:
#
# $$a_{ij} = \frac{\exp(\langle q_i, k_j\rangle / \sqrt d)}{\sum_l \exp(\langle q_i, k_l\rangle/\sqrt d)}$$
#
# A class token and three patches, $d = 4$:

# %%
q = torch.tensor([2.0, 0.0, 1.0, -1.0])  # of the class token
keys = torch.tensor(
    [[1.0, 1.0, 0.0, 0.0], [2.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0]]
)
scores = keys @ q
print("<q, k>        ", scores)
print("over sqrt(4)  ", scores / 2)
row = (scores / 2).softmax(dim=0)
print("attention     ", row, " sum", row.sum())
by_hand = torch.stack([(s / 2).exp() for s in scores])
assert torch.allclose(row, by_hand / by_hand.sum())

# %% [markdown]
# The real thing: all heads of the last layer, for one probe image. Axes: images, heads, tokens that ask, tokens that are asked; tokens in
# the order class, registers, patches.

# %%
run = gallery()
IMAGE = 2
teacher = run.teacher()
crops = run.config.crops
image = torch.from_numpy(run.probe_images.images[IMAGE : IMAGE + 1])
x = normalised(image, crops.mean, crops.std, torch.device("cpu"))
with torch.inference_mode():
    maps = teacher.attention(x, layer=-1)
print(
    "attention",
    tuple(maps.shape),
    " = 1 class +",
    teacher.registers,
    "registers +",
    maps.shape[-1] - 1 - teacher.registers,
    "patches",
)
assert torch.allclose(maps.sum(-1), torch.ones(maps.shape[:-1]), atol=1e-5)

# %%
predict(
    "05.a",
    "The class token of this network asks. About how much of its attention goes to the patches, and how much to itself and the four registers?",
    ["all to patches", "half and half", "nearly all to itself and registers"],
)

# %%
to_patches = maps[0, :, 0, 1 + teacher.registers :].sum(-1)
print("share of each head that goes to patches", to_patches)
measured = float(to_patches.mean())
options = ["nearly all to itself and registers", "half and half", "all to patches"]
reveal(
    "05.a",
    options[0] if measured < 0.3 else options[1] if measured < 0.7 else options[2],
    f"On average {measured:.0%}. A map over patches shows that part only, so look at its sum before trusting its colours.",
)

# %% [markdown]
# ## 2. The paper's cut: 60 % of the mass
#
# A map is not a mask. The figure of the paper keeps the *fewest patches that together hold 60 %* of a head's attention. By hand on five
# patches:

# %%
five = np.array([0.05, 0.40, 0.10, 0.30, 0.15])
order = np.argsort(-five)
print("largest first", order, five[order], " running sum", five[order].cumsum())
kept = np.zeros(5, dtype=bool)
kept[order[: int((five[order].cumsum() < 0.6).sum()) + 1]] = True
print("kept", kept)
assert (kept == attention.mass_mask(five, 0.6)).all()

# %%
predict(
    "05.b", "A head gives all 64 patches the same weight. How many patches does the 60 % mask keep?"
)

# %%
even = attention.mass_mask(np.full(64, 1 / 64), 0.6)
reveal(
    "05.b",
    int(even.sum()),
    "0.6 * 64 = 38.4, and the next one is needed. A mask always appears, even of nothing: measure it.",
)

# %% [markdown]
# ## 3. Does it find the object?
#
# Overlap of the mask with the object: **Jaccard**, what both cover over what either covers. For every head of the last layer, over 16 images.

# %%
probe, objects = run.probe(), mostly_object(run)
maps = probe.attention.astype(np.float32)  # I H N
overlap = attention.jaccard(attention.mass_mask(maps, 0.6), objects[:, None])
per_head = np.nanmean(overlap, axis=0)
print("mean Jaccard of each head", per_head)
best = int(per_head.argmax())
box, _ = baselines.centred_box(run.probe_images.masks > 0)
print(f"best head {best}: {per_head[best]:.2f}; the best centred box: {box:.2f}")

# %%
picture = run.probe_images.images[IMAGE].transpose(1, 2, 0)
drawn, axes = figure(2, 4, width=7.2, height=3.8)
axes[0, 0].imshow(picture)
axes[0, 0].set_title("image")
axes[1, 0].imshow(objects[IMAGE].reshape(probe.grid), cmap="gray", vmin=0, vmax=1)
axes[1, 0].set_title("object")
for column, head in enumerate(np.argsort(-per_head)[[0, 1, -1]], start=1):
    axes[0, column].imshow(maps[IMAGE, head].reshape(probe.grid), cmap="viridis", vmin=0)
    axes[0, column].set_title(f"head {head}")
    axes[1, column].imshow(
        attention.mass_mask(maps[IMAGE, head], 0.6).reshape(probe.grid), cmap="gray", vmin=0, vmax=1
    )
    axes[1, column].set_title(f"60 %: Jaccard {overlap[IMAGE, head]:.2f}", fontsize=8)
for place in axes.flat:
    place.axis("off")
look(
    drawn,
    "one image, and the two best heads and the worst over 16 images: attention above, the 60 % mask below.",
    "that heads differ: some take the object, one the background, and each is cut at 60 % whether it found something or not.",
)

# %% [markdown]
# The same heads in the lab's view, live in JupyterLab. There they count from 1 (`head 0` above is its head 1), and Jaccard is of pixels, where we took patches that are mostly object.

# %%
show("attention", run=run, image=IMAGE)

# %% [markdown]
# ## 4. Through training, beside the baselines
#
# **A trap:** choosing the best head for each image and checkpoint by looking at the masks lets the answer leak into the question. Here *one*
# head is chosen, on eight images, and judged on the other eight. The mean of all heads is cut in the same way, and needs no choice at all.

# %%
curve, together, chosen = [], [], []
for step in run.probes:
    maps_then = run.probe(step).attention.astype(np.float32)  # I H N
    found = attention.jaccard(attention.mass_mask(maps_then, 0.6), objects[:, None])  # I H
    head = int(np.nanmean(found[:8], axis=0).argmax())
    chosen.append(head)
    curve.append(float(np.nanmean(found[8:, head])))
    joint = attention.mass_mask(maps_then.mean(1), 0.6)  # I N
    together.append(float(np.nanmean(attention.jaccard(joint, objects)[8:])))
print("chosen heads", chosen)
print(f"at the end: one head {curve[-1]:.2f}, all together {together[-1]:.2f}, the box {box:.2f}")

# %%
drawn, axes = figure()
axes.plot(np.array(run.probes) + 1, curve, marker="o", label="one head, chosen on other images")
axes.plot(np.array(run.probes) + 1, together, marker="s", label="all heads together")
axes.axhline(box, color="grey", linestyle="--", label="the best centred box")
axes.axhline(curve[0], color="grey", linestyle=":", label="that head, untrained")
axes.set(
    xscale="log",
    ylim=(0, 0.6),
    xlabel="training step + 1",
    ylabel="Jaccard with the object",
    title="Heads turn to the object, and divide it",
)
axes.legend()
look(
    drawn,
    "overlap of a 60 % mask with the object on eight images, of one head and of the mean of all, at every recorded step.",
    "one head finds the object early and then keeps a part of it; all together go on rising. With eight images a few points are chance.",
)

# %% [markdown]
# ## 5. Other questions one can ask a head
#
# **How widely does it look?** The entropy of its row, from 0 (one patch) to $\ln N$ (everywhere alike). **How far?** The mean distance between
# a patch and what it looks at: small in heads that work like a convolution.

# %%
print(
    f"ln {maps.shape[-1]} = {np.log(maps.shape[-1]):.2f} nats; entropy of each head, mean over images:"
)
print(np.array([attention.head_entropy(maps[:, h]).mean() for h in range(maps.shape[1])]))
with torch.inference_mode():
    layers = [teacher.attention(x, layer=layer)[0].numpy() for layer in range(teacher.depth)]
first = 1 + teacher.registers
for layer, every in enumerate(layers):
    between = every[:, first:, first:]
    between = between / between.sum(-1, keepdims=True)
    print(
        f"layer {layer}: mean distance {attention.mean_distance(between, probe.grid).mean(-1)} patches"
    )

# %% [markdown]
# **What reaches the class token in the end?** A head of the last layer mixes tokens that have been mixed before. Rollout multiplies the layers'
# matrices, each averaged over heads and half mixed with the identity for the residual connection:
#
# $$R = \prod_{l} \tfrac12 (A_l + I)$$

# %%
mixed = np.stack([every.mean(axis=0) for every in layers])  # L Q Q
product = np.eye(mixed.shape[1])
for matrix in mixed:
    product = 0.5 * (matrix + np.eye(len(matrix))) @ product
assert np.allclose(product, rollout(mixed, 0.5), atol=1e-5)
drawn, axes = figure(1, 3, width=6.0, height=2.2)
axes[0].imshow(picture)
axes[0].set_title("image")
axes[1].imshow(mixed[-1][0, first:].reshape(probe.grid), cmap="viridis", vmin=0)
axes[1].set_title("last layer, mean head")
axes[2].imshow(product[0, first:].reshape(probe.grid), cmap="viridis", vmin=0)
axes[2].set_title("rollout")
for place in axes:
    place.axis("off")
look(
    drawn,
    "what the class token takes from each patch: in the last layer, and through all layers.",
    "that rollout is flatter.",
)

# %% [markdown]
# Attention is a weight, not an explanation: it says from where a token takes, not what it takes nor what is done with it.
#
# ## What was learnt
#
# - A row of attention is a softmax over all tokens, class and registers among them; a map shows the patches' part only.
# - The 60 % mask always exists. Whether it means something, Jaccard says, beside a box, an untrained network and chance.
# - Choose the head on other images than those you judge it on. Heads divide an object: together they may find what the best one alone does not.
# - Entropy says how widely a head looks, mean distance how far, rollout what may have come through all layers.
#
# In the code: `lab/analysis/attention.py`, `rollout.py`, `Backbone.attention`.
#
# ## Exercises
#
# **05.1** (10 minutes) The row of attention of one token.


# %% exercise="05.1"
def attention_row(query, keys):
    """Query (d) and keys (Q d) -> how the token attends to the Q tokens (Q); it sums to 1."""
    ### BEGIN SOLUTION
    return (keys @ query / query.shape[0] ** 0.5).softmax(dim=0)
    ### END SOLUTION


# %% check="05.1" points=1
check.attention_row(attention_row)
### BEGIN HIDDEN TESTS
check.attention_row(attention_row, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **05.2** (10 minutes) The fewest patches that hold a share of the attention.


# %% exercise="05.2"
def fewest(weights, mass=0.6):
    """Weights (N) of patches, not summing to 1 -> bool (N): the fewest patches that hold at least `mass` of their sum."""
    ### BEGIN SOLUTION
    order = np.argsort(-weights)
    running = np.cumsum(weights[order]) / weights.sum()
    kept = np.zeros(len(weights), dtype=bool)
    kept[order[: int((running < mass).sum()) + 1]] = True
    return kept
    ### END SOLUTION


# %% check="05.2" points=2
check.fewest(fewest)
### BEGIN HIDDEN TESTS
check.fewest(fewest, seed=1)
### END HIDDEN TESTS

# %%
assert (solution.fewest(maps[IMAGE, best]) == attention.mass_mask(maps[IMAGE, best], 0.6)).all()

# %% [markdown]
# **05.3** (5 minutes) The overlap of two masks.


# %% exercise="05.3"
def overlap_of(found, wanted):
    """Two masks, bool (N) -> what both cover over what either covers, a number from 0 to 1."""
    ### BEGIN SOLUTION
    return (found & wanted).sum() / (found | wanted).sum()
    ### END SOLUTION


# %% check="05.3" points=1
check.overlap_of(overlap_of)
### BEGIN HIDDEN TESTS
check.overlap_of(overlap_of, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **05.4** (5 minutes, in words) On photographs whose *backgrounds* differ from image to image, the best head of a small run overlaps the object less than that
# of the untrained network (README). Why may that be a success of the training?

# %% [markdown] written="05.4" points=2
# ### BEGIN SOLUTION
# The objective asks for the same answer for crops of one image and other answers for others. A background that is different in every image tells images
# apart better, and more cheaply, than the object does, so attending to it lowers the loss. The network did what it was asked; that heads find objects is a
# consequence of data in which the object is what identifies the image.
# ### END SOLUTION
