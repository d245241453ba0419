/** Opens ONNX Runtime Web with what the browser has, and finds out by measuring which of it is the fastest. */

import { openDemo } from "./sources.js";
import { Tracker } from "./tracker.js";

const BUNDLES = { webgpu: "./ort/ort.webgpu.bundle.min.mjs", wasm: "./ort/ort.wasm.bundle.min.mjs" };

/** More threads than this gain nothing on models of this size. */
const MAX_THREADS = 4;

/** Pixels that tracks of two providers may differ by. */
const TOLERANCE = 0.1;

/**
 * A tracker for the artifact at `url`, and where it runs: {tracker, description, note}.
 *
 * wanted: "wasm", "webgpu", or "auto" for the faster one of those that give the same tracks; `note` says why the other
 * was not taken. Throws an Error if what was named cannot run; it is never replaced by the other.
 */
export async function loadTracker(url, wanted = "auto") {
  if (wanted !== "auto") return loadOn(url, wanted);
  const wasm = await loadOn(url, "wasm");
  try {
    const webgpu = await loadOn(url, "webgpu");
    if (webgpu.inSoftware) throw new Error("WebGPU would run in software");
    const [one, other] = [await probe(wasm.tracker), await probe(webgpu.tracker)];
    const times = `${other.ms.toFixed(0)} ms per frame against ${one.ms.toFixed(0)} ms`;
    const apart = Math.max(...one.xy.map((value, i) => Math.abs(value - other.xy[i])));
    if (!(apart <= TOLERANCE)) throw new Error(`WebGPU is ${apart.toFixed(2)} px off`);
    if (other.ms >= one.ms) throw new Error(`WebGPU is slower: ${times}`);
    return { ...webgpu, note: `faster than WebAssembly: ${times}` };
  } catch (error) {
    return { ...wasm, note: error.message };
  }
}

async function loadOn(url, provider) {
  const adapter = provider === "webgpu" ? await findAdapter() : null;
  const ort = await import(BUNDLES[provider]);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threadCount();
  const tracker = await Tracker.load(url, { ort, provider });
  const description = adapter ? describeAdapter(adapter) : describeThreads();
  return { tracker, description, inSoftware: adapter?.info.isFallbackAdapter ?? false, note: "" };
}

/** Threads share memory, which browsers allow only to pages that two headers isolate from other pages. */
function threadCount() {
  const cores = Math.floor(navigator.hardwareConcurrency / 2); // most processors show each core as two
  return crossOriginIsolated ? Math.min(Math.max(cores, 1), MAX_THREADS) : 1;
}

function describeThreads() {
  const count = threadCount();
  return `WebAssembly, ${count} ${count === 1 ? "thread" : "threads"}`;
}

async function findAdapter() {
  if (!navigator.gpu) throw new Error("this browser has no WebGPU, or shows it to https pages only");
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("WebGPU finds no graphics processor");
  return adapter;
}

function describeAdapter({ info }) {
  const software = info.isFallbackAdapter ? ", in software" : "";
  return `WebGPU, ${info.description || info.vendor || "unnamed processor"}${software}`;
}

/** Tracks the points of the demo through its first frames: {xy: where they end, ms: per frame}. */
async function probe(tracker) {
  const [source, times] = [openDemo(), []];
  tracker.add(source.points);
  let points;
  for (let t = 0; t < 6; t++) {
    const frame = await source.next();
    const started = performance.now();
    points = await tracker.step(frame);
    times.push(performance.now() - started);
  }
  tracker.reset();
  return { xy: points.flatMap(({ x, y }) => [x, y]), ms: Math.min(...times) }; // the first ones compile and allocate
}
