/** What an artifact's manifest asks for, refused if it cannot be done here. Its schema: `tapsdk.artifact.manifest`. */

const SCHEMA = 3;
const FORMAT = "onnx";

/** What the manifest may leave out. */
const DEFAULTS = {
  frames: { multiple: null, range: [-1, 1], layout: "THWC" },
  points: { join: "query", query_frame: "model", buckets: {} },
  visibility: { threshold: 0.5, calibration: [] },
};

/**
 * What is honoured here, of entries that name a choice. `join` is about whole videos; live, points of either kind of
 * model join in the frame that they are picked in, as with `tapsdk.Tracker`.
 */
const CHOICES = {
  "frames.layout": ["THWC"],
  "points.join": ["query", "start"],
  "points.query_frame": ["exact", "model"],
};

/** What the tracker can hand to each stage. */
const ROLES = {
  encode: ["frame"],
  query: ["feature", "points", "delay"],
  step: ["frame", "query", "previous", "active", "state"],
};

const isPair = (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
const COUNT = { called: "a count", fits: (value) => Number.isInteger(value) && value > 0 };
const NUMBER = { called: "a number from 0", fits: (value) => Number.isFinite(value) && value >= 0 };
const RAMP = { called: "two numbers that grow", fits: (value) => isPair(value) && value[0] < value[1] };
const PAIR = { called: "two numbers from 0", fits: (value) => isPair(value) && Math.min(...value) >= 0 };
const NAME = { called: "a name", fits: (value) => typeof value === "string" };

/** Entries of `flow`, and what each has to be. */
const FLOW = {
  radius: COUNT,
  levels: COUNT,
  slip: RAMP,
  shown: RAMP,
  pull: NUMBER,
  sure: RAMP,
  leap: RAMP,
  apart: RAMP,
  texture: RAMP,
  doubt: PAIR,
  hidden: NAME,
};

/** A parsed manifest with all its defaults. Throws an Error for one that asks for what the tracker does not do. */
export function checkManifest(table, url) {
  if (table.schema !== SCHEMA) {
    throw new Error(`${url} has schema ${table.schema}; this page reads schema ${SCHEMA}: export the model again`);
  }
  const filled = Object.entries(DEFAULTS).map(([name, defaults]) => [name, { ...defaults, ...table[name] }]);
  const manifest = { ...table, ...Object.fromEntries(filled) };
  const complaint = findComplaint(manifest);
  if (complaint) throw new Error(`${manifest.model} cannot run here: ${complaint}`);
  return manifest;
}

/** Why this manifest cannot be honoured, null if it can. */
function findComplaint({ program, frames, flow, stages, ...others }) {
  if (program.kind !== "causal") {
    return `its program is "${program.kind}", and this page runs causal ones alone, frame by frame`;
  }
  for (const [name, allowed] of Object.entries(CHOICES)) {
    const [part, entry] = name.split(".");
    const value = { frames, ...others }[part][entry];
    if (!allowed.includes(value)) return `${name} is "${value}", and this page knows ${allowed.join(", ")}`;
  }
  const [low, high] = frames.range;
  if (!(low < high)) return `frames.range [${frames.range}] does not grow`;
  if (others.points.buckets[FORMAT]) return `its files take certain numbers of points, and this page needs any`;
  for (const [name, roles] of Object.entries(ROLES)) {
    const strange = stages[name]?.inputs.find(({ role }) => !roles.includes(role));
    if (strange) return `stage ${name} wants a tensor of the role "${strange.role}", which this page does not have`;
  }
  return flow ? findFlowComplaint(flow, others.visibility, frames, stages) : null;
}

function findFlowComplaint(flow, { logits }, { range: [low, high] }, { step }) {
  const strange = Object.keys(flow).find((name) => !Object.hasOwn(FLOW, name));
  if (strange) return `flow has an entry "${strange}", which this page does not know`;
  const wrong = Object.keys(FLOW).find((name) => !FLOW[name].fits(flow[name]));
  if (wrong) return `flow.${wrong} is ${JSON.stringify(flow[wrong])}, not ${FLOW[wrong].called}`;
  const known = Object.keys(logits);
  if (!known.includes(flow.hidden)) return `flow.hidden is "${flow.hidden}", and visibility knows ${known.join(", ")}`;
  if (low !== -1 || high !== 1) return `flow needs frames in the range [-1, 1], not [${low}, ${high}]`;
  const follows = step.inputs.some(({ role }) => role === "previous");
  return follows ? null : `flow needs an input of the role "previous" in stage step`;
}

/** The file of a stage: {path, sha256}. Throws an Error if it was exported for others alone. */
export function stageFile(manifest, name) {
  const file = manifest.stages[name].files[FORMAT];
  if (!file) throw new Error(`${manifest.model} is not here as ${FORMAT}: tapsdk export MODEL --target ${FORMAT}`);
  return file;
}
