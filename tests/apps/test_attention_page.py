"""The source bar and the page of attention in real Chromium, over the recorded run."""

from __future__ import annotations

import io
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from lab.analysis import artifacts, attention
from tests.apps.served import serving
from tests.apps.test_browser import Lab, Watched, browser  # noqa: F401 (a fixture)
from tests.chromium import ARGUMENTS, CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

GALLERY = Path(__file__).parents[2] / "lab" / "gallery"
READY = "document.querySelectorAll('[data-view=heads] .side > div:not([hidden])').length === {}"
STEP, IMAGE = 6000, 2


class Looking:
    """The page, and the arrays it draws."""

    def __init__(self, watched: Watched, run: str) -> None:
        self.watched, self.page, self.run = watched, watched.page, run

    def open(self, sides: int = 1, **query: Any) -> Looking:
        given = urllib.parse.urlencode({"view": "attention", "run": self.run, "image": IMAGE, **query})
        self.page.goto(f"{self.watched.lab.address}/?{given}")
        self.watched.wait(READY.format(sides))
        self.watched.wait("document.querySelector('[data-view=heads] figure:nth-child(2) b').textContent !== ''")
        return self

    def arrays(self, step: int = STEP) -> dict[str, np.ndarray]:
        query = urllib.parse.urlencode(
            {"source": f"run:{self.run}:{step}:teacher", "images": f"probe:{self.run}", "image": IMAGE}
        )
        return load(urllib.request.urlopen(f"{self.watched.lab.address}/api/sight/heads?{query}").read())

    def cell(self, index: int, across: int = 6, side: int = 8) -> np.ndarray:
        """Colours of one tile of the sheet (side side 3)."""
        top, left = index // across * (side + 1), index % across * (side + 1)
        found = self.page.evaluate(
            "([x, y, s]) => [...document.querySelector('.sheet canvas').getContext('2d').getImageData(x, y, s, s).data]",
            [left, top, side],
        )
        return np.array(found).reshape(side, side, 4)[..., :3]

    def colours(self, values: np.ndarray) -> np.ndarray:
        """What the page paints for values from 0 to 6 equal shares."""
        table = np.array(self.page.evaluate("async () => [...(await import('/static/lab/maps.js')).RAMPS.magma]"))
        place = np.floor(255 * np.clip(values / (6 / 64), 0, 1) + 0.5).astype(int)
        return table.reshape(256, 3)[place].reshape(8, 8, 3)

    def text(self, selector: str) -> str:
        return self.page.locator(f"[data-view=heads] {selector}").first.inner_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("sight")
    (root / "photos").mkdir()
    Image.new("RGB", (30, 30), (200, 30, 30)).save(root / "photos" / "red.png")
    with serving(GALLERY, root / "cache", "--images", str(root / "photos")) as (address, _):
        runs = json.load(urllib.request.urlopen(f"{address}/api/runs"))["runs"]
        yield Lab(address, None, {run["name"]: run["id"] for run in runs})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def looking(browser: Browser, lab: Lab) -> Iterator[Looking]:  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page, lab)
    yield Looking(watched, lab.ids["dino_shapes"])
    page.close()
    assert watched.foreign == [], "no request leaves this machine"
    assert [error for error in watched.errors if "404" not in error] == []


def test_the_sheet_and_its_numbers_are_those_of_the_arrays(looking: Looking) -> None:
    looking.open(layer=2, head=4)
    arrays = looking.arrays()
    maps = arrays["attention"][..., 5:]  # after the class token and four registers
    for layer, head in ((0, 0), (2, 4), (3, 5)):
        expected = looking.colours(maps[layer, head])
        assert (np.abs(looking.cell(6 * layer + head) - expected).max(-1) <= 4).all()
    assert looking.text(".pair figure:nth-child(2) b") == "layer 3, head 5"
    found = re.search(r"Entropy ([\d.]+) of ([\d.]+) nats; spread about its centre ([\d.]+)", looking.text(".numbers"))
    assert found
    values = [float(attention.head_entropy(maps[2, 4])), np.log(64), float(attention.spread(maps[2, 4], (8, 8)))]
    assert [float(group) for group in found.groups()] == pytest.approx(values, abs=0.006)
    mask = attention.mass_mask(maps[2, 4])
    assert f"60 % in {mask.sum()} of 64 patches" in looking.text(".pair figure:nth-child(2) small")


