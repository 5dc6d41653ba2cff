# %% [markdown]
# # 02 The objective by hand
#
# **Question:** what number does DINO make small, exactly?
#
# 55 minutes · needs: softmax, entropy · no GPU, no internet · Caron et al. 2021 (arXiv 2104.14294), Sec. 3.1, Eq. 1 to 4 and Algorithm 1
#
# Everything here is done on matrices of 3 × 4 numbers that you can check with a pocket calculator: first one row, then a loop over all
# pairs of views, then the library, and the three have to agree.

# %%
import torch
from torch.nn.functional import log_softmax

from dino_core.measure.collapse import entropy
from dino_core.objective.targets import Centering
from dino_core.objective.terms import cross_view
from notebooks.checks import n02 as check
from notebooks.course import gallery, look, predict, reveal, show, training
from notebooks.views import figure

torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. Scores
#
# **Convention, here and in the code:** rows are images, columns are prototypes. A network's head ends in a vector of length one; each
# prototype is a vector of length one too; a *score* (logit) is the cosine between the two. In the paper there are 65 536 prototypes. Here
# there are four, and three images.
#
# The teacher has seen one crop of each image:

# %%
teacher = torch.tensor(
    [
        [0.50, 0.40, 0.10, 0.30],  # image 0
        [0.60, 0.20, 0.50, 0.10],  # image 1
        [0.55, 0.15, 0.20, 0.50],  # image 2
    ]
)
teacher.argmax(dim=1)

# %% [markdown]
# All three images like prototype 0 best: 0.50, 0.60 and 0.55 are the largest numbers of their rows. A student that learnt to answer
# "0" whatever it sees would be right about all of them. Keep that in mind.
#
# ## 2. Sharpening: the temperature
#
# Scores become probabilities by a softmax with a temperature $\tau$ (Eq. 1):
#
# $$P_k = \frac{\exp(g_k/\tau)}{\sum_j \exp(g_j/\tau)}$$
#
# The teacher's $\tau_t$ is 0.04, the student's $\tau_s$ is 0.1. How undecided a distribution is, its entropy
# $H(P) = -\sum_k P_k \ln P_k$ says: 0 when one prototype has everything, $\ln 4 = 1.386$ nats when all four are alike.

# %%
predict(
    "02.a",
    "The teacher's temperature goes from 0.1 down to 0.04. The entropy of its distribution for image 0",
    ["rises", "falls", "stays"],
)

# %% [markdown]
# Image 0 at $\tau = 0.1$, with nothing but an exponential. The scores over the temperature are 5, 4, 1 and 3:

# %%
exponentials = (teacher[0] / 0.1).exp()
print("exponentials", exponentials)
print("their sum   ", exponentials.sum())
by_hand = exponentials / exponentials.sum()
print("P           ", by_hand)
assert torch.allclose(by_hand, (teacher[0] / 0.1).softmax(0))

# %% [markdown]
# So prototype 0 gets 148.4 of 225.8: 0.657. The same at the teacher's temperature, where the scores become 12.5, 10, 2.5 and 7.5:

# %%
sharp = (teacher[0] / 0.04).softmax(0)
print("P at 0.04", sharp)
print(f"entropy at 0.1: {entropy(by_hand):.3f} nats, at 0.04: {entropy(sharp):.3f} nats")
reveal(
    "02.a",
    "falls",
    "Dividing by a smaller number spreads the scores, and the largest takes more: sharpening.",
)

# %% [markdown]
# ## 3. Centering: what everybody likes counts for nothing
#
# Sharpening alone drives every image to prototype 0. So DINO first subtracts a *centre*, the mean score of each prototype (Eq. 4 is a
# moving average of it; here it is the mean over our three images):

# %%
centre = teacher.mean(dim=0)
print("centre ", centre)
print("centred", teacher - centre, sep="\n")
print("largest", (teacher - centre).argmax(dim=1))

