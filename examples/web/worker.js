/** Keeps the page's files, so that it works without a network. `FILES` is written by build.js beside it. */

importScripts("files.js"); // VERSION, and FILES {name: kept at once, or when it is first wanted}

const CACHE = `tapsdk-${self.VERSION}`;

self.addEventListener("install", (event) => {
  const now = Object.entries(self.FILES).flatMap(([name, atOnce]) => (atOnce ? [name] : []));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(now)));
});

self.addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("tapsdk-") && name !== CACHE);
  event.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))));
});

self.addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  const base = new URL("./", self.location).pathname;
  const name = pathname === base ? "index.html" : pathname.slice(base.length);
  if (event.request.method === "GET" && pathname.startsWith(base) && Object.hasOwn(self.FILES, name)) {
    event.respondWith(kept(name));
  }
});

async function kept(name) {
  const cache = await caches.open(CACHE);
  const found = await cache.match(name);
  if (found) return found;
  const response = await fetch(name);
  if (response.ok) await cache.put(name, response.clone());
  return response;
}
