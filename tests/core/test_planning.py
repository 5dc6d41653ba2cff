"""`dino-lab plan` against what is measured: FLOPs by torch's counter, bytes by what autograd keeps and what lives in a step."""

from __future__ import annotations

import json
import re
import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dino_core.commands.plan import main
from dino_core.commands.train import parsed
from dino_core.config import Backbone, Crops, Gram, Head, Ibot, Machine, TrainConfig
from dino_core.data.views import Batch, Boxes
from dino_core.distilled import TAUGHT_BY
from dino_core.errors import ConfigError
from dino_core.model import PRESETS, Network, build_backbone
from dino_core.model import Head as BuiltHead
from dino_core.model.architectures import ConvNext, LearnedVit, RotaryVit
from dino_core.model.positions import ANTIALIASED
from dino_core.planning.devices import bytes_of, device
from dino_core.planning.memory import SHARINGS, Way, memory
from dino_core.planning.network import cost_of, kept
from dino_core.planning.plan import Machine as Planned
from dino_core.planning.plan import plan
from dino_core.planning.step import Step, flops, model_of, steps_of
from dino_core.recipes import RECIPES, recipe
from dino_core.schedules import Schedule
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine, shard
from tests.small import small_config

aten = torch.ops.aten
SIZES = {"dim": 64, "depth": 3, "heads": 4, "patch": 8, "hidden": 256}
LEARNED = LearnedVit(**SIZES, grid=8, resampling=ANTIALIASED, registers=2)
ROTARY = RotaryVit(**SIZES, rescale=None)
ARCHITECTURES = {
    "learned": LEARNED,
    "learned, LayerScale": replace(LEARNED, layer_scale=True),
    "learned, SwiGLU": replace(LEARNED, ffn="swiglu"),
    "rotary": ROTARY,
    "rotary, SwiGLU": replace(ROTARY, ffn="swiglu"),
    "convolutional": ConvNext(depths=(1, 1, 2, 1), dims=(8, 16, 32, 64)),
}


def attention(query, key, value, *rest, out_val=None, **options) -> int:
    """torch counts no attention on a CPU: scores and mixing."""
    (b, h, q, d), k = query, key[-2]
    return 2 * b * h * q * k * (d + value[-1])


def attention_backward(grad, query, key, value, *rest, out_val=None, **options) -> int:
    return 2 * attention(query, key, value)


COUNTED = {
    aten._scaled_dot_product_flash_attention_for_cpu: attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
}


