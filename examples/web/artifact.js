/** Reads an artifact directory: `manifest.json`, one ONNX file per stage, and weights. It knows no model family. */

import { checkManifest, stageFile } from "./manifest.js";

/** The manifest at `url`, a directory, with all its defaults. Throws an Error that says what is wrong with it. */
export async function readManifest(url) {
  const response = await fetch(new URL("manifest.json", url));
  if (!response.ok) throw new Error(`${url} is not an artifact: its manifest.json gave status ${response.status}`);
  return checkManifest(await response.json(), url);
}

/** The file of weights that stages have in common, for `openStage`: none, or one as ONNX Runtime takes it. */
export async function readWeights(url, { weights }) {
  return weights ? [{ path: weights.path, data: await readFile(new URL(weights.path, url), weights.sha256) }] : [];
}

/**
 * A stage as an ONNX Runtime session.
 *
 * url: the artifact's directory. weights: from `readWeights`. provider: "wasm" or "webgpu"; with the latter, outputs
 * stay on the GPU but for those that are read after every frame.
 */
export async function openStage(ort, url, manifest, name, weights, provider) {
  const { inputs, outputs } = manifest.stages[name];
  const file = stageFile(manifest, name);
  const strange = [...inputs, ...outputs].find((tensor) => tensor.dtype !== "float32");
  if (strange) throw new Error(`${name}: ${strange.name} is ${strange.dtype}; this page runs float32 artifacts`);
  const bytes = await readFile(new URL(file.path, url), file.sha256);
  const place = ({ role }) => (role === "xy" || role === "logit" ? "cpu" : "gpu-buffer");
  const places = Object.fromEntries(outputs.map((tensor) => [tensor.name, place(tensor)]));
  return ort.InferenceSession.create(bytes, {
    executionProviders: [provider],
    externalData: weights,
    ...(provider === "webgpu" && { preferredOutputLocation: places }),
  });
}

/** The bytes at `url`, refused if they are not those that the manifest was written for. */
async function readFile(url, sha256) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} gave status ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (globalThis.crypto?.subtle) { // absent on pages that come neither by https nor from this machine
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== sha256) throw new Error(`${url} is damaged: its sha256 is not the manifest's`);
  }
  return bytes;
}
