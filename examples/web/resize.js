/** How a frame becomes what the model sees. The same numbers as `tapsdk.geometry` and `tapkernels.resize_normalize`. */

const MIN_CELLS = 4;
const MAX_CELLS = 64;

/**
 * A size for frames of `size` that keeps their aspect ratio at about the area of `resolution`.
 *
 * Sides are multiples of `multiple`. Sizes are [height, width] in pixels.
 */
export function workingSize(size, resolution, multiple) {
  const scale = Math.sqrt((resolution[0] * resolution[1]) / (size[0] * size[1]));
  const cells = (side) => Math.min(Math.max(roundHalfToEven((side * scale) / multiple), MIN_CELLS), MAX_CELLS);
  return size.map((side) => cells(side) * multiple);
}

/**
 * A function that resizes frames of one size to another, each pixel an average weighted by a triangle, and maps
 * 0 and 255 to `range`.
 *
 * It takes RGBA bytes [height, width, 4], as ImageData has them, and gives Float32Array [outHeight, outWidth, 3].
 */
export function makeResizer([height, width], [outHeight, outWidth], range = [-1, 1]) {
  const down = triangleWeights(height, outHeight);
  const across = triangleWeights(width, outWidth);
  const scale = (range[1] - range[0]) / 255;
  const row = new Float32Array(width * 3);

  return (rgba) => {
    const out = new Float32Array(outHeight * outWidth * 3);
    for (let y = 0; y < outHeight; y++) {
      blendRows(rgba, width, down[y], row);
      for (let x = 0, to = y * outWidth * 3; x < outWidth; x++, to += 3) {
        const { first, weights } = across[x];
        let [red, green, blue] = [0, 0, 0];
        for (let i = 0, from = first * 3; i < weights.length; i++, from += 3) {
          red += weights[i] * row[from];
          green += weights[i] * row[from + 1];
          blue += weights[i] * row[from + 2];
        }
        out[to] = red * scale + range[0];
        out[to + 1] = green * scale + range[0];
        out[to + 2] = blue * scale + range[0];
      }
    }
    return out;
  };
}

/** One output row at the full width: row [width, 3] becomes a weighted sum of rows of rgba [height, width, 4]. */
function blendRows(rgba, width, { first, weights }, row) {
  row.fill(0);
  weights.forEach((weight, i) => {
    const start = (first + i) * width * 4;
    for (let x = 0, from = start, to = 0; x < width; x++, from += 4, to += 3) {
      row[to] += weight * rgba[from];
      row[to + 1] += weight * rgba[from + 1];
      row[to + 2] += weight * rgba[from + 2];
    }
  });
}

/**
 * For each of outSize output pixels, the run of input pixels that it averages: {first, weights}, with a sum of 1.
 *
 * The triangle reaches one output pixel to either side when shrinking, one input pixel when enlarging. Pixel centres
 * lie at +0.5.
 */
function triangleWeights(size, outSize) {
  const scale = size / outSize;
  const reach = Math.max(scale, 1);
  return Array.from({ length: outSize }, (_, out) => {
    const centre = (out + 0.5) * scale;
    const first = Math.max(0, Math.ceil(centre - reach - 0.5));
    const last = Math.min(size - 1, Math.floor(centre + reach - 0.5));
    const weights = Array.from({ length: last - first + 1 }, (_, i) =>
      Math.max(0, 1 - Math.abs(first + i + 0.5 - centre) / reach),
    );
    const total = weights.reduce((sum, weight) => sum + weight);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

/** As Python's `round`: working sizes must not differ where a side lies between two multiples. */
function roundHalfToEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