# %% [markdown]
# The first column was 0.50, 0.60, 0.55: high, and nearly the same for all. Centred, it is -0.05, 0.05, 0.00, and each image has another
# favourite: 1, 2 and 3. What is left is what tells the images *apart*.
#
# Both together give the targets. The order matters: **subtract first, then divide.** The centre is a mean of scores, not of scores over a
# temperature.

# %%
targets = ((teacher - centre) / 0.04).softmax(dim=1)
print(targets)
library = Centering(prototypes=4)
library.centre.copy_(centre)
assert torch.allclose(targets, library(teacher, temperature=0.04))

# %% [markdown]
# Rows sum to 1. Subtracting a centre pulls towards all prototypes being used alike, dividing by a small temperature towards one of
# them: two forces against each other. What happens when one is missing is notebook 03.
#
# ## 4. One pair of views
#
# The student has seen *another* crop of the same images. Its scores:

# %%
student = torch.tensor(
    [
        [0.30, 0.45, 0.05, 0.25],  # image 0
        [0.40, 0.20, 0.55, 0.05],  # image 1
        [0.45, 0.10, 0.15, 0.30],  # image 2
    ]
)
log_p = log_softmax(student / 0.1, dim=1)
print("ln P of the student, image 0", log_p[0])
print("target,              image 0", targets[0])

# %% [markdown]
# The cross-entropy of one image is $-\sum_k P^t_k \ln P^s_k$ (Eq. 2): the student's log-probabilities, weighed by the target. Four products:

# %%
for prototype in range(4):
    product = -targets[0, prototype] * log_p[0, prototype]
    print(f"{targets[0, prototype]:.3f} x {-log_p[0, prototype]:.3f} = {product:.3f}")
one_image = -(targets[0] * log_p[0]).sum()
print(f"sum: {one_image:.3f} nats")

# %% [markdown]
# It falls apart into two numbers, and this is the most useful identity of the course:
#
# $$\underbrace{-\sum_k P^t_k \ln P^s_k}_{\text{loss}} \;=\; \underbrace{H(P^t)}_{\text{how undecided the teacher is}} \;+\;
# \underbrace{KL(P^t \,\|\, P^s)}_{\text{what the student has still to learn}}$$
#
# The student can change the second only.

# %%
kl = (targets[0] * (targets[0].log() - log_p[0])).sum()
print(f"H {entropy(targets[0]):.3f} + KL {kl:.3f} = {entropy(targets[0]) + kl:.3f} nats")
assert torch.isclose(one_image, entropy(targets[0]) + kl)

# %%
predict(
    "02.b",
    "In a long healthy run the student comes closer to the teacher. The loss ends",
    ["at 0", "near the teacher's entropy", "at ln K"],
)

# %% [markdown]
# ## 5. All pairs of views
#
# The teacher sees the two *global* crops of each image; the student sees these and the *local* ones, each predicts each (Eq. 3):
#
# $$\min_{\theta_s} \sum_{x \in \{x^g_1, x^g_2\}} \; \sum_{x' \in V,\, x' \ne x} H(P_t(x), P_s(x'))$$
#
# The condition $x' \ne x$ leaves out the pairs in which both have seen the same crop: they would ask the student to copy, not to
# recognise. Now tensors have three axes: `student` (S B K) and `targets` (T B K), S = 3 views by the student, T = 2 by the teacher,
# B = 3 images, K = 4. The first two of the student's views are those the teacher saw.

# %%
noise = torch.Generator().manual_seed(0)
students = student + 0.1 * torch.randn(3, 3, 4, generator=noise)  # S B K
teachers = teacher + 0.1 * torch.randn(2, 3, 4, generator=noise)  # T B K
targets = library(teachers, temperature=0.04)

total, pairs = 0.0, 0
for s in range(3):
    for t in range(2):
        if s == t:
            continue  # the same crop
        for b in range(3):
            total += -(targets[t, b] * log_softmax(students[s, b] / 0.1, dim=0)).sum()
        pairs += 1
loop = total / (pairs * 3)
print(f"{pairs} pairs, mean over pairs and images: {loop:.4f} nats")

