// A film of a card through training: the clock goes from stop to stop, and each time the card is drawn as it stands.

import { pictureOf } from "./snapshot.js";

const FRAMES = 24;
const LAST = 1500; // milliseconds more that the last frame stays
const QUIET = 120; // milliseconds without a question under way, after which a card is taken to be drawn

let filming = false; // two films would move one clock

/** Pictures of a card at stops spread by ratio, first and last among them; the clock goes back to where it was.
    `line()` is what stands below each, `tell(i, n)` hears how far it is. */
export async function frames(host, element, line, tell = () => {}) {
  if (filming) throw new Error("Another film is being made; one at a time.");
  const run = host.get("run"), stops = spread(host.stops(), FRAMES), { step, follow } = { step: host.get("step"), follow: host.get("follow") }, pictures = [];
  /** Whoever moves the clock, or goes elsewhere, wants that and no film: it is not moved back. */
  const undisturbed = (stop) => {
    filming = host.get("step") === stop && !host.get("follow") && host.get("run") === run && host.shown();
    if (!filming) throw new Error("The film was given up: the clock, the run or the page was changed meanwhile.");
  };
  filming = true;
  host.set({ playing: false });
  try {
    for (const [i, stop] of stops.entries()) {
      tell(i + 1, stops.length);
      host.seek(stop);
      await settled(host);
      undisturbed(stop);
      pictures.push(await pictureOf(element, line(), { scale: 1, type: "image/jpeg" }));
      undisturbed(stop);
    }
  } finally {
    if (filming) host.set({ step, follow });
    filming = false;
  }
  return pictures;
}

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Until nothing that the view asked for is under way, and what came has been painted. */
async function settled(host) {
  for (let still = 0; still < QUIET;) {
    await wait(20);
    still = host.pending() ? 0 : still + 20;
  }
}

/** At most so many of the stops, dense where steps are small. */
function spread(stops, most) {
  if (stops.length <= most) return stops;
  const low = Math.log1p(stops[0]), high = Math.log1p(stops.at(-1)), chosen = new Set([stops[0], stops.at(-1)]);
  for (let i = 0; i < most; i++) {
    const wanted = low + ((high - low) * i) / (most - 1);
    chosen.add(stops.reduce((best, stop) => (Math.abs(Math.log1p(stop) - wanted) < Math.abs(Math.log1p(best) - wanted) ? stop : best)));
  }
  return stops.filter((stop) => chosen.has(stop));
}

/** What the lab is handed to make a film of: the pictures end to end, and how long each is. */
export const handedOn = (pictures) => ({ body: new Blob(pictures), sizes: pictures.map(({ size }) => size).join(",") });

export const canRecord = () => typeof MediaRecorder === "function" && MediaRecorder.isTypeSupported?.("video/webm");

/** The same pictures as a WebM that this browser writes, in as long as it lasts. */
export async function webm(pictures, rate = 3) {
  const drawn = await Promise.all(pictures.map((picture) => createImageBitmap(picture)));
  const canvas = document.createElement("canvas"), largest = (side) => Math.max(...drawn.map((one) => one[side]));
  [canvas.width, canvas.height] = [largest("width"), largest("height")];
  const context = canvas.getContext("2d"), stream = canvas.captureStream(0), [track] = stream.getVideoTracks(), parts = [];
  const recorder = new MediaRecorder(stream, { mimeType: "video/webm", videoBitsPerSecond: 6e6 });
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const ended = new Promise((done) => { recorder.onstop = done; });
  recorder.start();
  for (const one of drawn) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(one, 0, 0);
    track.requestFrame();
    await wait(1000 / rate);
  }
  track.requestFrame();
  await wait(LAST);
  recorder.stop();
  await ended;
  return new Blob(parts, { type: "video/webm" });
}
