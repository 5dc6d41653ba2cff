"""A tab that notes when what somebody did had been painted.

A frame has been painted when the task that ran its callbacks, style, layout and paint is over: a message posted in a frame
callback comes right after it.  Times are from the event's reaching the page; how long it waited for the display before (up to
one frame, 16.7 ms at 60 Hz) is noted beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.hosts import DRAWN

INSTRUMENT = """
(() => {
  const felt = (window.felt = { answered: [], ends: [], began: null, waited: 0 });
  const frame = window.requestAnimationFrame.bind(window), ask = window.fetch.bind(window), channel = new MessageChannel();
  let inFrame = false, drawn = null;
  window.requestAnimationFrame = (work) => frame((now) => { inFrame = true; try { work(now); } finally { inFrame = false; } });
  channel.port1.onmessage = () => { felt.ends.push({ at: performance.now(), views: [...drawn] }); drawn = null; };
  const post = () => channel.port2.postMessage(0);
  const mark = (view) => {
    if (drawn) { drawn.add(view); return; }
    drawn = new Set([view]);
    if (inFrame) post(); else frame(post);
  };
  for (const name of ["drawImage", "putImageData"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...what) {
      draw.apply(this, what);
      const view = this.canvas.closest?.("[data-view]")?.dataset.view;
      if (view) mark(view);
    };
  }
  window.fetch = async (...what) => {
    const response = await ask(...what);
    felt.answered.push(decodeURIComponent(String(what[0]?.url ?? what[0])));
    return response;
  };
  /** The next event of this kind begins a measurement. */
  felt.expect = (kind) => {
    [felt.ends, felt.answered, felt.began] = [[], [], null];
    const began = (event) => { felt.began = performance.now(); felt.waited = felt.began - event.timeStamp; };
    addEventListener(kind, began, { capture: true, once: true });
  };
  felt.since = () => performance.now() - felt.began;
  /** Once nothing has been drawn for `quiet` ms: ms from the event to the first and the last painted frame of a view (of any). */
  felt.settled = (quiet, view = null) => new Promise((done) => {
    const look = () => {
      const last = felt.ends.at(-1)?.at ?? felt.began ?? performance.now();
      if (performance.now() - last < quiet) { setTimeout(look, quiet / 5); return; }
      const own = felt.ends.filter(({ views }) => !view || views.includes(view));
      const [first, end] = [own[0], own.at(-1)].map((one) => one?.at - felt.began);
      done(felt.began === null || !own.length ? null : { first, last: end, waited: felt.waited });
    };
    setTimeout(look, quiet / 2);
  });
})();
"""


class Tab:
    """A page of the lab, at the size of a laptop's window."""

    patience = 1.0
    """How long nothing has to be drawn before all counts as drawn; below 1 where the numbers mean nothing."""

    def __init__(self, browser: Any, address: str, *, instrument: bool = True) -> None:
        self.address = address
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(1000 * DRAWN)
        if instrument:
            self.page.add_init_script(INSTRUMENT)

    def open(self, **query: Any) -> Tab:
        self.page.goto(f"{self.address}/?" + "&".join(f"{key}={value}" for key, value in query.items()))
        return self

    def when(self, condition: str) -> float:
        """Waits for a condition; ms since the page was asked for."""
        return self._value(f"({condition}) && performance.now()")

    def after(self, condition: str) -> float:
        """The same; ms since the event that was expected."""
        return self._value(f"felt.began !== null && ({condition}) && felt.since()")

    def measured(
        self, kind: str, act: Callable[..., Any], *arguments: Any, quiet: int = 60, view: str | None = None
    ) -> dict[str, float] | None:
        """Does something; ms to the first and the last painted frame after its event, None where nothing was drawn."""
        self.page.evaluate("kind => felt.expect(kind)", kind)
        act(*arguments)
        return self.settled(quiet, view)

    def settled(self, quiet: int = 60, view: str | None = None) -> dict[str, float] | None:
        return self.page.evaluate("([quiet, view]) => felt.settled(quiet, view)", [quiet * Tab.patience, view])

    def close(self) -> None:
        self.page.close()

    def _value(self, expression: str) -> float:
        return float(self.page.wait_for_function(expression, polling="raf").json_value())