def counted(run) -> int:
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("patches", [True, False], ids=["all tokens", "class token"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forward_flops_are_those_torch_counts(name, patches):
    backbone = ARCHITECTURES[name].build()
    images = torch.randn(2, 3, 64, 64)
    measured = counted(lambda: backbone(images) if patches else backbone.cls(images))
    assert cost_of(backbone).flops(64, patches).forward * 2 == pytest.approx(measured, rel=0.005)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_activations_are_those_autograd_keeps(name):
    backbone = ARCHITECTURES[name].build(drop_path=0.1)
    keeps(backbone)


@pytest.mark.parametrize("architecture", [LEARNED, replace(ROTARY, layer_scale=True)], ids=["learned", "rotary"])
def test_images_that_are_left_out_are_not_kept(architecture):
    keeps(architecture.build(drop_path=0.25, uniform=True, subset=True))


def keeps(backbone) -> None:
    images = torch.randn(4, 3, 64, 64)
    measured = kept(lambda: backbone(images), backbone) - images.untyped_storage().nbytes()
    saved = cost_of(backbone).saved(64, True, 4)
    assert 4 * (saved.outside + saved.blocks) == pytest.approx(measured, rel=0.05)


def config_of(**changes) -> TrainConfig:
    config = small_config(
        batch_size=16,
        crops=Crops(global_size=64, local_size=32, local_crops=3),
        backbone=Backbone(patch=8, dim=96, depth=4, heads=4, registers=2, drop_path=0.1),
        head=Head(prototypes=512, hidden=256, bottleneck=64),
    )
    return replace(config, objective=replace(config.objective, koleo_weight=0.0), **changes)


def batch_of(config: TrainConfig) -> Batch:
    b, c = config.batch_size, config.crops
    boxes = Boxes(torch.zeros(2, b, 4), torch.zeros(2, b, dtype=torch.bool))
    large, small = (torch.randn(v, b, 3, s, s) for v, s in ((2, c.global_size), (c.local_crops, c.local_size)))
    return Batch(large, small, boxes, boxes, torch.zeros(b, dtype=torch.int64), torch.arange(b))


def fitted(config: TrainConfig) -> TrainConfig:
    return plan(config, Planned(1, 10**12, 1e12, 0.5), 64).config


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
def test_flops_of_a_whole_step_are_those_torch_counts(checkpointing):
    config = fitted(config_of())
    config = replace(config, machine=replace(config.machine, checkpointing=checkpointing))
    engine, batch, now = build_engine(config), batch_of(config), Schedule(config).at(1)
    measured = counted(lambda: engine.train_step(batch, now, Stopwatch(torch.device("cpu"))))
    planned = sum(flops(config, model_of(config), checkpointing=checkpointing).values())
    assert planned == pytest.approx(
        measured, rel=0.03 if checkpointing else 0.005
    )  # torch skips what no gradient asks for


def anchored(**changes) -> TrainConfig:
    """iBOT and Gram anchoring to an earlier teacher at a higher resolution; stochastic depth leaves images out."""
    config = config_of(
        ibot=Ibot(weight=1.0, separate_head=True, head=Head(prototypes=256, hidden=128, bottleneck=32)),
        gram=Gram(weight=2.0, size=96),
        backbone=Backbone(
            name="rope", patch=8, dim=96, depth=4, heads=4, registers=2, drop_path=0.25, drop_path_subset=True,
            drop_path_uniform=True,
        ),
    )  # fmt: skip
    return replace(config, **changes)


def masked_batch_of(config: TrainConfig, step: Step, anchor: int) -> Batch:
    """With as many masked patches as are planned for, and crops for the anchor."""
    masks = torch.zeros(2, config.batch_size, step.patches, dtype=torch.bool)
    masks.flatten()[: round(step.masked * config.batch_size)] = True
    anchors = torch.randn(2, config.batch_size, 3, anchor, anchor) if anchor else None
    return replace(batch_of(config), masks=masks, masked=masks.flatten().nonzero()[:, 0], anchors=anchors)


MIXED = Crops(global_size=64, local_size=32, local_crops=3, mixed=((64, 32, 96, 0.3), (32, 16, 48, 0.1)))


@pytest.mark.parametrize(
    "config",
    [
        anchored(),
        anchored(crops=MIXED),
        anchored(gram=Gram(weight=2.0, anchor="teacher")),
        anchored(gram=Gram(weight=2.0, anchor="teacher", size=96)),
        anchored(gram=Gram(weight=2.0, size=96, across_batch=True)),
        anchored(gram=Gram(weight=2.0, size=96, across_batch=True, tokens="masked")),
    ],
    ids=[
        "larger",
        "mixed resolutions",
        "EMA teacher",
        "EMA teacher at a larger size",
        "across the batch",
        "hidden patches alone",
    ],
)
def test_flops_of_gram_anchoring_are_those_torch_counts(config):
    config = fitted(config)
    model, now, clock = model_of(config), Schedule(config).at(1), Stopwatch(torch.device("cpu"))
    engine, steps = build_engine(config), steps_of(config, model)
    kinds = config.crops.mixed or ((64, 32, config.gram.size or 0, 1.0),)
    assert [step.share for step in steps] == pytest.approx([share / sum(k[-1] for k in kinds) for *_, share in kinds])
    measured = 0.0
    for step, (large, small, anchor, _) in zip(steps, kinds, strict=True):
        sized = replace(config, crops=replace(config.crops, global_size=large, local_size=small))
        batch = masked_batch_of(sized, step, anchor)
        measured += step.share * counted(partial(engine.train_step, batch, now, clock))
    assert sum(flops(config, model, checkpointing=False).values()) == pytest.approx(measured, rel=0.01)


class Living(TorchDispatchMode):
    """Bytes of all storages that operations have given and that are still alive, and the most at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return result

    def add(self, storage) -> None:
        key = storage._cdata
        if key not in self.known:
            self.known[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        self.now -= self.known.pop(key, 0)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
def test_memory_of_a_step_is_what_lives_in_it(checkpointing):
    config = fitted(config_of())
    config = replace(config, machine=replace(config.machine, checkpointing=checkpointing))
    engine, batch, now = build_engine(config), batch_of(config), Schedule(config).at(1)
    with Living() as living:
        engine.train_step(batch, now, Stopwatch(torch.device("cpu")))
    planned = memory(config, model_of(config), Way("ddp", checkpointing, gpus=1))
    assert planned.weights == sum(p.nbytes for p in engine.student.parameters())
    assert planned.teacher == planned.weights
    moments = [v for state in engine.optimizer.state.values() for v in state.values() if v.ndim]
    assert planned.optimizer == sum(v.nbytes for v in moments)
    assert planned.images == batch.globals.nbytes + batch.locals.nbytes
    grown = planned.activations + planned.logits + planned.gradients
    assert grown == pytest.approx(living.peak, rel=0.2)
    assert grown > 0.95 * living.peak


@pytest.mark.parametrize("across", [False, True], ids=["per image", "across the batch"])
def test_memory_of_gram_anchoring_is_what_lives_in_its_step(across):
    config = fitted(anchored(gram=Gram(weight=2.0, size=96, across_batch=across), batch_size=8))
    model = model_of(config)
    engine, now = build_engine(config), Schedule(config).at(1)
    batch = masked_batch_of(config, steps_of(config, model)[0], 96)
    with Living() as living:
        engine.train_step(batch, now, Stopwatch(torch.device("cpu")))
    planned = memory(config, model, Way("ddp", False, gpus=1))
    assert planned.images == batch.globals.nbytes + batch.locals.nbytes + batch.anchors.nbytes
    weights = sum(p.nbytes for p in engine.objective.anchor.parameters())
    grown = sum((planned.images, planned.activations, planned.logits, planned.gradients, planned.frozen - weights))
    assert grown == pytest.approx(living.peak, rel=0.2)
    assert grown > 0.95 * living.peak


def test_more_gpus_share_the_work_and_zero3_shares_the_weights():
    config = replace(recipe("vits16_dino"), backbone=Backbone(name="dinov3_vitb16"))
    four, eight = (plan(config, Planned(n, 80 * 10**9, 989e12, 0.4)) for n in (4, 8))
    assert eight.flops == four.flops
    assert eight.rows[0].hours == pytest.approx(four.rows[0].hours / 2)
    by_way = {(row.way.sharing, row.way.checkpointing): row.memory for row in eight.rows}
    assert by_way["zero3", False].optimizer == pytest.approx(by_way["ddp", False].optimizer / 8)
    assert by_way["zero3", False].weights < by_way["zero2", False].weights < 1.3 * by_way["ddp", False].weights
    assert by_way["ddp", True].activations < by_way["ddp", False].activations / 3


def test_the_phases_of_a_run_are_planned_one_by_one_and_added():
    found = plan(recipe("vit7b16_dinov3"), Planned(256, 80 * 10**9, 989e12, 0.4))
    names = [stage.config.phase_name for stage in found.stages]
    assert names == ["pretraining", "gram", "high_res"]
    assert [stage.steps for stage in found.stages] == [1_000_000, 200_000, 30_000]
    first, gram, large = (stage.flops for stage in found.stages)
    assert first["Gram anchor: forward"] == 0
    # 1024 patches of 512 px where the teacher has 256 of 256 px
    teacher = gram["teacher: backbone"] + gram["teacher: attention"]
    assert gram["Gram anchor: forward"] == pytest.approx(teacher * 1029 / 261, rel=0.06)
    assert sum(large.values()) > sum(gram.values()) > sum(first.values())
    for place, row in enumerate(found.rows):
        each = [stage.rows[place] for stage in found.stages]
        assert row.hours == pytest.approx(sum(part.hours for part in each))
        assert row.memory.needed == max(part.memory.needed for part in each)
        assert row.step_seconds * found.steps == pytest.approx(3600 * row.hours)
    assert found.as_json()["phases"][1]["ways"][0]["hours"] == found.stages[1].rows[0].hours


def seven_billion() -> TrainConfig:
    """Sizes of DINOv3's first phase (Siméoni et al. 2025, Sec. 3), with DINO's loss alone."""
    config = recipe("vits16_dino")
    return replace(
        config,
        recipe="7B",
        steps=1_000_000,
        batch_size=4096,
        crops=replace(config.crops, global_size=256, local_size=112),
        backbone=Backbone(name="dinov3_vit7b16"),
        head=Head(prototypes=262_144, hidden=8192, bottleneck=512),
    )


def test_the_seven_billion_are_planned_without_a_weight():
    found = plan(seven_billion(), Planned(256, 80 * 10**9, 989e12, 0.4))
    assert found.model.parameters["backbone"] == 6_716_043_264 - 4096  # without a mask token
    assert found.model.parameters["head"] == pytest.approx(239.1e6, rel=0.001)
    assert all(p.is_meta for p in found.model.backbone.parameters())
    fits = {(row.way.sharing, row.way.checkpointing): row.fits for row in found.rows}
    assert not fits["ddp", False]
    assert not fits["ddp", True]
    assert fits["zero3", True]
    assert "fsdp" in found.advice
    tokens = 2 * 261 * 4096
    assert found.flops["teacher: backbone"] == pytest.approx(2 * 6.71e9 * tokens, rel=0.03)


def test_the_seven_billion_are_sharded_over_fake_ranks():
    """Backbone and both heads of the recipe, by what the trainer shards with; a rank then holds what is planned for it."""
    dist.init_process_group("fake", rank=3, world_size=64, store=FakeStore())
    try:
        config = recipe("vit7b16_dinov3").phase(0)
        with torch.device("meta"):
            backbone = build_backbone(config.backbone, config.image_size, mask_token=True)
            heads = (BuiltHead(backbone.dim, head) for head in (config.head, config.patch_head))
            student = Network(backbone, *heads)
        shard(student, torch.device("cpu"))
        whole = sum(p.numel() for p in student.parameters())
        here = sum(p.to_local().numel() for p in student.parameters())
        assert sum(p.numel() for p in backbone.parameters()) == 6_716_043_264
        assert whole == pytest.approx(6_716_043_264 + 239.1e6 + 72.9e6, rel=1e-5)
        assert here == pytest.approx(whole / 64, rel=0.001)
        assert all(isinstance(part, FSDPModule) for part in (*backbone.blocks(), backbone, *student.heads()))
        planned = memory(config, model_of(config), Way("zero3", True, gpus=64))
        assert planned.optimizer == pytest.approx(8 * here, rel=0.001)  # two moments of 4 bytes
    finally:
        dist.destroy_process_group()


def test_what_does_not_fit_is_told_what_would():
    found = plan(seven_billion(), Planned(8, 80 * 10**9, 989e12, 0.4))
    assert not any(row.fits for row in found.rows)
    assert "GPUs" in found.advice or "accumulate" in found.advice
    tight = plan(recipe("vitb16_dino"), Planned(4, 24 * 10**9, 165e12, 0.4))
    assert "--machine.checkpointing" in tight.advice or "--optim.accumulate" in tight.advice


@pytest.mark.parametrize("sharing", SHARINGS)
def test_what_is_advised_can_be_asked_of_the_trainer(sharing):
    way = Way(sharing, True, gpus=8, accumulate=4)
    config = parsed(recipe("tiny"), way.options.split(), "dino-lab train tiny").config
    machine = config.machine
    assert (machine.parallel, machine.reshard) == ("ddp" if sharing == "ddp" else "fsdp", sharing != "zero2")
    assert (machine.checkpointing, config.optim.accumulate) == (True, 4)


COMMAND = re.compile(r"torchrun (?:--nnodes=(\d+) )?--nproc-per-node=(\d+)")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_plan_and_fits_where_its_docstring_trains_it(name):
    """On V100s of 32 GB in 2021, on GPUs of 80 GB since; a laptop's recipes on any."""
    config, said = recipe(name), COMMAND.search(RECIPES[name].__doc__ or "")
    gpus = int(said[1] or 1) * int(said[2]) if said else 1 if config.steps and config.steps < 10_000 else 8
    memory = 80 if "dinov" in name else 32
    teacher = recipe(TAUGHT_BY[name]) if said and name in TAUGHT_BY else None
    found = plan(config, Planned(gpus, memory * 10**9, 989e12, 0.4), teacher=teacher)
    assert sum(found.flops.values()) > 0
    assert found.advice
    asked = ("ddp" if config.machine.parallel == "ddp" or gpus == 1 else "zero3", config.machine.checkpointing)
    needed = {(row.way.sharing, row.way.checkpointing): row.memory.needed / 1e9 for row in found.rows}[asked]
    assert not said or needed < memory


def test_the_command_prints_a_table_and_json(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["tiny", "--gpus", "1", "--memory", "16GB", "--device", "a100", "--batch-size", "96"]) == 0
    said = capsys.readouterr().out
    assert "student: attention" in said
    assert "fits with DDP" in said
    assert "phases" not in said
    assert main(["tiny_dinov3_gram", "--gpus", "1"]) == 0
    said = capsys.readouterr().out
    assert "Gram anchor: forward" in said
    assert all(word in said for word in ("phases with", "pretraining", "high_res", "48/24/64 px"))
    assert main(["tiny", "--json", "--memory", "16GiB", "--peak", "1", "--mfu", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 700
    assert found["ways"][0]["fits"]
    seconds = sum(found["flops_per_step"].values()) / 0.5e12
    assert found["ways"][0]["step_seconds"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nothing"], "no recipe 'nothing'"),
        (["tiny", "--device", "abacus"], "no peak is known for 'abacus'"),
        (["tiny", "--memory", "much"], "'much' is no amount of memory"),
        (["tiny", "--gpus", "7"], "batch of 48 can't be split over 7 GPUs"),
        (["tiny", "--mfu", "2"], "a share between 0 and 1"),
        (
            ["tiny", "--crops.global-size", "50"],
            "patches of 8 px, which do not divide global crops of 50 px; give --crops.global-size 48",
        ),
    ],
)
def test_what_can_not_be_planned_is_one_sentence(given, said):
    with pytest.raises(ConfigError, match=said):
        main(given)


def test_memory_and_devices_are_read():
    assert bytes_of("80GB") == bytes_of("80") == 80 * 10**9
    assert bytes_of("79.5 GiB") == round(79.5 * 2**30)
    assert device("H100").peak("bf16") == 989e12
    assert device("h100").peak("fp32") == 67e12


def losses_of(config: TrainConfig) -> list[torch.Tensor]:
    engine, schedule, clock = build_engine(config), Schedule(config), Stopwatch(torch.device("cpu"))
    torch.manual_seed(0)
    batches = [batch_of(config) for _ in range(3)]
    found = [engine.train_step(b, schedule.at(i), clock).losses.total for i, b in enumerate(batches)]
    return [*found, *(p.detach() for p in engine.student.parameters())]


@pytest.mark.parametrize("name", ["vit", "rope", "test_convnext"])
def test_checkpointing_changes_no_loss_and_no_weight(name):
    """With stochastic depth, which has to drop the same paths again, or leave the same images out."""
    size = {"vit": 8, "rope": 16, "test_convnext": 32}[name]
    crops = Crops(global_size=size, local_size=size, local_crops=1)
    backbone = Backbone(
        name=name, patch=8, dim=32, depth=2, heads=2, drop_path=0.3, drop_path_subset=name == "rope", rope_rescale=2.0
    )
    config = fitted(replace(config_of(batch_size=4), crops=crops, backbone=backbone))
    with_it = replace(config, machine=replace(config.machine, checkpointing=True))
    for plain, again in zip(losses_of(config), losses_of(with_it), strict=True):
        assert torch.equal(plain, again)


def test_checkpointing_refuses_batch_normalisation():
    config = fitted(replace(config_of(), backbone=Backbone(name="test_resnet")))
    with pytest.raises(ConfigError, match="needs blocks without batch normalisation"):
        build_engine(replace(config, machine=Machine(device="cpu", checkpointing=True)))


def test_a_preset_is_a_backbone_by_name():
    backbone = build_backbone(Backbone(name="dinov3_vits16", drop_path=0.0), 224)
    assert sum(p.numel() for p in backbone.parameters()) == PRESETS["dinov3_vits16"].parameters - backbone.dim
    masked = build_backbone(Backbone(name="dinov3_vits16"), 224, mask_token=True)
    assert sum(p.numel() for p in masked.parameters()) == PRESETS["dinov3_vits16"].parameters


@pytest.mark.parametrize(
    ("options", "said"), [(["--images", "0"], "0 images in the data"), (["--peak", "inf"], "a finite peak above 0")]
)
def test_a_plan_of_nothing_or_without_end_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        main(["tiny", *options])
