"""The playground and the Gram toy in real Chromium: the same numbers as in numpy, and what a viewer does with them."""

from __future__ import annotations

import json
import math
import shutil
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dino_core.telemetry.diagnosis import Diagnosis
from lab.analysis.simulate import Simulator, gram_toy
from tests.apps.served import serving
from tests.apps.test_browser import GOLDEN, SLOW, browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.browser


class Playground:
    """A page of a lab over the golden run, and what went wrong in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        runs = json.load(urllib.request.urlopen(f"{address}/api/runs"))["runs"]
        self.run = runs[0]["id"]
        self.wrong: list[str] = []
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self._look(request.url))

    def _look(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.wrong.append(f"asked {url}")

    def open(self, view: str = "playground", **query: Any) -> Page:
        parts = [f"view={view}", f"run={self.run}", *(f"{key}={value}" for key, value in query.items())]
        self.page.goto(f"{self.address}/?{'&'.join(parts)}")
        name = {"playground": "playground", "gram": "gramtoy"}[view]
        self.page.wait_for_selector(f"[data-view={name}] h2", state="attached")
        self.page.locator(f"[data-view={name}]").scroll_into_view_if_needed()
        return self.page

    def wait(self, expression: str) -> None:
        self.page.wait_for_function(expression, timeout=SLOW, polling=50)

    def fastest(self) -> None:
        self.page.locator(".pg-bar .choice label", has_text="fastest").click()

    def wait_for_step(self, step: int) -> None:
        self.wait(f"Number(document.querySelector('.pg-at').textContent.replace(/\\D/g, '')) >= {step}")

    def wait_for(self, *findings: str) -> None:
        self.wait(f"{list(findings)}.includes(document.querySelector('.pg-verdict').dataset.name)")

    def level(self) -> str:
        return self.page.locator(".pg-verdict").get_attribute("data-level") or ""


@pytest.fixture(scope="module")
def stand(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    root = tmp_path_factory.mktemp("playground")
    shutil.copytree(GOLDEN, root / "runs" / "run_v1")
    with serving(root / "runs", root / "cache") as (address, _):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        yield Playground(page, address)
        page.close()


@pytest.fixture
def playground(stand: Playground) -> Iterator[Playground]:
    stand.wrong.clear()
    yield stand
    assert stand.wrong == []


ROWS = """async ({ options, seed, changes, steps }) => {
    const { Simulator } = await import('/static/lab/simulator.js');
    const simulator = new Simulator(options, seed, changes), rows = [];
    const weights = [...simulator.student.all];
    for (let i = 0; i < steps; i++) rows.push(simulator.next());
    return { rows, weights, points: [...simulator.last.points], targets: [...simulator.last.targets] };
}"""


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"sinkhorn": True, "batch": 16}, {}),
        ({"local_views": 2, "koleo": 0.1, "batch": 24, "prototypes": 16}, {20: {"centering": False, "noise": 0.3}}),
        ({"sharpening": False, "batch": 3, "momentum": 0.9}, {}),
    ],
)
def test_browser_and_numpy_train_alike(
    playground: Playground, options: dict[str, Any], changes: dict[int, Any]
) -> None:
    found = playground.open().evaluate(ROWS, {"options": options, "seed": 7, "changes": changes, "steps": 40})
    twin = Simulator(options, 7, changes)
    np.testing.assert_allclose(
        found["weights"], np.concatenate([w.reshape(-1) for w in twin.student.values()]), rtol=1e-12
    )
    rows = list(twin.rows(40))
    np.testing.assert_allclose(found["points"], twin.last["points"].reshape(-1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["targets"], twin.last["targets"].reshape(-1), rtol=1e-6, atol=1e-12)
    for theirs, ours in zip(found["rows"], rows, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize(
    ("options", "steps", "changes", "name"),
    [
        ({}, 70, {}, "healthy"),
        ({"centering": False}, 160, {}, "prototype_collapse"),
        ({"sharpening": False}, 330, {260: {"sharpening": True}}, "healthy"),
        ({"centering": False, "sharpening": False}, 280, {}, "constant_output"),
        ({"sinkhorn": True, "batch": 2}, 90, {50: {"momentum": 0}}, "teacher_equals_student"),
        ({"momentum": 1}, 70, {}, "teacher_frozen"),
    ],
)
def test_the_pages_diagnosis_is_the_trainers(
    playground: Playground, options: dict[str, Any], steps: int, changes: dict[int, Any], name: str
) -> None:
    options = {"batch": 32, "momentum": 0.97, **options}
    found = playground.open().evaluate(
        """async ({ options, changes, steps }) => {
            const { Simulator } = await import('/static/lab/simulator.js');
            const { Diagnosis } = await import('/static/lab/playground_words.js');
            const simulator = new Simulator(options, 1, changes), diagnosis = new Diagnosis(32), rows = [], verdicts = [];
            for (let i = 0; i < steps; i++) {
                rows.push(simulator.next());
                verdicts.push(diagnosis.update(rows.at(-1)).name);
            }
            return { rows, verdicts, told: diagnosis.told };
        }""",
        {"options": options, "changes": changes, "steps": steps},
    )
    trainer, verdicts, told = Diagnosis(prototypes=32), [], []
    for row in found["rows"]:
        changed = trainer.update(row)
        verdicts.append(trainer.verdict.name)
        told += [(row["step"], f.name, f.level, f.cleared) for f in changed if f.name not in ("healthy", "warming_up")]
    assert found["verdicts"] == verdicts
    assert verdicts[-1] == name
    levels = ["healthy", "watch", "trouble"]
    raised = [(f["step"], f["name"], levels[f["level"]], False) for f in found["told"] if not f["over"]]
    for one in raised:
        assert one in told
    over = {(f["step"], f["name"]) for f in found["told"] if f["over"]}
    assert over == {(step, named) for step, named, _, cleared in told if cleared}


@pytest.mark.parametrize(
    ("lesson", "title", "finding"),
    [
        ("no-centering", "no centering", "prototype_collapse"),
        ("neither", "neither", "constant_output"),
        ("frozen-teacher", "frozen teacher", "teacher_frozen"),
    ],
)
def test_lessons_end_as_they_say(playground: Playground, lesson: str, title: str, finding: str) -> None:
    page = playground.open()
    page.locator(".pg-lessons a", has_text=title).click()
    assert f"pg={lesson}" in page.url
    playground.fastest()
    page.get_by_role("button", name="just show me").click()
    playground.wait_for(finding)
    assert playground.level() in ("1", "2")
    label = page.locator(".pg-curves canvas").first.get_attribute("aria-label") or ""
    assert label.startswith("Cross-entropy = H + KL")


def test_a_link_runs_a_lesson_in_which_something_is_cut(playground: Playground) -> None:
    page = playground.open(pg="both", pgset="batch-16*momentum-0.97*seed-1", pgdo="60-sharpening-0")
    playground.fastest()
    playground.wait_for("uniform_collapse")
    assert "pgdo=60-sharpening-0" in page.url
    assert page.locator("[data-cut=sharpening]").inner_text() == "+ sharpening back on"


def test_cut_and_switched_back_on_by_hand(playground: Playground) -> None:
    page = playground.open(pg="both", pgset="batch-16*momentum-0.97")
    playground.fastest()
    playground.wait_for("healthy")
    page.locator("[data-cut=sharpening]").click()
    playground.wait_for("uniform_collapse")
    assert page.locator("[data-cut=sharpening]").inner_text() == "+ sharpening back on"
    page.locator("[data-cut=sharpening]").click()
    playground.wait_for("healthy")
    page.get_by_role("button", name="pause").click()
    assert page.locator("[data-cut=sharpening]").inner_text() == "✂ cut sharpening"
    cut, healed = (part.split("-") for part in page.url.split("pgdo=")[1].split("&")[0].split("*"))
    assert [cut[1:], healed[1:]] == [["sharpening", "0"], ["sharpening", "1"]]
    assert 0 < int(cut[0]) < int(healed[0])
    page.get_by_role("button", name="reset").click()
    assert page.locator(".pg-at").inner_text() == "step 0"


def test_a_link_leads_to_the_same_curves(playground: Playground) -> None:
    found = playground.open().evaluate(
        """async (address) => {
            const { Experiment } = await import('/static/lab/playground_run.js');
            const experiment = new Experiment(address);
            for (let i = 0; i < 30; i++) experiment.advance();
            const pgset = 'batch-99999*momentum-7*__proto__-1*constructor-1*batch*seed-x';
            const { lesson, settings, plan } = new Experiment({ pg: '<b>', pgset, pgdo: 'x-y-z*5-batch--1*9-toString-1' });
            return { entropy: experiment.curves.columns.entropy, again: experiment.address(), code: experiment.code(),
                nonsense: [lesson, settings, plan] };
        }""",
        {"pg": "no-centering", "pgset": "batch-16*seed-3", "pgdo": "12-centering-1*20-teacher_temperature-0.07"},
    )
    twin = Simulator({"centering": False, "batch": 16}, 3, {12: {"centering": True}, 20: {"teacher_temperature": 0.07}})
    assert found["entropy"] == pytest.approx((twin.run(30)["teacher/entropy"] / math.log(32)).tolist(), rel=1e-9)
    assert found["again"] == {
        "pg": "no-centering",
        "pgset": "batch-16*seed-3",
        "pgdo": "12-centering-1*20-teacher_temperature-0.07",
    }
    assert found["nonsense"] == ["both", {}, {}]
    names: dict[str, Any] = {}
    exec(found["code"].replace("run(800)", "run(2)"), names)
    assert len(names["curves"]["kl"]) == 2


def test_a_guess_is_asked_for_and_compared(playground: Playground) -> None:
    page = playground.open()
    page.locator(".pg-lessons a", has_text="batch of 2").click()
    assert page.locator(".pg-at").inner_text() == "step 0", "it waits for the guess"
    playground.fastest()
    page.locator(".pg-question label", has_text="stay between").click()
    page.locator(".pg-question label", has_text="fall to 0").last.click()
    playground.wait_for_step(800)
    playground.wait("!document.querySelector('.pg-reveal').hidden")
    page.get_by_role("button", name="pause").click()
    answers = page.locator(".pg-answer")
    assert [answers.nth(i).get_attribute("data-right") for i in range(2)] == ["true", "false"]
    assert "you said “fall to 0”, but it did “stay above 0”" in answers.nth(1).inner_text()
    assert "it lives" in page.locator(".pg-reveal").inner_text()


def test_one_step_in_slow_motion(playground: Playground) -> None:
    page = playground.open()
    page.get_by_role("button", name="slow motion").click()
    titles = [page.locator(".pg-phases li").nth(i).inner_text() for i in range(9)]
    assert titles == [
        "Views",
        "Teacher",
        "Centre",
        "Sharpen",
        "Student",
        "Cross-entropy",
        "Gradient",
        "EMA",
        "Centre update",
    ]
    system = Simulator()
    row = system.next()
    shown = {}
    for title in titles:
        cells = page.locator(".pg-phase tbody tr")
        shown[title] = [
            [c.replace("−", "-") for c in cells.nth(i).locator("td").all_inner_texts()] for i in range(cells.count())
        ]
        if title == "Cross-entropy":
            assert f"{row['cross_entropy']:.3f}" in page.locator(".pg-phase").inner_text()
        page.locator(".pg-phase .pg-button").last.click()
    assert page.locator(".pg-phase h3").inner_text() == "Step 2, 1 of 9: Views"
    assert len(shown["Views"]) == 4
    np.testing.assert_allclose([float(x) for x in shown["Views"][0][1:4]], system.last["points"][0, :3], atol=6e-4)
    assert [float(r[-1]) for r in shown["Sharpen"]] == [1, 1, 1, 1]
    np.testing.assert_allclose([float(r[-1]) for r in shown["Gradient"]], 0, atol=1e-9)
    np.testing.assert_allclose(
        [float(r[-1]) for r in shown["Teacher"]], system.last["teacher"][64:68].max(axis=1), atol=6e-4
    )
    for cross, own, kl in shown["Cross-entropy"]:
        assert float(cross) == pytest.approx(float(own) + float(kl), abs=2e-3)
    student, moved, teacher, followed = ([float(x) for x in r] for r in shown["EMA"])
    assert teacher == student
    np.testing.assert_allclose(followed, 0.99 * np.array(teacher) + 0.01 * np.array(moved), atol=1.2e-3)


def test_the_real_run_stands_below_in_the_same_unit(playground: Playground) -> None:
    page = playground.open()
    page.locator(".pg-real").scroll_into_view_if_needed()
    playground.wait("document.querySelector('.pg-real .plot')?.dataset.ready === 'yes'")
    top = page.evaluate("document.querySelector('.pg-real .plot').data.map((trace) => Math.max(...trace.y))")
    assert all(0 < value < 1.2 for value in top)


def test_it_rests_while_nobody_looks(playground: Playground) -> None:
    page = playground.open(pg="no-sharpening", pgset="batch-8")
    playground.wait_for_step(5)
    play = "document.querySelector('.pg-bar button').textContent"
    page.keyboard.press(" ")
    playground.wait(f"{play}.includes('play')")
    assert page.locator(".transport").is_hidden(), "one clock, one play button"
    page.keyboard.press(" ")
    playground.wait(f"!{play}.includes('play')")
    page.locator(".pages a", has_text="Monitor").click()
    page.locator(".transport").wait_for()
    page.wait_for_timeout(200)
    step = page.evaluate("document.querySelector('.pg-at').textContent")
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('.pg-at').textContent") == step
    page.locator(".pages a", has_text="Playground").click()
    playground.wait(f"document.querySelector('.pg-at').textContent !== {json.dumps(step)}")


# ---- dense features


@pytest.mark.parametrize(("weight", "start", "anchor", "refresh"), [(0, 0, 0, 0), (8, 30, 10, 0), (2, 5, 0, 20)])
def test_the_gram_toy_is_numpys(playground: Playground, weight: int, start: int, anchor: int, refresh: int) -> None:
    settings = {"weight": weight, "start": start, "anchor": anchor, "refresh": refresh, "steps": 60, "seed": 2}
    found = playground.open().evaluate(
        """async (settings) => {
            const { course, parts, toPatch } = await import('/static/lab/gramtoy_model.js');
            const run = course(settings);
            return { ...run, patches: [...run.patches.at(-1)], similar: [...toPatch(run.patches.at(-1), 90)], parts: [...parts] };
        }""",
        settings,
    )
    twin = gram_toy(**{**settings, "weight": float(weight)})
    for name in ("contrast", "to_cls", "gram_error"):
        np.testing.assert_allclose(found[name], getattr(twin, name), rtol=1e-8, atol=1e-7, err_msg=name)
    assert found["anchors"] == twin.anchors.tolist()
    assert found["parts"] == twin.parts.tolist()
    np.testing.assert_allclose(found["patches"], twin.patches[-1].reshape(-1), atol=1e-9)
    np.testing.assert_allclose(found["similar"], twin.patches[-1] @ twin.patches[-1][90], atol=1e-9)


def test_the_gram_toys_examples_end_as_they_say(playground: Playground) -> None:
    page = playground.open("gram")
    view = page.locator("[data-view=gramtoy]")
    assert "not a trained network" in view.locator(".gt-badge").inner_text()
    kept = {}
    for name in ("decays", "prevented", "repaired", "anchored to what has decayed"):
        view.get_by_role("button", name=name, exact=True).click()
        view.locator(".gt-bar input").fill("400")
        words = view.locator(".gt-words").inner_text()
        kept[name] = int(words.split(" have ")[1].split(" ")[0])
    assert kept["decays"] < 30
    assert kept["prevented"] > 95
    assert kept["repaired"] > 95
    assert 30 < kept["anchored to what has decayed"] < 60
    assert "gt=late" in page.url
    scene = view.locator("[data-kind=scene]")
    before = scene.get_attribute("aria-label")
    scene.focus()
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    assert scene.get_attribute("aria-label") != before
    assert "of the sky" in (scene.get_attribute("aria-label") or "")


def test_the_gram_toys_link_leads_back(playground: Playground) -> None:
    page = playground.open("gram", gt="4-100-50-0")
    words = page.locator("[data-view=gramtoy] .gt-words").inner_text()
    assert "The anchor is of step 50." in words
    page = playground.open("gram", gt="99-1-2-3")
    assert "No anchor holds." in page.locator("[data-view=gramtoy] .gt-words").inner_text()
