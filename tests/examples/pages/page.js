/** Uses the page as a person does, in a frame inside this one, and says what could be seen. */
export async function run() {
  const page = Object.assign(document.createElement("iframe"), { width: 900, height: 900, src: "/?provider=wasm" });
  document.body.append(page);
  await new Promise((resolve) => (page.onload = resolve));
  const find = (id) => page.contentDocument.getElementById(id);
  const text = (id) => find(id).textContent;
  const until = (id, wanted) => waitFor(() => text(id) === wanted, () => `${id} is ${text(id)}, not ${wanted}`);
  const clickAt = (x, y) => {
    const { left, top, width, height } = find("overlay").getBoundingClientRect();
    const place = { clientX: left + x * width, clientY: top + y * height, bubbles: true };
    find("overlay").dispatchEvent(new page.contentWindow.PointerEvent("pointerdown", place));
  };

  await until("points", "15");
  const seen = { runsOn: text("runs-on"), ms: text("ms") };
  Object.assign(seen, { demo: inkOf(find("overlay")), picture: inkOf(find("picture")) });

  find("play").click();
  clickAt(0.05, 0.95);
  await until("points", "16");
  seen.pausedButton = text("play");
  seen.atClick = inkAt(find("overlay"), 0.05, 0.95);
  clickAt(0.05, 0.95);
  await until("points", "15");
  seen.afterSecondClick = inkAt(find("overlay"), 0.05, 0.95);
  find("clear").click();
  await until("points", "0");
  seen.cleared = inkOf(find("overlay"));
  find("grid").click();
  await until("points", "36");

  find("camera").click();
  await waitFor(() => find("camera").getAttribute("aria-pressed") === "true", () => text("message"));
  await until("points", "0");
  await waitFor(() => inkOf(find("picture")) > 0.5, () => "the camera shows nothing");
  clickAt(0.5, 0.5);
  await until("points", "1");

  const clip = new File([await (await fetch("/clip.mp4")).blob()], "clip.mp4", { type: "video/mp4" });
  const chosen = new page.contentWindow.DataTransfer();
  chosen.items.add(clip);
  find("file").files = chosen.files;
  find("file").dispatchEvent(new page.contentWindow.Event("change"));
  await waitFor(() => find("pick").getAttribute("aria-pressed") === "true", () => text("message"));
  await until("message", "Click on points, then play");
  await waitFor(() => find("picture").width === 128, () => "the video is not shown");
  seen.videoLight = lightOf(find("picture"));
  seen.videoSize = [find("picture").width, find("picture").height];
  clickAt(0.5, 0.5);
  await until("points", "1");
  find("play").click();
  await until("play", "Play"); // it came to the end
  seen.pointsAtEnd = text("points");
  find("play").click();
  await until("points", "0"); // it starts over
  seen.message = text("message");
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
