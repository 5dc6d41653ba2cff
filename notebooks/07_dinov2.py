# %% [markdown]
# # 07 Masked patches, KoLeo, registers: DINOv2
#
# **Question:** what did DINOv2 add to DINO, and what is each addition for?
#
# 55 minutes · needs: the objective by hand (02) · no GPU, no internet · Oquab et al. 2023 (arXiv 2304.07193), Sec. 4; Zhou et al. 2022
# (iBOT, arXiv 2111.07832); Darcet et al. 2024 (registers, arXiv 2309.16588)
#
# DINO asks one question of an image: what does the *whole* mean? DINOv2 asks a second one, of each hidden patch, pushes the answers apart,
# and gives the network a place to keep its notes. Each is ten lines.

# %%
import random

import numpy as np
import torch
from torch.nn.functional import log_softmax, normalize

from dino_core.data.masks import block_mask, hidden_counts
from dino_core.objective.terms import koleo, masked_patch
from dino_core.objective.targets import sinkhorn
from lab.analysis import artifacts
from notebooks.checks import n07 as check
from notebooks.course import gallery, look, predict, reveal, show
from notebooks.views import figure

np.set_printoptions(precision=3, suppress=True)
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. iBOT: what is behind the mask?
#
# The student gets a crop in which some patches are replaced by one learnt vector, the *mask token*. The teacher sees all of it. For each
# hidden patch, the student shall say what the teacher says about it. **Convention:** V crops, N patches, `masks` (V N) is True where hidden.
# Two crops of four patches, three prototypes:

# %%
masks = torch.tensor([[True, False, True, True], [False, True, False, False]])
print("hidden patches of each crop:", masks.sum(1).tolist())
noise = torch.Generator().manual_seed(0)
student = torch.randn(4, 3, generator=noise) * 0.2  # M K: only the hidden patches, crop by crop
targets = (torch.randn(4, 3, generator=noise) * 3).softmax(
    dim=1
)  # what the teacher says of the same four
print(targets)

# %% [markdown]
# The cross-entropy of each hidden patch, as in notebook 02:

# %%
each = -(targets * log_softmax(student / 0.1, dim=1)).sum(dim=1)
print("nats of each hidden patch", each)

# %%
predict(
    "07.a",
    "Crop 0 hides three patches, crop 1 one. How much does the one patch of crop 1 count, compared with a patch of crop 0?",
    ["as much", "three times as much", "a third as much"],
)

# %% [markdown]
# Every *crop* shall count the same, however much of it is hidden. So a crop's patches share its weight:
#
# $$L_{\text{iBOT}} = \frac{1}{V} \sum_v \frac{1}{n_v} \sum_{p \text{ hidden in } v} H(P_t(v, p), P_s(v, p))$$

# %%
by_hand = ((each[0] + each[1] + each[2]) / 3 + each[3] / 1) / 2
total, place = 0.0, 0
for crop in masks:
    count = int(crop.sum())
    total += sum(each[place + i] for i in range(count)) / max(count, 1)
    place += count
library = masked_patch(student, targets, masks)
print(f"by hand {by_hand:.4f}, loop {total / len(masks):.4f}, library {library:.4f}")
assert torch.isclose(by_hand, library)
assert torch.isclose(total / len(masks), library)
reveal(
    "07.a", "three times as much", "1/V of the loss is each crop's, shared by its hidden patches."
)

# %% [markdown]
# ### Which patches are hidden?
#
# Not single ones: a lonely hidden patch can be guessed from its neighbours' edges. *Blocks* are hidden, until the wanted share is reached.
# Half of the crops get a mask, with shares spread evenly from 10 to 50 % (DINOv2's config):

# %%
counts = hidden_counts(crops=16, patches=64, share=0.5, ratio=(0.1, 0.5))
print("hidden patches of the 8 masked of 16 crops:", counts)
drawn, axes = figure(2, 8, width=7.2, height=2.2)
draw = random.Random(0)
for column, count in enumerate(counts):
    blocks = block_mask((8, 8), count, draw)
    single = np.zeros(64, dtype=bool)
    single[draw.sample(range(64), count)] = True
    for row, mask in enumerate((blocks, single)):
        axes[row, column].imshow(mask.reshape(8, 8), cmap="gray_r", vmin=-0.2, vmax=1)
        axes[row, column].set_title(f"{('blocks', 'single')[row]} {count}", fontsize=7)
        axes[row, column].axis("off")
look(
    drawn,
    "which patches of a crop (grey) are hidden (black), at eight shares: in blocks, as DINOv2 does, and one by one.",
    "in which row a hidden patch has more visible neighbours to be guessed from.",
)

