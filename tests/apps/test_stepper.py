"""The pages of the objective and of forks in real Chromium."""

from __future__ import annotations

import csv
import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load

from lab.analysis import objective
from lab.run import Run
from tests.apps.growing import Growing
from tests.apps.served import serving
from tests.apps.test_browser import SLOW, browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser"]

pytestmark = pytest.mark.browser
GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"


class Open:
    """A page of a lab over the golden run and one that has no checkpoint yet."""

    def __init__(self, page: Page, address: str, young: Growing) -> None:
        self.page, self.address, self.young = page, address, young
        self.ids = {run["name"]: run["id"] for run in self.json("/api/runs")["runs"]}
        self.errors: list[str] = []
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._look(request.url))

    def _look(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.errors.append(f"asked {url}")

    def json(self, path: str) -> Any:
        return json.load(urllib.request.urlopen(self.address + path))

    def bytes(self, path: str) -> bytes:
        return bytes(urllib.request.urlopen(self.address + path.format(**self.ids)).read())

    def go(self, run: str = "run_v1", **query: Any) -> Page:
        parts = [f"run={self.ids[run]}", *(f"{key}={value}" for key, value in query.items())]
        self.page.goto(f"{self.address}/?{'&'.join(parts)}")
        return self.page

    def table(self, view: str) -> list[dict[str, str]]:
        """What a card is saved as in numbers."""
        menu = self.page.locator(f"[data-view={view}] details.save")
        menu.locator("summary").click()
        with self.page.expect_download() as waiting:
            menu.locator("button", has_text="CSV").click()
        return list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))

    def wait(self, expression: str) -> None:
        self.page.wait_for_function(expression, timeout=SLOW, polling=50)


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    root = tmp_path_factory.mktemp("stepper")
    shutil.copytree(GOLDEN, root / "runs" / "run_v1")
    young = Growing(root / "runs" / "young")
    young.log(2)
    young.probe()
    other = Growing(root / "runs" / "other")
    other.log(2)
    other.writer.close()
    with serving(root / "runs", root / "cache") as (address, _):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        yield Open(page, address, young)
        page.close()
    young.writer.close()


@pytest.fixture(autouse=True)
def no_errors(opened: Open) -> Iterator[None]:
    yield
    assert opened.errors == []


def test_a_checkpoints_numbers_are_pythons_and_lead_back_to_where_they_came_from(opened: Open) -> None:
    page = opened.go(view="objective", stage=9, image=1)
    page.locator('[data-view=objective] [data-cell="loss.l.0"]').wait_for()
    answer = urllib.request.urlopen(f"{opened.address}/api/run/{opened.ids['run_v1']}/stages/500?image=1&seed=0").read()
    tensors = load(answer)
    said = json.loads(json.loads(answer[8 : 8 + int.from_bytes(answer[:8], "little")])["__metadata__"]["said"])
    found = objective.stages(
        tensors["student"],
        tensors["teacher"],
        tensors["centre"],
        said["teacher_temperature"],
        said["student_temperature"],
    )
    view = page.locator("[data-view=objective]")

    def shown(key: str) -> float:
        return float(view.locator(f'[data-cell="{key}"]').inner_text().replace("−", "-"))

    assert shown("loss.l.0") == pytest.approx(found.loss, rel=5e-3)
    assert shown("loss.l.1") == pytest.approx(found.entropy, rel=5e-3)
    assert shown("loss.l.2") == pytest.approx(found.divergence, rel=5e-3)
    assert shown("pairs.p1.0") == pytest.approx(found.pairs[1, 0], rel=5e-3)
    assert f"{said['loss']:.6g}" in view.inner_text()
    assert view.locator(".crops [data-view-of]").count() == len(tensors["boxes"])
    view.locator('[data-cell="pairs.p1.0"]').hover()
    lit = view.locator("[data-source]").evaluate_all("cells => cells.map(cell => cell.dataset.cell)")
    assert {key.split(".")[1] for key in lit} == {"t0", "s1"}
    assert "Pairs, student on global 2" in view.locator(".trace-words").inner_text()
    view.locator('[data-cell="pairs.p0.0"]').hover()
    assert "left out" in view.locator(".trace-words").inner_text()
    beside_its_first_checkpoint(opened, tensors, found)


