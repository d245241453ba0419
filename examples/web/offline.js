/** Lets the page work without a network once it was seen, and be installed: `worker.js` keeps its files. */

export function keepOffline() {
  // Browsers have it on pages from https or from this machine.
  navigator.serviceWorker?.register("worker.js").catch((error) => console.warn("not kept for offline:", error.message));
}
