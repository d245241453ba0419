/**
 * Serves the built page to this machine alone: node serve.js [PORT] [--seconds N]
 *
 * PORT: default 8000, 0 for any that is free. N: how long a request, and a connection in silence, may take.
 *
 * Whatever is asked, there is an answer with the headers below, or the connection ends; files outside dist/ are not
 * served, nor is anything to pages of other servers.
 */

import { open, realpath, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const DIST = fileURLToPath(new URL("dist", import.meta.url));
const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};
/** On every answer. The first three let the page use threads; the others keep out what does not belong to it. */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Content-Security-Policy":
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; " +
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' blob: data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "Cache-Control": "no-cache",
};
const REASONS = {
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  414: "URI Too Long",
  417: "Expectation Failed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
};
const MOST_HEADER_BYTES = 16384;
const MOST_HEADERS = 100;
const MOST_PATH = 1024;
const MOST_CONNECTIONS = 200;
/** Requests at once of one connection; browsers send one after the other. */
const MOST_WAITING = 8;
/** Names that begin with a letter, a digit or a line, so that none is hidden, leads upwards, or is empty. */
const PATH = /^(?:\/[\w-][\w.-]*)*\/?$/;

/** What may be served for the target of a request: {status} or {status, handle, size, type}. */
async function find(target) {
  if (target.length > MOST_PATH) return { status: 414 };
  const path = target.split("?", 1)[0];
  if (!path.startsWith("/")) return { status: 400 };
  if (!PATH.test(path)) return { status: 404 };
  const root = await realpath(DIST).catch(() => null);
  const file = root && (await realpath(join(root, path.endsWith("/") ? `${path}index.html` : path)).catch(() => null));
  if (!file?.startsWith(root + sep)) return { status: 404 };
  // To open a pipe waits for who writes into it, for ever.
  const found = await stat(file).catch(() => null);
  const handle = found?.isFile() ? await open(file).catch(() => null) : null;
  return handle ? { status: 200, handle, size: found.size, type: TYPES[extname(file)] } : { status: 404 };
}

/** Another name for this machine may be that of a page that somebody else controls. */
function isOurs(host, port) {
  const names = ["localhost", "127.0.0.1", "[::1]"];
  return names.some((name) => host === `${name}:${port}` || (port === 80 && host === name));
}

function refusal(request) {
  if (request.rawHeaders.length / 2 >= MOST_HEADERS) return 431;
  if (!isOurs(request.headers.host?.toLowerCase(), request.socket.localPort)) return 421;
  if (request.headers.expect) return 417;
  return ["GET", "HEAD"].includes(request.method) ? 0 : 405;
}

function refusalOf(status) {
  const text = `${status} ${REASONS[status]}\n`;
  const headers = {
    ...HEADERS,
    ...(status === 405 ? { Allow: "GET, HEAD" } : {}),
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": text.length,
    Connection: "close", // what else it would bring is not worth reading
  };
  return { text, headers };
}

function refuse(response, status) {
  const { text, headers } = refusalOf(status);
  response.writeHead(status, headers).end(text);
}

async function answer(request, response) {
  const refused = refusal(request);
  if (refused) return refuse(response, refused);
  const { status, handle, size, type } = await find(request.url);
  if (status !== 200) return refuse(response, status);
  // An answer that waits for its turn on a connection does not learn that it ended.
  const ended = new AbortController();
  const end = () => ended.abort();
  request.socket.once("close", end);
  try {
    if (request.socket.destroyed) return undefined;
    response.writeHead(200, {
      ...HEADERS,
      "Content-Type": type ?? "application/octet-stream",
      "Content-Length": size,
      "Accept-Ranges": "none",
    });
    if (request.method === "HEAD" || size === 0) return response.end();
    // A file that grows meanwhile is still as long as was said.
    const body = handle.createReadStream({ end: size - 1, autoClose: false });
    return await pipeline(body, response, { signal: ended.signal });
  } finally {
    request.socket.off("close", end);
    await handle.close();
  }
}

/** Requests of each connection that are under way. */
const waiting = new WeakMap();

async function answerSafely(request, response) {
  const { socket } = request;
  waiting.set(socket, (waiting.get(socket) ?? 0) + 1);
  if (waiting.get(socket) > MOST_WAITING) return socket.destroy();
  try {
    return await answer(request, response);
  } catch {
    return response.headersSent ? response.destroy() : refuse(response, 500);
  } finally {
    waiting.set(socket, waiting.get(socket) - 1);
  }
}

/** Answers on a connection on which no request could be read. */
function refuseOn(socket, status) {
  if (!socket.writable) return socket.destroy();
  const { text, headers } = refusalOf(status);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on("error", () => socket.destroy());
  return socket.end(`HTTP/1.1 ${status} ${REASONS[status]}\r\n${lines.join("")}\r\n${text}`, () => socket.destroy());
}

function readArguments() {
  const options = { seconds: { type: "string", default: "30" } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [port, seconds] = [Number(positionals[0] ?? 8000), Number(values.seconds)];
  if (!Number.isInteger(port) || port < 0 || port > 65535 || !(seconds > 0 && seconds <= 3600)) {
    throw new Error("usage: node serve.js [PORT from 0 to 65535] [--seconds N]");
  }
  return { port, milliseconds: Math.ceil(1000 * seconds) };
}

function start({ port, milliseconds }) {
  const server = createServer({
    headersTimeout: milliseconds,
    requestTimeout: milliseconds,
    keepAliveTimeout: milliseconds,
    connectionsCheckingInterval: Math.min(milliseconds, 1000),
    maxHeaderSize: MOST_HEADER_BYTES,
    requireHostHeader: false, // that answer would come without our headers
  });
  server.httpAllowHalfOpen = true; // who has asked may stop sending before the answer
  server.maxHeadersCount = MOST_HEADERS;
  server.maxConnections = MOST_CONNECTIONS;
  server.setTimeout(milliseconds, (socket) => socket.destroy()); // of a reader who stopped reading
  const serve = (request, response) => answerSafely(request, response).catch(() => request.socket.destroy());
  for (const event of ["request", "checkContinue", "checkExpectation"]) server.on(event, serve);
  server.on("connect", (request, socket) => refuseOn(socket, 405));
  server.on("upgrade", (request, socket) => refuseOn(socket, 400));
  server.on("clientError", (error, socket) => {
    const known = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };
    refuseOn(socket, known[error.code] ?? 400);
  });
  server.on("error", (error) => {
    console.error(`could not serve on port ${port}: ${error.message}`);
    process.exitCode = 1;
  });
  server.listen(port, "localhost", () => console.log(`http://localhost:${server.address().port}/`));
}

try {
  start(readArguments());
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