def test_pointing_at_a_patch_asks_it_at_once_and_arrows_go_on_from_there(looking: Looking) -> None:
    looking.open()
    arrays = looking.arrays()
    rows = {k: arrays[k].astype(np.float64) * arrays[f"{k}_scale"][..., None] for k in ("queries", "keys")}
    picture = looking.page.locator("[data-view=heads] .pair canvas").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    looking.page.mouse.move(box["x"] + 3.5 / 8 * box["width"], box["y"] + 2.5 / 8 * box["height"])
    looking.watched.wait("document.querySelector('[data-view=heads] .pair b').textContent === 'asked by: patch 20'")
    asked = attention.row(rows["queries"], rows["keys"], 5 + 19)[..., 5:]
    assert (np.abs(looking.cell(7) - looking.colours(asked[1, 1])).max(-1) <= 4).all()
    picture.click(position={"x": 3.5 / 8 * box["width"], "y": 2.5 / 8 * box["height"]})
    picture.press("ArrowRight")
    picture.press("ArrowDown")
    looking.watched.wait("document.querySelector('[data-view=heads] .pair b').textContent === 'asked by: patch 29'")
    picture.press("Escape")
    looking.watched.wait("document.querySelector('[data-view=heads] .pair b').textContent === 'asked by: class token'")


def test_heads_are_chosen_by_click_and_arrow_joined_and_sorted_and_the_address_keeps_it(looking: Looking) -> None:
    looking.open()
    page = looking.page
    whole, cell = (
        page.locator(f"[data-view=heads] .sheet {part}").first.bounding_box() for part in ("canvas", "button")
    )
    shares = [cell["width"] / whole["width"], cell["height"] / whole["height"]]
    assert shares == pytest.approx([8 / (6 * 9 - 1), 8 / (4 * 9 - 1)], rel=0.005), "over its map, not the gap beside it"
    page.locator("[data-view=heads] .sheet-cells button").nth(8).click()
    page.keyboard.press("ArrowDown")
    looking.watched.wait(
        "document.querySelector('[data-view=heads] figure:nth-child(2) b').textContent === 'layer 3, head 3'"
    )
    assert "layer=2" in page.url and "head=2" in page.url  # noqa: PT018
    page.locator("[data-view=heads] .sheet-cells button").nth(3).click(modifiers=["Shift"])
    looking.watched.wait(
        "document.querySelector('[data-view=heads] figure:nth-child(2) b').textContent === 'union of 2 heads'"
    )
    maps = looking.arrays()["attention"][..., 5:]
    union = attention.mass_mask(maps[2, 2]) | attention.mass_mask(maps[0, 3])
    assert f"in {union.sum()} of 64 patches" in looking.text(".pair figure:nth-child(2) small")
    page.locator("[data-view=heads] select[aria-label='Order of the heads']").select_option("entropy")
    narrow = int(np.argmin(attention.head_entropy(maps)))
    label = f"layer {narrow // 6 + 1}, head {narrow % 6 + 1}"
    looking.watched.wait(f"document.querySelector('.sheet-cells button').title === '{label}'")
    page.reload()
    looking.watched.wait(READY.format(1))
    looking.watched.wait(
        "document.querySelector('[data-view=heads] figure:nth-child(2) b').textContent === 'union of 2 heads'"
    )


def test_between_checkpoints_the_page_says_what_is_missing(looking: Looking) -> None:
    looking.open(step=1000)
    assert "no checkpoint" in looking.text(".side > .hint")
    assert looking.page.locator(".sheet-cells button").count() == 6


