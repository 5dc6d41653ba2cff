# %% [markdown]
# # 12 Your own photographs and published models
#
# **Question:** what does a network see in *your* photographs, and how much of it would any network have seen?
#
# 55 minutes · needs: patches (06), measuring (10) · no GPU, no internet · Oquab et al. 2023 (arXiv 2304.07193), Sec. 7; the sources of networks:
# `load_backbone` in `dino_core/model/load.py`
#
# All that the course did on drawn scenes you now do on a folder of your own: look through several networks at once, measure with a handful of labels,
# go on training one of them on your images, and take the result home as one file.

# %%
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import lab
from dino_core.config import IMAGENET_MEAN, IMAGENET_STD, Shapes
from dino_core.data.shapes import CLASSES, draw_scene
from dino_core.data.sources import FolderSource
from dino_core.errors import CheckpointError
from dino_core.evaluation import knn
from dino_core.evaluation.images import normalised, read_images
from dino_core.model import PRESETS, load_backbone
from dino_core.model.convert import convert
from dino_core.probes import tokens_of
from lab.analysis import pca, similarity
from notebooks.checks import n12 as check
from notebooks.course import gallery, home, live_run, look, predict, reveal, scaled, show
from notebooks.solutions import n12 as solution
from notebooks.views import figure

torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## 1. Your folder
#
# Write the path of a folder of photographs between the first quotes: some dozens are enough, `.jpg` or `.png`, of any size. If they lie in folders (`birds/`, `boats/`, ...), the
# names of these are labels, which are used to *measure* and never to train. Between the second quotes goes a published network, if you have one: its file, its folder or its name (section 3).
#
# Without a folder of yours the notebook looks for one called `photographs` beside itself, and if there is none makes it: **drawn scenes, written as files. They are no photographs**, and
# what is found on them need not hold for photographs. Everything below runs the same.

# %%
PHOTOGRAPHS = ""  # such as "D:/pictures/holidays" or "~/Pictures/birds"
PUBLISHED = ""  # such as "~/Downloads/dinov2_vits14_pretrain.pth"


# %%
def drawn_scenes(folder, classes=6):
    """Scenes of the built-in `shapes` as files, in folders named after their classes; made once."""
    found, each, index = dict.fromkeys(CLASSES[:classes], 0), scaled(20, quick=10), 0
    while min(found.values()) < each and not (folder / ".drawn").exists():
        scene = draw_scene(Shapes(size=128, seed=12), "test", index)
        name, index = CLASSES[scene.label], index + 1
        if found.get(name, each) < each:
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene.image).save(folder / name / f"{index:03}.jpg", quality=92)
            found[name] += 1
    (folder / ".drawn").touch()
    return folder


folder = Path(PHOTOGRAPHS).expanduser() if PHOTOGRAPHS else home() / "photographs"
if not PHOTOGRAPHS and not folder.exists():
    drawn_scenes(folder)
drawn = (folder / ".drawn").exists()
source = FolderSource(folder, whole=True)
print(f"{source.name}: {len(source)} images, classes: {', '.join(source.classes) or 'none'}")
print("These are DRAWN SCENES, made by this notebook, no photographs." if drawn else "Yours.")


# %%
@cache
def at(size, folder):
    """Up to 150 images of a folder: shorter side `size` px, the middle cut out; what can't be read is left out."""
    return read_images(FolderSource(folder, whole=True), 150, size)


SIZE = 64  # pixels of a side, for the networks of this course
images = at(SIZE, folder)
pictures = images.images.numpy()  # I 3 S S, bytes
print(f"{len(pictures)} of {len(source)} images are looked at")
shown, axes = figure(2, 6, width=7.2, height=2.7)
for index, place in enumerate(axes.flat):
    place.axis("off")
    if index < len(pictures):
        label = int(images.labels[index])
        place.imshow(pictures[index].transpose(1, 2, 0))
        place.set_title(source.classes[label][:14] if label >= 0 else f"image {index}", fontsize=8)
