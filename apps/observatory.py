"""The page: Gradio gives it layout and theme, and hosts one JavaScript module a view.

Which views there are, on which page and in which order, is what `lab.views` knows; this module only lays them out.  Views share
one clock and one selection through `lab/static/store.js`; none of them is told what the others do."""

from __future__ import annotations

import json
from dataclasses import asdict

import gradio as gr

from lab import views
from lab.modules import ordered
from lab.views import View

LOADED = """
(() => {
  const frame = window.requestAnimationFrame;
  let loading = true;
  const counting = (work) => (loading ? frame(work) : 0);
  const give = (how) => Object.defineProperty(window, "requestAnimationFrame", { configurable: true, ...how });
  give({ get: () => (new Error().stack.includes("statustracker") ? counting : frame) });
  window.loaded = () => { loading = false; give({ value: frame, writable: true, enumerable: true }); };
})();
"""
"""Gradio counts the seconds of its loading, a frame at a time, and goes on when that is over (6.31): a third of a core for nothing.

Its module keeps the `requestAnimationFrame` that it finds when it is read; that one gives no more frames once a view is placed."""


def head() -> str:
    """What Gradio adds to the page's head when its own script runs; style stands after Gradio's."""
    return "\n".join([
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="stylesheet" href="/static/lab/theme.css">',
        '<link rel="icon" href="/static/lab/icon.svg" type="image/svg+xml">',
    ])  # fmt: skip


CHARTS = f"""
(() => {{
  const asked = new URLSearchParams(location.search), link = document.createElement("link"), first = "{views.PAGES[0].name}";
  if ((asked.get("view") ?? first) !== first || asked.has("card")) return;
  Object.assign(link, {{ rel: "preload", as: "script", href: "/static/plotly.min.js", fetchPriority: "low" }});
  document.head.append(link);
}})();
"""
"""Only the first page begins with charts; elsewhere they are further down, and fetch plotly when they come into sight."""


def begin_with() -> str:
    """What the browser is to begin with, beside Gradio's own script: style, the first page's modules, the first questions, which
    page.js asks as soon as it is there, and plotly."""
    first = [view.module for view in views.catalogue().values() if view.page in (views.EVERYWHERE, views.PAGES[0].name)]
    preloads = [f'<link rel="modulepreload" href="/static/lab/{one.name}.js">' for one in ordered(["page", *first])]
    return "\n".join([
        f"<script>{LOADED}</script>",
        '<link rel="stylesheet" href="/static/lab/theme.css">',
        '<script type="application/json" id="lab-first">' + json.dumps(first_views()).replace("<", r"\u003c") + "</script>",
        *preloads,
        '<script type="module" async src="/static/lab/page.js"></script>',
        f"<script>{CHARTS}</script>",
    ])  # fmt: skip


def first_views() -> dict[str, list[dict[str, object]]]:
    """By page: the views at its top, which page.js places before Gradio has laid anything out."""
    everywhere = views.rows(views.EVERYWHERE)[:-1]
    top = {page.name: [*everywhere, *views.rows(page.name)[:1]] for page in views.PAGES}
    return {name: [asdict(row[0]) for row in rows if len(row) == 1] for name, rows in top.items()}


MOUNT = """
(async () => {
  const at = (name) => new URL(`static/lab/${name}.js`, document.baseURI).href;
  const about = ABOUT, stand = element.querySelector(".lab-view");
  const { place } = await import(at("page"));
  window.loaded?.();
  if (!stand.dataset.placed) { stand.dataset.placed = "yes"; place(stand, about, () => import(at(about.module))); }
})();
"""


def page() -> gr.Blocks:
    """One mounted `gr.HTML` a view; live data come from the server's own endpoints, never through Gradio's queue."""
    everywhere = [row[0] for row in views.rows(views.EVERYWHERE)]
    with gr.Blocks(title="DINO lab", analytics_enabled=False, fill_width=True) as blocks:
        for view in everywhere[:-1]:
            stand(view)
        for one in views.PAGES:
            rows = views.rows(one.name)
            if not rows:
                continue
            with gr.Column(elem_classes=["lab-page", f"lab-page-{one.name}"]):
                for row in rows:
                    lay_out(row)
        stand(everywhere[-1])
    return blocks


def lay_out(row: list[View]) -> None:
    if len(row) == 1:
        stand(row[0])
        return
    with gr.Row(equal_height=True):
        for view in row:
            with gr.Column(min_width=340):
                stand(view)


def stand(view: View) -> gr.HTML:
    """The place of one view, which its module fills when its page is first shown."""
    return gr.HTML(
        html_template='<section class="lab-view"></section>',  # page.js names it: until then the view may stand above
        js_on_load=MOUNT.replace("ABOUT", json.dumps(asdict(view))),
        apply_default_css=False,
        padding=False,
        elem_classes=["lab-host", f"lab-host-{view.name}"],
    )