def beside_its_first_checkpoint(opened: Open, tensors: dict[str, np.ndarray], found: objective.Stages) -> None:
    """A second network: the same crops, one control of stages, and both losses in a table."""
    page, view, step = opened.page, opened.page.locator("[data-view=objective]"), Run(GOLDEN).checkpoints[0]
    page.locator("[data-view=sources]").get_by_label("Beside it").select_option("first")
    view.locator(".objective-both table").wait_for()
    asked = f"/api/run/{{run_v1}}/stages/{step}?image=1&seed=0&like={opened.ids['run_v1']}:500"
    theirs = opened.bytes(asked)
    second, said = (
        load(theirs),
        json.loads(json.loads(theirs[8 : 8 + int.from_bytes(theirs[:8], "little")])["__metadata__"]["said"]),
    )
    assert (second["boxes"] == tensors["boxes"]).all()
    assert "the same crops of the same image" in view.locator(".objective-both").inner_text()
    losses = [
        float(cell.inner_text().split()[0])
        for cell in view.locator(".objective-both tr", has_text="loss").locator("td").all()
    ]
    assert losses == pytest.approx([found.loss, said["loss"]], rel=5e-3)
    view.locator('.objective-side:nth-child(2) [data-cell="pairs.p1.0"]').hover()
    assert view.locator("[data-twin]").count() == 2
    view.locator(".stages button:visible", has_text="3 Centering").click()
    stages = "one.querySelectorAll('.stage:not([hidden])').length"
    opened.wait(f"[...document.querySelectorAll('.objective-side')].every((one) => {stages} === 3)")
    assert view.locator(".stage-bar:visible").count() == 1
    page.locator("[data-view=sources]").get_by_label("Beside it").select_option("")
    opened.wait("document.querySelectorAll('.objective-side').length === 1")
    assert view.locator(".objective-side .stage-bar:visible").count() == 1


def test_stages_are_stepped_through_and_switched_off_and_the_address_knows(opened: Open) -> None:
    page = opened.go(view="objective")
    view = page.locator("[data-view=objective]")
    view.locator(".crops canvas").first.wait_for()
    assert view.locator(".stage:visible").count() == 1
    for stage in (2, 3):
        view.get_by_role("button", name="Next").click()
        opened.wait(f"new URLSearchParams(location.search).get('stage') === '{stage}'")
    assert view.locator(".stage:visible").count() == 3
    view.get_by_role("button", name="Back").click()
    assert view.locator(".stage:visible").count() == 2
    view.locator(".stages button", has_text="7 Loss").click()
    before = view.locator('[data-cell="loss.l.1"]').inner_text()
    view.locator(".switches label", has_text="sharpening").click()
    opened.wait(f"document.querySelector('[data-view=objective] [data-cell=\"loss.l.1\"]').textContent !== '{before}'")
    assert "unsharpened=1" in page.url
    summary = view.locator(".stage-summary tr", has_text="loss").first.inner_text()
    assert before
    assert "nats" in summary
    page.reload()
    view.locator('[data-cell="loss.l.1"]').wait_for()
    assert not view.locator(".switches label", has_text="sharpening").locator("input").is_checked()
    tensors = load(opened.bytes("/api/run/{run_v1}/stages/500?image=0&seed=0"))
    for word, key, cell in (
        ("unit length", "unitLength", "logits.nt.1"),
        ("stop-gradient", "stopGradient", "grad.t0.0"),
        ("local crops", "localCrops", "pairs.p1.0"),
    ):
        view.locator(".switches label", has_text=word).click()
        opened.wait(f"new URLSearchParams(location.search).get('off').split(',').includes('{key}')")
        view.locator(f'[data-cell="{cell}"]').wait_for(state="attached")
    length = view.locator('[data-cell="logits.nt.1"]').inner_text()
    assert float(length) == pytest.approx(float(tensors["teacher_length"][1]), rel=5e-3)
    assert view.locator('[data-cell="pairs.p2.0"]').count() == 0
    assert view.locator(".without li").count() == 4
    assert "2 of" in view.locator(".without li", has_text="local crops").inner_text()
    view.locator('[data-cell="loss.l.0"]').focus()
    page.keyboard.press("ArrowRight")
    assert "Loss, this image, = H(t)" in view.locator(".trace-words").inner_text()


