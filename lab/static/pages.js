/* view
{
  "page": "*",
  "place": 1,
  "title": "Pages",
  "shows": "The lab's pages; each answers one kind of question.",
  "look": "Clock, image and patch stay the same from page to page."
}
*/
// The lab's pages, as links: each keeps what is looked at, and opens in a tab of its own where the browser is asked to.

import { h, refill } from "./dom.js";

export function mount(element, host) {
  element.classList.add("pages");
  const list = h("nav", { "aria-label": "Pages" });
  element.append(list);
  let pages = [], seen = null;
  host.sure("views").then((found) => { pages = found.pages; fill(); }, (error) => list.append(error.message));
  host.on(["page", "run", "step"], fill);

  function fill() {
    if (!pages.length) return;
    refill(list, `${host.get("page")} ${pages.length}`, () => pages.map(({ name, title, question }) =>
      h("a", { href: "?", title: question, "aria-current": name === host.get("page") ? "page" : null,
        onclick: (event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) { event.currentTarget.href = address(host, name); return; }
          event.preventDefault();
          host.set({ page: name });
          scrollTo(0, 0);
        },
        onauxclick: (event) => { event.currentTarget.href = address(host, name); } }, title)));
    if (seen === host.get("page")) return; // only who goes elsewhere is taken there
    seen = host.get("page");
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }
}

function address(host, page) {
  const query = new URL(host.link()).searchParams;
  query.set("view", page); // as page.js names it
  return `?${query}`;
}
