/** Tracks points frame by frame with an exported model. No DOM: it runs in a page and in a worker. */

import { openStage, readManifest, readWeights } from "./artifact.js";
import { follow, fuse, makePyramid, textureAround } from "./flow.js";
import { pickRows, zeros } from "./point_state.js";
import { makeResizer, workingSize } from "./resize.js";

/** Prefix of the output that takes the place of the state of the same name. */
const NEXT = "next_";

/**
 * Points may come and go between frames, as with `tapsdk.Tracker`:
 *
 *     const tracker = await Tracker.load("model/", { ort });
 *     const ids = tracker.add([[120, 80]]);       // [x, y], pixels of the frame that step() gets next
 *     const points = await tracker.step(frame);   // [{id, x, y, confidence, visible}]
 *
 * (0, 0) is the outer corner of the top-left pixel, its centre is (0.5, 0.5).
 */
export class Tracker {
  /**
   * url: an artifact directory. ort: the module onnxruntime-web. provider: "wasm" or "webgpu".
   * Throws an Error for what is no artifact, is damaged, or cannot run on this provider.
   */
  static async load(url, { ort, provider = "wasm" }) {
    const directory = new URL(url.endsWith("/") ? url : `${url}/`, globalThis.location?.href);
    const manifest = await readManifest(directory);
    const looksAtFrame = withRole(manifest.stages.query.inputs, "feature").length > 0;
    const weights = await readWeights(directory, manifest);
    const sessions = {};
    for (const name of looksAtFrame ? ["encode", "query", "step"] : ["query", "step"]) {
      sessions[name] = await openStage(ort, directory, manifest, name, weights, provider);
    }
    return new Tracker(ort, manifest, sessions);
  }

  #ort;
  #stages; // of the manifest: {inputs, outputs} of {name, shape, role, dtype}
  #sessions; // what runs them
  #specs; // tensors of which each point owns a row
  #ids = []; // of the rows, in order
  #tensors = {}; // the rows, by name
  #added = []; // [{id, x, y}] that join at the next frame
  #removed = new Set(); // ids that leave there
  #nextId = 0;
  #view = null; // how frames become what the model sees
  #before = null; // pyramid of the last frame, where positions follow the picture
  #textures = new Map(); // by id, of the picture around the point where it joined, there too
  #busy = false;

  /** Use `Tracker.load`. */
  constructor(ort, manifest, sessions) {
    this.#ort = ort;
    this.#sessions = sessions;
    this.#stages = manifest.stages;
    this.#specs = withRole(manifest.stages.step.inputs, "query", "previous", "active", "state");
    this.manifest = manifest;
  }

