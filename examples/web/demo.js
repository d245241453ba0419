/** A scene that needs no file: a camera pans over a wall, a card turns before it, and a post hides both at times. */

/** Points [[x, y], ...] in frame 0 of 640 x 360 pixels: on the card, and on the wall. */
export const DEMO_POINTS = [
  [276, 136], [320, 128], [364, 136], [272, 180], [320, 180], [368, 180], [276, 224], [320, 232], [364, 224],
  [90, 80], [150, 280], [540, 90], [560, 260], [440, 310], [210, 60],
];

const WALL = ["#2d3a4a", "#3b4d61", "#52687f", "#7f8fa0", "#a3aebb", "#c9b79c", "#6b5b53", "#465a52"];
const CARD = ["#f2e9d8", "#e0a458", "#c75146", "#84343c", "#ffdbb5", "#41242b", "#d8d2c2"];

let layers = null;

/** Draws frame t onto a canvas of 640 x 360 pixels. */
export function drawDemo(context, t) {
  layers ??= { wall: paint(900, 620, WALL, 1, 1500), card: paint(200, 180, CARD, 2, 150) };
  const { width, height } = context.canvas;
  const swing = (period, size) => size * Math.sin((2 * Math.PI * t) / period);
  context.setTransform(1, 0, 0, 1, -130 + swing(260, 90), -130 + swing(340, 60));
  context.drawImage(layers.wall, 0, 0);

  context.setTransform(1, 0, 0, 1, width / 2 + swing(220, 150), height / 2 + swing(310, 45));
  context.rotate(swing(270, 0.35));
  context.shadowColor = "rgb(0 0 0 / 45%)";
  context.shadowBlur = 18;
  context.drawImage(layers.card, -100, -90);
  context.shadowBlur = 0;

  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#1f2429";
  context.fillRect(462, 0, 44, height);
  context.fillStyle = "#343b43";
  context.fillRect(462, 0, 4, height);
}

/** A canvas covered with `count` blots of these colours; the same for the same seed. */
function paint(width, height, colors, seed, count) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const random = randomNumbers(seed);
  context.fillStyle = colors[0];
  context.fillRect(0, 0, width, height);
  for (let i = 0; i < count; i++) {
    context.fillStyle = colors[Math.floor(random() * colors.length)];
    context.beginPath();
    // From large to small, so that every place looks unlike all others.
    const [x, y, size] = [random() * width, random() * height, 3 + 30 * (1 - i / count) ** 3 * random()];
    if (random() < 0.5) context.arc(x, y, size, 0, 2 * Math.PI);
    else context.roundRect(x - size, y - size / 2, 2 * size * random() + 3, size, 2);
    context.fill();
  }
  return canvas;
}

/** A small generator of numbers in [0, 1) (Mulberry32): Math.random cannot be seeded. */
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
