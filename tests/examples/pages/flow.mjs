// node flow.mjs FLOW.js: the table of cases on stdin, what tests/golden/flow_cases.py calls Answers on stdout.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { follow, fuse, makePyramid, textureAround } = await import(pathToFileURL(process.argv[2]));
const table = JSON.parse(readFileSync(0, "utf8"));

/** Of all points, a number or two each, one after the other. */
const column = (points, name, blank = NaN) =>
  Float32Array.from(points.flatMap((point) => point[name]), (value) => value ?? blank);
const pairs = (xy) => Array.from({ length: xy.length / 2 }, (_, n) => [xy[2 * n], xy[2 * n + 1]]);
const fused = (flow, followed, points) => {
  const [seen, near] = [column(points, "seen"), column(points, "near")];
  const { xy, certainty } = fuse(flow, followed, { xy: column(points, "estimate"), seen, near });
  return { fused: pairs(xy), certainty: [...certainty] };
};
const pyramid = ({ size, rows }, levels) => {
  const bytes = Buffer.concat(rows.map((row) => Buffer.from(row, "base64")));
  return makePyramid(Float32Array.from(bytes, (byte) => byte / 127.5 - 1), size, levels);
};

const answers = {
  follow: table.follow.map(({ flow, before, after, space, points }) => {
    const [first, second] = [before, after].map((name) => pyramid(table.pictures[name], flow.levels));
    const start = column(points, "xy");
    const { xy, missed } = follow(flow, first, second, start, space);
    const texture = textureAround(flow, first, start, space);
    const said = { moved: pairs(xy), missed: [...missed], texture: [...texture] };
    return { ...said, ...fused(flow, { xy, missed, texture }, points) };
  }),
  fuse: table.fuse.map(({ flow, points }) => {
    const missed = column(points, "missed", Infinity);
    return fused(flow, { xy: column(points, "followed"), missed, texture: column(points, "texture") }, points);
  }),
};
process.stdout.write(JSON.stringify(answers)); // null for what is not finite
