/**
 * Where frames come from. A source has
 *
 *     next()    the next frame as ImageData, all of one size; null when there are no more
 *     time      seconds of that frame
 *     reason    why there are no more, if that is not their end
 *     play(), pause(), stop()
 *     points    [[x, y], ...] in the first frame to begin with; none at all where tracks come with the frames:
 *     tracked() the points of that frame, then
 *     live      whether it runs by itself; else it waits on its first frame for points
 */

import { DEMO_POINTS, drawDemo } from "./demo.js";

/** Frames are shrunk to this many pixels a side: models look at fewer still. */
const MAX_SIDE = 960;

/** How fast a video file plays, of its own speed: at the least, and to begin with. */
const LOWEST_SPEED = 0.1;
const FIRST_SPEED = 0.25;

/** Milliseconds between two looks for a camera that is gone. */
const RETRY = 1000;

const CAMERA_TROUBLES = {
  NotFoundError: "There is no camera: plug one in, and press Camera again",
  NotAllowedError: "The camera is not allowed: allow it beside the page's address, and press Camera again",
  NotReadableError: "The camera is in use elsewhere: end that, and press Camera again",
};

export function openDemo() {
  const { canvas, context } = makeCanvas(640, 360);
  let [t, due] = [0, 0];
  return {
    points: DEMO_POINTS,
    live: true,
    time: 0,
    async next() {
      await sleep(due - performance.now()); // 30 frames per second, or as many as can be tracked
      due = performance.now() + 1000 / 30;
      this.time = t / 30;
      drawDemo(context, t++);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    },
    play() {},
    pause() {},
    stop() {},
  };
}

/**
 * The camera that the browser offers. One that goes away is opened again, and `say(text, isBad)` told of it. Throws an
 * Error that says what to do if there is none, or nobody allows it.
 */
export async function openCamera(say) {
  const video = document.createElement("video");
  let [stream, stopped] = [await askForCamera(), false];
  video.autoplay = true;
  video.srcObject = stream;

  async function open() {
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", async () => {
      say("The camera is gone. Points wait for it: plug it in, or end what else uses it", true);
      while (!stopped) {
        await sleep(RETRY);
        const again = await askForCamera().catch(() => null);
        if (!again) continue;
        stream = again;
        if (stopped) return letGo();
        video.srcObject = stream;
        open();
        return say("");
      }
    });
  }
  function letGo() {
    stopped = true;
    stream.getTracks().forEach((track) => track.stop());
  }
  open();
  return openVideo(video, letGo, false).catch((error) => {
    letGo();
    throw error;
  });
}

async function askForCamera() {
  if (!navigator.mediaDevices) throw new Error("Browsers open a camera to pages from https or from this machine only");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(CAMERA_TROUBLES[error.name] ?? `The camera cannot be opened: ${error.message}`);
  }
}

/** A video file that the person picked; it stays on their machine. */
export async function openFile(file) {
  const video = document.createElement("video");
  video.src = URL.createObjectURL(file);
  const release = () => URL.revokeObjectURL(video.src);
  return openVideo(video, release, true).catch(() => {
    release();
    throw new Error(`This browser cannot play ${file.name}: choose an mp4 or webm video`);
  });
}

/** Tracks that were saved, over the first picture of their video: see recorded.js. */
export async function openReplay({ size: [width, height], picture, times, frames }) {
  const { context } = makeCanvas(width, height);
  context.fillStyle = "#16191c";
  context.fillRect(0, 0, width, height);
  if (picture) {
    const image = await createImageBitmap(await (await fetch(picture)).blob());
    context.globalAlpha = 0.45; // it is where things were, not where they are
    context.drawImage(image, 0, 0, width, height);
  }
  const ground = context.getImageData(0, 0, width, height);
  let [t, began] = [-1, 0];
  return {
    live: true,
    time: 0,
    async next() {
      if (t + 1 >= frames.length) return null;
      if (t < 0) began = performance.now() - 1000 * times[0];
      this.time = times[++t];
      await sleep(1000 * this.time - (performance.now() - began));
      return ground;
    },
    tracked: () => frames[t],
    play() {
      if (t + 1 >= frames.length) t = -1;
      else began = performance.now() - 1000 * times[Math.max(t, 0)];
    },
    pause() {},
    stop() {},
  };
}

/** release: gives back what the video holds. slow: whether it may play slower than it was made, so as to skip nothing. */
async function openVideo(video, release, slow) {
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", playbackRate: slow ? FIRST_SPEED : 1 });
  await new Promise((resolve, reject) => {
    video.requestVideoFrameCallback(resolve); // before that, there is nothing to draw
    video.onerror = () => reject(new Error("the video cannot be played"));
  });
  const scale = Math.min(1, MAX_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const { canvas, context } = makeCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  const began = performance.now();
  let [first, shown, stopped, wake] = [true, 0, false, () => {}];
  const source = {
    points: [],
    live: !slow,
    time: 0,
    reason: "",
    async next() {
      if (!first) await newFrame();
      if (video.ended || stopped || source.reason) return null;
      first = false;
      source.time = slow ? video.currentTime : (performance.now() - began) / 1000;
      context.drawImage(video, 0, 0, canvas.width, canvas.height);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    },
    play() {
      if (video.ended) first = true;
      return video.play();
    },
    pause: () => video.pause(),
    stop() {
      stopped = true;
      video.pause();
      release();
      wake();
    },
  };
  video.onended = () => wake();
  video.onerror = () => {
    if (stopped) return;
    source.reason = "The rest of this video is damaged: what was tracked is still here, and can be saved";
    wake();
  };

  /** Waits for a frame that was not there yet, or the end. */
  async function newFrame() {
    const news = await new Promise((resolve) => {
      wake = resolve;
      video.requestVideoFrameCallback((now, metadata) => resolve(metadata));
      if (video.ended || stopped) resolve();
    });
    if (!news || !slow) return;
    const skipped = news.presentedFrames - shown > 1;
    shown = news.presentedFrames;
    video.playbackRate = Math.min(Math.max(video.playbackRate * (skipped ? 0.7 : 1.05), LOWEST_SPEED), 1);
  }
  return source;
}

function makeCanvas(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return { canvas, context: canvas.getContext("2d", { willReadFrequently: true }) };
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(ms, 0)));
}
