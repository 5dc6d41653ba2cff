"""The pages of Gram matrices, prototypes and embeddings in real Chromium."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from lab.analysis import gram, layout, prototypes, similarity
from lab.run import Run
from tests.apps.growing import GRID, Growing
from tests.apps.served import serving
from tests.apps.test_browser import GOLDEN, Lab, Watched, browser
from tests.core.test_published_head import full_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("maps")
    shutil.copytree(GOLDEN, root / "runs" / "run_v1")
    shutil.copytree(GOLDEN, root / "runs" / "twin")
    about = root / "runs" / "twin" / "run.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "name": "twin"}))
    growing = Growing(root / "runs" / "growing")
    for _ in range(3):
        growing.probe()
        growing.log(5)
    growing.writer.event("phase", 0, name="pretraining", index=0, steps=100, changed={})
    growing.writer.event("phase", 50, name="gram", index=1, steps=900, changed={"gram.weight": [0, 2]})
    photographs(root / "photos")
    models = ("--models", str(full_checkpoint(root / "full.pth")), "random:vit_tiny_patch16_224")
    with serving(root / "runs", root / "cache", *models, "--images", str(root / "photos")) as (address, _):
        runs = json.load(urllib.request.urlopen(f"{address}/api/runs"))["runs"]
        yield Lab(address, growing, {run["name"]: run["id"] for run in runs})
    growing.writer.close()


def photographs(folder: Path) -> None:
    """Two classes of seven noisy pictures."""
    random = np.random.default_rng(0)
    for name in ("fish", "tree"):
        (folder / name).mkdir(parents=True)
        for i in range(7):
            Image.fromarray(random.integers(0, 255, (40, 48, 3)).astype(np.uint8)).save(folder / name / f"{i}.png")


@pytest.fixture(scope="module")
def watched(browser: Browser, lab: Lab) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page, lab)
    yield watched
    page.close()
    assert watched.foreign == [], "no request leaves this machine"
    assert watched.errors == []


def opened(watched: Watched, view: str, run: str = "growing", **query: object) -> Page:
    """A page of the lab, once its views are there."""
    parts = [f"run={watched.lab.ids[run]}", f"view={view}", *(f"{key}={value}" for key, value in query.items())]
    watched.page.goto(f"{watched.lab.address}/?{'&'.join(parts)}")
    watched.page.wait_for_selector(f"[data-view={view}] h2", state="attached")
    return watched.page


def test_the_browsers_gram_is_pythons(watched: Watched) -> None:
    random = np.random.default_rng(5)
    parts = random.normal(size=(5, 24))
    patches = parts[random.integers(0, 5, (2, 30))] + 0.4 * random.normal(size=(2, 30, 24))
    integers, _ = similarity.quantised(patches)
    rows = integers.astype(np.float64)
    found = opened(watched, "gram").evaluate(
        """async ({ patches, shape }) => {
            const js = await import('/static/lab/matrices.js');
            const [one, two] = [0, 1].map((i) => js.rowsOf(Int8Array.from(patches), shape, i));
            const order = js.gramOrder(one, shape[2]);
            const changed = js.gramChanged(one, shape[2], two, shape[2]);
            return { row: [...js.gramRow(one, shape[2], 7)], order: [...order], changed: [...changed], overall: js.overall(changed),
                whole: [...js.gramBinned(one, shape[2], order, 99)], binned: [...js.gramBinned(one, shape[2], order, 8)] };
        }""",
        {"patches": integers.reshape(-1).tolist(), "shape": list(patches.shape)},
    )
    order = gram.order(rows[0])
    assert found["order"] == order.tolist()
    assert found["row"] == pytest.approx(gram.matrix(rows)[0, 7], abs=0.01)
    assert np.reshape(found["whole"], (30, 30)) == pytest.approx(gram.matrix(rows[0])[np.ix_(order, order)], abs=0.01)
    assert np.reshape(found["binned"], (8, 8)) == pytest.approx(gram.binned(rows[0], order, 8), abs=0.01)
    assert found["changed"] == pytest.approx(gram.changed(*rows), abs=0.01)
    assert found["overall"] == pytest.approx(gram.distance(*rows), abs=0.01)


def test_the_gram_page_shows_two_runs_against_their_anchors_and_says_how_far_they_went(
    watched: Watched, lab: Lab
) -> None:
    page = opened(watched, "gram", overlay=lab.ids["run_v1"])
    sides = page.locator("[data-view=gram] .gram-side:not([hidden])")
    watched.wait("document.querySelectorAll('[data-view=gram] .gram-side:not([hidden])').length === 2")
    run = Run(lab.growing.path)
    assert "anchoring began" in page.locator("[data-view=gram]").inner_text()
    expected = gram.distance(run.probe(100).patches[0].astype(float), run.probe(50).patches[0].astype(float))
    watched.wait(
        f"document.querySelector('[data-view=gram] .gram-side').innerText.includes('{float(f'{expected:.3g}'):g}')"
    )
    assert "step 100 against its step 50" in sides.first.inner_text()
    second = Run(GOLDEN)
    here = gram.distance(second.probe(0).patches[0].astype(float), second.probe(0).patches[0].astype(float))
    assert f"distance of the matrices {here:g}" in sides.last.inner_text(), (
        "its own stop nearest before, its own anchor"
    )


def test_pointing_at_a_row_of_the_matrix_marks_the_patch_everywhere(watched: Watched, lab: Lab) -> None:
    page = watched.page
    matrix = page.locator("[data-view=gram] .gram-side >> nth=0 >> canvas[data-matrix=now]")
    matrix.scroll_into_view_if_needed()
    box = matrix.bounding_box()
    assert box is not None
    cells = GRID * GRID
    page.mouse.move(box["x"] + 2.5 / cells * box["width"], box["y"] + 5.5 / cells * box["height"])
    patches = Run(lab.growing.path).probe(50).patches[0].astype(float)
    order = gram.order(similarity.quantised(patches)[0].astype(np.float64))
    watched.wait("document.querySelector('[data-view=gram] .gram-readout').textContent !== ''")
    said = page.locator("[data-view=gram] .gram-readout").first.inner_text()
    assert said.startswith(f"patches {order[5] + 1} and {order[2] + 1}: cosine")
    assert page.evaluate("import('/static/lab/page.js').then(({ host }) => host.get('patch'))") == order[5]
    now = gram.matrix(Run(lab.growing.path).probe(100).patches[0])[order[5], order[2]]
    assert float(said.split("cosine ")[1].split(" ")[0]) == pytest.approx(now, abs=0.011)


def test_the_clock_and_the_anchor_move_the_matrices_and_the_curves(watched: Watched, lab: Lab) -> None:
    page = watched.page
    page.get_by_label("Anchor checkpoint").select_option("0")
    watched.wait("document.querySelector('[data-view=gram] .film-head').textContent.includes('against its step 0')")
    assert "anchor=0" in page.url
    page.keyboard.press("[")
    watched.wait("document.querySelector('[data-view=gram] .film-head').textContent.includes('step 50 against')")
    watched.curve_ready("dense")
    watched.wait("document.querySelector('[data-view=dense]').innerText.includes('distance to step 0')")
    drawn = page.evaluate(
        """[...document.querySelectorAll('[data-view=dense] .plot')].flatMap((p) => p.data)
            .find((t) => t.name.startsWith('distance to')).y"""
    )
    run = Run(lab.growing.path)
    expected = [
        gram.distance(run.probe(s).patches.astype(float), run.probe(0).patches.astype(float)).mean()
        for s in (0, 50, 100)
    ]
    assert drawn[:3] == pytest.approx(expected, abs=1e-6)
    page.get_by_label("Network", exact=True).select_option("student")
    watched.wait("document.querySelector('[data-view=gram]').innerText.includes('no student to show')")
    page.get_by_label("Network", exact=True).select_option("")
    refused = [error for error in watched.errors if "404" in error]
    assert len(refused) == 1, "the browser notes what the lab refused"
    watched.errors.clear()


def test_the_browsers_points_are_pythons(watched: Watched) -> None:
    random = np.random.default_rng(6)
    xy, rows = random.normal(size=(300, 2)), random.normal(size=(40, 12))
    integers, scale = similarity.quantised(rows)
    polygon = [[-0.8, -0.5], [0.9, -0.7], [0.1, 0.0], [0.7, 0.8], [-0.6, 0.6]]
    queries = random.normal(size=(50, 2))
    others, images, theirs = random.normal(size=(40, 9)), random.integers(0, 12, 300), random.integers(0, 15, 90)
    places, their_places = random.integers(0, 16, 300), random.integers(0, 25, 90)
    beside, moved = similarity.quantised(others), random.normal(size=(90, 2))
    found = opened(watched, "embedding").evaluate(
        """async ({ xy, rows, scale, polygon, queries, beside, moved, ours, theirs }) => {
            const js = await import('/static/lab/points.js'), { meanCommon, together } = await import('/static/lab/common.js');
            const partner = js.counterparts(theirs, ours);
            const some = (data, scale, width) => (
                { rows: { data: Int8Array.from(data), shape: [40, width] }, scale: { data: scale } });
            const flat = Float32Array.from(xy), index = js.gridIndex(flat);
            return { inside: [...js.inside(flat, polygon)],
                near: js.nearestRows(Int8Array.from(rows), Float32Array.from(scale), 12, 7, 5),
                under: queries.map(([x, y]) => index.nearest(x, y, 0.3)), towards: js.towards(flat, 11, 1, 0),
                partner: [...partner], turned: [...js.turned(Float32Array.from(moved), flat, partner)],
                common: await meanCommon(some(rows, scale, 12), some(...beside, 9)),
                together: together(ours.image.slice(0, 90), theirs.image) };
        }""",
        {
            "xy": xy.reshape(-1).tolist(), "rows": integers.reshape(-1).tolist(), "scale": scale.tolist(), "polygon": polygon,
            "queries": queries.tolist(), "moved": moved.reshape(-1).tolist(),
            "beside": [beside[0].reshape(-1).tolist(), beside[1].tolist()],
            "ours": {"image": images.tolist(), "place": places.tolist(), "grid": [4, 4]},
            "theirs": {"image": theirs.tolist(), "place": their_places.tolist(), "grid": [5, 5]},
        },
    )  # fmt: skip
    spots, their_spots = (
        np.stack([at % side + 0.5, at // side + 0.5], 1) / side for at, side in ((places, 4), (their_places, 5))
    )
    partner = layout.counterparts(theirs, images, their_spots, spots)
    assert found["partner"] == partner.tolist()
    pairs, turned = partner >= 0, np.reshape(found["turned"], (90, 2))
    assert 0 < pairs.sum() < 90
    assert turned[pairs] == pytest.approx(layout.align(moved[pairs], xy[partner[pairs]]), abs=1e-5)
    assert np.linalg.norm(turned - turned[0], axis=1) == pytest.approx(
        np.linalg.norm(moved - moved[0], axis=1), abs=1e-5
    )
    near = [layout.neighbours(ints * size[:, None], 9)[0] for ints, size in ((integers, scale), beside)]
    share, chance = prototypes.together(images[:90], theirs)
    alike = [(images[i] == images[j], theirs[i] == theirs[j]) for i in range(90) for j in range(i)]
    assert share == pytest.approx(np.mean([theirs for ours, theirs in alike if ours]))
    assert chance == pytest.approx(np.mean([theirs for _, theirs in alike]))
    assert found["together"] == {
        "pairs": sum(ours for ours, _ in alike),
        "share": pytest.approx(share),
        "chance": pytest.approx(chance),
    }
    assert found["common"].pop("share") == pytest.approx(layout.common(*near).mean(), abs=0.01)
    assert found["common"] == {"count": 9, "chance": pytest.approx(9 / 39), "points": 40, "asked": 40}
    assert np.array(found["inside"], bool).tolist() == layout.inside(xy, np.array(polygon)).tolist()
    nearest, cosines = layout.neighbours(integers * scale[:, None], 5)
    assert [one["index"] for one in found["near"]] == nearest[7].tolist()
    assert [one["cosine"] for one in found["near"]] == pytest.approx(cosines[7], abs=0.02)
    for query, under in zip(queries, found["under"], strict=True):
        distances = np.linalg.norm(xy - query, axis=1)
        assert under == (int(distances.argmin()) if distances.min() < 0.3 else None)
    step = xy[found["towards"]] - xy[11]
    assert step[0] >= abs(step[1])


def test_points_are_drawn_where_the_layout_puts_them_and_move_with_the_clock(watched: Watched, lab: Lab) -> None:
    page = opened(watched, "embedding", points="patches")
    watched.wait("document.querySelector('[data-view=embedding]').innerText.includes('96 points, PCA')")
    watched.wait(
        "document.querySelector('[data-view=embedding] option:last-child').textContent === 'all 500 of the data'"
    )
    run = Run(lab.growing.path)
    watched.wait(  # every point takes some pixels, once the next frame is painted
        """(() => { const c = document.querySelector('canvas.scatter');
            const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
            return data.filter((v, i) => i % 4 === 3 && v === 255).length > 96 * 9; })()"""
    )
    expected = layout.principal(run.probe(100).patches.astype(float).reshape(96, -1))
    drawn = page.evaluate(
        f"""import('/static/lab/page.js').then(async ({{ host }}) => {{
            const found = await host.ask('run/{lab.ids["growing"]}/crowd/100/layout?anchor=100&tokens=patches');
            return [...found.tensors.xy.data]; }})"""
    )
    assert np.reshape(drawn, (96, 2)) == pytest.approx(expected, abs=1e-3)
    page.locator("canvas.scatter").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    watched.wait("location.search.includes('spot=')")
    said = dict(part.split("=") for part in page.url.partition("?")[2].split("&"))
    assert divmod(int(said["spot"]), 16) == (int(said.get("image", 0)), int(said["patch"])), (
        "it is chosen in every view"
    )
    page.keyboard.press("Escape")
    watched.wait("!location.search.includes('patch=')")
    dark = page.evaluate("document.querySelector('canvas.scatter').toDataURL()")
    page.evaluate("import('/static/lab/page.js').then(({ host }) => host.set({ image: 1, patch: 5 }))")
    watched.wait(f"document.querySelector('canvas.scatter').toDataURL() !== {json.dumps(dark)}")
    page.keyboard.press("[")
    watched.wait("document.querySelector('.transport .at').textContent.includes('step 50')")
    watched.wait("document.querySelector('[data-view=embedding]').innerText.includes('turned to match step 100')")


def test_a_line_around_points_gives_a_gallery_and_a_click_the_neighbours(watched: Watched) -> None:
    page = watched.page
    canvas = page.locator("canvas.scatter")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 0.02 * box["width"], box["y"] + 0.02 * box["height"])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.get_by_text("96 points chosen").wait_for()
    named = page.locator(".embedding-legend > div").first
    named.locator("button").click()
    some = page.get_by_text(f"{named.locator('dd').inner_text()} points chosen")
    some.wait_for()
    page.reload()
    some.wait_for()
    canvas.focus()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Nearest neighbours").wait_for()
    assert "spot=0" in page.url
    watched.wait("document.querySelectorAll('.embedding-side .shot').length === 13")
    page.get_by_label("entropy").check(force=True)
    page.get_by_text("ln K =").first.wait_for()
    page.evaluate("import('/static/lab/page.js').then(({ host }) => host.set({ colour: 'label' }))")
    watched.wait("document.querySelector('[data-view=embedding] input[value=label]').checked")


def test_fifty_thousand_points_are_drawn_and_found_under_the_pointer(watched: Watched) -> None:
    found = watched.page.evaluate(
        """async () => {
            const { scatter } = await import('/static/lab/scatter.js'), count = 50000, hovered = [];
            const xy = Float32Array.from({ length: 2 * count }, (_, i) => Math.sin(i * 12.9898) * (1 + (i % 7)));
            const plot = scatter({ hover: (p) => hovered.push(p) }, 'made');
            plot.canvas.style.cssText = 'position:fixed;inset:0;width:800px;height:600px;z-index:99';
            document.querySelector('[data-view=embedding]').append(plot.canvas);
            plot.show({ xy, rgb: new Uint8Array(3 * count).fill(90) });
            await new Promise((done) => setTimeout(done, 200));
            const [x, y] = plot.position(4321), box = plot.canvas.getBoundingClientRect(), ratio = plot.canvas.width / box.width;
            const place = { clientX: box.left + x / ratio, clientY: box.top + y / ratio };
            plot.canvas.dispatchEvent(new PointerEvent('pointermove', place));
            const [px, py] = [xy[2 * hovered.at(-1)], xy[2 * hovered.at(-1) + 1]];
            plot.canvas.remove();
            return { frames: plot.state.frames.length, off: Math.hypot(px - xy[8642], py - xy[8643]) };
        }"""
    )
    assert found["frames"] >= 1
    assert found["off"] < 0.02, "the point under the pointer, or one on top of it"


def test_prototypes_show_their_images_and_an_answer_goes_through_training(watched: Watched, lab: Lab) -> None:
    page = opened(watched, "prototypes", run="run_v1", overlay=lab.ids["twin"])
    rows = page.locator("[data-view=prototypes] .prototype-row")
    rows.first.wait_for()
    answer = json.load(urllib.request.urlopen(f"{lab.address}/api/run/{lab.ids['run_v1']}/prototypes/image?image=0"))
    best = int(np.argmax(answer["shares"][-1]))
    watched.wait(
        f"document.querySelector('[data-view=drift]').innerText.includes('prototype {answer['prototypes'][best]} has')"
    )
    assert f"{100 * answer['shares'][-1][best]:.0f} %" in page.locator("[data-view=drift]").inner_text()
    watched.wait(
        f"document.querySelectorAll('.answer-map')[1]?.innerText.includes('prototype {answer['prototypes'][best]} has')"
    )
    page.evaluate(
        f"import('/static/lab/page.js').then(({{ host }}) => host.set({{ overlay: '{lab.ids['growing']}' }}))"
    )
    page.get_by_text("growing was probed with other images").wait_for()
    page.locator("[data-view=prototypes] .shot").first.click()
    page.get_by_label("duplicates").check(force=True)
    page.get_by_text("Duplicates are read off a checkpoint's weights").wait_for()
    page.locator("[data-view=births]").scroll_into_view_if_needed()
    watched.wait(
        "[...document.querySelectorAll('[data-view=births] .plot')].some((p) => p.data?.some((t) => t.name === 'born'))"
    )
    born = page.evaluate(
        "[...document.querySelectorAll('[data-view=births] .plot')].flatMap((p) => p.data ?? []).find((t) => t.name === 'born').y"
    )
    history = json.load(
        urllib.request.urlopen(f"{lab.address}/api/run/{lab.ids['run_v1']}/prototypes/history?count=0&until=500")
    )
    assert born == history["born"][1:]
    traces = "[...document.querySelectorAll('[data-view=births] .plot')].flatMap((p) => p.data ?? [])"
    of_the_other = f"{traces}.find((t) => t.name === 'in use, overlaid')"
    watched.wait(f"{of_the_other}?.y.length > 0")
    other = json.load(
        urllib.request.urlopen(f"{lab.address}/api/run/{lab.ids['growing']}/prototypes/history?count=0&until=100")
    )
    assert page.evaluate(f"{of_the_other}.y") == other["used"]


def test_a_published_network_with_a_head_is_shown_a_folder(watched: Watched, lab: Lab) -> None:
    page = opened(watched, "embedding", run="run_v1", source="model:full", images="folder:0", size=32)
    card = page.locator("[data-view=embedding]")
    card.get_by_text("through full, PCA.").wait_for(timeout=240_000)  # a worker starts
    source = f"{lab.address}/api/gathered/answers?source=model:full&images=folder:0&count=300&size=32"
    tensors = load(urllib.request.urlopen(source).read())
    assert "14 points" in card.inner_text()
    page.locator("[data-view=embedding] canvas").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    watched.wait("document.querySelector('[data-view=embedding] .embedding-side').innerText.includes('chosen')")
    spot = int(page.evaluate("new URLSearchParams(location.search).get('spot')"))
    assert f"prototype {tensors['top'][spot, 0]}, entropy" in card.inner_text()
    card.get_by_label("loss").check(force=True)
    card.get_by_text("An image's own loss is known of a run's teacher").wait_for()
    beside_another_network(watched, lab, spot)
    page = opened(watched, "prototypes", run="run_v1", source="model:full", images="folder:0", size=32)
    page.locator("[data-view=prototypes] .prototype-row .shot").first.wait_for()
    most = np.bincount(tensors["top"][:, 0]).max()
    assert f"first for {most} (" in page.locator("[data-view=prototypes] .prototype-name").first.inner_text()
    prototypes_beside(watched, lab, tensors["top"][:, 0])
    page.locator("[data-view=sources]").get_by_label("Network").select_option("model:random:vit_tiny_patch16_224")
    page.get_by_text("untrained vit_tiny_patch16_224 names no prototypes: ").wait_for(timeout=240_000)
    assert page.locator("[data-view=prototypes] .prototype-row").count() == 0
    page = opened(watched, "objective", run="run_v1", source="model:full", images="folder:0", stage=7)
    page.get_by_text("The networks and heads of full").wait_for(timeout=240_000)
    page.locator("[data-view=objective] [data-cell='loss.l.0']").wait_for()
    page.locator("[data-view=sources]").get_by_label("Network").select_option("model:random:vit_tiny_patch16_224")
    page.get_by_text("is a backbone alone, which has no prototypes").wait_for()
    watched.errors[:] = [error for error in watched.errors if "404" not in error]  # a network without a head


def beside_another_network(watched: Watched, lab: Lab, spot: int) -> None:
    """The embedding's second network: one selection, and as many common neighbours as `layout.common` counts."""
    page, untrained = watched.page, "model:random:vit_tiny_patch16_224"
    page.locator("[data-view=sources]").get_by_label("Beside it").select_option(untrained)
    watched.wait("document.querySelector('.embedding-common').textContent.includes('chance gives 23 %')", 240_000)
    asked = f"{lab.address}/api/gathered/vectors?images=folder:0&count=300&size=32&source="
    vectors = [load(urllib.request.urlopen(asked + name).read()) for name in ("model:full", untrained)]
    cosines = [
        rows @ rows.T - 9 * np.eye(14)
        for rows in (one["rows"] * one["scale"][:, None].astype(float) for one in vectors)
    ]
    common = layout.common(*(np.argsort(-some, axis=1, kind="stable")[:, :3] for some in cosines))
    words = page.locator(".embedding-common").inner_text()
    assert f"Of the 3 nearest neighbours of image {spot + 1}, {3 * common[spot]:.0f} are the same in both" in words
    assert f"Over all 14 points {100 * common.mean():.0f} % of" in words
    page.get_by_text("turned to match the points beside it").wait_for()
    second = page.locator("[data-view=embedding] canvas.scatter").nth(1)
    second.focus()
    page.keyboard.press("Escape")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    watched.wait("/spot=\\d/.test(location.search)")
    chosen = int(page.evaluate("new URLSearchParams(location.search).get('spot')"))
    watched.wait(
        f"[...document.querySelectorAll('.embedding-side')].every((one) => one.innerText.includes('image {chosen + 1},'))"
    )
    box = second.bounding_box()
    assert box is not None
    page.keyboard.down("Shift")
    for i, (x, y) in enumerate([(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        if i == 0:
            page.mouse.down()
    page.mouse.up()
    page.keyboard.up("Shift")
    watched.wait(
        "[...document.querySelectorAll('.embedding-side')].every((one) => one.innerText.includes('14 points chosen'))"
    )
    page.locator("[data-view=sources]").get_by_label("Beside it").select_option("")
    watched.wait("document.querySelectorAll('[data-view=embedding] canvas.scatter').length === 1")


def prototypes_beside(watched: Watched, lab: Lab, first: np.ndarray) -> None:
    """A run's first checkpoint beside the published network: its prototypes, and how alike the two group images."""
    page, second = watched.page, "[data-view=prototypes] .prototype-side:nth-child(2)"
    page.locator("[data-view=sources]").get_by_label("Beside it").select_option("first")
    page.locator(f"{second} .prototype-row .shot").first.wait_for(timeout=240_000)
    at = Run(GOLDEN).checkpoints[0]
    source = f"{lab.address}/api/gathered/answers?images=folder:0&count=300&size=32&source=run:{lab.ids['run_v1']}:{at}:teacher"
    theirs = load(urllib.request.urlopen(source).read())["top"][:, 0]
    share, chance = prototypes.together(first, theirs)
    watched.wait(
        f"document.querySelector('[data-view=prototypes] .embedding-common').textContent.includes('{100 * chance:.0f} %.')"
    )
    assert (
        f"{100 * share:.0f} % share one in the second"
        in page.locator("[data-view=prototypes] .embedding-common").inner_text()
    )
    assert f"The most used leads for {100 * np.bincount(theirs).max() / 14:.1f} %" in page.locator(second).inner_text()
    shown = [
        {shot.get_attribute("data-image") for shot in side.locator(".shot").all()}
        for side in page.locator(".prototype-side").all()
    ]
    page.locator(f"{second} .shot[data-image='{min(shown[0] & shown[1])}']").hover()
    watched.wait("document.querySelectorAll('.prototype-side .shot[data-lit]').length === 2")
    page.get_by_label("rarest").check(force=True)
    rarest = np.bincount(theirs)[np.unique(theirs)].min()
    watched.wait(f"document.querySelector('{second} .prototype-name').textContent.includes('first for {rarest} (')")
    page.locator("[data-view=sources]").get_by_label("Beside it").select_option("")
    watched.wait(f"document.querySelector('{second}') === null")


def test_images_of_the_data_set_come_from_a_worker_which_says_how_far_it_is(watched: Watched) -> None:
    page = opened(watched, "prototypes", run="run_v1")
    page.locator("[data-view=prototypes] .prototype-row").first.wait_for()
    page.locator("[data-view=prototypes] select").select_option("300")
    assert "images=data" in page.url, "the bar above says so too"
    watched.wait("document.querySelector('[data-view=prototypes] .embedding-status').textContent.includes('%')")
    watched.wait(
        "document.querySelector('[data-view=prototypes]').innerText.includes('of 64 images')", 120_000
    )  # all it has
    page.get_by_label("most used").check(force=True)
    page.locator("[data-view=prototypes] .prototype-row .shot").first.wait_for()
