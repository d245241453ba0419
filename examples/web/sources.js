/**
 * Where frames come from. A source has
 *
 *     next()    the next frame as ImageData, all of one size; null when there are no more
 *     play(), pause(), stop()
 *     points    [[x, y], ...] in the first frame to begin with
 *     live      whether it runs by itself; else it waits on its first frame for points
 */

import { DEMO_POINTS, drawDemo } from "./demo.js";

/** Frames are shrunk to this many pixels a side: models look at fewer still. */
const MAX_SIDE = 960;

/** How fast a video file plays, of its own speed: at the least, and to begin with. */
const LOWEST_SPEED = 0.1;
const FIRST_SPEED = 0.25;

export function openDemo() {
  const { canvas, context } = makeCanvas(640, 360);
  let [t, due] = [0, 0];
  return {
    points: DEMO_POINTS,
    live: true,
    async next() {
      await sleep(due - performance.now()); // 30 frames per second, or as many as can be tracked
      due = performance.now() + 1000 / 30;
      drawDemo(context, t++);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    },
    play() {},
    pause() {},
    stop() {},
  };
}

/** The camera that the browser offers. Throws what `getUserMedia` does if there is none, or nobody allows it. */
export async function openCamera() {
  if (!navigator.mediaDevices) throw new Error("browsers open a camera to pages from https or from this machine only");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const video = document.createElement("video");
  video.srcObject = stream;
  video.autoplay = true;
  return openVideo(video, () => stream.getTracks().forEach((track) => track.stop()), false);
}

/** A video file that the person picked; it stays on their machine. */
export async function openFile(file) {
  const video = document.createElement("video");
  video.src = URL.createObjectURL(file);
  return openVideo(video, () => URL.revokeObjectURL(video.src), true);
}

/** release: gives back what the video holds. slow: whether it may play slower than it was made, so as to skip nothing. */
async function openVideo(video, release, slow) {
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", playbackRate: slow ? FIRST_SPEED : 1 });
  await new Promise((resolve, reject) => {
    video.requestVideoFrameCallback(resolve); // before that, there is nothing to draw
    video.onerror = () => reject(new Error("this browser cannot play that video"));
  });
  const scale = Math.min(1, MAX_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const { canvas, context } = makeCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  let [first, shown, stopped, wake] = [true, 0, false, () => {}];
  video.onended = () => wake();

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

  return {
    points: [],
    live: !slow,
    async next() {
      if (!first) await newFrame();
      if (video.ended || stopped) return null;
      first = false;
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
}

function makeCanvas(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return { canvas, context: canvas.getContext("2d", { willReadFrequently: true }) };
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(ms, 0)));
}
