"""The pictures of the lab's pages in README: `python docs/pictures.py` drives Chromium over the recorded runs.

Each page is opened by its address, left until what it draws is there, and cut to one screen.  Pictures are stored at 1000 px in
at most 255 colours, which keeps text sharp and each below 150 kB."""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
SCREEN, SHOWN, COLOURS = {"width": 1280, "height": 860}, 1000, (255, 96, 48)
LARGEST = 150_000
"""Bytes of a picture; one that is larger gets fewer colours."""
PATIENCE = 180_000
"""Milliseconds that something may take to appear on a busy machine."""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Picture(NamedTuple):
    view: str
    """The view that the picture begins with."""
    query: str
    until: str
    """JavaScript that holds when everything is drawn."""
    click: str = ""
    """A selector, before that."""


DRAWN = "document.querySelectorAll('[data-view={view}] canvas').length > {count}"
PAGES = {
    "monitor": Picture("diagnosis", "run=dino_shapes", "document.querySelector('[data-view=loss] .plot')?.dataset.ready"),
    "objective": Picture(
        "objective", "run=dino_shapes&stage=6", "document.querySelector('[data-view=objective] [data-cell^=\"loss.\"]')"
    ),
    "playground": Picture(
        "playground", "run=dino_shapes&pg=heal-sharpening",
        "document.querySelector('.pg-at')?.textContent.replace(/[^0-9]/g, '') > 1100",
    ),
    "attention": Picture(
        "heads", "run=dino_shapes&image=4",
        "((sheet) => sheet && sheet.width !== 300)(document.querySelector('[data-view=heads] .sheet canvas'))",
    ),
    "patches": Picture("components", "run=dino_shapes&image=4", DRAWN.format(view="components", count=5)),
    "gram": Picture("gram", "run=dinov3_shapes&image=4", DRAWN.format(view="gram", count=3)),
    "prototypes": Picture("prototypes", "run=dino_shapes", DRAWN.format(view="prototypes", count=5)),
    "embedding": Picture(
        "embedding", "run=dino_shapes&images=data&crowd=1000&layout=umap",
        "/1.?000 points, UMAP(?! until)/.test(document.querySelector('[data-view=embedding]').textContent)",
    ),
    "compare": Picture(
        "compare", "run=dino_shapes&image=4&against=first",
        "document.querySelectorAll('[data-view=compare] .network').length > 2 && [...document.querySelectorAll("
        "'[data-view=compare] .network .hint')].every((p) => p.textContent.includes('patches'))",
    ),
    "fork": Picture(
        "fork", "run=dino_shapes&step=1000", "document.querySelector('[data-view=fork] .diff-table')",
        "[data-view=fork] .chips button",
    ),
}  # fmt: skip


def main() -> int:
    options = _options()
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as empty, sync_playwright() as playwright:
        address = serve(Path(empty))
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = browser.new_page(viewport=SCREEN, device_scale_factor=1)
        page.set_default_timeout(PATIENCE)
        for name in options.pages:
            about = PAGES[name]
            page.goto(f"{address}/?view={name}&{about.query}")
            if about.click:
                page.locator(about.click).first.click()
            page.wait_for_function(about.until)
            page.wait_for_timeout(1500)  # what is painted after it is there
            page.locator(f"[data-view={about.view}]").first.evaluate(
                "e => scrollTo(0, e.getBoundingClientRect().top + scrollY - 14)"
            )
            here = f"{HERE.parent}/"
            page.evaluate(
                "(here) => { for (const e of document.querySelectorAll('.command'))"
                " e.textContent = e.textContent.replace(here, ''); }",
                here,
            )
            page.wait_for_timeout(500)
            store(page.screenshot(), options.out / f"{name}.png")
        browser.close()
    return 0


def chromium() -> str | None:
    """Where the browser is; None for playwright's own."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


def serve(folder: Path) -> str:
    """A lab over the recorded runs, in a thread of this process."""
    import uvicorn

    from apps.server import build
    from apps.watch import GALLERY

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(build([folder, GALLERY], port=port), port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.1)
    return f"http://127.0.0.1:{port}"


def store(content: bytes, file: Path, width: int = SHOWN, largest: int = LARGEST) -> None:
    """At that width, and in few colours."""
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(content)).convert("RGB")
    small = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    for colours in COLOURS:
        small.quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE).save(
            file, optimize=True
        )
        if file.stat().st_size < largest:
            break
    print(f"{file.name}: {small.width} × {small.height}, {file.stat().st_size >> 10} kB", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pictures of the lab's pages for README.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"some of {', '.join(PAGES)}; all by default")
    parser.add_argument("--out", type=Path, default=HERE / "pages")
    options = parser.parse_args()
    if unknown := set(options.pages) - set(PAGES):
        parser.error(f"no page {sorted(unknown)[0]!r}; there are {', '.join(PAGES)}.")
    options.pages = options.pages or list(PAGES)
    return options


if __name__ == "__main__":
    sys.exit(main())
