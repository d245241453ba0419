/** The page of `tapsdk live`: shows what the machine tracks, and asks for what a person wants. */

import { Stage } from "./stage.js";

const GRID = 8; // points along the longer side
const WAITS = [250, 500, 1000, 2000, 5000]; // milliseconds until another try
const KEYS = { u: "undo", c: "clear", g: "grid", n: "names", r: "record", s: "step", " ": "play" };

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((found) => [found.id, found]));
const stage = new Stage(element.picture, element.overlay, {
  add: (points) => order({ do: "add", points, frame }),
  remove: (ids) => order({ do: "remove", ids }),
});

let socket = null;
let frame = null; // number of the one on show
let status = null;
let attempts = 0;
let news = Promise.resolve(); // one after the other

function connect() {
  const address = new URL("socket", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    attempts = 0;
    element.controls.inert = false;
    say("");
  };
  socket.onmessage = ({ data }) => {
    const from = socket;
    news = news.then(() => take(data, from)).catch((error) => say(error.message, true));
  };
  socket.onclose = () => {
    element.controls.inert = true;
    showState("lost", "No connection");
    say("tapsdk live does not answer. It goes on as soon as it does; what was tracked is saved where it ran.", true);
    setTimeout(connect, WAITS[Math.min(attempts++, WAITS.length - 1)]);
  };
}

function order(what) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
  else say("There is no connection: nothing was done.", true);
}

/** A frame with its picture, or news of the frame on show. */
async function take(data, from) {
  if (typeof data === "string") {
    const told = JSON.parse(data);
    if (told.past) restart(told.past);
    else show(told, null);
    return;
  }
  const length = new DataView(data).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const image = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
  show(told, image);
  image.close();
  requestAnimationFrame(() => from.readyState === WebSocket.OPEN && from.send("shown"));
  // Nothing is painted while the page is hidden.
  if (document.hidden) from.send("shown");
}

/** What came before this page: its trails. */
function restart(past) {
  stage.trails.clear();
  frame = null;
  past.forEach((told) => stage.trails.push(pointsOf(told)));
}

function show(told, image) {
  const points = pointsOf(told);
  const isSame = told.frame === frame;
  if (isSame) stage.trails.correct(points);
  else stage.trails.push(points);
  frame = told.frame;
  showStatus(told.status);
  if (image) stage.show(image, ...told.status.size);
  else stage.draw();
}

function pointsOf({ ids, xy, visible, confidence }) {
  return ids.map((id, i) => ({ id, x: xy[i][0], y: xy[i][1], visible: visible[i], confidence: confidence[i] }));
}

function showStatus(now) {
  const before = status;
  status = now;
  const { trails } = stage;
  element.source.textContent = now.source;
  document.title = `${now.source} – tapsdk live`;
  write("fps", now.fps?.toFixed(1), now.source_fps && `of ${now.source_fps.toFixed(0)}`);
  const [middle, most] = now.latency.map((ms) => ms && `${ms.toFixed(0)} ms`);
  write("latency", middle, most && `95 % in ${most}`);
  write("dropped", `${now.dropped}`, now.dropped && percentDropped(now));
  write("points", `${trails.count}`, trails.hidden && `${trails.hidden} hidden`);
  element["runs-on"].textContent = now.runs_on;
  const recording = now.recording !== null;
  element.record.setAttribute("aria-pressed", recording);
  element.record.textContent = recording ? "Stop" : "Record";
  element.undo.disabled = !now.undo;
  element.clear.disabled = !trails.count;
  element.hint.hidden = trails.count > 0 || now.state === "lost";
  element.time.hidden = element["time-keys"].hidden = now.live;
  element.play.textContent = { playing: "Pause", paused: "Play", ended: "Again" }[now.state] ?? "Play";
  element.step.disabled = now.state === "ended";
  showStateOf(now);
  if (now.note !== before?.note || now.state !== before?.state || now.reason !== before?.reason) {
    if (now.state === "lost") say(`The picture is lost: ${now.reason}. Trying again; points wait.`, true);
    else say(now.note || now.reason, Boolean(now.reason));
  }
}

function showStateOf({ state, live, recording }) {
  const names = { playing: live ? "Live" : "Playing", paused: "Paused", ended: "At its end", lost: "Picture lost" };
  if (recording && state !== "lost") showState("recording", `Recording, ${recording.frames} frames`);
  else showState(state, names[state]);
}

function showState(state, text) {
  element.state.dataset.state = state;
  if (element.state.textContent !== text) element.state.textContent = text;
}

function percentDropped({ dropped, frames }) {
  return `${((100 * dropped) / (dropped + frames)).toFixed(0)} %`;
}

/** A value, and beside it a quiet one. */
function write(id, value, beside = "") {
  element[id].textContent = value || "–";
  if (beside) element[id].append(" ", Object.assign(document.createElement("small"), { textContent: beside }));
}

function say(text, isBad = false) {
  element.message.textContent = text;
  element.message.classList.toggle("bad", isBad);
}

function setRemoving(removing) {
  stage.removing = removing;
  element.add.setAttribute("aria-pressed", !removing);
  element.remove.setAttribute("aria-pressed", removing);
  element.overlay.classList.toggle("removing", removing);
}

const actions = {
  add: () => setRemoving(false),
  remove: () => setRemoving(true),
  grid: () => stage.addGrid(GRID),
  undo: () => order({ do: "undo" }),
  clear: () => order({ do: "clear" }),
  names() {
    stage.trails.named = !stage.trails.named;
    element.names.setAttribute("aria-pressed", stage.trails.named);
    stage.draw();
  },
  play: () => order({ do: status?.state === "playing" ? "pause" : "play" }),
  step: () => order({ do: "step" }),
  record: () => order({ do: status?.recording ? "stop" : "record" }),
};
for (const [id, act] of Object.entries(actions)) element[id].addEventListener("click", act);

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.repeat || event.target.closest("button, input, select") && event.key === " ") return;
  const modified = event.ctrlKey || event.metaKey;
  const id = modified ? event.key.toLowerCase() === "z" && "undo" : KEYS[event.key.toLowerCase()];
  if (!id || element[id].disabled || element[id].closest("[hidden]")) return;
  event.preventDefault();
  actions[id]();
});

element.hint.textContent = stage.hint;
connect();
