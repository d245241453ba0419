/** The page: shows the frames of a source, hands them to the tracker, and draws what comes back. */

import { Trails } from "./draw.js";
import { loadTracker } from "./runtime.js";
import { openCamera, openDemo, openFile } from "./sources.js";

const GRID = 6; // points a side
const REACH = 12; // pixels of the screen within which a click means a point that is there
const SMOOTHING = 0.9; // of the time per frame

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((found) => [found.id, found]));
const picture = element.picture.getContext("2d");
const overlay = element.overlay.getContext("2d");
const trails = new Trails();

let tracker = null;
let source = null;
let frame = null; // ImageData that is on show
let playing = true;
let ended = false;
let clicked = []; // [[x, y], ...], pixels of the frame on show
let ms = null;
let running = Promise.resolve(); // the loop over the source's frames
let changing = Promise.resolve(); // one change of source or model after the other
let wake = () => {};

/** Tracks through the frames of one source until another takes its place. */
async function run(current) {
  while (source === current) {
    const isNew = await nextFrame(current);
    if (source !== current) return;
    if (isNew === null) continue;
    const started = performance.now();
    const points = await tracker.step(frame);
    if (points.length) noteTime(performance.now() - started);
    trails.push(points);
    show();
    await new Promise(requestAnimationFrame); // lets the browser paint, and clicks come in
  }
}

/**
 * Makes `frame` the one to track next; null if there is nothing to do yet.
 *
 * A click belongs to the picture that was on show, so the tracker gets that one again, now with the new point. For the
 * other points it is a frame without motion.
 */
async function nextFrame(current) {
  if (frame && clicked.length) {
    tracker.add(clicked.splice(0));
    return frame;
  }
  if (playing || !frame) {
    const next = await current.next();
    if (next) {
      if (!frame) tracker.add(current.points);
      frame = next;
      return frame;
    }
    if (source !== current) return null;
    ended = true;
    setPlaying(false);
  }
  await new Promise((resolve) => (wake = resolve));
  return null;
}

function noteTime(elapsed) {
  ms = ms === null ? elapsed : SMOOTHING * ms + (1 - SMOOTHING) * elapsed;
}

function show() {
  if (!frame) return;
  if (element.picture.width !== frame.width || element.picture.height !== frame.height) {
    Object.assign(element.picture, { width: frame.width, height: frame.height });
    layOut();
  }
  picture.putImageData(frame, 0, 0);
  showPoints();
}

function showPoints() {
  const ratio = devicePixelRatio;
  trails.draw(overlay, element.overlay.width / element.picture.width, ratio);
  element.points.textContent = trails.count;
  element["hidden-points"].textContent = trails.hidden;
  element.ms.textContent = ms === null ? "–" : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** Lays the overlay exactly over the picture, with a pixel for each of the screen's. */
function layOut() {
  const { offsetLeft, offsetTop, clientWidth, clientHeight } = element.picture;
  const scale = Math.min(clientWidth / element.picture.width, clientHeight / element.picture.height);
  const [width, height] = [element.picture.width * scale, element.picture.height * scale];
  Object.assign(element.overlay.style, {
    left: `${offsetLeft + (clientWidth - width) / 2}px`,
    top: `${offsetTop + (clientHeight - height) / 2}px`,
    width: `${width}px`,
    height: `${height}px`,
  });
  element.overlay.width = Math.round(width * devicePixelRatio);
  element.overlay.height = Math.round(height * devicePixelRatio);
}

/** Stops the loop, runs `change`, and goes on with the source that it gives. */
function changeTo(button, change) {
  changing = changing.then(async () => {
    source?.stop();
    source = null;
    wake();
    await running;
    forget();
    tracker?.reset();
    try {
      const next = await change();
      if (!tracker) throw new Error("no model is loaded: choose where to run it");
      source = next;
      for (const id of ["demo", "camera", "pick"]) element[id].setAttribute("aria-pressed", id === button);
      element.message.textContent = source.live ? "" : "Click on points, then play";
      setPlaying(source.live);
      running = run(source).catch(fail);
    } catch (error) {
      fail(error);
    }
  });
}

function forget() {
  [frame, clicked, ms, ended] = [null, [], null, false];
  trails.clear();
}

function fail(error) {
  console.error(error);
  element.message.textContent = error.message;
}

function setPlaying(value) {
  playing = value;
  element.play.textContent = playing ? "Pause" : "Play";
  if (playing && ended) {
    clear(); // the points belong to the end, and the video starts over
    forget();
  }
  if (playing) Promise.resolve(source?.play()).catch(fail);
  else source?.pause();
  if (playing) element.message.textContent = "";
  wake();
}

function addPoints(points) {
  clicked.push(...points);
  wake();
}

function onPicture({ offsetX, offsetY }) {
  if (!frame) return;
  const scale = frame.width / element.overlay.clientWidth;
  const [x, y] = [offsetX * scale, offsetY * scale];
  const id = trails.nearest(x, y, REACH * scale);
  if (id === undefined) {
    addPoints([[Math.min(Math.max(x, 0), frame.width), Math.min(Math.max(y, 0), frame.height)]]);
  } else {
    tracker.remove([id]);
    trails.remove(id);
    showPoints();
  }
}

function addGrid() {
  if (!frame) return;
  const cells = [...Array(GRID).keys()].map((cell) => (cell + 0.5) / GRID);
  addPoints(cells.flatMap((y) => cells.map((x) => [x * frame.width, y * frame.height])));
}

function clear() {
  clicked = [];
  tracker?.remove(tracker.ids);
  trails.clear();
  showPoints();
}

async function loadModel() {
  element.message.textContent = "Loading the model";
  element["runs-on"].textContent = "–";
  tracker = null;
  const loaded = await loadTracker("model/", element.provider.value);
  tracker = loaded.tracker;
  element["runs-on"].textContent = loaded.description;
  element.note.textContent = loaded.note;
}

element.overlay.addEventListener("pointerdown", onPicture);
element.demo.addEventListener("click", () => changeTo("demo", openDemo));
element.camera.addEventListener("click", () => changeTo("camera", openCamera));
element.pick.addEventListener("click", () => element.file.click());
element.file.addEventListener("change", () => {
  const [file] = element.file.files;
  if (file) changeTo("pick", () => openFile(file));
});
element.play.addEventListener("click", () => setPlaying(!playing));
element.grid.addEventListener("click", addGrid);
element.clear.addEventListener("click", clear);
element.provider.addEventListener("change", () => changeTo("demo", async () => {
  await loadModel();
  return openDemo();
}));
new ResizeObserver(() => {
  layOut();
  showPoints();
}).observe(element.picture);

element.provider.value = new URLSearchParams(location.search).get("provider") ?? "auto";
changeTo("demo", async () => {
  await loadModel();
  return openDemo();
});
