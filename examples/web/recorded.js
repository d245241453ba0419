/**
 * Tracks as a file: the JSON of `tapsdk.Tracks.save("tracks.json")`, which Python loads, with two entries more that it
 * passes over: `size`, [width, height] of the frames, and `picture`, the first of them.
 */

const FORMAT = "tapsdk.tracks";
const VERSION = 1;
const PICTURE = { side: 960, quality: 0.8 };
const MOST_CELLS = 5e6; // points times frames that are kept

/** What was tracked since a source began. */
export class Recorded {
  #times = [];
  #points = new Map(); // id -> [{frame, x, y, visible, confidence}]
  #picture = null;
  #size = null;
  #cells = 0;

  get isEmpty() {
    return !this.#points.size;
  }

  /** points: of a frame (ImageData) at a time in seconds. isNew: whether it is another frame than the last one. */
  push(frame, time, points, isNew) {
    if (this.#cells > MOST_CELLS) return;
    this.#picture ??= toPicture(frame);
    this.#size ??= [frame.width, frame.height];
    if (isNew || !this.#times.length) this.#times.push(Math.max(time, (this.#times.at(-1) ?? -1) + 1e-4));
    const at = this.#times.length - 1;
    this.#cells += points.length;
    for (const { id, x, y, visible, confidence } of points) {
      if (!this.#points.has(id)) this.#points.set(id, []);
      const path = this.#points.get(id);
      if (path.at(-1)?.frame === at) path.pop();
      path.push({ frame: at, x, y, visible, confidence });
    }
  }

  /** A Blob. */
  toFile() {
    const count = this.#times.length;
    const tracks = [...this.#points].map(([id, path]) => {
      const track = {
        id,
        xy: Array.from({ length: count }, () => [null, null]),
        visible: Array(count).fill(false),
        confidence: Array(count).fill(0),
      };
      for (const { frame, x, y, visible, confidence } of path) {
        track.xy[frame] = [round(x, 100), round(y, 100)];
        track.visible[frame] = visible;
        track.confidence[frame] = round(confidence, 1000);
      }
      return track;
    });
    const queries = [...this.#points.values()].map(([{ frame, x, y }]) => [frame, round(x, 100), round(y, 100)]);
    const [first, last] = [this.#times[0], this.#times[count - 1]];
    const about = { format: FORMAT, version: VERSION, num_frames: count, report: null, queries };
    const clock = { fps: count > 1 ? (count - 1) / (last - first) : null, times: this.#times.map((t) => t - first) };
    const shown = { size: this.#size, picture: this.#picture };
    return new Blob([JSON.stringify({ ...about, ...clock, ...shown, tracks })], { type: "application/json" });
  }
}

/**
 * What such a file holds: {size, picture, times, frames: [[{id, x, y, visible, confidence}, ...], ...]}. Throws an Error
 * that says what is wrong with it. Files of Python have no size: it is that of what the points need.
 */
export function readRecorded(text) {
  let table;
  try {
    table = JSON.parse(text);
  } catch {
    throw new Error("That is no file of tracks: it is not JSON. Save one here, or with Tracks.save in Python");
  }
  if (table?.format !== FORMAT || table.version !== VERSION || !Array.isArray(table.tracks)) {
    throw new Error("That is no file of tracks: save one here, or with Tracks.save in Python as .json");
  }
  const count = table.num_frames;
  const fits = ({ xy, visible, confidence }) => [xy, visible, confidence].every((list) => list?.length === count);
  if (!Number.isInteger(count) || count < 1 || !table.tracks.every(fits)) throw new Error("That file of tracks is damaged");
  const isThere = ([x, y]) => Number.isFinite(x) && Number.isFinite(y);
  const frames = Array.from({ length: count }, (_, t) =>
    table.tracks.flatMap(({ id, xy, visible, confidence }, row) =>
      isThere(xy[t])
        ? [{ id: id ?? row, x: xy[t][0], y: xy[t][1], visible: Boolean(visible[t]), confidence: confidence[t] ?? 0 }]
        : [],
    ),
  );
  const times = table.times ?? frames.map((_, t) => t / (table.fps ?? 30));
  const picture = /^data:image\/jpeg;base64,[A-Za-z0-9+/=]*$/.test(table.picture) ? table.picture : null;
  return { size: sizeOf(table.size, frames.flat()), picture, times, frames };
}

function sizeOf(size, points) {
  if (Array.isArray(size) && size.length === 2 && size.every((side) => side > 0 && side <= 8192)) return size;
  const most = (axis) => points.reduce((far, point) => Math.max(far, point[axis]), 64);
  return [Math.min(Math.ceil(most("x")), 8192), Math.min(Math.ceil(most("y")), 8192)];
}

function toPicture(frame) {
  const whole = Object.assign(document.createElement("canvas"), { width: frame.width, height: frame.height });
  whole.getContext("2d").putImageData(frame, 0, 0);
  const scale = Math.min(1, PICTURE.side / Math.max(frame.width, frame.height));
  const [width, height] = [Math.round(frame.width * scale), Math.round(frame.height * scale)];
  const small = Object.assign(document.createElement("canvas"), { width, height });
  small.getContext("2d").drawImage(whole, 0, 0, width, height);
  return small.toDataURL("image/jpeg", PICTURE.quality);
}

function round(value, steps) {
  return Math.round(value * steps) / steps;
}
