"""The page: Gradio gives it layout and theme, and hosts one JavaScript module a view.

A new view is one file in `lab/static` with `export function mount(element, host)`, and one name in `ROWS` below.  Views share
one clock and one selection through `lab/static/store.js`; none of them is told what the others do."""

from __future__ import annotations

import gradio as gr

ROWS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("diagnosis",),
    ("emergence", "loss"),
    ("attention", "patches"),
    ("collapse", "centre"),
    ("schedules", "anything"),
    ("events",),
    ("transport",),
)
"""The views from top to bottom; those in one row stand side by side where there is room."""

HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/lab/theme.css">
<link rel="icon" href="/static/lab/icon.svg" type="image/svg+xml">
<link rel="modulepreload" href="/static/lab/store.js">
"""

MOUNT = """
(async () => {
  const at = (name) => new URL(`static/lab/${name}.js`, document.baseURI).href;
  const [{ host }, { mount }] = await Promise.all([import(at("store")), import(at("VIEW"))]);
  const place = element.querySelector(".lab-view");
  if (!place.dataset.mounted) { place.dataset.mounted = "yes"; mount(place, host); }
})();
"""


def page() -> gr.Blocks:
    """One mounted `gr.HTML` a view; live data come from the server's own endpoints, never through Gradio's queue."""
    with gr.Blocks(title="DINO lab", analytics_enabled=False, fill_width=True) as blocks:
        for row in ROWS:
            if len(row) == 1:
                view(row[0])
                continue
            with gr.Row(equal_height=True):
                for name in row:
                    with gr.Column(min_width=340):
                        view(name)
    return blocks


def view(name: str) -> gr.HTML:
    """The place of one view, which its module fills when the page loads."""
    return gr.HTML(
        html_template=f'<section class="lab-view" data-view="{name}"></section>',
        js_on_load=MOUNT.replace("VIEW", name),
        apply_default_css=False,
        padding=False,
        elem_classes=["lab-host", f"lab-host-{name}"],
    )