def test_the_miniature_takes_numbers_by_hand(opened: Open) -> None:
    page = opened.go(view="objective", ministage=8)
    view = page.locator("[data-view=miniature]")
    field = view.locator('[data-field="logits.t0.2"]')
    field.wait_for()
    field.fill("5")
    field.press("Enter")
    opened.wait("location.search.includes('mini=')")
    teacher = np.array([[2, 1.2, 5, 0.1], [1.8, 1.4, 0.2, 0.3]])
    student = np.array([[1.5, 0.8, 0.6, 0.2], [1.2, 1.0, 0.3, 0.5], [0.9, 0.9, 0.8, 0.1]])
    found = objective.stages(student, teacher, np.array([1.2, 0.6, 0.3, 0.2]), 0.4, 1.0)
    loss = view.locator('[data-cell="loss.l.0"]')
    assert float(loss.inner_text()) == pytest.approx(found.loss, rel=5e-3)
    assert view.locator("select").input_value() == "your numbers"
    exact = [row for row in opened.table("miniature") if row["table"].endswith("nats") and row["row"] == "this image"]
    assert float(exact[0]["loss"]) == pytest.approx(found.loss, rel=1e-6), (
        "a table has all digits, as a program reads them"
    )
    view.locator("details.save button", has_text="Code").click()
    said: dict[str, Any] = {}
    exec(view.locator("details.save textarea").input_value().partition("\n\n")[2].partition("\n\n")[2], said)
    assert float(said["loss"]) == pytest.approx(found.loss, rel=1e-5)
    page.reload()
    field.wait_for()
    assert field.input_value() == "5"
    assert float(loss.inner_text()) == pytest.approx(found.loss, rel=5e-3)
    view.locator("select").select_option("all is alike")
    opened.wait("document.querySelector('[data-view=miniature] [data-cell=\"loss.l.2\"]').textContent === '0'")
    page.goto(f"{opened.address}/?view=objective&mini=%3Cimg%20src=x%3E")
    field.wait_for()
    assert field.input_value() == "0.4"


def test_the_browsers_stages_are_pythons(opened: Open) -> None:
    random = np.random.default_rng(2)
    student, teacher, centre = random.normal(size=(5, 12)), 3 * random.normal(size=(2, 12)), random.normal(size=12)
    page = opened.go(view="objective")
    lengths = 1 + random.random(5), 1 + random.random(2)
    spelt = {
        "centering": "centering", "sharpening": "sharpening", "skipSameView": "skip_same_view", "unitLength": "unit_length",
        "studentSharpening": "student_sharpening", "softTargets": "soft_targets", "localCrops": "local_crops",
        "stopGradient": "stop_gradient",
    }  # fmt: skip
    known = page.evaluate("import('/static/lab/stages.js').then(({ SWITCHES }) => Object.keys(SWITCHES))")
    assert set(known) == {*spelt, "movingCentre"}
    for off in ("", *spelt):
        switches = {spelt[off]: False} if off else {}
        given = {
            "student": student.tolist(), "teacher": teacher.tolist(), "centre": centre.tolist(), "teacherTemperature": 0.05,
            "studentTemperature": 0.1, "studentLengths": lengths[0].tolist(), "teacherLengths": lengths[1].tolist(),
            off: False,
        }  # fmt: skip
        js = page.evaluate(
            """async (given) => {
                const { stages, movedCentre, restOf } = await import('/static/lab/stages.js');
                const all = stages(given), rows = (list) => list.map((row) => [...row]);
                return { loss: all.loss, entropy: all.entropy, divergence: all.divergence, targets: rows(all.targets),
                    predictions: rows(all.predictions), pairs: all.pairs, gradient: rows(all.gradient),
                    teacher_gradient: rows(all.teacherGradient),
                    centre: [...movedCentre(given.centre, given.teacher, 0.9)], rest: restOf(all.sharpened[0], [0, 1]) };
            }""",
            given,
        )
        found = objective.stages(
            student, teacher, centre, 0.05, 0.1, student_lengths=lengths[0], teacher_lengths=lengths[1], **switches
        )
        for name in (
            "loss", "entropy", "divergence", "targets", "predictions", "pairs", "gradient", "teacher_gradient",
        ):  # fmt: skip
            assert np.array(js[name]) == pytest.approx(getattr(found, name), rel=1e-9, abs=1e-12), name
        assert js["centre"] == pytest.approx(objective.moved_centre(centre, teacher, 0.9))
        assert js["rest"]["logSumExp"] == pytest.approx(np.log(np.exp(found.sharpened[0, 2:]).sum()))


