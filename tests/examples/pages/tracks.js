import { loadTracker } from "/runtime.js";

/** Tracks through raw frames: {description, frames: what each step gave, ms: how long each took}. */
export async function run({ provider, size: [height, width], frames, add, remove }) {
  const { tracker, description } = await loadTracker("/model/", provider);
  const result = { description, frames: [], ms: [] };
  for (let t = 0; t < frames; t++) {
    const pixels = new Uint8ClampedArray(await (await fetch(`/frames/${t}`)).arrayBuffer());
    tracker.add(add[t] ?? []);
    tracker.remove(remove[t] ?? []);
    const started = performance.now();
    result.frames.push(await tracker.step(new ImageData(pixels, width, height)));
    result.ms.push(performance.now() - started);
  }
  return result;
}