look(
    shown,
    f"twelve of your images as networks get them: shorter side {SIZE} px, the middle cut out.",
    "what was cut off, and whether you can still tell what it is: what you can't see at this size no network can.",
)

# %% [markdown]
# ## 2. What a network is given
#
# Not bytes. Every published network was trained on $(x/255 - \text{mean})/\text{std}$, channel by channel, with *its* mean and deviation, usually ImageNet's. By hand for one pixel, then for an image in a
# loop, then the library. **Convention:** pictures are rows, columns, channels (H W 3); networks want channels first (3 H W).

# %%
print("mean", IMAGENET_MEAN, "std", IMAGENET_STD)
picture = pictures[0].transpose(1, 2, 0)  # H W 3
pixel = picture[SIZE // 2, SIZE // 2]
for channel, value in enumerate(pixel):
    mean, std = IMAGENET_MEAN[channel], IMAGENET_STD[channel]
    print(f"{['red', 'green', 'blue'][channel]:5} {value:3} -> {(value / 255 - mean) / std:+.3f}")

# %%
loop = np.zeros((3, SIZE, SIZE))
for channel in range(3):
    for row in range(SIZE):
        for column in range(SIZE):
            share = picture[row, column, channel] / 255
            loop[channel, row, column] = (share - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
cpu = torch.device("cpu")
library = normalised(images.images[:1], IMAGENET_MEAN, IMAGENET_STD, cpu)[0]
assert np.allclose(loop, library.numpy(), atol=1e-5)
assert np.allclose(solution.prepared(picture, IMAGENET_MEAN, IMAGENET_STD), loop, atol=1e-5)
print(f"from {picture.min()}...{picture.max()} to {loop.min():.2f}...{loop.max():.2f}")

# %%
predict(
    "12.a",
    "Somebody forgets it and hands in bytes, 0 to 255. The features of different images then become, compared with the right ones (mean cosine between images),",
    ["more alike", "less alike", "as alike as before"],
)

# %%
run = gallery()
teacher = run.teacher()


def likeness(inputs):
    """Mean cosine between the class tokens of different images."""
    with torch.inference_mode():
        cls = torch.nn.functional.normalize(teacher(inputs).cls, dim=-1)
    return float((cls @ cls.T)[~torch.eye(len(cls), dtype=torch.bool)].mean())


some = images.images[:40]
right, wrong = likeness(normalised(some, IMAGENET_MEAN, IMAGENET_STD, cpu)), likeness(some.float())
print(f"mean cosine: normalised {right:.2f}, bytes {wrong:.2f}")
change = "more alike" if wrong > right else "less alike"
reveal(
    "12.a",
    "as alike as before" if abs(wrong - right) < 0.05 else change,
    "Nothing stops and nothing warns: the numbers are simply worse. Look at your inputs before you look at features.",
)

# %% [markdown]
# ## 3. One door for every network
#
# `load_backbone(source)` opens a run, a checkpoint, a file or folder as it was published (facebookresearch's dino, dinov2 and dinov3, timm, transformers), or a name. What a network is, it
# reads off the tensors. Without internet there are no published weights here; so we write files in their layouts ourselves, and say what is in them:
#
# | name below | what it is |
# |---|---|
# | `recorded` | the recorded run of this course: DINO, trained on drawn scenes |
# | `recorded, step 0` | the same network before its first step |
# | `dinov3 phases` | the second recorded run, with DINOv3's objective |
# | `official layout` | a file with names and shapes of `dino_deitsmall16_pretrain.pth` (ViT-S/16) and **random weights** |
# | `timm folder` | `recorded` once more, as timm would save it, read back: for a test |
# | `published` | yours, if `PUBLISHED` names one |
#
# Where there is internet, a name is enough for `PUBLISHED`: `"dinov2_vits14"`, any name of timm, `"hf:OWNER/NAME"`. Where there is none, fetch the file elsewhere, bring it along, and give its path; DINOv3's are sent on
# request, so there it is a path always. Then run the notebook again from there; a ViT-S/14 takes about a minute of one core for 150 images, a ViT-B four.

# %%
files = home() / "weights"
official, folder_of_timm = files / "dino_deitsmall16_random.pth", files / "recorded_timm"
if not official.exists():
    convert(
        "random:dino_vits16", official, "dino"
    )  # dino-lab convert random:dino_vits16 FILE --to dino
if not folder_of_timm.exists():
    convert(run.path, folder_of_timm, "timm")
stored = torch.load(official, weights_only=True)
print(f"{official.name}: {len(stored)} tensors, {official.stat().st_size / 1e6:.0f} MB, such as")
for name in list(stored)[:4]:
    print("  ", name, tuple(stored[name].shape))

# %%
networks = {
    "recorded": load_backbone(run.path),
    "recorded, step 0": load_backbone(run.checkpoint_folder(0)),
    "dinov3 phases": load_backbone(gallery("dinov3_shapes").path),
    "official layout": load_backbone(official),
    "timm folder": load_backbone(folder_of_timm),
}
if PUBLISHED:
    networks = {"published": load_backbone(PUBLISHED)} | networks
for name, network in networks.items():
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    print(f"{name:16} {millions:6.2f} M weights, {network.dim:4} features,", end=" ")
    print(f"patches of {network.patch} px, {network.heads} heads, {network.registers} registers")


# %%
@cache
def see(name, folder=folder):
    """Tokens of all images, and attention where there is any; a published network gets them at 224 px."""
    shown = at(224 if name == "published" else SIZE, folder)
    return tokens_of(networks[name], shown.images, IMAGENET_MEAN, IMAGENET_STD, cpu)


again, before = see("timm folder")[0], see("recorded")[0]
assert torch.allclose(again.patches, before.patches, atol=1e-4)
print("through timm's layout and back: the same features")
print({name: "{} x {}".format(*see(name)[0].grid) for name in networks})

# %% [markdown]
# Mean and deviation are ImageNet's for DINO, DINOv2 and DINOv3 (but for its satellite models); for other networks look into their description, and write what you find there in place of `IMAGENET_MEAN` and
# `IMAGENET_STD`. Without internet, a name says where its file is to be had:

# %%
print("dinov2_vits14:", PRESETS["dinov2_vits14"].url)
try:
    load_backbone("dinov3_vits16")
except CheckpointError as error:
    print("dinov3_vits16:", str(error)[:240])

# %% [markdown]
# ## 4. Look
#
# Networks over the same images, yours first: what the class token attends to (mean over heads of the last layer), three principal components as colours (each network has its own basis: **colours can't be compared between
# rows**, only what shares a colour within a picture), and what is like the patch in the middle.

# %%
compared = ["recorded", "recorded, step 0", "official layout"]
compared = ["published", *compared] if PUBLISHED else compared
PHOTOGRAPH = 0


def colours(patches, grid):
    """Three components of one image as red, green and blue."""
    scores = pca.project(patches.numpy(), 3)
    return (1 / (1 + np.exp(-2 * scores / np.maximum(scores.std(axis=0), 1e-9)))).reshape(*grid, 3)


# %%
shown, axes = figure(len(compared), 4, width=6.6, height=1.75 * len(compared))
for row, name in enumerate(compared):
    tokens, maps = see(name)
    grid, patches = tokens.grid, tokens.patches[PHOTOGRAPH]
    middle = grid[0] // 2 * grid[1] + grid[1] // 2
    axes[row, 0].imshow(pictures[PHOTOGRAPH].transpose(1, 2, 0))
    if maps is not None:
        shares = maps[PHOTOGRAPH].mean(0) * len(patches)  # 1: as much as any other patch
        axes[row, 1].imshow(shares.reshape(grid), cmap="viridis", vmin=0, vmax=3)
    axes[row, 2].imshow(colours(patches, grid))
    like = similarity.to_patch(patches.numpy(), middle)
    axes[row, 3].imshow(like.reshape(grid), cmap="cividis", vmin=-0.2, vmax=1)
    axes[row, 3].plot(middle % grid[1], middle // grid[1], "rx")
    words = (name, "no attention" if maps is None else "attention", "components", "cosine to x")
    for place, title in zip(axes[row], words):
        place.set_title(title, fontsize=8)
        place.axis("off")
look(
    shown,
    "one image through each network: a row each, the last two never trained, the last of them larger and in patches of 16 px. "
    "Attention from 0 (dark) to 3 times an equal share, cosines from -0.2 (dark) to 1.",
    "what a trained row shows and `recorded, step 0` does not: only that was learnt. Change PHOTOGRAPH and look again.",
)

# %%
shown, axes = figure(3, 6, width=7.2, height=4)
for column in range(min(6, len(pictures))):
    axes[0, column].imshow(pictures[column].transpose(1, 2, 0))
    axes[0, column].set_title(f"image {column}", fontsize=8)
    for row, name in enumerate((compared[0], "recorded, step 0"), start=1):
        tokens, grid = see(name)[0], see(name)[0].grid
        scores = pca.project(tokens.patches[column].numpy()[None], 1, per_image=True)[..., 0]
        _, turned = pca.foreground(scores, grid, per_image=True)
        axes[row, column].imshow(turned.reshape(grid), cmap="cividis")
        axes[row, column].set_title(name, fontsize=8)
for place in axes.flat:
    place.axis("off")
look(
    shown,
    "the first component of each image by itself, its sign chosen so that the border is dark; trained above, untrained below.",
    "on which images the upper one follows the thing and not its brightness. A picture you like is no measurement: count them.",
)

# %% [markdown]
# In the lab you do this with the mouse, for any number of networks and your whole folder, from a terminal:
#
# `dino-lab watch --models weights/dino_deitsmall16_random.pth --images photographs`, page *Compare*.
#
# ## 5. A handful of labels
#
# Masks you do not have, but some labels you can give: by sorting images into folders. Take $n$ images of each class as known, ask the others for their nearest neighbour, and draw which are known 20 times, since with so few it
# matters which.

# %%
known = folder if images.labelled else drawn_scenes(home() / "drawn_scenes")
if not images.labelled:  # they lie in no folders of classes
    print("Your folder has no folders of classes. In this section: DRAWN SCENES.")
labels = at(SIZE, known).labels
order = [0, 0, 1, 2, 1, 0, 2]
print("labels", order, "-> the first 2 of each class are images", solution.handful(order, 2))

# %%
predict(
    "12.b",
    f"{len(labels.unique())} classes, 2 known images each, the nearest neighbour decides. Accuracy of `{compared[0]}`, in %?",
)

# %%
features = {name: see(name, known)[0].cls for name in compared}
raw = torch.nn.functional.adaptive_avg_pool2d(at(SIZE, known).images.float(), 32).flatten(1)
features["raw pixels"] = raw - raw.mean(0)


def accuracy(x, each, seed):
    """Share right of the images that are not among the known ones, of which there are `each` a class."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    chosen = order[solution.handful(labels[order].tolist(), each)]
    asked = order[~torch.isin(order, chosen)]
    return float((knn(x[chosen], labels[chosen], x[asked], k=1) == labels[asked]).float().mean())


# %%
counts, draws = (1, 2, 4, 6), 20
found = {
    name: np.array([[accuracy(x, each, seed) for seed in range(draws)] for each in counts])
    for name, x in features.items()
}
chance = float(labels.bincount().max() / len(labels))

# %%
shown, axes = figure()
for name, values in found.items():
    axes.errorbar(
        counts, 100 * values.mean(1), yerr=100 * values.std(1), marker="o", capsize=3, label=name
    )
axes.axhline(100 * chance, color="grey", linestyle=":", label="always the commonest")
axes.set(
    title="With a handful of labels",
    xlabel="known images of each class",
    ylabel="accuracy (%)",
    ylim=(0, min(100, 150 * max(values.mean(1).max() for values in found.values()))),
    xticks=counts,
)
axes.legend(fontsize=8, loc="upper left", ncols=3)
look(
    shown,
    "nearest neighbours with few known images; bars are one standard deviation over which images are known.",
    "whether the trained network stays above raw pixels by more than its bar, and how far above its own untrained self.",
)

# %%
ours = 100 * found[compared[0]][1].mean()
reveal(
    "12.b",
    round(float(ours), 1),
    f"Raw pixels {100 * found['raw pixels'][1].mean():.0f} %, commonest class {100 * chance:.0f} %.",
    within=10,
)

# %% [markdown]
# ## 6. Go on training, on your images
#
# A published network comes as a backbone; its heads were kept back. So a run that continues it begins with *fresh heads*, which learn alone first while the backbone stands still (`--init.frozen`); else their random
# gradients would wreck what was learnt. We continue the recorded backbone, in the place of a published one: `--init.backbone` takes anything that `load_backbone` takes.

# %%
predict(
    "12.c",
    "The run has its heads learn alone for the first half. How many of its backbone's weights, in %, will be different in the middle of the run?",
)

# %%
steps = scaled(60, quick=8)
own = live_run(
    "tiny",
    name=f"{'drawn' if drawn else folder.resolve().name}_{steps}_steps",
    data__source=str(folder.resolve()),
    init__backbone=str(run.path),
    init__frozen=0.5,
    steps=steps,
    batch_size=scaled(24, quick=8),
    optim__lr=2e-4,
    output__checkpoint_every=steps // 2,
    evaluation__every=steps // 2,
    output__log_every=scaled(2, quick=1),
    machine__threads=1,
)
own

# %%
own.wait(step=scaled(20, quick=2))
print(own)
show("loss", run=own.run)

# %%
mine = own.wait(seconds=1800)
with torch.inference_mode():
    here, there = (network(library[None]).patches for network in (mine.teacher(0), teacher))
assert torch.allclose(here, there, atol=1e-4)  # it began with the features it was given
before = mine.teacher(0).state_dict()


def changed(step):
    """Per cent of the backbone's weights that are not those of step 0."""
    now = mine.teacher(step).state_dict()
    different = sum(int((now[name] != before[name]).sum()) for name in now)
    return 100 * different / sum(tensor.numel() for tensor in now.values())


for step in (0, steps // 2, steps):
    print(f"step {step:3}: {changed(step):.1f} % of the backbone's weights are other ones")
assert changed(steps // 2) == 0 < changed(steps)
reveal("12.c", changed(steps // 2), "Bit for bit what came in. From then on everything learns.")

# %%
logged = mine.metrics()
shown, axes = figure(1, 2, width=9, height=3)
for place, names_, title in (
    (axes[0], {"loss/dino": "loss", "teacher/entropy": "H(teacher)"}, "The loss"),
    (axes[1], {"gradient/backbone": "gradient of the backbone", "gradient/head": "gradient of the head"}, "Who is pulled"),
):  # fmt: skip
    for name, label in names_.items():
        line = logged[["step", name]].dropna()
        place.plot(line["step"], line[name], marker=".", label=label)
    place.axvline(steps / 2, color="grey", linestyle=":", label="the backbone joins")
    place.set(title=title, xlabel="training step", ylabel="nats" if place is axes[0] else "norm")
    place.legend(fontsize=8)
look(
    shown,
    "a run that continues a backbone on your images; until the dotted line it learns heads alone, though gradients reach the backbone too.",
    "whether the loss jumps where the backbone joins: then the learning rate was too high for it.",
)

# %% [markdown]
# Has it helped? The same measurement as in section 5, before and after, on the same images. Some of them were trained on (without labels), which a fair test would avoid: `dino-lab evaluate` holds one in eight out.

# %%
if images.labelled:
    networks[mine.name] = load_backbone(mine.path)
    for name in ("recorded", mine.name):
        x = see(name)[0].cls
        values = 100 * np.array([accuracy(x, 4, seed) for seed in range(draws)])
        print(f"{name:15}: {values.mean():.1f} ± {values.std():.1f} % with 4 known images a class")

# %% [markdown]
# A minute of training on some dozens of images is no reason to expect more: they are too few to learn from, and enough to spoil a good network with. What it shows is *how*; for a result take thousands of images, a night, and a test half
# that no step ever saw: `dino-lab train tiny --init.backbone FILE --data.source FOLDER`.
#
# ## 7. Take it home
#
# Views of a run as one HTML file: no server, no Python, no network; it forbids the browser to ask anyone. It opens from a USB stick.

# %%
page = lab.export(["attention", "patches", "gram"], mine, home() / "my_photographs.html")
print(f"{page.file.name}: {page.size / 1e6:.1f} MB, {page.answers} answers. {page.limits}")
text = page.file.read_text("utf-8")
assert "default-src 'none'" in text
assert 'src="http' not in text

# %% [markdown]
# Open it with a double click (in JupyterLab: right click on the file, *Open in New Browser Tab*). It holds your images, so think of who is on them before you pass it on.
#
# ## 8. What may be concluded?
#
# - *"It sees the object"*: on how many images of how many, and what does the untrained network show on the same ones?
# - *"It is better than the other"*: same images, size and known labels; a difference larger than what another draw of known images makes; better than raw pixels at all?
# - *"They have learnt the same"*: CKA (notebook 10, section 5) above that of untrained ones, and alike is not good.
# - *"Training on my images helped"*: measured on images that no step saw, and on more than one seed.
# - Of drawn scenes, nothing about photographs. Of your photographs, nothing about other people's.
#
# ## What was learnt
#
# - An image is (x/255 − mean)/std, or all that follows is silently worse.
# - `load_backbone` opens runs, official files and timm's through one door, and a layout is not a network: random weights in it stay random.
# - Untrained networks and raw pixels stand beside every picture and every number; what they show too, nobody has learnt.
# - With few labels it matters which ones: repeat the draw and show its spread.
# - A continued run warms its heads first, while the backbone stands still bit for bit.
#
# In the code: `dino_core/model/load.py`, `convert.py`, `continued.py`; `lab/onefile.py`.
#
# ## Exercises
#
# **12.1** (5 minutes) A picture as a network wants it.


# %% exercise="12.1"
def prepared(picture, mean, std):
    """Bytes (H W 3), mean and std of each channel as shares of 1 -> floats (3 H W): (x / 255 - mean) / std."""
    ### BEGIN SOLUTION
    share = np.asarray(picture, dtype=np.float64) / 255
    return ((share - np.asarray(mean)) / np.asarray(std)).transpose(2, 0, 1)
    ### END SOLUTION


# %% check="12.1" points=2
check.prepared(prepared)
### BEGIN HIDDEN TESTS
check.prepared(prepared, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **12.2** (5 minutes) Which images are the known ones.


# %% exercise="12.2"
def handful(labels, each):
    """Labels in a list, and how many of each class -> positions of the first `each` images of every class, smallest position first."""
    ### BEGIN SOLUTION
    taken = dict.fromkeys(labels, 0)
    places = []
    for place, label in enumerate(labels):
        if taken[label] < each:
            places.append(place)
            taken[label] += 1
    return places
    ### END SOLUTION


# %% check="12.2" points=1
check.handful(handful)
### BEGIN HIDDEN TESTS
check.handful(handful, seed=1)
### END HIDDEN TESTS

# %% [markdown]
# **12.3** (5 minutes, in words) A friend shows you attention maps of a published network on five of her photographs: "it has understood what a dog is". What do you ask her to show beside them, and what would convince you?

# %% [markdown] written="12.3" points=2
# ### BEGIN SOLUTION
# The same maps of an untrained network and of something trivial (brightness, a centred box) on the same photographs; all photographs she tried, not five chosen ones, and photographs without a dog but with something else in its place. Maps of attention say where a
# token takes its values from, not what is understood. Convincing would be a measurement that was fixed beforehand: IoU with masks of dogs against a box and an untrained network, or nearest neighbours that find dogs among other animals, on images nobody chose, with an interval.
# ### END SOLUTION