def test_a_run_without_a_checkpoint_says_what_is_missing_and_nothing_is_too_wide(opened: Open) -> None:
    page = opened.go("young", view="objective")
    page.get_by_text("The first checkpoint has not been written yet").wait_for()
    opened.go(view="objective", stage=9, ministage=8)
    page.locator('[data-view=objective] [data-cell="loss.l.0"]').wait_for()
    page.set_viewport_size({"width": 400, "height": 850})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    seen = "[...document.querySelectorAll('[data-view=objective] :is(p, h3, .stage, .stage-bar)')]"
    wide = f"{seen}.filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect().right)"
    assert max(page.evaluate(wide)) <= 400
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_fork_is_filled_in_started_and_stopped_from_the_page(opened: Open) -> None:
    page = opened.go(view="fork", step=200)
    view = page.locator("[data-view=fork]")
    view.get_by_role("button", name="switch centering off").click()
    view.locator(".diff-table tr", has_text="objective.centering").wait_for()
    assert "--objective.centering none" in view.locator(".command").inner_text()
    view.get_by_role("searchbox").fill("zzzz")
    view.get_by_text("No option fits.").wait_for()
    view.get_by_role("searchbox").fill("local size")
    opened.wait(
        "[...document.querySelectorAll('[data-view=fork] .option:not(.fixed)')].filter((o) => o.offsetParent).length === 1"
    )
    field = view.locator('[data-path="crops.local_size"] input')
    field.fill("999")
    view.locator(".problem", has_text="must not be larger than global crops").wait_for()
    assert view.get_by_role("button", name="Start here").is_disabled()
    field.fill("16")
    opened.wait("document.querySelector('[data-view=fork] .fork-side .problem').textContent === ''")
    view.get_by_label("Name of the new run").fill("child")
    opened.wait("document.querySelector('[data-view=fork] .command').textContent.endsWith('/child')")
    view.get_by_role("button", name="Start here").click()
    row = view.locator(".started-run", has_text="child")
    row.get_by_role("button", name="stop and save").click()
    row.get_by_role("button", name="resume").wait_for()
    row.get_by_role("button", name="watch beside its parent").click()
    opened.wait("new URLSearchParams(location.search).get('overlay') !== null")
    child = next(run for run in opened.json("/api/runs")["runs"] if run["name"] == "child")
    assert (child["parent"], child["status"]) == ("run_v1", "stopped")
    assert f"run={child['id']}" in page.url
    assert f"overlay={opened.ids['run_v1']}" in page.url


def test_a_run_without_a_checkpoint_can_not_be_forked_and_the_form_fits_a_phone(opened: Open) -> None:
    page = opened.go("young", view="fork")
    page.get_by_text("this run has not written one yet").wait_for()
    page.set_viewport_size({"width": 400, "height": 850})
    opened.go(view="fork")
    page.locator("[data-view=fork] .option").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1280, "height": 900})


def held_back(page: Page, pattern: str) -> list[Any]:
    """Questions like this wait from now on, in the list that is returned."""
    held: list[Any] = []
    page.route(re.compile(pattern), lambda route: held.append(route))
    return held


