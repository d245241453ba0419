/** The page: shows the frames of a source, hands them to the tracker, and draws what comes back. */

import { keepOffline } from "./offline.js";
import { Recorded, readRecorded } from "./recorded.js";
import { loadTracker } from "./runtime.js";
import { openCamera, openDemo, openFile, openReplay } from "./sources.js";
import { Stage } from "./stage.js";

const GRID = 8; // points along the longer side
const SMOOTHING = 0.9; // of the time per frame
const SOURCES = ["demo", "camera", "pick"];
const KEYS = { u: "undo", c: "clear", g: "grid", n: "names", s: "save", " ": "play" };

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((found) => [found.id, found]));
const stage = new Stage(element.picture, element.overlay, { add: addPoints, remove: removePoints });

let tracker = null;
let source = null;
let frame = null; // ImageData that is on show
let time = 0; // seconds, of that frame
let playing = true;
let ended = false;
let clicked = []; // batches [[x, y], ...], pixels of the frame on show
let added = []; // batches of ids, those that were added last come last
let recorded = new Recorded();
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
    const points = current.points ? await tracker.step(frame) : current.tracked();
    if (points.length) noteTime(performance.now() - started);
    if (isNew) stage.trails.push(points);
    else stage.trails.correct(points);
    recorded.push(frame, time, points, isNew);
    stage.show(frame);
    showNumbers();
    await new Promise(requestAnimationFrame); // lets the browser paint, and clicks come in
  }
}

/**
 * Makes `frame` the one to track next; null if there is nothing to do yet, else whether it is another one than before.
 *
 * A click belongs to the picture that was on show, so the tracker gets that one again, now with the new point. For the
 * other points it is a frame without motion.
 */
async function nextFrame(current) {
  if (frame && clicked.length) {
    added.push(...clicked.splice(0).filter((batch) => batch.length).map((batch) => tracker.add(batch)));
    return false;
  }
  if (playing || !frame) {
    const next = await current.next();
    if (next) {
      if (!frame && current.points?.length) added.push(tracker.add(current.points));
      [frame, time] = [next, current.time];
      return true;
    }
    if (source !== current) return null;
    ended = true;
    setPlaying(false);
    if (current.reason) say(current.reason, true);
  }
  await new Promise((resolve) => (wake = resolve));
  return null;
}

function noteTime(elapsed) {
  ms = ms === null ? elapsed : SMOOTHING * ms + (1 - SMOOTHING) * elapsed;
}

