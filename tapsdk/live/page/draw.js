/**
 * Points with trails over a picture: a disc where a point can be seen, with an arc as long as it is sure; where it is
 * lost, a small faint circle.
 */

const TRAIL = 24; // frames

const RADIUS = 5; // pixels of the screen, of a canvas as wide as `USUAL` or more
const USUAL = 900;
const SMALLEST = 0.65;
const OUTLINE = "rgb(18 18 18 / 80%)";
const LOST = { alpha: 0.4, size: 0.8 };
const ARC = RADIUS + 3.5;
const MOST_ARCS = 100;
const MOST_NAMES = 30;

export class Trails {
  /** id -> positions [{id, x, y, confidence, visible}], the newest last, pixels of the picture. */
  #paths = new Map();

  /** Whether names are shown beside points, as long as there are not too many; the nearest one's always is. */
  named = true;

  /** The id of a point whose name and confidence are shown, whatever else is. */
  pointed = undefined;

  /** Takes what a tracker gave: all points of a frame, [{id, x, y, confidence, visible}], and no others. */
  push(points) {
    this.#take(points, (path, point) => [...path, point].slice(-TRAIL));
  }

  /** The same for the frame that was pushed last, once more. */
  correct(points) {
    this.#take(points, (path, point) => [...path.slice(0, -1), point]);
  }

  #take(points, extended) {
    const before = this.#paths;
    this.#paths = new Map(points.map((point) => [point.id, extended(before.get(point.id) ?? [], point)]));
  }

  remove(id) {
    this.#paths.delete(id);
  }

  clear() {
    this.#paths.clear();
  }

  get count() {
    return this.#paths.size;
  }

  get hidden() {
    return [...this.#paths.values()].filter((path) => !path.at(-1).visible).length;
  }

  /** The points of the frame that was pushed last. */
  get last() {
    return [...this.#paths.values()].map((path) => path.at(-1));
  }

  /** The id of the point nearest to (x, y), at most `reach` pixels of the picture away; else undefined. */
  nearest(x, y, reach) {
    const gap = ([, path]) => Math.hypot(path.at(-1).x - x, path.at(-1).y - y);
    const near = [...this.#paths].filter((entry) => gap(entry) <= reach).sort((a, b) => gap(a) - gap(b));
    return near[0]?.[0];
  }

  /** Ids of the points in a box {left, top, right, bottom}, pixels of the picture. */
  within({ left, top, right, bottom }) {
    const isIn = ({ x, y }) => x >= left && x <= right && y >= top && y <= bottom;
    return [...this.#paths].filter(([, path]) => isIn(path.at(-1))).map(([id]) => id);
  }

  /** Draws all points. scale: pixels of the canvas per pixel of the picture; ratio: per pixel of the screen. */
  draw(context, scale, ratio) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.lineCap = "round";
    ratio *= Math.min(1, Math.max(SMALLEST, context.canvas.width / ratio / USUAL));
    const last = this.last;
    const seen = last.filter(({ visible }) => visible);
    for (const [id, path] of this.#paths) drawTrail(context, path, colorOf(id), scale, ratio);
    for (const point of last) if (!point.visible) drawLost(context, point, scale, ratio);
    for (const point of seen) drawSeen(context, point, scale, ratio, seen.length <= MOST_ARCS);
    const areFew = this.named && last.length <= MOST_NAMES;
    for (const point of last) {
      const { id, visible, confidence } = point;
      if (id === this.pointed) drawName(context, `${id}  ${percent(confidence)}`, point, scale, ratio);
      else if (areFew && visible) drawName(context, `${id}`, point, scale, ratio);
    }
  }
}

function drawTrail(context, path, color, scale, ratio) {
  context.strokeStyle = color;
  context.lineWidth = 2 * ratio;
  for (let i = 1; i < path.length; i++) {
    if (!path[i - 1].visible || !path[i].visible) continue;
    context.globalAlpha = 0.85 * (1 - (path.length - 1 - i) / TRAIL);
    context.beginPath();
    context.moveTo(path[i - 1].x * scale, path[i - 1].y * scale);
    context.lineTo(path[i].x * scale, path[i].y * scale);
    context.stroke();
  }
  context.globalAlpha = 1;
}

function drawSeen(context, { id, x, y, confidence }, scale, ratio, hasArc) {
  const color = colorOf(id);
  circle(context, x, y, RADIUS, scale, ratio);
  context.strokeStyle = OUTLINE;
  context.lineWidth = 2.5 * ratio;
  context.stroke();
  context.fillStyle = color;
  context.fill();
  if (!hasArc || confidence === undefined) return;
  context.beginPath();
  context.arc(x * scale, y * scale, ARC * ratio, -Math.PI / 2, (2 * confidence - 0.5) * Math.PI);
  context.strokeStyle = color;
  context.lineWidth = 1.5 * ratio;
  context.stroke();
}

function drawLost(context, { id, x, y }, scale, ratio) {
  context.globalAlpha = LOST.alpha;
  circle(context, x, y, LOST.size * RADIUS, scale, ratio);
  context.strokeStyle = OUTLINE;
  context.lineWidth = 3.5 * ratio;
  context.stroke();
  context.strokeStyle = colorOf(id);
  context.lineWidth = 1.5 * ratio;
  context.stroke();
  context.globalAlpha = 1;
}

function circle(context, x, y, radius, scale, ratio) {
  context.beginPath();
  context.arc(x * scale, y * scale, radius * ratio, 0, 2 * Math.PI);
}

/** Beside the point, on the side where there is room. */
function drawName(context, name, { x, y }, scale, ratio) {
  context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  const isNarrow = x * scale + context.measureText(name).width + 14 * ratio > context.canvas.width;
  context.textAlign = isNarrow ? "right" : "left";
  context.textBaseline = "middle";
  const at = [x * scale + (isNarrow ? -11 : 11) * ratio, y * scale - 8 * ratio];
  context.strokeStyle = OUTLINE;
  context.lineWidth = 3 * ratio;
  context.lineJoin = "round";
  context.strokeText(name, ...at);
  context.fillStyle = "#fff";
  context.fillText(name, ...at);
}

function percent(confidence) {
  return confidence === undefined ? "" : `${Math.round(100 * confidence)} %`;
}

/** Successive ids are far apart in hue. */
function colorOf(id) {
  return `oklch(0.78 0.16 ${(18 + 222.5 * id) % 360}deg)`;
}