# %%
neighbours = {"blocks": [], "one by one": []}
for count in counts * 20:
    single = np.zeros(64, dtype=bool)
    single[draw.sample(range(64), count)] = True
    for name, mask in (("blocks", block_mask((8, 8), count, draw)), ("one by one", single)):
        seen = np.pad(~mask.reshape(8, 8), 1)
        beside = seen[:-2, 1:-1] + 0 + seen[2:, 1:-1] + seen[1:-1, :-2] + seen[1:-1, 2:]
        neighbours[name].append(beside[mask.reshape(8, 8)].mean())
print({name: f"{np.mean(found):.2f} of 4 neighbours visible" for name, found in neighbours.items()})

# %% [markdown]
# ## 2. KoLeo: keep apart
#
# Nothing so far forbids two different images the same class token. KoLeo (Sablayrolles et al. 2019) pushes each away from its *nearest
# neighbour* in the batch, on the unit sphere:
#
# $$L_{\text{KoLeo}} = -\frac{1}{B} \sum_i \ln\,\min_{j \ne i} \|x_i - x_j\|$$

# %%
x = normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), dim=1)
distances = torch.cdist(x, x)
print(distances)
nearest = distances.fill_diagonal_(torch.inf).min(dim=1).values
print("nearest", nearest)
by_hand = -nearest.log().mean()
assert torch.isclose(by_hand, koleo(x), atol=1e-5)
print(f"by hand {by_hand:.4f}, library {koleo(x):.4f}")

# %%
predict(
    "07.b",
    "Twenty points on a circle follow KoLeo's gradient alone, from nearly the same place. Where do they end?",
    ["in two groups", "evenly spread", "where they were"],
)

# %%
torch.manual_seed(0)
angles = (0.3 * torch.randn(20)).requires_grad_()
start = angles.detach().clone()
mover = torch.optim.SGD([angles], lr=0.02)
for _ in range(1500):
    mover.zero_grad()
    koleo(torch.stack([angles.cos(), angles.sin()], dim=1)).backward()
    mover.step()
drawn, axes = figure(1, 2, width=5.6, height=2.9)
for place, shown, title in zip(axes, (start, angles.detach()), ("before", "after 1500 steps")):
    place.plot(shown.cos(), shown.sin(), "o")
    place.set(
        title=title,
        aspect="equal",
        xlim=(-1.2, 1.2),
        ylim=(-1.2, 1.2),
        xlabel="feature 1",
        ylabel="feature 2",
    )
look(
    drawn,
    "twenty class tokens on the unit circle (a point each), moved by KoLeo alone.",
    "whether gaps remain.",
)

# %%
gaps = torch.sort(angles.detach() % (2 * torch.pi)).values.diff()
print(
    f"gaps between neighbours: {gaps.min():.2f} to {gaps.max():.2f} (even would be {2 * torch.pi / 20:.2f})"
)
reveal(
    "07.b",
    "evenly spread",
    "Only the nearest one pushes, but somebody is always nearest until all gaps are alike.",
)

# %% [markdown]
# ## 3. Sinkhorn instead of a centre
#
# DINO's centre balances prototypes slowly, over many batches. Sinkhorn-Knopp does it within each: scale the columns so that all prototypes
# get the same mass, then the rows so that each image is a distribution again, three times over.

# %%
scores = torch.tensor([[0.5, 0.4, 0.1], [0.6, 0.2, 0.5], [0.55, 0.15, 0.2]])
q = (scores / 0.1).exp()
for turn in range(3):
    q = q / q.sum(dim=0, keepdim=True) / q.shape[1]  # each prototype a third of the mass
    q = q / q.sum(dim=1, keepdim=True) / q.shape[0]  # each image a third of the mass
    print(f"turn {turn + 1}: mass of prototypes", q.sum(dim=0))
assert torch.allclose(q * 3, sinkhorn(scores, 0.1), atol=1e-5)
print(sinkhorn(scores, 0.1))

# %% [markdown]
# The rows sum to 1 exactly, the columns nearly. Since prototypes are balanced *by construction*, a monitor of balanced targets sees
# nothing of a collapse: read the raw softmax (notebook 03).
#
# ## 4. Registers
#
# Large ViTs take a few patches of the background, erase what was there, and use them as notepads: their vectors become many times as long as
# the others, and attention maps get bright specks (Darcet et al. 2024). Registers are extra tokens that belong to no patch. How to find such
# *artifacts*: patches much longer than the median patch of their image.