# %% [markdown]
# The library says it in one line. `einsum` multiplies and sums over what both have (b and k), which leaves a matrix of S × T losses, and its
# diagonal is what is left out:

# %%
log_p = log_softmax(students / 0.1, dim=-1)
matrix = -torch.einsum("sbk,tbk->st", log_p, targets) / 3
print(matrix)
assert torch.isclose(loop, cross_view(students, targets, temperature=0.1))
print(f"loop {loop:.6f}, library {cross_view(students, targets, temperature=0.1):.6f}")

# %%
predict("02.c", "With 2 global and 8 local crops, as in the paper, how many pairs are there?")

# %%
reveal(
    "02.c",
    2 * 10 - 2,
    "Ten student views by two teacher views are 20, and two of them are a crop with itself.",
)

# %% [markdown]
# ## 6. What the gradient says
#
# Only the student learns by gradient; the teacher's side is a constant (Algorithm 1 calls `t.detach()`). Differentiating the cross-entropy
# with respect to the student's scores gives a short answer:
#
# $$\frac{\partial}{\partial g^s_k}\Bigl(-\sum_j P^t_j \ln P^s_j\Bigr) = \frac{P^s_k - P^t_k}{\tau_s}$$

# %%
scores = student[0].clone().requires_grad_()
target = ((teacher[0] - centre) / 0.04).softmax(0)
loss = -(target * log_softmax(scores / 0.1, dim=0)).sum()
loss.backward()
print("autograd", scores.grad)
print("formula ", (scores.detach() / 0.1).softmax(0).sub(target) / 0.1)
assert torch.allclose(scores.grad, (scores.detach() / 0.1).softmax(0).sub(target) / 0.1, atol=1e-5)

# %% [markdown]
# The student's score of prototype 1 has a negative gradient, so a step of descent raises it; the others fall. It stops when the two
# distributions are equal, whatever the temperatures.
#
# ## 7. A figure: temperature against entropy
#
# The loss of section 5, taken apart into entropy and divergence, while the teacher's temperature moves and everything else stays.

# %%
temperatures = torch.logspace(-2, 0, 60)
at = [library(teachers, temperature=t.item()) for t in temperatures]
entropies = torch.stack([entropy(p).mean() for p in at])
losses = torch.stack([cross_view(students, p, temperature=0.1) for p in at])
drawn, axes = figure()
axes.plot(temperatures, losses, label="loss (mean over 4 pairs)")
axes.plot(temperatures, entropies, label="teacher's entropy H")
axes.axhline(torch.log(torch.tensor(4.0)), color="grey", linestyle=":", label="ln 4: all alike")
axes.axvline(0.04, color="grey", linestyle="--", label="the paper's 0.04")
axes.set(
    xscale="log",
    xlabel="teacher's temperature",
    ylabel="nats",
    title="Sharper targets have less entropy",
)
axes.legend()
look(
    drawn,
    "loss and entropy of the targets against the teacher's temperature, for our 3 × 4 numbers.",
    "the gap between the curves: the divergence, all that the student can do something about.",
)

# %% [markdown]
# At the left the teacher is sure of one prototype, at the right of none. A temperature chooses how much of the loss is the teacher's
# indecision; a loss that *falls* may mean a better student or a teacher that became surer. Never read the one without the other.

# %%
reveal(
    "02.b",
    "near the teacher's entropy",
    "KL can fall to nearly 0, H stays. If H falls to 0 too, that is collapse.",
)

# %% [markdown]
# H and KL of a real run: of yours, if one trains beside this notebook (04 begins one; the widget follows it), else of the recorded one.

# %%
show("loss", run=training(gallery()))

# %% [markdown]
# ## 8. The centre moves, after it was used
#
# Over training the centre follows the scores as a moving average (Eq. 4), with momentum $m = 0.9$:
#
# $$c \leftarrow m\,c + (1-m)\,\frac{1}{TB}\sum_{t,b} g_t(x_b)$$
#
# The mean runs over all views and images of the batch (and all GPUs). Targets of a step use the centre from *before* that step:
# `targets()` reads, `after_step()` writes, and in `dino_core/objective/dino.py` these are two functions so that nobody can mix them up.

