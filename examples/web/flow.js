/**
 * Points follow the picture from frame to frame, and the model pulls them to where it recognises them. The same numbers
 * as `tapsdk.runtime.flow`, by pyramidal Lucas-Kanade (Lucas and Kanade 1981; Bouguet 2001) as in
 * `tapkernels.reference`: the table `tests/golden/flow_cases.json` holds for both.
 */

const ITERATIONS = 8;
const LONGEST = 2; // pixels; no step is longer
const FLAT = 1e-3; // squared gradient of a window that is too flat to be followed
const SMALLEST = 16; // a level with a shorter side is the last one of its pyramid
const BINOMIAL = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16];

/**
 * Luminance of a frame, at full size and halved again and again: at most `levels` images {values, height, width}.
 *
 * pixels: [height, width, 3] from -1 to 1, as the model gets them.
 */
export function makePyramid(pixels, [height, width], levels) {
  const values = new Float32Array(height * width);
  for (let i = 0, from = 0; i < values.length; i++, from += 3) {
    values[i] = 0.299 * pixels[from] + 0.587 * pixels[from + 1] + 0.114 * pixels[from + 2];
  }
  const pyramid = [{ values, height, width }];
  while (pyramid.length < levels && Math.min(pyramid.at(-1).height, pyramid.at(-1).width) >= SMALLEST) {
    pyramid.push(halve(pyramid.at(-1)));
  }
  return pyramid;
}

/**
 * Where points go between two frames, as far as the picture tells: {xy: [N, 2], missed: [N]}.
 *
 * flow: the manifest's. before, after: pyramids; between two sizes nothing can be followed. xy: [N, 2] in a space of
 * [height, width] `space`, as is what comes back. `missed` is by how many pixels of the pyramids the way back leads
 * past the start.
 */
export function follow({ radius }, before, after, xy, space) {
  const [{ height, width }] = after;
  if (before[0].height !== height || before[0].width !== width) {
    return { xy, missed: new Float32Array(xy.length / 2).fill(Infinity) };
  }
  const scale = [width / space[1], height / space[0]];
  const found = lucasKanade(before, after, xy.map((value, i) => value * scale[i % 2]), radius);
  return {
    xy: xy.map((_, i) => found[3 * (i >> 1) + (i % 2)] / scale[i % 2]),
    missed: Float32Array.from({ length: xy.length / 2 }, (_, n) => found[3 * n + 2]),
  };
}

/**
 * How well the picture around points tells their places from those beside them, [N]; 0 on an even surface.
 *
 * The smaller eigenvalue of the structure tensor (Shi and Tomasi 1994), on the level of the pyramid that has most.
 * xy: [N, 2] in a space of [height, width] `space`.
 */
export function textureAround({ radius }, pyramid, xy, space) {
  const weights = gaussian(radius);
  const [{ height, width }] = pyramid;
  return Float32Array.from({ length: xy.length / 2 }, (_, n) => {
    const point = { x: (xy[2 * n] * width) / space[1], y: (xy[2 * n + 1] * height) / space[0] };
    return Math.max(...pyramid.map((image, level) => leastStructure(image, placeIn(point, level), radius, weights)));
  });
}

/**
 * Positions between those of the picture and those of the model, and how certain they are: {xy: [N, 2], certainty: [N]}.
 *
 * followed: {xy: [N, 2], missed, texture: [N]}; a point that has not moved yet has missed nothing. sighting: {xy:
 * [N, 2], seen, near: [N]}, where the model sees points, the probability that they are seen, and near there if so.
 */
