/**
 * Gathers in one folder all that the page needs, so that any web server, or none but one's own, can serve it:
 *
 *     node build.js [--model ARTIFACT] [--out FOLDER]
 */

import { createHash } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { checkManifest, stageFile } from "./manifest.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const ORT = join(HERE, "node_modules", "onnxruntime-web", "dist");
/** What this page has in common with that of `tapsdk live`. */
const SHARED = join(HERE, "..", "..", "tapsdk", "live", "page");
const SHARED_FILES = ["draw.js", "look.css", "stage.js"];
const PAGE = ["icon.svg", "index.html", "site.webmanifest", "start.js", "worker.js"];
const MODULES = [
  "artifact.js",
  "demo.js",
  "flow.js",
  "manifest.js",
  "offline.js",
  "page.js",
  "point_state.js",
  "recorded.js",
  "resize.js",
  "runtime.js",
  "sources.js",
  "tracker.js",
];
const RUNTIME = [
  "ort.wasm.bundle.min.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort.webgpu.bundle.min.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
];
/** What only some browsers want, and then once they do. */
const SELDOM = RUNTIME.slice(2);
const STAGES = ["encode", "query", "step"];

const { values } = parseArgs({
  options: {
    model: { type: "string", default: join(HERE, "..", "..", "tapsdk", "models", "tapir", "tiny") },
    out: { type: "string", default: join(HERE, "dist") },
  },
});

/** The files that a browser needs, relative to the artifact. Throws an Error for an artifact that cannot run there. */
async function modelFiles(artifact) {
  const manifest = checkManifest(JSON.parse(await readFile(join(artifact, "manifest.json"), "utf8")), artifact);
  const stages = STAGES.filter((name) => name in manifest.stages);
  const files = [...stages.map((name) => stageFile(manifest, name)), ...(manifest.weights ? [manifest.weights] : [])];
  return ["manifest.json", ...files.map(({ path }) => path)];
}

async function copy(names, from, to) {
  await mkdir(to, { recursive: true });
  for (const name of names) await cp(join(from, name), join(to, name));
}

/** Writes down what `worker.js` keeps, and a version that changes with any of it. */
async function listFiles(names, to) {
  const digest = createHash("sha256");
  for (const name of names) digest.update(`${name}\0`).update(await readFile(join(to, name)));
  const kept = Object.fromEntries(names.map((name) => [name, !SELDOM.includes(name.replace("ort/", ""))]));
  const version = digest.digest("hex").slice(0, 16);
  await writeFile(join(to, "files.js"), `self.VERSION = "${version}";\nself.FILES = ${JSON.stringify(kept, null, 1)};\n`);
}

const model = await modelFiles(values.model);
await copy([...PAGE, ...MODULES], HERE, values.out);
await copy(SHARED_FILES, SHARED, values.out);
await copy(RUNTIME, ORT, join(values.out, "ort"));
await copy(model, values.model, join(values.out, "model"));
await listFiles(
  [
    ...[...PAGE, ...MODULES, ...SHARED_FILES].filter((name) => name !== "worker.js"),
    ...RUNTIME.map((name) => `ort/${name}`),
    ...model.map((name) => `model/${name}`),
  ],
  values.out,
);
console.log(`wrote ${values.out}`);
