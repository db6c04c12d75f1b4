// In place of engine.js in tests of the page: the same interface, answers by arithmetic, no worker and no models.

const OPTIONS = new URLSearchParams(globalThis.location?.search ?? "");

export class EngineError extends Error {
  constructor(missing, message) { super(message); this.name = "EngineError"; this.missing = missing; }
}

export class EngineCancelled extends Error {
  constructor() { super("cancelled"); this.name = "EngineCancelled"; }
}

const rest = (ms) => new Promise((go) => setTimeout(go, ms));
const GRID = 8, SIZE = 64, DIM = 6, STEPS = 4;

export async function createEngine({ onProgress = () => {} } = {}) {
  globalThis.engineCalls = [];
  if (OPTIONS.get("lacks")) throw new EngineError(OPTIONS.get("lacks"), "This browser has no WebAssembly with SIMD, which the networks need.");
  if (OPTIONS.get("broken")) throw new Error("the runtime is broken.");
  for (const done of [10, 60, 100]) { onProgress(done, 100); await rest(1); }
  if (OPTIONS.get("held")) await new Promise((go) => { globalThis.letGo = go; });
  let running = 0;
  const alive = async (number) => { await rest(Number(OPTIONS.get("slow") ?? 1)); if (number !== running) throw new EngineCancelled(); };
  // Sample i of a source has one colour; step s of n mixes it with grey.
  const fill = ({ image, hidden }, colour) => {
    const out = new Uint8ClampedArray(image), hole = new Set(hidden);
    for (let p = 0; p < SIZE * SIZE; p++) {
      if (hole.has(Math.floor(p / SIZE / 8) * GRID + Math.floor((p % SIZE) / 8))) out.set([...colour, 255], 4 * p);
    }
    return out;
  };
  const COLOURS = { prediction: [0, 160, 60], another: [220, 120, 0], nothing: [200, 60, 60], target: [0, 100, 200] };
  return {
    backend: "wasm", threads: 1, note: "",
    manifest: {
      model: "a stand-in", autoencoder: OPTIONS.get("alone") ? null : "another", size: [SIZE, SIZE], patch: 8, grid: [GRID, GRID], dim: DIM, decoder: { pixels: 8, size: [SIZE, SIZE], steps: STEPS, guidance: 1 },
      colours: { mean: Array(DIM).fill(0), components: [0, 1, 2].map((k) => Array.from({ length: DIM }, (_, d) => Number(d === k))), low: [0, 0, 0], high: [1, 1, 1] },
    },
    async sample(question) {
      const number = question.beside ? running : ++running, { source = "prediction", samples = 6, seed = 0, steps = STEPS, onStep } = question;
      engineCalls.push({ call: "sample", source, samples, seed, steps, guidance: question.guidance, hidden: question.hidden, other: Boolean(question.other) });
      if (OPTIONS.get("fails")) throw new Error("the network is broken");
      const at = (step) => Array.from({ length: samples }, (_, i) => fill(question, COLOURS[source].map((v) => (128 + (v + 10 * i - 128) * (step / steps)))));
      for (let step = 1; step <= steps; step++) {
        await alive(number);
        onStep?.({ step, steps, size: [SIZE, SIZE], level: 1 - step / steps, pixels: at(step), expected: at(steps) });
      }
      return { size: [SIZE, SIZE], images: at(steps) };
    },
    async predict({ hidden }) {
      engineCalls.push({ call: "predict", hidden });
      const visible = Array.from({ length: GRID * GRID }, (_, i) => i).filter((i) => !hidden.includes(i));
      const tokens = (patches) => Float32Array.from(patches.flatMap((p) => Array.from({ length: DIM }, (_, d) => ((p * (d + 1)) % 10) / 10)));
      return { visible, context: tokens(visible), predicted: tokens(hidden), target: tokens(hidden), cosine: Float32Array.from(hidden, (p) => 0.5 + p / 128) };
    },
    async reconstruct(question) { engineCalls.push({ call: "reconstruct" }); return fill(question, [128, 90, 128]); },
    cancel() { running += 1; },
    dispose() {},
  };
}