def some_in(held: list[Any], page: Page) -> None:
    while not held:
        page.wait_for_timeout(20)


def let_go(held: list[Any], page: Page, pattern: str) -> None:
    """Answer them, and wait until the page has done with the answers."""
    for route in held:
        with page.expect_response(re.compile(pattern)):
            route.continue_()
    page.unroute(re.compile(pattern))
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


FORM = "/form/"


def test_a_form_that_did_not_come_says_so_and_one_on_its_way_starts_nothing(opened: Open) -> None:
    page = opened.go(view="fork", step=200)
    view = page.locator("[data-view=fork]")
    view.locator(".chip").first.wait_for()
    held = held_back(page, FORM)
    view.get_by_label("Checkpoint to start from").select_option("500")
    some_in(held, page)
    start = view.get_by_role("button", name="Start here", include_hidden=True)
    assert start.evaluate("(button) => button.closest('[inert]') !== null"), "the form is still that of step 200"
    held.pop().fulfill(status=500, json={})
    view.get_by_text("the lab answered 500.").wait_for()
    page.unroute(re.compile(FORM))
    page.evaluate("import('/static/lab/page.js').then(({ host }) => host.seek(host.stops()[0]))")
    start.wait_for()
    opened.wait("document.querySelector('[data-view=fork] [inert]') === null")
    assert view.get_by_text("the lab answered 500.").is_hidden()


def test_a_form_of_another_run_is_not_shown_over_a_run_that_has_none(opened: Open) -> None:
    page = opened.page
    held = held_back(page, FORM)
    opened.go(view="fork", step=200)
    some_in(held, page)
    page.locator(".run-pick", has_text="young").click()
    page.get_by_text("this run has not written one yet").wait_for()
    let_go(held, page, FORM)
    assert page.get_by_text("this run has not written one yet").is_visible()
    assert page.get_by_role("button", name="Start here").count() == 0


def test_a_start_that_fails_says_why_and_two_clicks_start_one(opened: Open) -> None:
    page = opened.go(view="fork", step=200)
    view = page.locator("[data-view=fork]")
    opened.wait("document.querySelector('[data-view=fork] .command')?.textContent.includes('dino-lab fork')")
    held = held_back(page, "/start$")
    start = view.get_by_role("button", name="Start here")
    start.click()
    view.get_by_label("Name of the new run").fill("twin")  # has it checked, which would let it be started again
    opened.wait("document.querySelector('[data-view=fork] .command').textContent.endsWith('/twin')")
    assert start.is_disabled()
    assert len(held) == 1
    with page.expect_response(re.compile("/check$")):
        held.pop().fulfill(status=404, json={"error": "one and two train already."})
    opened.wait("!document.querySelector('[data-view=fork] .step-button.strong').disabled")
    assert view.get_by_text("one and two train already.").is_visible()
    page.unroute(re.compile("/start$"))


def test_a_step_on_its_way_is_not_shown_over_a_run_that_has_none(opened: Open) -> None:
    page = opened.page
    held = held_back(page, "/stages/")
    opened.go(view="objective", step=200)
    some_in(held, page)
    page.locator(".run-pick", has_text="young").click()
    said = page.locator("[data-view=objective]").get_by_text("The first checkpoint has not been written yet")
    said.wait_for()
    let_go(held, page, "/stages/")
    assert said.is_visible()
    assert page.locator("[data-view=objective] .crops").count() == 0