function showNumbers() {
  const { trails } = stage;
  write("points", `${trails.count}`, trails.hidden && `${trails.hidden} hidden`);
  write("ms", ms === null ? "–" : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`, ms && `${(1000 / ms).toFixed(0)} a second at most`);
  const isTracking = Boolean(source?.points);
  element.clear.disabled = !trails.count || !isTracking;
  element.undo.disabled = !added.length || !isTracking;
  element.grid.disabled = element.add.disabled = element.remove.disabled = !isTracking;
  element.save.disabled = recorded.isEmpty;
  element.hint.hidden = trails.count > 0 || !frame || !isTracking;
}

/** A value, and beside it a quiet one. */
function write(id, value, beside = "") {
  element[id].textContent = value;
  if (beside) element[id].append(" ", Object.assign(document.createElement("small"), { textContent: beside }));
}

/** Opens what is to be shown next, and only then leaves what is shown now: if it cannot be opened, nothing changes. */
function changeTo(button, open) {
  changing = changing.then(async () => {
    try {
      say("Opening");
      const next = await open();
      if (next.points && !tracker) {
        next.stop();
        throw new Error("No model is loaded: choose where to run it");
      }
      await leave();
      forget();
      source = next;
      for (const id of SOURCES) element[id].setAttribute("aria-pressed", id === button);
      begin(next.live);
      if (!next.live) say("Click on points, then play");
    } catch (error) {
      fail(error);
    }
  });
}

/** Ends the loop over the frames of the source. */
async function leave() {
  source?.stop();
  source = null;
  wake();
  await running;
}

function begin(isPlaying) {
  setPlaying(isPlaying);
  running = run(source).catch((error) => {
    setPlaying(false);
    fail(error);
  });
}

function forget() {
  [frame, clicked, added, ms, ended] = [null, [], [], null, false];
  recorded = new Recorded();
  stage.clear();
  tracker?.reset();
}

/** Loads the model to run elsewhere; source, frame and points stay as they are, also if it cannot be loaded. */
function changeModel() {
  changing = changing.then(async () => {
    const before = element.provider.dataset.loaded;
    try {
      say("Loading the model");
      const loaded = await loadTracker("model/", element.provider.value);
      const old = source;
      source = null; // its loop ends, and it stays open
      wake();
      await running;
      moveTo(loaded.tracker, Boolean(old?.points));
      element["runs-on"].textContent = loaded.description;
      element.note.textContent = loaded.note;
      element.provider.dataset.loaded = element.provider.value;
      source = old;
      if (source) begin(playing);
      say("");
    } catch (error) {
      if (before) element.provider.value = before;
      fail(error);
    }
  });
  return changing;
}

/** Points go on with another tracker, under the same ids: those that can be seen, from where they are. */
function moveTo(next, isTracking) {
  const old = tracker;
  tracker = next;
  const seen = stage.trails.last.filter(({ visible }) => visible);
  if (isTracking && frame && seen.length) {
    tracker.add(seen.map(({ x, y }) => [x, y]), seen.map(({ id }) => id));
    clicked.push([]); // the frame on show once more, for them to join in
  }
  old?.reset();
}

function fail(error) {
  console.error(error);
  say(error.message, true);
}

function say(text, isBad = false) {
  element.message.textContent = text;
  element.message.classList.toggle("bad", isBad);
}

function setPlaying(value) {
  playing = value;
  element.play.textContent = playing ? "Pause" : ended ? "Again" : "Play";
  element.state.dataset.state = playing ? "playing" : "paused";
  element.state.textContent = playing ? "Playing" : ended ? "At its end" : "Paused";
  if (playing && ended) forget(); // the points belong to the end, and the video starts over
  if (playing) Promise.resolve(source?.play()).catch(fail);
  else source?.pause();
  if (playing) say("");
  wake();
}

function addPoints(points) {
  if (!frame || !source?.points || !points.length) return;
  clicked.push(points);
  wake();
}

function removePoints(ids) {
  if (!source?.points) return;
  const there = tracker.ids.filter((id) => ids.includes(id));
  tracker.remove(there);
  there.forEach((id) => stage.trails.remove(id));
  stage.draw();
  showNumbers();
}

function undo() {
  const there = new Set(tracker?.ids);
  while (added.length) {
    const gone = added.pop().filter((id) => there.has(id));
    if (gone.length) return removePoints(gone);
  }
  return showNumbers();
}

function clear() {
  [clicked, added] = [[], []];
  removePoints(tracker?.ids ?? []);
}

function setRemoving(removing) {
  stage.removing = removing;
  element.add.setAttribute("aria-pressed", !removing);
  element.remove.setAttribute("aria-pressed", removing);
  element.overlay.classList.toggle("removing", removing);
}

/** Hands the tracks over as a file. */
function save() {
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(recorded.toFile()),
    download: "tracks.json",
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say("Saved as tracks.json: open it here, or with tapsdk.Tracks.load in Python");
}

function openPicked(input, button, open) {
  const [file] = input.files;
  input.value = ""; // so that the same file can be picked again
  if (file) changeTo(button, () => open(file));
}

/** Tracks that lie beside the page, or were picked. */
async function openTracks(file) {
  return openReplay(readRecorded(await file.text()));
}

async function fetchTracks(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} is not there (status ${response.status}): open a file of tracks instead`);
  return openTracks(response);
}

const actions = {
  demo: () => changeTo("demo", openDemo),
  camera: () => changeTo("camera", () => openCamera(say)),
  pick: () => element.file.click(),
  open: () => element["tracks-file"].click(),
  add: () => setRemoving(false),
  remove: () => setRemoving(true),
  play: () => setPlaying(!playing),
  grid: () => stage.addGrid(GRID),
  undo,
  clear,
  save,
  names() {
    stage.trails.named = !stage.trails.named;
    element.names.setAttribute("aria-pressed", stage.trails.named);
    stage.draw();
  },
};
for (const [id, act] of Object.entries(actions)) element[id].addEventListener("click", act);
element.file.addEventListener("change", () => openPicked(element.file, "pick", openFile));
element["tracks-file"].addEventListener("change", () => openPicked(element["tracks-file"], null, openTracks));
element.provider.addEventListener("change", changeModel);

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.repeat || (event.target.closest("button, input, select") && event.key === " ")) return;
  const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  const id = isUndo ? "undo" : !event.ctrlKey && !event.metaKey && KEYS[event.key.toLowerCase()];
  if (!id || element[id].disabled) return;
  event.preventDefault();
  actions[id]();
});

element.hint.textContent = stage.hint;
const asked = new URLSearchParams(location.search);
element.provider.value = asked.get("provider") ?? "auto";
keepOffline();
await changeModel();
if (asked.has("tracks")) changeTo(null, () => fetchTracks(asked.get("tracks")));
else changeTo("demo", openDemo);