def test_two_networks_stand_side_by_side_and_ask_the_same_patch(looking: Looking) -> None:
    looking.open(2, against="first")
    titles = looking.page.locator("[data-view=heads] .side h3").all_inner_texts()
    assert [title.replace("\u202f", "") for title in titles] == [
        "dino_shapes, teacher at step 6000", "dino_shapes, teacher at step 0",
    ]  # fmt: skip
    picture = looking.page.locator("[data-view=heads] .side:nth-child(2) .pair canvas").first
    picture.scroll_into_view_if_needed()
    picture.hover(position={"x": 5, "y": 5})
    looking.watched.wait(
        "[...document.querySelectorAll('[data-view=heads] figure:first-child b')]"
        ".every((b) => b.textContent === 'asked by: patch 1')"
    )


def test_photographs_are_handed_in_by_file_drop_and_paste_and_folders_chosen(looking: Looking) -> None:
    looking.open()
    page, content = looking.page, io.BytesIO()
    Image.new("RGB", (50, 40), (20, 160, 60)).save(content, "PNG")
    file = {"name": "green.png", "mimeType": "image/png", "buffer": content.getvalue()}
    page.locator("[data-view=sources] input[type=file]").set_input_files([file])  # type: ignore[list-item]
    looking.watched.wait("new URLSearchParams(location.search).get('images')?.startsWith('set:')")
    looking.watched.wait("document.querySelectorAll('[data-view=heads] .strip-item').length === 1")
    looking.watched.wait("document.querySelectorAll('[data-view=heads] .sheet-cells button').length === 24")
    assert page.locator("[data-view=sources] select[aria-label=Images] option:checked").inner_text() == "green.png"
    for event in ("drop", "paste"):
        page.locator("[data-view=sources] select[aria-label=Images]").select_option("folder:0")
        looking.watched.wait("new URLSearchParams(location.search).get('images') === 'folder:0'")
        page.evaluate(
            """([kind, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([Uint8Array.from(bytes)], 'x.png', { type: 'image/png' }));
                document.dispatchEvent(kind === 'drop' ? new DragEvent('drop', { dataTransfer: data, cancelable: true })
                    : new ClipboardEvent('paste', { clipboardData: data, cancelable: true }));
            }""",
            [event, list(content.getvalue())],
        )
        looking.watched.wait("new URLSearchParams(location.search).get('images')?.startsWith('set:')")
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"}
    page.locator("[data-view=sources] input[type=file]").set_input_files([broken])  # type: ignore[list-item]
    looking.watched.wait(
        "document.querySelector('[data-view=sources] [role=status]').textContent.includes('no image this lab opens')"
    )


@pytest.fixture
def camera(browser: Browser, lab: Lab) -> Iterator[Looking]:  # noqa: F811
    """A browser with Chromium's own pretended camera, a green picture; the page tells of the `streams` it was given."""
    pretended = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    another = browser.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *pretended])
    watched = Watched(another.new_page(viewport={"width": 1280, "height": 900}), lab)
    watched.page.add_init_script(
        """window.streams = [];
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = (wanted) => ask(wanted).then((given) => { streams.push(given); return given; });"""
    )
    yield Looking(watched, lab.ids["dino_shapes"]).open()
    assert watched.foreign == []
    assert watched.errors == []
    another.close()


def test_a_frame_of_the_camera_is_looked_at_like_any_image(camera: Looking) -> None:
    page, watched = camera.page, camera.watched
    page.locator("[data-view=sources] button", has_text="Camera").click()
    page.locator("[data-view=sources] .lens button", has_text="Take this frame").click()
    watched.wait("new URLSearchParams(location.search).get('images')?.startsWith('set:')")
    watched.wait("document.querySelectorAll('[data-view=heads] .strip-item').length === 1")
    images = urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query)["images"][0]
    query = urllib.parse.urlencode({"images": images})
    frame = load(urllib.request.urlopen(f"{watched.lab.address}/api/sight/images?{query}").read())["images"][0]
    red, green, blue = frame.reshape(-1, 3).mean(0)
    assert green > 100
    assert max(red, blue) < 60