export function fuse(flow, followed, sighting) {
  const count = followed.missed.length;
  const out = { xy: new Float32Array(2 * count), certainty: new Float32Array(count) };
  for (let n = 0; n < count; n++) {
    const [x, y] = followed.xy.subarray(2 * n, 2 * n + 2);
    const [awayX, awayY] = [sighting.xy[2 * n] - x, sighting.xy[2 * n + 1] - y];
    const [distance, seen, near] = [Math.hypot(awayX, awayY), sighting.seen[n], sighting.near[n]];
    const trust = (1 - ramp(followed.missed[n], flow.slip)) * ramp(seen, flow.shown);
    const leap = ramp(distance, flow.apart) * ramp(seen * near, flow.leap);
    const share = 1 - trust * (1 - Math.max(leap, flow.pull * ramp(seen * near, flow.sure)));
    out.xy.set([x + share * awayX, y + share * awayY], 2 * n);
    const [bare, usual] = flow.doubt;
    const doubt = bare + (usual - bare) * ramp(followed.texture[n], flow.texture);
    const agreement = 1 - ramp((1 - share) * distance, flow.apart);
    out.certainty[n] = seen * near ** doubt * agreement;
  }
  return out;
}

/** From 0 to 1 between two values. */
function ramp(value, [low, high]) {
  return clamp((value - low) / (high - low), 0, 1);
}

/**
 * [N, 3]: x and y in `after` of points [N, 2] of `before`, and by how much the way back leads past the start; infinite
 * where that says nothing, since a point begins or ends outside the frame. As `tapkernels.lucas_kanade`.
 */
function lucasKanade(before, after, xy, radius) {
  const [{ height, width }] = before;
  const isInside = ({ x, y }) => x >= 0 && y >= 0 && x <= width && y <= height; // false for NaN
  const weights = gaussian(radius);
  const found = new Float32Array((xy.length / 2) * 3);
  for (let n = 0; n < xy.length / 2; n++) {
    const start = { x: xy[2 * n], y: xy[2 * n + 1] };
    const end = isInside(start) ? descend(before, after, start, radius, weights) : start;
    let missed = Infinity;
    if (isInside(start) && isInside(end)) {
      const back = descend(after, before, end, radius, weights);
      missed = Math.hypot(back.x - start.x, back.y - start.y);
    }
    found.set([end.x, end.y, missed], 3 * n);
  }
  return found;
}

/** Every second pixel, the first of them included, of a binomial filter. */
function halve({ values, height, width }) {
  const half = { height: (height + 1) >> 1, width: (width + 1) >> 1 };
  half.values = new Float32Array(half.height * half.width);
  const row = new Float32Array(width);
  for (let y = 0, to = 0; y < half.height; y++) {
    row.fill(0);
    BINOMIAL.forEach((share, k) => {
      const start = clamp(2 * y + k - 2, 0, height - 1) * width;
      for (let x = 0; x < width; x++) row[x] += share * values[start + x];
    });
    for (let x = 0; x < half.width; x++, to++) {
      for (let k = 0; k < 5; k++) half.values[to] += BINOMIAL[k] * row[clamp(2 * x + k - 2, 0, width - 1)];
    }
  }
  return half;
}

/** Where a point {x, y} of one frame is in another: matched on the smallest images first, then on larger ones. */
function descend(before, after, point, radius, weights) {
  let moved = { x: 0, y: 0 }; // pixels of the level
  for (let level = before.length - 1; level >= 0; level--) {
    const { x, y } = placeIn(point, level);
    const guess = { x: x + 2 * moved.x, y: y + 2 * moved.y };
    const end = match(before[level], after[level], { x, y }, guess, radius, weights);
    moved = { x: end.x - x, y: end.y - y };
  }
  return { x: point.x + moved.x, y: point.y + moved.y };
}

/** Where a point of the frame is in a level of its pyramid. */
function placeIn({ x, y }, level) {
  // Halving keeps the first of every two pixels: the centre of the first one of all stays in place.
  return { x: (x - 0.5) / 2 ** level + 0.5, y: (y - 0.5) / 2 ** level + 0.5 };
}

/** Where the window of `before` around `start` is in `after`, near `guess`: Gauss-Newton on the window's slopes. */
function match(before, after, start, guess, radius, weights) {
  const { window, slopeX, slopeY } = describe(before, start, radius, weights);
  const structure = structureOf(slopeX, slopeY, weights);
  const [xx, xy, yy] = [structure.xx + FLAT, structure.xy, structure.yy + FLAT];
  const determinant = xx * yy - xy * xy;
  let { x, y } = guess;
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    const now = sample(after, x, y, radius);
    let [pullX, pullY] = [0, 0];
    for (let i = 0; i < window.length; i++) {
      const difference = weights[i] * (window[i] - now[i]);
      pullX += difference * slopeX[i];
      pullY += difference * slopeY[i];
    }
    const [stepX, stepY] = [(yy * pullX - xy * pullY) / determinant, (xx * pullY - xy * pullX) / determinant];
    const length = Math.hypot(stepX, stepY);
    const share = Math.min(1, LONGEST / length);
    [x, y] = [x + share * stepX, y + share * stepY];
  }
  return { x, y };
}