  /** Ids of the points, in the order in which they were added. */
  get ids() {
    return [...this.#ids, ...this.#added.map(({ id }) => id)].filter((id) => !this.#removed.has(id));
  }

  /**
   * Adds points [[x, y], ...], pixels of the frame that the next `step` gets. Returns their ids.
   *
   * ids: theirs, where they go on from another tracker; else new ones.
   */
  add(points, ids = points.map((_, row) => this.#nextId + row)) {
    if (!points.every(([x, y]) => Number.isFinite(x) && Number.isFinite(y))) {
      throw new Error(`points are [[x, y], ...] in pixels, got ${JSON.stringify(points)}`);
    }
    const known = new Set([...this.ids, ...ids]);
    if (ids.length !== points.length || known.size < this.ids.length + ids.length) {
      throw new Error(`ids are as many as points, and none is there already; got ${JSON.stringify(ids)}`);
    }
    this.#added.push(...points.map(([x, y], row) => ({ id: ids[row], x, y })));
    this.#nextId = Math.max(this.#nextId, ...ids.map((id) => id + 1));
    return ids;
  }

  /** Stops tracking the points of these ids; the others are not affected. */
  remove(ids) {
    const known = new Set(this.ids);
    const unknown = ids.find((id) => !known.has(id));
    if (unknown !== undefined) throw new Error(`no point has id ${unknown}; the ids are ${[...known].join(", ")}`);
    ids.forEach((id) => this.#removed.add(id));
  }

  /** Forgets all points, and the size of the frames. */
  reset() {
    this.#checkIdle("reset");
    [this.#ids, this.#added, this.#removed, this.#view, this.#before] = [[], [], new Set(), null, null];
    Object.values(this.#tensors).forEach((tensor) => tensor.dispose());
    this.#tensors = {};
    this.#textures = new Map();
  }

  /**
   * Where the points are in the next frame.
   *
   * frame: ImageData, or {width, height, data} with RGBA bytes [height, width, 4]; all of one size until `reset`.
   * Returns [{id, x, y, confidence, visible}], pixels of the frame. On an Error the points are as they were.
   */
  async step(frame) {
    this.#checkIdle("step");
    this.#busy = true;
    const made = []; // tensors that may lie on the GPU, where nothing frees them but us
    try {
      // Points that are added or removed while this frame is under way wait for the next one.
      const [waiting, leaving] = [this.#added.length, new Set(this.#removed)];
      const added = this.#added.filter(({ id }) => !leaving.has(id));
      const view = this.#viewOf(frame, added);
      const pixels = view.resize(frame.data);
      const input = { [this.#frameName]: this.#tensor(pixels, [1, ...view.working, 3]) };

      const begun = added.length ? await this.#begin(input, added, view, made) : null;
      const { ids, tensors } = await this.#join(begun, added, leaving);
      const out = ids.length ? await this.#run("step", { ...input, ...tensors }, made) : null;
      const { flow } = this.manifest;
      const now = out && flow ? makePyramid(pixels, view.working, flow.levels) : null;
      const seen = this.#read(out, ids.length);
      const textures = now ? this.#texturesOf(ids, added.length, tensors, now) : [];
      const found = now ? this.#fusedWithFlow(seen, tensors, ids.length - added.length, now, textures) : seen;

      made.push(...Object.values(this.#tensors), ...Object.values(tensors));
      this.#tensors = out ? this.#nextRows(tensors, out, found.xy) : {};
      this.#before = now;
      this.#textures = new Map(ids.map((id, row) => [id, textures[row]]));
      this.#ids = ids;
      this.#added.splice(0, waiting);
      leaving.forEach((id) => this.#removed.delete(id));
      this.#view = view;
      return this.#points(ids, added, found, view);
    } finally {
      const kept = new Set(Object.values(this.#tensors));
      new Set(made).forEach((tensor) => kept.has(tensor) || tensor.dispose());
      this.#busy = false;
    }
  }

  #checkIdle(name) {
    if (this.#busy) throw new Error(`${name}() was called before the last step() had ended; await that first`);
  }

  get #frameName() {
    return withRole(this.#stages.step.inputs, "frame")[0].name;
  }

  /** Of this frame's size: {size, working, resize}, sizes [height, width]. Checks the frame, and the points on it. */
  #viewOf({ width, height }, added) {
    const size = [height, width];
    if (this.#view && String(this.#view.size) !== String(size)) {
      throw new Error(`the frame is ${width} x ${height} pixels, those before it were not; call reset() first`);
    }
    const outside = added.find(({ x, y }) => x < 0 || y < 0 || x > width || y > height);
    if (outside) {
      throw new Error(`point (${outside.x}, ${outside.y}) is outside the frame of ${width} x ${height} pixels`);
    }
    if (this.#view) return this.#view;
    const { frames } = this.manifest;
    const working = frames.multiple ? workingSize(size, frames.size, frames.multiple) : frames.size;
    return { size, working, resize: makeResizer(size, working, frames.range) };
  }

  /** The tensors of the points that join at this frame: their query features, and zeros for a state. */
  async #begin(input, added, { size }, made) {
    const { query, step } = this.#stages;
    const xy = Float32Array.from(added.flatMap(({ x, y }) => scale([x, y], size, this.manifest.points.space)));
    const grids = this.#sessions.encode ? await this.#run("encode", input, made) : {};
    const given = {
      feature: ({ name }) => grids[name],
      points: () => this.#tensor(xy, [added.length, 2]),
      delay: () => this.#tensor(new Float32Array(added.length), [added.length]), // they are queried in this very frame
    };
    const told = await this.#run("query", fromSpecs(query.inputs, (spec) => given[spec.role](spec)), made);
    const state = fromSpecs(withRole(step.inputs, "state"), (spec) => zeros(this.#ort, spec, added.length));
    const previous = fromSpecs(withRole(step.inputs, "previous"), () => this.#tensor(xy, [added.length, 2]));
    const ones = new Float32Array(added.length).fill(1);
    const active = fromSpecs(withRole(step.inputs, "active"), () => this.#tensor(ones, [added.length]));
    return { ...state, ...previous, ...active, ...told };
  }

  /** The rows that stay, and those that join: {ids, tensors}. */
  async #join(begun, added, leaving) {
    const kept = [...this.#ids.keys()].filter((row) => !leaving.has(this.#ids[row]));
    const ids = [...kept.map((row) => this.#ids[row]), ...added.map(({ id }) => id)];
    if (!begun && kept.length === this.#ids.length) return { ids, tensors: this.#tensors };
    const tensors = {};
    for (const spec of ids.length ? this.#specs : []) {
      const sources = [
        { tensor: this.#tensors[spec.name], rows: kept },
        { tensor: begun?.[spec.name], rows: [...added.keys()] },
      ];
      tensors[spec.name] = await pickRows(this.#ort, spec, sources.filter(({ rows }) => rows.length));
    }
    return { ids, tensors };
  }

  /**
   * What `step` says of its points: {xy: [N, 2] in the space of the manifest's points, certainty: [N], shares: [N] of
   * every logit, of which certainty is the product}.
   */
  #read(out, count) {
    if (!out) return { xy: new Float32Array(0), certainty: [], shares: {} };
    const [xy] = withRole(this.#stages.step.outputs, "xy");
    const shares = mapValues(this.manifest.visibility.logits, (sign, logit) =>
      Array.from({ length: count }, (_, row) => sigmoid(sign * out[logit].data[row])),
    );
    return { xy: out[xy.name].data, certainty: product(Object.values(shares), count), shares };
  }

  /** [N] of the picture around each point where it joined, which the last `joined` ones do in this frame. */
  #texturesOf(ids, joined, tensors, now) {
    const { flow, points } = this.manifest;
    const followed = ids.length - joined;
    const known = ids.slice(0, followed).map((id) => this.#textures.get(id));
    return [...known, ...textureAround(flow, now, this.#previous(tensors).subarray(2 * followed), points.space)];
  }

  /**
   * Positions that follow the picture since the frame before, which the first `followed` points were in, and how
   * certain they are: {xy: [N, 2], certainty: [N]}.
   */
  #fusedWithFlow({ xy, shares }, tensors, followed, now, texture) {
    const { flow, points } = this.manifest;
    const moved = Float32Array.from(this.#previous(tensors));
    const missed = new Float32Array(moved.length / 2);
    if (followed) {
      const found = follow(flow, this.#before, now, moved.subarray(0, 2 * followed), points.space);
      moved.set(found.xy);
      missed.set(found.missed);
    }
    const { [flow.hidden]: seen, ...others } = shares;
    const near = product(Object.values(others), missed.length);
    return fuse(flow, { xy: moved, missed, texture }, { xy, seen, near });
  }

  /** Where points were in the frame before, [N, 2]; those that join are at their query points. */
  #previous(tensors) {
    const [{ name }] = withRole(this.#stages.step.inputs, "previous");
    return tensors[name].data;
  }

  /** The rows for the frame after this one. */
  #nextRows(tensors, out, xy) {
    const next = {
      query: ({ name }) => tensors[name],
      active: ({ name }) => tensors[name],
      previous: () => this.#tensor(xy, [xy.length / 2, 2]),
      state: ({ name }) => out[NEXT + name],
    };
    return fromSpecs(this.#specs, (spec) => next[spec.role](spec));
  }

  #points(ids, added, { xy, certainty }, { size }) {
    const { points, visibility } = this.manifest;
    const exact = new Map(points.query_frame === "exact" ? added.map((point) => [point.id, point]) : []);
    return ids.map((id, row) => {
      if (exact.has(id)) return { ...exact.get(id), confidence: 1, visible: true };
      const [x, y] = scale(xy.subarray(2 * row, 2 * row + 2), points.space, size);
      const confidence = confidenceOf(certainty[row], visibility);
      return { id, x, y, confidence, visible: certainty[row] > visibility.threshold };
    });
  }

  async #run(stage, feeds, made) {
    const out = await this.#sessions[stage].run(feeds);
    made.push(...Object.values(out));
    return out;
  }

  #tensor(data, shape) {
    return new this.#ort.Tensor("float32", data, shape);
  }
}

/** [x, y] in a frame of one [height, width] as [x, y] in the same frame at another. */
function scale([x, y], from, to) {
  return [(x * to[1]) / from[1], (y * to[0]) / from[0]];
}

function withRole(specs, ...roles) {
  return specs.filter((spec) => roles.includes(spec.role));
}

/** An object with `make(spec)` under every tensor's name. */
function fromSpecs(specs, make) {
  return Object.fromEntries(specs.map((spec) => [spec.name, make(spec)]));
}

function mapValues(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value, name)]));
}

/** [count] of several such columns; of none it is 1. */
function product(columns, count) {
  return Array.from({ length: count }, (_, row) => columns.reduce((total, column) => total * column[row], 1));
}

/** What is reported for a certainty: on straight lines between the manifest's pairs [certainty, confidence], if any. */
function confidenceOf(certainty, { calibration }) {
  const next = calibration.findIndex(([end]) => certainty <= end);
  if (next < 1) return certainty;
  const [[x0, y0], [x1, y1]] = calibration.slice(next - 1, next + 1);
  return y0 + ((certainty - x0) / (x1 - x0)) * (y1 - y0);
}

function sigmoid(logit) {
  return 1 / (1 + Math.exp(-logit));
}
