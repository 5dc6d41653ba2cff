// Images from outside as what the lab takes: files, the clipboard, a camera's frame, the frames of a short video.

import { h } from "./dom.js";

const MOST = 24; // images at once, and frames of a video
const LARGE = 1.5 * 2 ** 20; // bytes, beyond which the browser makes an image smaller before it is sent
const SIDE = 1280;
const PATIENCE = 1000; // milliseconds to wait for a picture, where none may be new

/** Files (images, or one video) → { body, sizes, video }. */
export async function prepared(files) {
  const film = files.find((file) => file.type.startsWith("video/"));
  const parts = film ? await frames(film) : await Promise.all(files.slice(0, MOST).map(smaller));
  return { body: new Blob(parts), sizes: parts.map((part) => part.size).join(","), video: Boolean(film) };
}

async function smaller(file) {
  if (file.size <= LARGE || file.type === "image/gif") return file;
  try {
    const image = await createImageBitmap(file);
    const share = Math.min(1, SIDE / Math.min(image.width, image.height));
    return await drawn(image, image.width * share, image.height * share);
  } catch {
    return file; // the lab says what it thinks of it
  }
}

/** Frames spread over a video, drawn by the browser; the film itself is not sent. */
async function frames(file) {
  const video = document.createElement("video");
  video.muted = true;
  video.src = URL.createObjectURL(file);
  try {
    await happened(video, "loadeddata", `${file.name} can't be played by this browser.`);
    if (!video.videoWidth) throw new Error(`${file.name} has no pictures that this browser can show.`);
    const length = await lengthOf(video);
    const count = Math.max(1, Math.min(MOST, Math.round(length * 8)));
    const parts = [];
    for (let i = 0; i < count; i++) {
      const at = Math.max(0, (length * i) / count);
      const seen = shown(video);
      video.currentTime = at; // to the beginning too: until it has been wound there may be nothing to see
      await happened(video, "seeked", `${file.name} can't be wound to ${at.toFixed(1)} s.`);
      await seen;
      const share = Math.min(1, 512 / Math.min(video.videoWidth, video.videoHeight));
      parts.push(await drawn(video, video.videoWidth * share, video.videoHeight * share));
    }
    return parts;
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

/** When the next picture can be drawn, which a busy machine has later than "seeked" says; a browser that can't tell is believed. */
function shown(video) {
  if (!video.requestVideoFrameCallback) return null;
  return Promise.race([new Promise((done) => video.requestVideoFrameCallback(done)), new Promise((done) => setTimeout(done, PATIENCE))]);
}

/** Seconds of a video; one that a browser has recorded does not say it, and is wound to its end. */
async function lengthOf(video) {
  if (Number.isFinite(video.duration)) return video.duration;
  video.currentTime = 1e6;
  await happened(video, "seeked", "The end of this video can't be found.");
  return Number.isFinite(video.duration) ? video.duration : video.currentTime;
}

const happened = (video, event, sentence) => new Promise((done, failed) => {
  video.addEventListener(event, done, { once: true });
  video.addEventListener("error", () => failed(new Error(sentence)), { once: true });
});

function drawn(image, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.93));
}

/** One frame of a camera, when the person says so, once there is a picture; null when they think better of it or `signal` says so. */
export async function photographed(place, signal) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  const video = h("video", { autoplay: true, playsinline: true, "aria-label": "What the camera sees" });
  return new Promise((done) => {
    const end = (result) => { stream.getTracks().forEach((track) => track.stop()); if (video.parentNode === place) place.replaceChildren(); done(result); };
    if (signal.aborted) return end(null);
    signal.addEventListener("abort", () => end(null));
    const take = h("button", { type: "button", class: "follow", disabled: true, onclick: async () => end(await drawn(video, video.videoWidth, video.videoHeight)) }, "Take this frame");
    const cancel = h("button", { type: "button", class: "quiet", onclick: () => end(null) }, "Cancel");
    video.addEventListener("loadeddata", () => { take.disabled = false; take.focus(); }, { once: true });
    video.muted = true;
    video.srcObject = stream;
    place.replaceChildren(video, h("div", { class: "controls" }, take, cancel));
    cancel.focus();
  });
}

export async function hasCamera() {
  try {
    return (await navigator.mediaDevices.enumerateDevices()).some(({ kind }) => kind === "videoinput");
  } catch {
    return false; // no secure context, or not allowed
  }
}