# %%
lengths = np.array([[1.0, 1.1, 0.9, 1.2, 6.5, 1.0]])
print("median", np.median(lengths), " artifacts", artifacts.high_norm(lengths, ratio=3.0))

# %%
run = gallery()
norms = np.linalg.norm(run.probe().patches.astype(np.float32), axis=-1)
print(
    f"{run.name}: {run.config.backbone.registers} registers; longest patch {norms.max() / np.median(norms):.2f} x the median"
)
print(f"artifacts: {artifacts.high_norm(norms, ratio=3.0).sum()} of {norms.size} patches")

# %% [markdown]
# None, as one expects: the paper sees them in large networks (ViT-L and up) after long training, and this one is tiny *and* has registers.
# A lesson about method, too: after the final LayerNorm all patches are nearly of one length, so artifacts are to be looked for *before* it;
# the lab's page "Attention" does.

# %%
show("attention", run=run, image=2)

# %% [markdown]
# ## 5. Together
#
# $$L = L_{\text{DINO}} + L_{\text{iBOT}} + 0.1\, L_{\text{KoLeo}}$$
#
# with heads of their own for class token and patches, Sinkhorn for both, weights as in the paper's table. Train a small one and look at
# each term, with its weight, on the page "Monitor":
#
# ```
# dino-lab train tiny_dinov2
# dino-lab watch
# ```
#
# What each part does to the numbers at this scale is measured in `docs/study.md`.
#
# ## What was learnt
#
# - iBOT is DINO's cross-entropy for hidden patches; every crop weighs the same, so its hidden patches share 1/V.
# - Blocks are hidden because single patches are too easy to guess.
# - KoLeo pushes nearest neighbours apart and ends in an even spread; it works on class tokens of different images.
# - Sinkhorn balances prototypes within a batch, and makes balanced targets useless as an alarm.
# - Registers take over the notepad's work; artifacts are found by their length before the last norm.
#
# In the code: `dino_core/objective/terms.py` (`masked_patch`, `koleo`), `targets.py` (`sinkhorn`), `dinov2.py`, `dino_core/data/masks.py`.
#
# ## Exercises
#
# **07.1** (10 minutes) iBOT's loss.


# %% exercise="07.1"
def ibot(student, targets, masks, temperature=0.1):
    """Logits (M K) and targets (M K) of the hidden patches in the order of `masks` (V N) -> the loss in nats."""
    ### BEGIN SOLUTION
    each = -(targets * log_softmax(student / temperature, dim=-1)).sum(dim=-1)
    hidden = masks.sum(dim=1)
    weight = torch.repeat_interleave(1 / hidden, hidden)
    return (each * weight).sum() / len(masks)
    ### END SOLUTION


# %% check="07.1" points=3
check.ibot(ibot)
### BEGIN HIDDEN TESTS
check.ibot(ibot, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **07.2** (10 minutes) KoLeo, for class tokens of any length.


# %% exercise="07.2"
def spread_out(cls):
    """Class tokens (B D), of any length -> minus the mean log distance to the nearest other, on the unit sphere."""
    ### BEGIN SOLUTION
    x = normalize(cls, dim=-1)
    distances = (x[:, None] - x[None]).norm(dim=-1)
    others = distances + torch.diag(torch.full((len(x),), torch.inf))
    return -others.min(dim=1).values.log().mean()
    ### END SOLUTION


# %% check="07.2" points=2
check.spread_out(spread_out)
### BEGIN HIDDEN TESTS
check.spread_out(spread_out, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **07.3** (10 minutes) Sinkhorn-Knopp.


# %% exercise="07.3"
def balanced(logits, temperature, turns=3):
    """Logits (B K) -> targets (B K): columns to mass 1/K, then rows to mass 1/B, `turns` times; at last rows summing to 1."""
    ### BEGIN SOLUTION
    q = (logits / temperature).exp()
    for _ in range(turns):
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
    return q * q.shape[0]
    ### END SOLUTION


# %% check="07.3" points=2
check.balanced(balanced)
### BEGIN HIDDEN TESTS
check.balanced(balanced, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **07.4** (5 minutes, in words) iBOT's target is the teacher's answer for the hidden patch, not its pixels (as in MAE). Name one advantage and one danger of
# that.

# %% [markdown] written="07.4" points=2
# ### BEGIN SOLUTION
# Advantage: the target is what a patch *means* to the network, so nothing is spent on texture and noise that no task needs, and it is at the level of the
# class token's objective. Danger: the target is made by a network that is trained itself, so it can become trivial (all patches the same prototype):
# iBOT needs centering or Sinkhorn and sharpening like DINO, while pixels cannot collapse.
# ### END SOLUTION
