// node following.mjs FOLLOWING.js: one JSON request on stdin, one answer on stdout. null stands for what is not finite.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { lucasKanade, makePyramid } = await import(pathToFileURL(process.argv[2]));
const { size, radius, levels, before, after, xy } = JSON.parse(readFileSync(0, "utf8"));
const pyramids = [before, after].map((pixels) => makePyramid(Float32Array.from(pixels), size, levels));
const points = Float32Array.from(xy, (value) => value ?? NaN);
process.stdout.write(JSON.stringify([...lucasKanade(...pyramids, points, radius)]));
