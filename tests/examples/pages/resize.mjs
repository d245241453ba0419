// node resize.mjs RESIZE.js: one JSON request on stdin, one answer on stdout.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { makeResizer, workingSize } = await import(pathToFileURL(process.argv[2]));
const { sizes, frames } = JSON.parse(readFileSync(0, "utf8"));
const answer = {
  sizes: sizes.map(({ size, resolution, multiple }) => workingSize(size, resolution, multiple)),
  frames: frames.map(({ size, to, range, rgba }) => [...makeResizer(size, to, range)(Uint8ClampedArray.from(rgba))]),
};
process.stdout.write(JSON.stringify(answer));
