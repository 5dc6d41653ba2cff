// The page's one clock and one selection, and the data behind them.
//
// Views get `host`: host.get(key), host.set({ key: value }), host.on(names, listener), and what is known of the runs.  The state
// lives in the address, so that a link leads back to it.  Data come in small pieces, by cursors; a tab nobody looks at asks nothing.
//
// Where they come from is the business of a `transport` (a page of the lab: page.js; a notebook; one file on a USB stick):
//   ask(path, body) → JSON or { tensors, said }, null where there is nothing new; url(path); plotly(); read() and write(Map, passing) of the address;
//   link() to what is shown; where it is known elsewhere when there is something new, wake(tick), and pace, milliseconds between questions.

import { asTable } from "./astable.js";
import { closer } from "./closer.js";
import { remembering, tools } from "./tools.js";

const KEPT_IN_ADDRESS = { page: "monitor", run: null, overlay: null, beside: null, step: null, image: 0, patch: null, layer: -1 };
const NUMBERS = { step: /^-?\d+(\.\d+)?$/, patch: /^\d{1,6}$/ }; // those that may be missing
const LIVE = 700, QUIET = 4000, LIST = 2500; // milliseconds between questions
const LONGEST = 2400; // points of one curve, before it is asked for anew in 2000: more than a screen has, however long somebody watches
const CACHE = 96 * 2 ** 20; // bytes of maps kept for scrubbing
const ANSWERS = 600; // and how many answers: those without maps have no bytes to count

