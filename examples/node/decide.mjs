// Replays a bundle's golden samples in Node, without Python.
//
//   npm install --ignore-scripts onnxruntime-node pngjs     (their scripts would fetch CUDA)
//   node decide.mjs cherries.bundle
//
// Prints a line per sample: file, score, lane; ends with 1 where a lane isn't that of golden.csv.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { PNG } from "pngjs";

const bundle = process.argv[2];
const manifest = JSON.parse(readFileSync(join(bundle, "bundle.json"), "utf8"));
const chosen = manifest.functions.find((one) => one.backend === "onnxruntime" && one.precision === "fp32");
// Scores are compared as float32, the type that they were certified in.
const [low, high] = [Math.fround(chosen.low), Math.fround(chosen.high)];
// Beyond its limit of distance an image is unlike all that was learnt from.
const unknown = manifest.unknown;
const limit = unknown && Math.fround(unknown.functions[`${chosen.backend} ${chosen.precision}`].limit);
const { size, channels, name } = manifest.input;
const session = await ort.InferenceSession.create(join(bundle, chosen.graph), { intraOpNumThreads: 1 });

/** Return the bytes that the graph takes, [1, size, size, 3]: pngjs gives RGBA. */
function pixelsOf(file) {
  const picture = PNG.sync.read(readFileSync(file));
  if (picture.width !== size || picture.height !== size) throw new Error(`${file}: another size`);
  const bytes = new Uint8Array(size * size * 3);
  for (let pixel = 0; pixel < size * size; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const from = channels === "bgr" ? 2 - channel : channel;
      bytes[3 * pixel + channel] = picture.data[4 * pixel + from];
    }
  }
  return new ort.Tensor("uint8", bytes, [1, size, size, 3]);
}

function laneOf(score, distance) {
  if (!(score >= -1e-6 && score <= 1 + 1e-6)) return "reject"; // no number: never accept
  if (unknown && !(distance <= limit)) return unknown.lane;
  return score >= high ? "reject" : score >= low ? "review" : "accept";
}

let wrong = 0;
const rows = readFileSync(join(bundle, "golden.csv"), "utf8").trim().split("\n").slice(1);
for (const row of rows) {
  const [file, backend, precision, , expected] = row.split(",");
  if (backend !== chosen.backend || precision !== chosen.precision) continue;
  const answer = await session.run({ [name]: pixelsOf(join(bundle, file)) });
  const score = answer[manifest.output.name].data[0];
  const lane = laneOf(score, unknown && answer[unknown.name].data[0]);
  wrong += lane !== expected;
  console.log(file, score, lane);
}
process.exit(wrong ? 1 : 0);
