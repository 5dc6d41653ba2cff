"""The page: Gradio gives it layout and theme, and hosts one JavaScript module a view.

Which views there are, on which page and in which order, is what `lab.views` knows; this module only lays them out.  Views share
one clock and one selection through `lab/static/store.js`; none of them is told what the others do."""

from __future__ import annotations

import json
from dataclasses import asdict

import gradio as gr

from lab import views
from lab.views import View

HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/lab/theme.css">
<link rel="icon" href="/static/lab/icon.svg" type="image/svg+xml">
<link rel="modulepreload" href="/static/lab/page.js">
"""

MOUNT = """
(async () => {
  const at = (name) => new URL(`static/lab/${name}.js`, document.baseURI).href;
  const about = ABOUT, stand = element.querySelector(".lab-view");
  const [{ place }, { mount }] = await Promise.all([import(at("page")), import(at(about.module))]);
  if (!stand.dataset.placed) { stand.dataset.placed = "yes"; place(stand, about, mount); }
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
        html_template=f'<section class="lab-view" data-view="{view.name}"></section>',
        js_on_load=MOUNT.replace("ABOUT", json.dumps(asdict(view))),
        apply_default_css=False,
        padding=False,
        elem_classes=["lab-host", f"lab-host-{view.name}"],
    )
