/** Uses the page as a person does, in a frame inside this one, and says what could be seen. */
export async function run() {
  const page = Object.assign(document.createElement("iframe"), { width: 900, height: 900, src: "/?provider=wasm" });
  document.body.append(page);
  await new Promise((resolve) => (page.onload = resolve));
  const find = (id) => page.contentDocument.getElementById(id);
  const text = (id) => find(id).textContent;
  const until = (id, wanted) => waitFor(() => text(id) === wanted, () => `${id} is ${text(id)}, not ${wanted}`);
  const untilPoints = (count) => waitFor(() => parseInt(text("points")) === count, () => `${text("points")} points`);
  const pressed = (id) => find(id).getAttribute("aria-pressed") === "true";
  const clickAt = (x, y, more = {}) => {
    const { left, top, width, height } = find("overlay").getBoundingClientRect();
    const place = { clientX: left + x * width, clientY: top + y * height, bubbles: true, ...more };
    for (const kind of ["pointerdown", "pointerup"]) {
      find("overlay").dispatchEvent(new page.contentWindow.PointerEvent(kind, place));
    }
  };
  const give = (id, file) => {
    const chosen = new page.contentWindow.DataTransfer();
    chosen.items.add(file);
    find(id).files = chosen.files;
    find(id).dispatchEvent(new page.contentWindow.Event("change"));
  };
  const choose = (provider) => {
    find("provider").value = provider;
    find("provider").dispatchEvent(new page.contentWindow.Event("change"));
  };

  await untilPoints(15);
  const seen = { runsOn: text("runs-on"), ms: text("ms") };
  Object.assign(seen, { demo: inkOf(find("overlay")), picture: inkOf(find("picture")) });

  find("play").click();
  clickAt(0.05, 0.95);
  await untilPoints(16);
  seen.pausedButton = text("play");
  seen.atClick = inkAt(find("overlay"), 0.05, 0.95);
  clickAt(0.05, 0.95, { shiftKey: true });
  await untilPoints(15);
  seen.afterSecondClick = inkAt(find("overlay"), 0.05, 0.95);
  find("remove").click();
  clickAt(0.05, 0.95);
  find("add").click();
  find("clear").click();
  await untilPoints(0);
  seen.cleared = inkOf(find("overlay"));
  find("grid").click();
  await untilPoints(40);
  find("undo").click();
  await untilPoints(0);
  clickAt(0.3, 0.4);
  clickAt(0.6, 0.4);
  await untilPoints(2);

  // What goes wrong leaves all as it was.
  const kept = () => ({ points: parseInt(text("points")), demo: pressed("demo"), runsOn: text("runs-on"), said: text("message") });
  choose("webgpu");
  await waitFor(() => text("message").includes("WebGPU"), () => text("message"));
  seen.withoutEngine = { ...kept(), provider: find("provider").value };
  choose("auto");
  await until("message", "");
  seen.withAnotherEngine = kept();
  find("play").click();
  await new Promise((resolve) => setTimeout(resolve, 300));
  find("play").click();
  seen.afterAnotherEngine = kept();
  give("file", new File(["no video"], "broken.mp4", { type: "video/mp4" }));
  await waitFor(() => text("message").includes("broken.mp4"), () => text("message"));
  seen.withBadFile = kept();
  const { mediaDevices } = page.contentWindow.navigator;
  const open = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = () => Promise.reject(new DOMException("none", "NotFoundError"));
  find("camera").click();
  await waitFor(() => text("message").includes("no camera"), () => text("message"));
  seen.withoutCamera = kept();
  give("tracks-file", new File(["{}"], "tracks.json"));
  await waitFor(() => text("message").includes("no file of tracks"), () => text("message"));
  seen.withBadTracks = kept();

  const streams = [];
  mediaDevices.getUserMedia = async (wanted) => {
    streams.push(await open(wanted));
    return streams.at(-1);
  };
  find("camera").click();
  await waitFor(() => pressed("camera"), () => text("message"));
  await untilPoints(0);
  await waitFor(() => inkOf(find("picture")) > 0.5, () => "the camera shows nothing");
  clickAt(0.5, 0.5);
  await untilPoints(1);
  const [track] = streams[0].getVideoTracks();
  track.stop();
  track.dispatchEvent(new page.contentWindow.Event("ended"));
  await waitFor(() => text("message").includes("The camera is gone"), () => text("message"));
  await until("message", ""); // it is back
  seen.cameras = streams.length;
  seen.afterCamera = parseInt(text("points"));

  const clip = new File([await (await fetch("/clip.mp4")).blob()], "clip.mp4", { type: "video/mp4" });
  give("file", clip);
  await waitFor(() => pressed("pick"), () => text("message"));
  await until("message", "Click on points, then play");
  await waitFor(() => find("picture").width === 128, () => "the video is not shown");
  seen.videoLight = lightOf(find("picture"));
  seen.videoSize = [find("picture").width, find("picture").height];
  clickAt(0.5, 0.5);
  await untilPoints(1);
  find("play").click();
  await until("play", "Again"); // it came to the end
  seen.pointsAtEnd = parseInt(text("points"));

  const made = page.contentWindow.URL.createObjectURL;
  const saved = new Promise((resolve) => {
    page.contentWindow.URL.createObjectURL = (blob) => {
      resolve(blob);
      return made.call(page.contentWindow.URL, blob);
    };
  });
  find("save").click();
  seen.saved = await (await saved).text();
  page.contentWindow.URL.createObjectURL = made;
  find("play").click();
  await untilPoints(0); // it starts over
  seen.message = text("message");

  give("tracks-file", new File([seen.saved], "tracks.json"));
  await untilPoints(1);
  await until("play", "Again");
  seen.opened = { size: [find("picture").width, find("picture").height], points: parseInt(text("points")) };
  seen.openedGrid = find("grid").disabled;
  return seen;
}

async function waitFor(isSo, complaint) {
  const deadline = performance.now() + 60_000;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(complaint());
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** The share of pixels of a canvas that are not transparent. */
function inkOf(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, i) => i % 4 === 3 && value > 0).length / (data.length / 4);
}

/** Whether a canvas is painted at (x, y), shares of its sides. */
function inkAt(canvas, x, y) {
  return canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3] > 0;
}

/** The mean of red, green and blue over a canvas, from 0 to 255. */
function lightOf(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value, i) => (i % 4 === 3 ? sum : sum + value), 0) / ((data.length / 4) * 3);
}