def test_notes_are_taken_once_and_an_older_list_does_not_hide_them(opened: Open) -> None:
    page = opened.page
    lists = held_back(page, "/notes$")
    opened.go(view="monitor", step=200)
    some_in(lists, page)
    timeline = page.locator("[data-view=timeline]")
    older = lists.pop()
    old = older.fetch()
    field = timeline.get_by_label("Note at the step shown")
    field.fill("once")
    field.press("Enter")
    field.press("Enter")
    some_in(lists, page)
    field.fill("the next one")
    lists.pop().continue_()
    note = timeline.locator(".notes li", has_text="once")
    note.wait_for()
    with page.expect_response(re.compile("/notes$")):
        older.fulfill(response=old)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert note.count() == 1
    assert field.input_value() == "the next one", "what is written meanwhile stays"
    field.press("Enter")
    some_in(lists, page)
    lists.pop().fulfill(status=404, json={"error": "no room."})
    timeline.get_by_text("no room.").wait_for()
    assert field.input_value() == "the next one", "what was not taken can be sent again"
    forget = timeline.get_by_role("button", name="Forget the note at step 200")
    forget.click()
    some_in(lists, page)
    assert forget.is_disabled()
    lists.pop().fulfill(status=404, json={"error": "not now."})
    timeline.get_by_text("not now.").wait_for()
    page.unroute(re.compile("/notes$"))
    forget.click()
    note.wait_for(state="detached")


def test_a_network_is_not_drawn_over_another_picture_than_it_saw(opened: Open) -> None:
    page = opened.go(view="compare", step=200, image=0)
    column = "document.querySelector('[data-view=compare] .network')"
    opened.wait(f"{column}?.querySelector('.hint').textContent.includes('features')")
    pattern = "(features|pca|heads).*image=1"
    held = held_back(page, pattern)
    page.locator("[data-view=compare] .strip-item").nth(1).click()
    some_in(held, page)
    canvas = page.locator("[data-view=compare] [data-kind=attention]").first
    canvas.hover()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    empty = "(c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((value) => value === 0)"
    assert canvas.evaluate(empty)
    let_go(held, page, pattern)
    opened.wait(f"{column}.querySelector('.hint').textContent.includes('features')")
    assert not canvas.evaluate(empty)


def test_curves_run_along_steps_images_or_hours_and_notes_stand_on_them(opened: Open) -> None:
    page = opened.page
    page.goto(f"{opened.address}/?view=monitor&run=run_v1&overlay=young&step=200")  # by name, as one types it
    opened.wait(f"new URLSearchParams(location.search).get('run') === '{opened.ids['run_v1']}'")
    assert f"overlay={opened.ids['young']}" in page.url
    page = opened.go(view="monitor", step=200)
    plot = "document.querySelector('[data-view=loss] .plot')"
    opened.wait(f"{plot}?.dataset.ready === 'yes'")
    assert page.evaluate(f"{plot}.data[0].x.at(-1)") == 500
    since = opened.json(f"/api/run/{opened.ids['run_v1']}/since")
    timeline = page.locator("[data-view=timeline]")
    for kind, curve, unit, title in (
        ("images", "images", 1, "images seen"),
        ("hours", "seconds", 3600, "hours of training"),
    ):
        timeline.locator(f"label:has(input[value={kind}])").click()
        opened.wait(f"{plot}._fullLayout.xaxis.title.text === '{title}'")
        expected = since["curves"][curve][1][-1] / unit
        assert page.evaluate(f"{plot}.data[0].x.at(-1)") == pytest.approx(expected, rel=1e-3)
        assert f"xaxis={kind}" in page.url
    timeline.locator("label:has(input[value=step])").click()
    opened.wait(f"{plot}._fullLayout.xaxis.title.text === 'training step'")
    timeline.get_by_label("Note at the step shown").fill("<b>here</b> it turns")
    timeline.get_by_role("button", name="add note").click()
    timeline.get_by_text("<b>here</b> it turns").wait_for()
    opened.wait(f"{plot}.layout.annotations.some((a) => a.text === '✎' && a.x === 200)")
    timeline.get_by_role("button", name="Forget the note at step 200").click()
    opened.wait(f"!{plot}.layout.annotations.some((a) => a.text === '✎')")
    assert not list((GOLDEN).glob("*notes*"))


def test_what_two_runs_were_told_differently_is_listed(opened: Open) -> None:
    page = opened.go(view="monitor", overlay=opened.ids["young"])
    rows = page.locator("[data-view=timeline] .differs")
    rows.locator("summary", has_text="options differ between").click()
    assert rows.locator("tr", has_text="backbone.dim").inner_text().split() == ["backbone.dim", "16", "24"]
    page = opened.go("young", view="monitor", overlay=opened.ids["run_v1"], beside=opened.ids["other"])
    rows.locator("summary", has_text="young and run_v1 or other").click()
    cells = rows.locator("tr", has_text="backbone.dim").locator("td")
    assert cells.all_inner_texts() == ["24", "16", "24"]
    assert [cell.get_attribute("data-same") is not None for cell in cells.all()] == [False, False, True]


