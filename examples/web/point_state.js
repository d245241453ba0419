/** What a model remembers of each point: named tensors with one row per point along the axis "N" of their shape. */

/** Sizes of a manifest's shape for a number of points: [5, "N", 2, 128] -> [5, 16, 2, 128]. */
export function shapeFor(shape, points) {
  return shape.map((entry) => (entry === "N" ? points : entry));
}

/** State before the first frame: zeros for `points` points. spec: a tensor of the manifest. */
export function zeros(ort, spec, points) {
  const shape = shapeFor(spec.shape, points);
  return new ort.Tensor(spec.dtype, new Float32Array(product(shape)), shape);
}

/**
 * One tensor of the picked rows of several, in order: it removes points, and it adds some to others.
 *
 * spec: the tensor in the manifest; one without an axis "N" belongs to the video and is taken as it is.
 * sources: [{tensor, rows}], rows the indices along that axis. Tensors may lie on a GPU.
 */
export async function pickRows(ort, spec, sources) {
  const axis = spec.shape.indexOf("N");
  if (axis < 0) return sources[0].tensor;
  const count = sources.reduce((sum, { rows }) => sum + rows.length, 0);
  const shape = shapeFor(spec.shape, count);
  const outer = product(shape.slice(0, axis));
  const inner = product(shape.slice(axis + 1));
  const picked = new Float32Array(outer * count * inner);
  let to = 0;
  for (const { tensor, rows } of sources) {
    const data = await tensor.getData();
    for (const from of rows) {
      for (let i = 0; i < outer; i++) {
        const start = (i * tensor.dims[axis] + from) * inner;
        picked.set(data.subarray(start, start + inner), (i * count + to) * inner);
      }
      to++;
    }
  }
  return new ort.Tensor(spec.dtype, picked, shape);
}

function product(sizes) {
  return sizes.reduce((total, size) => total * size, 1);
}
