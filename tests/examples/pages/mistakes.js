import { loadTracker } from "/runtime.js";

const frame = (width, height) => new ImageData(width, height);

/** What is said of each mistake, and the ids that are left after all of them. */
export async function run() {
  const { tracker } = await loadTracker("/model/", "wasm");
  const said = {};
  const attempt = async (name, action) => {
    said[name] = await Promise.resolve().then(action).then(() => "nothing", (error) => error.message);
  };
  await attempt("no artifact", () => loadTracker("/nowhere/", "wasm"));
  await attempt("another schema", () => loadTracker("/future/", "wasm"));
  await attempt("a damaged file", () => loadTracker("/damaged/", "wasm"));
  await attempt("no WebGPU", () => loadTracker("/model/", "webgpu"));

  const [first, second] = tracker.add([[10, 10], [50, 20]]);
  await tracker.step(frame(64, 48));
  await attempt("not a number", () => tracker.add([[NaN, 3]]));
  await attempt("unknown id", () => tracker.remove([77]));
  await attempt("another size", () => tracker.step(frame(48, 64)));
  const [outside] = tracker.add([[65, 10]]);
  await attempt("outside", () => tracker.step(frame(64, 48)));
  tracker.remove([outside]);

  // While a frame is under way: points may come and go, and a second frame may not.
  const underWay = tracker.step(frame(64, 48));
  await attempt("too early", () => tracker.step(frame(64, 48)));
  const [third] = tracker.add([[20, 30]]);
  tracker.remove([first]);
  const ids = (points) => points.map(({ id }) => id);
  const steps = [ids(await underWay), ids(await tracker.step(frame(64, 48)))];
  tracker.remove([second, third]);
  steps.push(ids(await tracker.step(frame(64, 48))));
  tracker.reset();
  steps.push(ids(await tracker.step(frame(30, 90))));
  return { said, steps, expected: [[first, second], [second, third], [], []], left: tracker.ids };
}