def test_a_trouble_is_told_on_the_desktop_and_leads_to_the_view_that_shows_it(opened: Open) -> None:
    page = opened.page
    page.add_init_script(
        """window.heard = [];
        window.Notification = class {
            constructor(title, about) { window.heard.push(`${title}: ${about.body}`); }
            static requestPermission() { return Promise.resolve('granted'); }
        };"""
    )
    opened.go("young", view="monitor")
    page.locator("[data-view=timeline] label", has_text="tell me here").click()
    opened.young.log(2)
    opened.young.writer.event(
        "diagnosis", opened.young.step, name="prototype_collapse", level="trouble", sentence="One prototype takes all."
    )
    opened.wait("window.heard.length === 1")
    assert page.evaluate("window.heard[0]") == "young is in trouble: prototype collapse, at step 40"
    link = page.locator("[data-view=diagnosis] .look-link").first
    link.click()
    opened.wait("document.querySelector('[data-view=collapse]').getBoundingClientRect().top < innerHeight")


def test_networks_are_compared_under_one_pointer_and_by_alignment(opened: Open) -> None:
    page = opened.go(view="compare", step=200)
    opened.wait("document.querySelectorAll('[data-view=compare] .network').length === 2")
    opened.wait(
        "[...document.querySelectorAll('[data-view=compare] .network .hint')].every((p) => p.textContent.includes('patches'))"
    )
    similar = "[...document.querySelectorAll('[data-view=compare] [data-kind=similar]')].map((c) => c.toDataURL())"
    before = page.evaluate(similar)
    page.locator("[data-view=compare] [data-kind=components]").first.hover(position={"x": 40, "y": 30})
    opened.wait(f"{similar}.every((now, i) => now !== {json.dumps(before)}[i])")
    alignment = page.locator("[data-view=alignment]")
    matrix = alignment.locator("[data-matrix=checkpoint]")
    alignment.get_by_text("checkpoint 0 with checkpoint 500").wait_for()
    matrix.focus()
    page.keyboard.press("ArrowDown")
    found = opened.json(f"/api/run/{opened.ids['run_v1']}/cka")
    words = alignment.locator(".side p[role=status]").first
    value = float(f"{found['matrix'][1][2]:.3g}")
    assert words.inner_text() == f"checkpoint 200 with checkpoint 500: CKA {value:g}"
    alignment.locator("[data-matrix=layer]:visible").wait_for()
    switch = page.locator("[data-view=compare] .toggle input")
    switch.focus()
    page.keyboard.press("Space")
    assert switch.is_checked()
    assert switch.evaluate("(box) => getComputedStyle(box).outlineStyle") == "solid", "the focus can be seen"
    page.locator("[data-view=compare] .scale", has_text="each column's least").wait_for()
    page.keyboard.press("Space")
    page.locator("[data-view=compare] [data-kind=similar]").first.focus()
    page.keyboard.press("ArrowRight")
    page.locator("[data-view=compare] .network small", has_text="alike (> 0.6):").first.wait_for()
    rows = opened.table("compare")
    assert {row["network"] for row in rows} == set(page.locator("[data-view=compare] .network h3").all_inner_texts())
    assert sum(float(row["attention_share"]) for row in rows) == pytest.approx(2, abs=1e-3), "one of each network"
    assert max(float(row["cosine_to_patch"]) for row in rows) == pytest.approx(1, abs=0.02)
    page.keyboard.press("[")
    alignment.get_by_text("A step that kept its answers alone has no layers").wait_for()
    assert "teacher at step 200: input (top)" in alignment.inner_text(), "step 0 kept no weights"
    page.set_viewport_size({"width": 400, "height": 850})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1280, "height": 900})