/**
 * The window around a point, and how it changes along x and along y: less the mean, so that a change of light that is
 * the same all over the window drops out.
 */
function describe(image, { x, y }, radius, weights) {
  const around = sample(image, x, y, radius + 1);
  const side = 2 * radius + 1;
  const [window, slopeX, slopeY] = [0, 0, 0].map(() => new Float32Array(side * side));
  for (let i = 0; i < window.length; i++) {
    const at = (Math.floor(i / side) + 1) * (side + 2) + (i % side) + 1;
    window[i] = around[at];
    slopeX[i] = (around[at + 1] - around[at - 1]) / 2;
    slopeY[i] = (around[at + side + 2] - around[at - side - 2]) / 2;
  }
  for (const slope of [slopeX, slopeY]) {
    const mean = slope.reduce((sum, value, i) => sum + weights[i] * value, 0);
    slope.forEach((value, i) => (slope[i] = value - mean));
  }
  return { window, slopeX, slopeY };
}

/** The structure tensor {xx, xy, yy} of a window: means of the products of its slopes. */
function structureOf(slopeX, slopeY, weights) {
  let [xx, xy, yy] = [0, 0, 0];
  for (let i = 0; i < weights.length; i++) {
    xx += weights[i] * slopeX[i] * slopeX[i];
    xy += weights[i] * slopeX[i] * slopeY[i];
    yy += weights[i] * slopeY[i] * slopeY[i];
  }
  return { xx, xy, yy };
}

/** The smaller eigenvalue of the structure tensor around a point. */
function leastStructure(image, { x, y }, radius, weights) {
  // Beyond an edge by more than a window, the picture is the same everywhere.
  const beyond = radius + 2;
  const place = { x: clamp(x || 0, -beyond, image.width + beyond), y: clamp(y || 0, -beyond, image.height + beyond) };
  const { slopeX, slopeY } = describe(image, place, radius, weights);
  const { xx, xy, yy } = structureOf(slopeX, slopeY, weights);
  return (xx + yy - Math.hypot(xx - yy, 2 * xy)) / 2;
}

/** [2 radius + 1, 2 radius + 1] linear samples around a point, of an image that goes on beyond its edges. */
function sample({ values, height, width }, x, y, radius) {
  const side = 2 * radius + 1;
  const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
  const [right, below] = [x - 0.5 - left, y - 0.5 - top];
  const columns = new Int32Array(side + 1);
  for (let i = 0; i <= side; i++) columns[i] = clamp(left - radius + i, 0, width - 1);
  const out = new Float32Array(side * side);
  for (let j = 0, to = 0; j < side; j++) {
    const upper = clamp(top - radius + j, 0, height - 1) * width;
    const lower = clamp(top - radius + j + 1, 0, height - 1) * width;
    for (let i = 0; i < side; i++, to++) {
      const [a, b] = [columns[i], columns[i + 1]];
      out[to] =
        (values[upper + a] * (1 - right) + values[upper + b] * right) * (1 - below) +
        (values[lower + a] * (1 - right) + values[lower + b] * right) * below;
    }
  }
  return out;
}

/** Weights [2 radius + 1, 2 radius + 1] of a window, with a sum of 1; sigma is half the radius. */
function gaussian(radius) {
  const side = 2 * radius + 1;
  const squared = (i) => (Math.floor(i / side) - radius) ** 2 + ((i % side) - radius) ** 2;
  const bell = Float64Array.from({ length: side * side }, (_, i) => Math.exp((-2 * squared(i)) / radius ** 2));
  const sum = bell.reduce((total, weight) => total + weight);
  return bell.map((weight) => weight / sum);
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
