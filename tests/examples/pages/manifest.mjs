// node manifest.mjs MANIFEST.js: a JSON list of manifests on stdin, what is said of each as the answer; null: nothing.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { checkManifest } = await import(pathToFileURL(process.argv[2]));
const complaint = (manifest) => {
  try {
    return checkManifest(manifest, "model/") && null;
  } catch (error) {
    return error.message;
  }
};
process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(complaint)));