def test_no_camera_stays_on_where_nobody_sees_it(camera: Looking) -> None:
    page, watched = camera.page, camera.watched
    for clicks in (1, 2):
        page.locator("[data-view=sources] button", has_text="Camera").click()
        watched.wait(f"streams.length === {clicks} && document.querySelectorAll('.lens video').length === 1")
    page.get_by_role("link", name="Patches", exact=True).click()  # another page has the source bar too
    watched.wait("streams.every((stream) => !stream.active)")
    assert page.locator(".lens video").count() == 0


def test_images_handed_in_wait_for_no_answer_about_others_and_stay(looking: Looking) -> None:
    held: list[Any] = []
    page, content = looking.page, io.BytesIO()
    Image.new("RGB", (40, 40), (20, 160, 60)).save(content, "PNG")
    probes = re.compile("sight/heads.*probe")
    page.route(probes, lambda route: held.append(route))  # a network that takes its time
    page.goto(f"{looking.watched.lab.address}/?view=attention&run={looking.run}")
    looking.watched.wait("document.querySelectorAll('[data-view=heads] .strip-item').length > 1")
    file = {"name": "green.png", "mimeType": "image/png", "buffer": content.getvalue()}
    page.locator("[data-view=sources] input[type=file]").set_input_files([file])  # type: ignore[list-item]
    green = """document.querySelectorAll('[data-view=heads] .strip-item').length === 1
        && [...document.querySelector('[data-view=heads] canvas[data-kind=image]').getContext('2d')
            .getImageData(9, 9, 1, 1).data].every((value, i) => Math.abs(value - [20, 160, 60, 255][i]) < 3)"""
    looking.watched.wait(green)
    assert held
    for route in held:
        with page.expect_response(probes):
            route.continue_()
    page.unroute(probes)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate(green), "what was asked before is not shown after"


def png(colour: tuple[int, int, int]) -> dict[str, Any]:
    content = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(content, "PNG")
    return {"name": f"{colour[0]}.png", "mimeType": "image/png", "buffer": content.getvalue()}


def test_the_images_chosen_last_are_shown_not_those_taken_in_last(looking: Looking) -> None:
    held: list[Any] = []
    page, taking = looking.page, re.compile("sight/images.sizes=")
    chosen = "new URLSearchParams(location.search).get('images')"
    looking.open()
    file = page.locator("[data-view=sources] input[type=file]")
    page.route(taking, lambda route: route.continue_() if held else held.append(route))  # the first takes its time
    file.set_input_files([png((1, 2, 3))])  # type: ignore[list-item]
    while not held:
        page.wait_for_timeout(20)
    file.set_input_files([png((200, 2, 3))])  # type: ignore[list-item]
    looking.watched.wait(f"{chosen}?.startsWith('set:')")
    second = page.evaluate(chosen)
    held[0].continue_()
    page.locator("[data-view=sources]").get_by_text("Taken in: choose them among the images.").wait_for()
    assert page.evaluate(chosen) == second
    names = page.get_by_label("Images", exact=True).locator("option").all_inner_texts()
    assert {"1.png", "200.png"} <= set(names), "and nothing is lost"
    page.unroute(taking)


def test_an_image_that_comes_before_the_lab_has_said_whether_it_takes_any_is_taken(looking: Looking) -> None:
    held: list[Any] = []
    page, offered = looking.page, re.compile("api/sight$")
    page.route(offered, lambda route: held.append(route))
    page.goto(f"{looking.watched.lab.address}/?view=attention&run={looking.run}")
    page.locator("[data-view=sources] input[type=file]").set_input_files([png((7, 90, 3))])  # type: ignore[list-item]
    page.locator("[data-view=sources]").get_by_text("Taking them in …").wait_for()
    for route in held:
        route.continue_()
    page.unroute(offered)
    looking.watched.wait("new URLSearchParams(location.search).get('images')?.startsWith('set:')")


