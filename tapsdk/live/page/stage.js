/**
 * The picture with its points, and what a hand does there, be it with a mouse, a finger, a pen or the keyboard:
 *
 *     click, tap          add a point
 *     drag                lay a grid of points in a box
 *     with Shift, after a long press, or while `removing`: the same takes points away
 *     arrow keys          move a cross; Enter adds a point there, Delete takes one away
 */

import { Trails } from "./draw.js";

const REACH = 14; // pixels of the screen within which a point is meant; of a finger more
const FINGER = 24;
const DRAG = 6; // that a pointer moves before it drags
const LONG_PRESS = 500; // milliseconds
const SPACING = 32; // of a grid in a box, at the least
const MOST_A_SIDE = 12;
const STEP = 8; // of the cross for each key

export class Stage {
  /** Points over the picture. */
  trails = new Trails();

  /** Whether clicks take points away. */
  removing = false;

  #picture;
  #overlay;
  #do;
  #size = null; // {width, height} of the frames, in whose pixels points are
  #box = null; // that is being drawn, {from, to}
  #cross = null; // {x, y}

  /**
   * picture, overlay: canvases, the second over the first. actions: {add([[x, y], ...]), remove([id, ...])}, called
   * with pixels of the frame; what is added lies in it.
   */
  constructor(picture, overlay, actions) {
    [this.#picture, this.#overlay, this.#do] = [picture, overlay, actions];
    new Gestures(overlay, this);
    overlay.addEventListener("mousedown", (event) => event.preventDefault()); // which would show it as in focus
    overlay.addEventListener("keydown", (event) => this.#onKey(event));
    overlay.addEventListener("blur", () => this.#moveCross(null));
    new ResizeObserver(() => this.layOut()).observe(picture);
  }

  /** What a hand can do, in a line. */
  get hint() {
    return matchMedia("(pointer: coarse)").matches
      ? "Tap to follow a point, hold to let it go, drag for a grid"
      : "Click to follow a point, drag to lay a grid";
  }

  /** Shows a frame: ImageData, or what a canvas draws. width, height: of the frame, where the image is a smaller one. */
  show(image, width = image.width, height = image.height) {
    const changed = this.#picture.width !== image.width || this.#picture.height !== image.height;
    if (changed) {
      Object.assign(this.#picture, { width: image.width, height: image.height });
      this.#picture.parentElement.style.setProperty("--aspect", `${width} / ${height}`);
    }
    const context = this.#picture.getContext("2d");
    if (image instanceof ImageData) context.putImageData(image, 0, 0);
    else context.drawImage(image, 0, 0);
    this.#size = { width, height };
    if (changed) this.layOut();
    else this.draw();
  }

  /** Forgets the frame and its points; the picture stays as it is until the next one. */
  clear() {
    this.trails.clear();
    this.#size = null;
    this.draw();
  }

  /** Lays the overlay exactly over the picture, with a pixel for each of the screen's. */
  layOut() {
    const { offsetLeft, offsetTop, clientWidth, clientHeight } = this.#picture;
    const scale = Math.min(clientWidth / this.#picture.width, clientHeight / this.#picture.height);
    const [width, height] = [this.#picture.width * scale, this.#picture.height * scale];
    Object.assign(this.#overlay.style, {
      left: `${offsetLeft + (clientWidth - width) / 2}px`,
      top: `${offsetTop + (clientHeight - height) / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    this.#overlay.width = Math.round(width * devicePixelRatio);
    this.#overlay.height = Math.round(height * devicePixelRatio);
    this.draw();
  }

  draw() {
    const context = this.#overlay.getContext("2d");
    const ratio = devicePixelRatio;
    if (!this.#size) {
      context.clearRect(0, 0, this.#overlay.width, this.#overlay.height);
      return;
    }
    const scale = this.#overlay.width / this.#size.width;
    this.trails.draw(context, scale, ratio);
    if (this.#box) drawBox(context, this.#box, ratio, this.removing || this.#box.removes);
    if (this.#cross) drawCross(context, this.#cross, ratio);
  }

  /** Adds a grid of points all over the picture, so many along its longer side. */
  addGrid(count) {
    if (!this.#size) return;
    const { width, height } = this.#size;
    const cell = Math.max(width, height) / count;
    this.#do.add(gridIn({ left: 0, top: 0, right: width, bottom: height }, cell));
  }

  /** A pointer moves over (x, y), pixels of the screen from the overlay's corner, or is gone. */
  pointAt(place) {
    const near = place && this.#near(place, REACH);
    if (near === this.trails.pointed) return;
    this.trails.pointed = near;
    this.draw();
  }

  /** A click, or a tap of a finger. */
  click(place, { removes, isFinger }) {
    if (!this.#size) return;
    if (removes || this.removing) {
      const id = this.#near(place, isFinger ? FINGER : REACH);
      if (id !== undefined) this.#do.remove([id]);
    } else {
      this.#do.add([this.#inFrame(place)]);
    }
  }

  /** A box is being drawn between two places; null: it was given up. */
  stretch(box) {
    this.#box = this.#size ? box : null;
    this.draw();
  }

  /** The box is drawn. */
  finish({ from, to, removes }) {
    this.stretch(null);
    if (!this.#size) return;
    const [[x0, y0], [x1, y1]] = [this.#inFrame(from), this.#inFrame(to)];
    const box = { left: Math.min(x0, x1), top: Math.min(y0, y1), right: Math.max(x0, x1), bottom: Math.max(y0, y1) };
    if (removes || this.removing) {
      const ids = this.trails.within(box);
      if (ids.length) this.#do.remove(ids);
      return;
    }
    const longer = Math.max(box.right - box.left, box.bottom - box.top);
    this.#do.add(gridIn(box, Math.max(SPACING * this.#pixels, longer / MOST_A_SIDE)));
  }

  /** Pixels of the frame per pixel of the screen. */
  get #pixels() {
    return this.#size.width / this.#overlay.clientWidth;
  }

  #inFrame({ x, y }) {
    const { width, height } = this.#size;
    return [Math.min(Math.max(x * this.#pixels, 0), width), Math.min(Math.max(y * this.#pixels, 0), height)];
  }

  #near(place, reach) {
    return this.#size ? this.trails.nearest(...this.#inFrame(place), reach * this.#pixels) : undefined;
  }

  #onKey(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { clientWidth, clientHeight } = this.#overlay;
    if (!this.#size || event.ctrlKey || event.metaKey || event.altKey) return;
    const cross = this.#cross ?? { x: clientWidth / 2, y: clientHeight / 2 };
    if (event.key in steps) {
      const [x, y] = steps[event.key].map((step) => step * (event.shiftKey ? 1 : STEP));
      this.#moveCross({
        x: Math.min(Math.max(cross.x + x, 0), clientWidth),
        y: Math.min(Math.max(cross.y + y, 0), clientHeight),
      });
    } else if (event.key === "Enter") {
      this.click(cross, { removes: event.shiftKey });
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.click(cross, { removes: true, isFinger: true });
    } else if (event.key === "Escape") {
      this.#moveCross(null);
    } else {
      return;
    }
    event.preventDefault();
  }

  #moveCross(cross) {
    if (cross === this.#cross) return;
    this.#cross = cross;
    this.pointAt(cross);
    this.draw();
  }
}

/** From the events of one pointer to clicks and boxes of a stage. */
class Gestures {
  #stage;
  #down = null; // {from, id, removes, isFinger, dragging}
  #timer = 0;

  constructor(overlay, stage) {
    this.#stage = stage;
    const on = (name, handle) => overlay.addEventListener(name, (event) => handle(event, placeOf(event, overlay)));
    on("pointerdown", (event, place) => this.#begin(event, place, overlay));
    on("pointermove", (event, place) => this.#move(event, place));
    on("pointerup", (event, place) => this.#end(event, place));
    on("pointercancel", () => this.#giveUp());
    on("pointerleave", () => stage.pointAt(null));
    on("contextmenu", (event) => event.preventDefault()); // of a long press
  }

  #begin(event, place, overlay) {
    if (event.button !== 0 || this.#down) return this.#giveUp();
    this.#down = {
      from: place,
      id: event.pointerId,
      removes: event.shiftKey,
      isFinger: event.pointerType === "touch",
      dragging: false,
    };
    try {
      overlay.setPointerCapture(event.pointerId);
    } catch {
      // A pointer that a program made.
    }
    if (this.#down.isFinger) this.#timer = setTimeout(() => this.#press(), LONG_PRESS);
    return undefined;
  }

  #press() {
    this.#stage.click(this.#down.from, { removes: true, isFinger: true });
    this.#giveUp();
  }

  #move(event, place) {
    const down = this.#down;
    if (!down) {
      if (event.pointerType !== "touch") this.#stage.pointAt(place);
      return;
    }
    if (event.pointerId !== down.id) return;
    down.dragging ||= Math.hypot(place.x - down.from.x, place.y - down.from.y) > DRAG;
    if (!down.dragging) return;
    clearTimeout(this.#timer);
    this.#stage.stretch({ from: down.from, to: place, removes: down.removes });
  }

  #end(event, place) {
    const down = this.#down;
    if (!down || event.pointerId !== down.id) return;
    this.#giveUp();
    if (down.dragging) this.#stage.finish({ from: down.from, to: place, removes: down.removes });
    else this.#stage.click(down.from, down);
  }

  #giveUp() {
    clearTimeout(this.#timer);
    this.#down = null;
    this.#stage.stretch(null);
  }
}

/** Where an event is, {x, y} in pixels of the screen from the corner of an element without a border. */
function placeOf({ clientX, clientY }, element) {
  const { left, top } = element.getBoundingClientRect();
  return { x: clientX - left, y: clientY - top };
}

/** [[x, y], ...], centres of cells of about that size in a box. */
function gridIn({ left, top, right, bottom }, cell) {
  const counts = [right - left, bottom - top].map((side) => Math.max(1, Math.round(side / cell)));
  const [columns, rows] = counts.map((count) => [...Array(count).keys()].map((i) => (i + 0.5) / count));
  return rows.flatMap((y) => columns.map((x) => [left + x * (right - left), top + y * (bottom - top)]));
}

function drawBox(context, { from, to }, ratio, removes) {
  const box = [from.x, from.y, to.x - from.x, to.y - from.y].map((value) => value * ratio);
  context.fillStyle = removes ? "rgb(255 120 100 / 15%)" : "rgb(255 255 255 / 15%)";
  context.fillRect(...box);
  context.lineWidth = 1.5 * ratio;
  context.strokeStyle = removes ? "rgb(255 140 120)" : "#fff";
  context.setLineDash([5 * ratio, 4 * ratio]);
  context.strokeRect(...box);
  context.setLineDash([]);
}

function drawCross(context, { x, y }, ratio) {
  for (const [color, width] of [["rgb(18 18 18 / 80%)", 4], ["#fff", 1.5]]) {
    context.strokeStyle = color;
    context.lineWidth = width * ratio;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo((x + 4 * dx) * ratio, (y + 4 * dy) * ratio);
      context.lineTo((x + 13 * dx) * ratio, (y + 13 * dy) * ratio);
    }
    context.stroke();
  }
}