export function createHost(transport, given = {}) {
  const kept = { ...KEPT_IN_ADDRESS };
  const state = { ...kept, follow: true, playing: false, pinned: false, offline: false };
  const listeners = new Map();
  const tracks = new Map();
  let runs = null;
  let called = {}; // the runs that the address asks for, by id or name, until the list says which those are

  const host = {
    get: (key) => state[key],

    set(changes) {
      const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
      if (!changed.length) return;
      Object.assign(state, changes);
      const lasting = changed.some((key) => (key === "patch" ? state.pinned : key in kept || key === "follow" || key === "pinned"));
      if (lasting) writeAddress(changed.every((key) => ["step", "follow", "patch"].includes(key)));
      changed.forEach((key) => emit(key));
      if (["run", "overlay", "beside"].some((key) => changed.includes(key))) tick();
    },

    /** Call `listener` when any of these changes: names of the state, "runs" (the list), "data" (curves, heads), "stop", "heard" (the
        lab, after an answer that never came). */
    on(names, listener) {
      for (const name of [names].flat()) {
        if (!listeners.has(name)) listeners.set(name, new Set());
        listeners.get(name).add(listener);
      }
      return () => [names].flat().forEach((name) => listeners.get(name)?.delete(listener));
    },

    runs: () => runs,
    /** What is known of the chosen run, of the one laid over it, of any that is shown: { id, head, catalogue, curves, events }; null while unknown. */
    run: () => tracks.get(state.run) ?? null,
    track: (id) => tracks.get(id) ?? null,
    /** The curves of a track to draw where only these steps are seen: as they were logged there, as soon as that is known. */
    closer: (track, first, last) => (transport.recorded ? track.curves : near(track, first, last)),
    overlay: () => (state.overlay && state.overlay !== state.run ? tracks.get(state.overlay) ?? null : null),

    /** Steps of the chosen run that have pictures. */
    stops: () => host.run()?.head.probes ?? [],
    /** The stop that is shown: the newest while following, else the last one not after the chosen step. */
    stop() {
      const stops = host.stops();
      if (!stops.length) return null;
      if (state.follow || state.step === null) return stops.at(-1);
      return stops.findLast((stop) => stop <= state.step) ?? stops[0];
    },
    /** Go to the stop nearest to a step; scrubbing ends following, unless it leads to the newest. */
    seek(step, follow = false) {
      const stops = host.stops();
      if (!stops.length) return;
      const nearest = stops.reduce((best, stop) => (Math.abs(stop - step) < Math.abs(best - step) ? stop : best));
      host.set({ step: nearest, follow });
    },

    /** Arrays from the server by their path below the chosen run, kept for a while; rejects with the server's sentence. */
    tensors: (path) => cached(`api/run/${state.run}/${path}`),
    /** What the lab answers to a path, not kept; with a `body` (JSON or bytes) it is told something. */
    ask: (path, body) => ask(`api/${path}`, body),
    /** The same for what is asked once in a visit: it waits for a lab that does not answer. */
    async sure(path) {
      try { return await host.ask(path); } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        await new Promise((done) => { const end = host.on("heard", () => { end(); done(); }); });
        return host.sure(path);
      }
    },
    /** The same, kept for a while: for answers that only their path decides, and where it is said a `version` of what is there. */
    kept: (path, version = "") => cached(`api/${path}`, version),
    /** What may be wanted next, as [path, version] of `kept`: asked one at a time, and only while nobody waits for anything.  A later
        list of the same asker takes the place of what is left of the one before. */
    ahead(asker, questions) { later.set(asker, [...questions]); fetchAhead(); },
    url: (path) => transport.url(path),
    plotly: () => transport.plotly(),
    /** What is not as it is without saying, by its key. */
    address: () => new Map([...address()].filter(([, value]) => value !== null)),
    /** What to hand on so that someone else sees this: an address, or a line of Python. */
    link: (view) => (transport.link ? transport.link(view) : location.href),
    /** Whether answers can still be made; a file holds those that were recorded. */
    recorded: transport.recorded ?? false,
    /** Keys pressed anywhere in this page (scoped: in the view's own place, where the page is someone else's). */
    keys: (listener) => document.addEventListener("keydown", listener),

    /** From now on these keys of the state live in the address too; a number's fallback says that it is a number. */
    keep(defaults) {
      for (const [key, fallback] of Object.entries(defaults)) {
        if (key in kept) continue;
        kept[key] = fallback;
        state[key] = read(key, fallback, transport.read());
      }
    },
  };

  const near = closer((path) => transport.ask(path), () => emit("data"));

  const emit = (name) => listeners.get(name)?.forEach((listener) => {
    try { listener(); } catch (error) { console.error(error); }
  });

  // ---- the address

  function read(key, fallback, address) {
    const text = address.get(key) ?? null;
    const isNumber = typeof fallback === "number" || key in NUMBERS;
    return text === null || (isNumber && !(NUMBERS[key] ?? NUMBERS.step).test(text)) ? fallback : isNumber ? Number(text) : text;
  }

  function readAddress() {
    const address = transport.read();
    for (const [key, fallback] of Object.entries(kept)) state[key] = read(key, fallback, address);
    Object.assign(state, given);
    state.follow = state.step === null;
    state.pinned = state.patch !== null;
    called = { run: state.run, overlay: state.overlay, beside: state.beside };
    state.run = state.overlay = state.beside = null;
  }

  /** What the address is to say: null for what is as it is without saying. */
  function address() {
    return new Map(Object.entries(kept).map(([key, fallback]) => {
      const unsaid = (key === "step" && state.follow) || (key === "patch" && !state.pinned); // pointed at for now
      const value = unsaid ? null : state[key] ?? called[key] ?? null;
      return [key, value === fallback ? null : value];
    }));
  }

  /** `passing`: the next change may follow at once, as in scrubbing. */
  const writeAddress = (passing = false) => transport.write(address(), passing);

  // ---- asking

  let missed = false; // an answer that never came, for the lab was not there: once it is, views ask again
  async function ask(path, body) {
    try { return await transport.ask(path, body); } catch (error) {
      missed ||= error instanceof TypeError;
      throw error;
    }
  }

  const maps = new Map(); // path and version → { promise, bytes }, least recently used first
  let waited = 0; // answers that somebody waits for
  function cached(path, version = "", ahead = false) {
    const name = `${path} ${version}`, known = maps.get(name);
    if (known) {
      maps.delete(name);
      maps.set(name, known);
      return known.promise;
    }
    const entry = { bytes: 0, promise: ask(path) };
    maps.set(name, entry);
    waited += !ahead;
    entry.promise.then(({ tensors }) => {
      entry.bytes = Object.values(tensors ?? {}).reduce((sum, { data }) => sum + data.byteLength, 0);
      let total = [...maps.values()].reduce((sum, { bytes }) => sum + bytes, 0);
      for (const [key, { bytes }] of maps) {
        if ((total <= CACHE && maps.size <= ANSWERS) || key === name) break;
        maps.delete(key);
        total -= bytes;
      }
    }, () => maps.delete(name)).finally(() => {
      waited -= !ahead;
      fetchAhead();
    });
    return entry.promise;
  }

  /** A run by its id, or by its name as one types it: the newest that is called so. */
  const find = (text) => runs.find((run) => run.id === text) ?? runs.find((run) => run.name === text);

  /** Of several runs between commas (laid.js) the ids of those that are there, each in its place. */
  const known = (text) => (text ?? "").split(",").map((one) => (one ? find(one)?.id ?? "" : "")).join(",").replace(/,+$/, "") || null;

  /** Take changes over; who listens hears of them with what is returned. */
  function changeTo(changes) {
    const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
    Object.assign(state, changes);
    writeAddress();
    return () => changed.forEach(emit);
  }

  const later = new Map(); // asker → questions
  let fetching = false;
  async function fetchAhead() {
    if (fetching || waited || !later.size) return;
    fetching = true;
    const [asker, questions] = later.entries().next().value, question = questions.shift();
    if (!questions.length) later.delete(asker);
    if (question) await cached(`api/${question[0]}`, question[1], true).catch(() => {});
    fetching = false;
    fetchAhead();
  }

  /** Ask which runs there are, and choose one; who listens hears of it with what is returned, for two hundred take a while to draw. */
  async function refreshList() {
    const answer = await ask("api/runs");
    const text = JSON.stringify(answer.runs);
    if (text === refreshList.last) return () => {};
    refreshList.last = text;
    runs = answer.runs;
    const chosen = find(state.run ?? called.run), over = state.overlay ?? (called.overlay ? find(called.overlay)?.id ?? null : null);
    const beside = state.beside ?? known(called.beside);
    called = {};
    if (!chosen) state.follow = true;
    const tell = changeTo({ run: (chosen ?? runs.find((run) => run.status === "running") ?? runs.find((run) => run.gallery) ?? runs[0])?.id ?? null, overlay: over, beside });
    return () => { tell(); emit("runs"); };
  }

  let told = 0;
  /** A run of which all is told anew; what was seen from closer stays until it has been asked for again, unless its lines are others. */
  function begun(id, news, before) {
    const generation = news.cursor.split(".")[0], same = before && (before.generation === generation || before.head.reading !== null);
    return { id, generation, curves: {}, events: [], catalogue: news.head.catalogue, thinned: news.thinned, told: told++, near: same ? before.near : null };
  }

  /** Ask what is new about one run; true if there was anything. */
  async function refreshTrack(id) {
    const track = tracks.get(id);
    const news = await ask(`api/run/${id}/since?cursor=${encodeURIComponent(track?.cursor ?? "")}`);
    if (news === null) return false;
    const next = news.reset ? begun(id, news, track) : track;
    next.cursor = news.cursor;
    if (news.head) {
      next.head = news.head;
      next.skew = Date.now() / 1000 - news.head.now;
    }
    let longest = 0;
    for (const [name, [x, y]] of Object.entries(news.curves)) {
      const curve = (next.curves[name] ??= { x: [], y: [] });
      for (let i = 0; i < x.length; i++) { curve.x.push(x[i]); curve.y.push(y[i]); }
      longest = Math.max(longest, curve.x.length);
    }
    next.events.push(...news.events);
    next.events.splice(0, next.events.length - 600);
    if (longest > LONGEST) next.cursor = "";
    tracks.set(id, next);
    return true;
  }

  /** What there is to see at the stop; the checkpoint of a step comes a little after its pictures, and then there is more. */
  const shown = () => `${host.stop()} ${host.run()?.head.checkpoints.findLast((step) => step <= (host.stop() ?? -1))}`;

  const shownRuns = () => [...new Set([state.run, state.overlay, ...(state.beside ?? "").split(",")])].filter(Boolean);

  let ticking = false, again = false, timer = null, listed = 0;
  async function tick() {
    if (ticking) { again = true; return; }
    ticking = true;
    clearTimeout(timer);
    try {
      const before = shown(), due = Date.now() - listed > LIST;
      const tell = due ? await refreshList() : null;
      if (due) listed = Date.now();
      const wanted = shownRuns();
      for (const id of tracks.keys()) if (!wanted.includes(id)) tracks.delete(id);
      const answers = Promise.all(wanted.map(refreshTrack)); // asked before the list is drawn
      tell?.();
      const fresh = await answers, heard = missed;
      missed = false;
      if (heard) emit("heard");
      if (heard || fresh.some(Boolean)) emit("data");
      if (heard || shown() !== before) emit("stop");
      host.set({ offline: false });
    } catch (error) {
      if (!(error instanceof TypeError)) {
        console.warn(error.message);
        if (state.overlay && !runs?.some((run) => run.id === state.overlay)) host.set({ overlay: null });
        if (state.beside) host.set({ beside: known(state.beside) });
      }
      host.set({ offline: error instanceof TypeError });
    }
    ticking = false;
    const live = shownRuns().map(host.track).some((track) => track?.head.status === "running");
    if (!document.hidden) timer = setTimeout(tick, again ? 0 : state.offline ? 3000 : transport.pace ?? (live || !runs?.length ? LIVE : QUIET));
    again = false;
  }

  host.on(["step", "follow", "run"], () => emit("stop"));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
  transport.wake?.(tick);
  readAddress();
  tick();
  return host;
}

/** The host as one view sees it.  `about` are its captions.  While its page is not shown its listeners wait, to be called once after;
    a view that comes when much is known already is told so, once, as if it had just happened.  With a `root`, keys count only there;
    `close()` ends what the view listens to. */
export function scoped(host, about, root = document) {
  const shown = () => about.page === "*" || about.page === host.get("page");
  const waiting = new Set(), ends = [];
  const call = (listener) => { if (shown()) listener(); else waiting.add(listener); };
  ends.push(host.on("page", () => {
    if (!shown()) return;
    const calls = [...waiting];
    waiting.clear();
    calls.forEach((listener) => listener());
  }));
  const { ends: memory, ...asking } = remembering(host);
  ends.push(...memory);
  const view = Object.assign(Object.create(host), asking, {
    shown,
    on(names, listener) {
      ends.push(host.on(names, () => call(listener)));
      if (host.runs() !== null) queueMicrotask(() => call(listener));
    },
    keys(listener) {
      root.addEventListener("keydown", listener);
      ends.push(() => root.removeEventListener("keydown", listener));
    },
    close: () => ends.splice(0).forEach((end) => end()),
  });
  view.about = { ...about, tools: (card) => tools(view, card), table: (card) => asTable(view, card) };
  return view;
}