SOUND = """async () => {
    const { prepared } = await import('/static/lab/handed.js'), audio = new AudioContext(), pieces = [];
    const to = audio.createMediaStreamDestination(), tone = audio.createOscillator();
    tone.connect(to);
    tone.start();
    const recorder = new MediaRecorder(to.stream, { mimeType: 'audio/webm' });
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    const ended = new Promise((done) => { recorder.onstop = done; });
    recorder.start();
    await new Promise((done) => setTimeout(done, 400));
    recorder.stop();
    await ended;
    return prepared([new File(pieces, 'song.webm', { type: 'video/webm' })]).then(() => 'taken', (error) => error.message);
}"""
"""Records a sound alone, hands it in as a film, and gives what is said to that."""


def test_a_film_without_pictures_is_refused_in_words(looking: Looking) -> None:
    looking.open()
    assert looking.page.evaluate(SOUND) == "song.webm has no pictures that this browser can show."


def test_an_image_whose_heads_did_not_come_takes_nothing_from_the_one_before(looking: Looking) -> None:
    page, curves = looking.open().page, re.compile("/heads.image=3")
    view = page.locator("[data-view=trajectories]")
    view.locator(".spark-card").first.wait_for()
    page.route(curves, lambda route: route.fulfill(status=404, json={"error": "not this one."}))
    choose = "(image) => import('/static/lab/page.js').then(({ host }) => host.set({ image }))"
    page.evaluate(choose, 3)
    view.get_by_text("not this one.").wait_for()
    page.unroute(curves)
    page.evaluate(choose, IMAGE)
    view.locator(".spark-card").first.wait_for()
    view.get_by_text(f"image {IMAGE + 1}, ").wait_for()


def test_the_browsers_attention_is_pythons(looking: Looking) -> None:
    random = np.random.default_rng(5)
    queries, keys = random.integers(-127, 128, (3, 7, 4)), random.integers(-127, 128, (3, 7, 4))
    scales = random.uniform(0.005, 0.02, (2, 3, 7))
    maps = np.exp(random.normal(size=(5, 12)))
    norms = random.uniform(1, 5, (4, 9))
    found = looking.page.evaluate(
        """async ({ q, k, qs, ks, maps, norms }) => {
            const js = await import('/static/lab/looking.js');
            const [queries, keys] = [{ data: Int8Array.from(q), scale: qs }, { data: Int8Array.from(k), scale: ks }];
            return {
                rows: [0, 1, 2].map((head) => [...js.row(queries, keys, [7, 4], head, 3)]),
                from: maps.map((map) => js.reach(map, 4, 6)), spread: maps.map((map) => js.reach(map, 4)),
                high: norms.map((row) => [...js.highNorm(row, 1.3)]), changed: maps.map((map) => js.changed(map, maps[0])),
            };
        }""",
        {
            "q": queries.ravel().tolist(), "k": keys.ravel().tolist(), "qs": scales[0].ravel().tolist(),
            "ks": scales[1].ravel().tolist(), "maps": maps.tolist(), "norms": norms.tolist(),
        },
    )  # fmt: skip
    expected = attention.row(queries * scales[0][..., None], keys * scales[1][..., None], 3)
    assert np.array(found["rows"]) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert found["from"] == pytest.approx(attention.distance_from(maps, (3, 4), 6))
    assert found["spread"] == pytest.approx(attention.spread(maps, (3, 4)))
    assert (np.array(found["high"], bool) == artifacts.high_norm(norms, 1.3)).all()
    assert found["changed"] == pytest.approx(attention.changed(maps, maps[:1]))


def test_a_phone_shows_the_page_without_scrolling_sideways(looking: Looking) -> None:
    looking.page.set_viewport_size({"width": 400, "height": 800})
    looking.open()
    assert looking.page.evaluate("document.documentElement.scrollWidth") <= 400
    looking.page.set_viewport_size({"width": 1280, "height": 900})