# %%
moved = 0.9 * centre + 0.1 * teachers.mean(dim=(0, 1))
library.update(teachers)
print("before", centre, " after", library.centre)
assert torch.allclose(moved, library.centre)

# %% [markdown]
# ## What was learnt
#
# - A score is a cosine; a target is softmax((score - centre) / 0.04), in this order; the student's distribution is softmax(score / 0.1),
#   *without* a centre.
# - The loss is the mean cross-entropy over pairs of different crops: 18 pairs with 2 + 8 crops.
# - Loss = H(teacher) + KL(teacher || student). The student can lower the second only; the first is the teacher's business.
# - The gradient with respect to a score is (student - target) / 0.1.
# - The centre is used first and moved afterwards.
#
# In the code: `dino_core/objective/terms.py` (`cross_view`), `targets.py` (`Centering`), `dino.py` (the three verbs).
#
# ## Exercises
#
# Each has a check that says what is wrong. `hint("02.1")` gives a hint, and a stronger one when asked again.
#
# **02.1** (5 minutes) The targets, for logits of any shape whose last axis is prototypes.


# %% exercise="02.1"
def targets_of(logits, centre, temperature):
    """Probabilities over the last axis of `logits` (... K): centred by `centre` (K), sharpened by `temperature`."""
    ### BEGIN SOLUTION
    return ((logits - centre) / temperature).softmax(dim=-1)
    ### END SOLUTION


# %% check="02.1" points=1
check.targets_of(targets_of)
### BEGIN HIDDEN TESTS
check.targets_of(targets_of, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **02.2** (10 minutes) The teacher's side of one step: the targets, and the centre for the next step.


# %% exercise="02.2"
def teachers_side(logits, centre, temperature=0.04, momentum=0.9):
    """Logits (T B K) and centre (K) → targets (T B K) of this step, and the centre (K) of the next."""
    ### BEGIN SOLUTION
    targets = ((logits - centre) / temperature).softmax(dim=-1)
    return targets, momentum * centre + (1 - momentum) * logits.mean(dim=(0, 1))
    ### END SOLUTION


# %% check="02.2" points=2
check.teachers_side(teachers_side)
### BEGIN HIDDEN TESTS
check.teachers_side(teachers_side, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **02.3** (15 minutes) The whole objective without a loop over images: from both networks' scores to the loss. A loop over views is fine.


# %% exercise="02.3"
def objective(student, teacher, centre, student_temperature=0.1, teacher_temperature=0.04):
    """Student scores (S B K), teacher scores (T B K), centre (K) → the loss in nats.

    The first T student views are the views the teacher saw; a view does not predict itself."""
    ### BEGIN SOLUTION
    targets = ((teacher - centre) / teacher_temperature).softmax(dim=-1)
    log_p = log_softmax(student / student_temperature, dim=-1)
    pairs = -torch.einsum("sbk,tbk->st", log_p, targets) / student.shape[1]
    different = torch.ones_like(pairs).fill_diagonal_(0)
    return (pairs * different).sum() / different.sum()
    ### END SOLUTION


# %% check="02.3" points=3
check.objective(objective)
### BEGIN HIDDEN TESTS
check.objective(objective, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **02.4** (5 minutes, in words) A colleague is happy: the loss of her run fell from 4 nats to 0.01. Which two numbers do you ask her for, and what
# would each tell you?

# %% [markdown] written="02.4" points=2
# ### BEGIN SOLUTION
# The teacher's entropy H (equivalently KL, since loss = H + KL): a loss of 0.01 needs H ≤ 0.01, so the teacher is certain about every image.
# And the entropy of the *mean* target over images (or the perplexity of the prototypes): if that is near 0 as well, it is certain of the same
# prototype for all images, and the run has collapsed to a constant. If it is high, the images are told apart, only very sharply.
# ### END SOLUTION
