/** Points with trails over a picture: a disc where a point can be seen, a small faint circle where it is hidden. */

const TRAIL = 24; // frames
const RADIUS = 5; // pixels of the screen
const LOST_SIZE = 0.8; // of the radius
const LOST_ALPHA = 0.4;
const OUTLINE = "rgb(18 18 18 / 80%)";

export class Trails {
  /** id -> positions [{x, y, visible}], the newest last, pixels of the picture. */
  #paths = new Map();

  /** Takes what `Tracker.step` gave: all points of a frame, and no others. */
  push(points) {
    const before = this.#paths;
    this.#paths = new Map(points.map((point) => [point.id, [...(before.get(point.id) ?? []), point].slice(-TRAIL)]));
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

  /** The id of the point nearest to (x, y), at most `reach` pixels of the picture away; else undefined. */
  nearest(x, y, reach) {
    const gap = ([, path]) => Math.hypot(path.at(-1).x - x, path.at(-1).y - y);
    const near = [...this.#paths].filter((entry) => gap(entry) <= reach).sort((a, b) => gap(a) - gap(b));
    return near[0]?.[0];
  }

  /** Draws all points. scale: pixels of the canvas per pixel of the picture; ratio: per pixel of the screen. */
  draw(context, scale, ratio) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.lineCap = "round";
    for (const [id, path] of this.#paths) drawTrail(context, path, colorOf(id), scale, ratio);
    const points = [...this.#paths].map(([id, path]) => ({ ...path.at(-1), color: colorOf(id) }));
    points.sort((a, b) => a.visible - b.visible); // what is seen lies over what is lost
    for (const point of points) drawPoint(context, point, scale, ratio);
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

function drawPoint(context, { x, y, visible, color }, scale, ratio) {
  context.globalAlpha = visible ? 1 : LOST_ALPHA;
  context.beginPath();
  context.arc(x * scale, y * scale, RADIUS * (visible ? 1 : LOST_SIZE) * ratio, 0, 2 * Math.PI);
  context.strokeStyle = OUTLINE;
  context.lineWidth = (visible ? 2.5 : 4.5) * ratio;
  context.stroke();
  if (visible) {
    context.fillStyle = color;
    context.fill();
  } else {
    context.strokeStyle = color;
    context.lineWidth = 2 * ratio;
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** Successive ids are far apart in hue. */
function colorOf(id) {
  return `oklch(0.78 0.16 ${(18 + 222.5 * id) % 360}deg)`;
}
