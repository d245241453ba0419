/** Serves the built page on this machine, with the headers that let it use threads: node serve.js [PORT] */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("dist", import.meta.url));
const PORT = Number(process.argv[2] ?? 8000);
const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const path = join(ROOT, normalize(pathname.endsWith("/") ? `${pathname}index.html` : pathname)); // stays in ROOT
  const found = await stat(path).catch(() => null);
  if (!found?.isFile()) return response.writeHead(404).end(`no ${pathname}`);
  response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream", ...ISOLATION });
  return createReadStream(path).pipe(response);
});

server.listen(PORT, "localhost", () => console.log(`http://localhost:${PORT}/`));
