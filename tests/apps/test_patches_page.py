"""The page of patches in real Chromium, over the recorded run: what is drawn is what lab.analysis says of the same arrays."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load

from lab.analysis import artifacts, attention, examples, matching, similarity
from lab.run import Run
from tests.apps.served import serving
from tests.apps.test_attention_page import GALLERY
from tests.apps.test_browser import Lab, Watched, browser  # noqa: F401 (a fixture)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

RUN = Run(GALLERY / "dino_shapes")
IMAGE, STEP = 2, 6000


class Patches:
    def __init__(self, watched: Watched, run: str) -> None:
        self.watched, self.page, self.run = watched, watched.page, run

    def open(self, **query: Any) -> Patches:
        given = urllib.parse.urlencode({"view": "patches", "run": self.run, "image": IMAGE, **query})
        self.page.goto(f"{self.watched.lab.address}/?{given}")
        self.watched.wait("document.querySelectorAll('.side > div:not([hidden])').length >= 3")
        return self

    def asked(self, what: str, step: int = STEP, **values: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        query = {"source": f"run:{self.run}:{step}:teacher", "images": f"probe:{self.run}", **values}
        content = urllib.request.urlopen(
            f"{self.watched.lab.address}/api/sight/{what}?{urllib.parse.urlencode(query)}"
        ).read()
        length = int.from_bytes(content[:8], "little")
        return load(content), json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["said"])

    def text(self, view: str, selector: str) -> str:
        return self.page.locator(f"[data-view={view}] {selector}").first.inner_text().replace("\u202f", "")

    def says(self, view: str, selector: str, words: str) -> None:
        self.watched.wait(
            f"document.querySelector({json.dumps(f'[data-view={view}] {selector}')})?.textContent.includes({json.dumps(words)})"
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serving(GALLERY, tmp_path_factory.mktemp("cache")) as (address, _):
        runs = json.load(urllib.request.urlopen(f"{address}/api/runs"))["runs"]
        yield Lab(address, None, {run["name"]: run["id"] for run in runs})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def patches(browser: Browser, lab: Lab) -> Iterator[Patches]:  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page, lab)
    yield Patches(watched, lab.ids["dino_shapes"])
    page.close()
    assert watched.foreign == [], "no request leaves this machine"
    assert watched.errors == []


def mean_jaccard(masks: np.ndarray) -> float:
    objects = RUN.probe_images.masks
    assert objects is not None
    size = objects.shape[-1]
    return float(np.nanmean(attention.jaccard(attention.on_pixels(masks, (8, 8), size), objects.reshape(16, -1) > 0)))


def test_components_say_their_variance_match_and_foreground(patches: Patches) -> None:
    patches.open(step=2000, foreground="shown", cut=0.4)
    anchor = f"run:{patches.run}:6000:teacher"
    arrays, said = patches.asked("components", 2000, basis="matched", anchor=anchor)
    words = patches.text("components", ".numbers")
    assert f"{100 * sum(said['explained'][:3]):.1f} % of the variance" in words
    assert f"colours differ from the reference's by {100 * said['change']:.1f} %" in words
    assert f"{100 * said['unmatched']:.1f} % unmatched" in words
    masks = arrays["first"] > 0.4
    patches.says("components", ".sight-stage b", f"foreground: {masks[IMAGE].sum()} of 64 patches")
    found = re.search(r"mean over 16 images (\d+\.\d+|\d)", patches.text("components", ".sight-stage small"))
    assert found
    assert float(found.group(1)) == pytest.approx(mean_jaccard(masks), abs=0.006)
    patches.page.locator("[data-view=components] input[aria-label=Threshold]").fill("1")
    patches.says("components", ".sight-stage b", f"foreground: {(arrays['first'][IMAGE] > 1).sum()} of 64 patches")
    assert "cut=1" in patches.page.url


def test_component_colours_are_the_scores(patches: Patches) -> None:
    patches.open(basis="own", channels="4")
    arrays, _ = patches.asked("components", channels="4")
    drawn = "document.querySelector('[data-view=components] canvas[data-kind=components]').getContext('2d')"
    patches.watched.wait(f"{drawn}.getImageData(9, 9, 1, 1).data[3] === 255")
    colours = patches.page.evaluate(
        """async () => {
            const canvas = document.querySelector('[data-view=components] canvas[data-kind=components]');
            const { RAMPS } = await import('/static/lab/maps.js'), s = canvas.width / 8, context = canvas.getContext('2d');
            const at = (n) => context.getImageData((n % 8 + 0.5) * s, (Math.floor(n / 8) + 0.5) * s, 1, 1).data;
            return { table: [...RAMPS.cividis], seen: Array.from({ length: 64 }, (_, n) => [...at(n)].slice(0, 3)) };
        }"""
    )  # fmt: skip
    place = np.floor(255 * np.clip((arrays["scores"][IMAGE, :, 0] + 2.5) / 5, 0, 1) + 0.5).astype(int)
    assert (np.abs(np.array(colours["seen"]) - np.array(colours["table"]).reshape(256, 3)[place]) <= 4).all()
    assert patches.text("components", ".sight-stage figure:nth-child(2) b") == "component 5"


def test_a_probe_of_the_patches_pointed_at_finds_the_object(patches: Patches) -> None:
    patches.open(foreground="clicked")
    canvas = patches.page.locator("[data-view=components] canvas[data-kind=image]")
    canvas.evaluate("(canvas) => canvas.scrollIntoView({ block: 'center' })")
    side = canvas.bounding_box()["width"] / 8  # type: ignore[index]
    for patch, keys in ((27, []), (36, []), (0, ["Shift"]), (56, ["Shift"])):
        canvas.click(position={"x": (patch % 8 + 0.5) * side, "y": (patch // 8 + 0.5) * side}, modifiers=keys)  # type: ignore[arg-type]
    features, _ = patches.asked("features")
    rows = features["patches"].astype(np.float64) * features["scale"][..., None]
    scores = examples.linear_probe(rows, rows[IMAGE, [27, 36, 0, 56]], np.array([True, True, False, False]))
    patches.says("components", ".sight-stage b", f"foreground: {(scores[IMAGE] > 0).sum()} of 64 patches")
    found = re.search(r"mean over 16 images (\d+\.\d+|\d)", patches.text("components", ".sight-stage small"))
    assert found
    assert float(found.group(1)) == pytest.approx(mean_jaccard(scores > 0), abs=0.006)


def test_lines_join_mutual_nearest_patches_and_pointing_finds_the_likest(patches: Patches) -> None:
    patches.open(partner=5, lines=8)
    features, _ = patches.asked("features")
    rows = features["patches"].astype(np.float64) * features["scale"][..., None]
    pairs, value = matching.mutual(rows[IMAGE], rows[5])
    patches.says("matching", ".numbers", f"{len(pairs)} mutual pairs between images 3 and 6")
    drawn = patches.page.evaluate(
        """[...document.querySelectorAll('[data-view=matching] .lines line')]
            .map((l) => ['x1', 'y1', 'x2', 'y2'].map((k) => +l.getAttribute(k)))"""
    )
    expected = [
        [12.5 * (a % 8 + 0.5), 12.5 * (a // 8 + 0.5), 108 + 12.5 * (b % 8 + 0.5), 12.5 * (b // 8 + 0.5)]
        for a, b in pairs[:8].tolist()
    ]
    assert np.array(drawn) == pytest.approx(np.array(expected))
    assert f"mean cosine of {value[:8].mean():.3g}" in patches.text("matching", ".numbers")
    canvas = patches.page.locator("[data-view=matching] .matched canvas").first
    canvas.focus()
    canvas.press("ArrowRight")  # from the middle, 36, to 37
    best = int(matching.nearest(rows[IMAGE], rows[5])[0][37])
    patches.says("matching", ".numbers", f"Patch 38 of image 3 is most like patch {best + 1} of image 6")
    alike = (similarity.to_patch(rows, 37, IMAGE)[IMAGE] > 0.6).sum() - 1
    assert f"{alike} other patches of its own image" in patches.text("matching", ".numbers")
    canvas.press("Escape")
    patches.page.locator("[data-view=matching] input[aria-label=ratio]").fill("0.8")
    strict, _ = matching.mutual(rows[IMAGE], rows[5], 0.8)
    patches.says("matching", ".numbers", f"{len(strict)} mutual pairs")


def test_a_mask_is_carried_to_the_other_images(patches: Patches) -> None:
    patches.open()
    patches.page.get_by_role("button", name="mark the object").click()
    patches.says("carried", ".numbers", "Mean Jaccard of the carried mask")
    marked = [int(n) for n in patches.page.evaluate("new URLSearchParams(location.search).get('marked')").split(",")]
    objects = RUN.probe_images.masks
    assert objects is not None
    share = (objects[0] > 0).reshape(8, 8, 8, 8).mean((1, 3)).reshape(64)
    assert marked == np.flatnonzero(share > 0.5).tolist()
    features, _ = patches.asked("features")
    rows = features["patches"] * (features["scale"] * features["length"])[..., None]
    labels = matching.propagate(rows, np.isin(np.arange(64), marked).astype(float), context=0)
    found = re.search(r"15 other images: (\d+\.\d+|\d)", patches.text("carried", ".numbers"))
    assert found
    size = objects.shape[-1]
    overlap = attention.jaccard(attention.on_pixels(labels > 0.5, (8, 8), size), objects.reshape(16, -1) > 0)
    assert float(found.group(1)) == pytest.approx(float(np.nanmean(overlap[1:])), abs=0.006)


def test_norms_are_marked_beyond_a_multiple_of_the_median(patches: Patches) -> None:
    patches.page.goto(
        f"{patches.watched.lab.address}/?view=attention&run={patches.run}&image={IMAGE}&longer=1.3&normlayer=2"
    )
    patches.watched.wait("document.querySelector('[data-view=norms] .side > div:not([hidden])')")
    arrays, _ = patches.asked("heads", image=IMAGE)
    norms = arrays["norms"][2, 5:]
    patches.says(
        "norms", ".numbers", f"{artifacts.high_norm(norms, 1.3).sum()} of 64 patches beyond 1.3 times the median"
    )
    assert f"median {np.median(norms):.3g}" in patches.text("norms", ".numbers")


def test_the_browsers_matching_is_pythons(patches: Patches) -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(2, 20, 6))
    integers, scale = similarity.quantised(rows)
    units = integers * scale[..., None].astype(np.float64)
    chosen = [(0, 3, True), (1, 7, False), (0, 11, False), (1, 2, True)]
    found = patches.page.evaluate(
        """async ({ data, scale, examples, marked }) => {
            const js = await import('/static/lab/matches.js');
            const patches = { data: Int8Array.from(data), shape: [2, 20, 6] };
            const features = { patches, scale: { data: Float32Array.from(scale) } };
            const [rows, others] = [js.rowsOf(features, 0), js.rowsOf(features, 1)];
            const list = (options) => js.pairs(rows, others, 6, options).found.map(({ a, b }) => [a, b]);
            return { mutual: list({}), strict: list({ ratio: 0.85 }), any: list({ both: false }),
                probe: [...js.linearProbe(features, examples)],
                none: js.linearProbe(features, examples.filter(({ positive }) => positive)),
                carried: [...js.propagate(frames(features), Float32Array.from(marked), { top: 3, context: 1 })] };
            function frames({ patches, scale }) { return { patches: { ...patches, shape: [4, 10, 6] }, scale }; }
        }""",
        {
            "data": integers.ravel().tolist(), "scale": scale.ravel().tolist(),
            "examples": [{"image": i, "patch": p, "positive": s} for i, p, s in chosen],
            "marked": [1, 1, 0, 0, 0, 0, 0, 1, 0, 0],
        },
    )  # fmt: skip
    assert found["mutual"] == matching.mutual(units[0], units[1])[0].tolist()
    assert found["strict"] == matching.mutual(units[0], units[1], 0.85)[0].tolist()
    assert dict(found["any"]) == dict(enumerate(matching.nearest(units[0], units[1])[0].tolist()))
    probe = examples.linear_probe(
        units, np.stack([units[i, p] for i, p, _ in chosen]), np.array([s for *_, s in chosen])
    )
    assert np.array(found["probe"]).reshape(2, 20) == pytest.approx(probe, abs=1e-4)
    assert found["none"] is None
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 1, 0, 0], float)
    carried = matching.propagate(units.reshape(4, 10, 6), labels, top=3, context=1)
    assert np.array(found["carried"]).reshape(4, 10) == pytest.approx(carried, abs=1e-4)


RECORDED = """async () => {
    const { prepared } = await import("/static/lab/handed.js");
    const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
    [canvas.width, canvas.height] = [160, 120];
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm" }), pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    const began = performance.now(), stopped = new Promise((done) => { recorder.onstop = done; });
    const paint = () => {
        const share = Math.min(1, (performance.now() - began) / 1500);
        pen.fillStyle = `rgb(${80 + 150 * share}, 200, 40)`;
        pen.fillRect(0, 0, 160, 120);
        if (share === 1 && recorder.state === "recording") recorder.stop();
    };
    paint(); // or a slow machine films an empty canvas first
    recorder.start();
    const painting = setInterval(paint, 20);
    await stopped;
    clearInterval(painting);
    const { body, sizes, video } = await prepared([new File(pieces, "film.webm", { type: "video/webm" })]);
    const found = [];
    let at = 0;
    for (const size of sizes.split(",").map(Number)) {
        pen.drawImage(await createImageBitmap(body.slice(at, at += size)), 0, 0);
        found.push([...pen.getImageData(80, 60, 1, 1).data.slice(0, 3)]);
    }
    return video ? found : [];
}"""
"""Films a canvas that grows redder, hands the film in, and gives a pixel of each frame that the lab would get."""


def test_a_film_is_handed_in_frame_by_frame_from_its_first(patches: Patches) -> None:
    patches.open()
    pixels = np.array(patches.page.evaluate(RECORDED))
    assert len(pixels) >= 5, "a film that a browser recorded does not say how long it is"
    assert (abs(pixels[:, 1] - 200) < 25).all(), "no frame is black, and the first least of all: masks begin on it"
    assert pixels[-1, 0] - pixels[0, 0] > 60
    assert (np.diff(pixels[:, 0]) > -12).all(), "in their order"
