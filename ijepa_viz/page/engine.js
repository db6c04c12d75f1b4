// The engine of the live page: an I-JEPA and its decoder in a worker, by onnxruntime-web. No DOM access.
//
//   const engine = await createEngine({ base: "./models/" });
//   const { predicted, cosine } = await engine.predict({ image, hidden });
//   const { images } = await engine.sample({ image, hidden, samples: 6, seed: 0, onStep });
//
// `image` is RGBA (Uint8ClampedArray) of the model's input, `manifest.size`; `hidden` the sorted patch indices of one
// hole of any shape. Same image, hole and seed give the samples of Python's `decoder.sample(..., seed=seed)`.

/** Why there is no engine: `missing` is "simd", "memory", "models" (a file is not there) or "worker". */
export class EngineError extends Error {
  constructor(missing, message) {
    super(message);
    this.name = "EngineError";
    this.missing = missing;
  }
}

/** A call ended by `engine.cancel()`, by a newer `sample()`, or by `engine.dispose()`. */
export class EngineCancelled extends Error {
  constructor(message = "cancelled") {
    super(message);
    this.name = "EngineCancelled";
  }
}

const RUNTIME = "ort/";

// The smallest module with a SIMD instruction: i8x16.splat of a constant.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

/** What this browser lacks for the engine, as an EngineError; null if nothing. */
export function missingHere() {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
    return new EngineError("simd", "This browser has no WebAssembly with SIMD, which the networks need.");
  }
  if (typeof Worker !== "function" || typeof DecompressionStream !== "function") {
    return new EngineError("worker", "This browser has no workers or no decompression of streams.");
  }
  return null;
}

/**
 * Load the networks in a worker.
 *
 * @param base folder of `manifest.json` and the networks, relative to the page. runtime: folder of onnxruntime-web,
 *     relative to this file. threads: of WebAssembly; more than one only where the page is cross-origin isolated.
 *     backend: "auto" (WebGPU where there is one, else WebAssembly), "wasm" or "webgpu". inlined: file name -> text
 *     (.js, .mjs, .json) or base64 (anything else): nothing is fetched (a single HTML file, a notebook).
 *     onProgress(done, total): bytes loaded.
 * @throws EngineError
 */
export async function createEngine({
  base = "./models/",
  runtime = undefined,
  threads = undefined,
  backend = "auto",
  inlined = undefined,
  onProgress = () => {},
} = {}) {
  const lacking = missingHere();
  if (lacking) throw lacking;
  const files = inlined ? inlinedFiles(inlined, base) : servedFiles(base, runtime);
  const isolated = globalThis.crossOriginIsolated === true;
  const most = isolated && !inlined ? Math.min(4, globalThis.navigator?.hardwareConcurrency || 1) : 1;
  const options = { files, backend, threads: Math.max(1, Math.min(threads ?? most, most)) };
  const worker = startWorker(files.worker);
  const calls = new Calls(worker);
  try {
    const events = { progress: ({ done, total }) => onProgress(done, total) };
    const ready = await calls.start("load", options, events).result;
    return new Engine(worker, calls, ready);
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

class Engine {
  #worker;
  #calls;
  #sampling = null;

  constructor(worker, calls, { manifest, backend, threads, note }) {
    this.#worker = worker;
    this.#calls = calls;
    this.manifest = manifest;
    this.backend = backend;
    this.threads = threads;
    this.note = note; // why the backend is not the one asked for; "" if it is
  }

  /** Predicted and target tokens of a hole: {visible, context, predicted, target, cosine}. */
  predict({ image, hidden }) {
    return this.#calls.start("predict", { image: this.#checked(image), hidden: this.#hole(hidden) }).result;
  }

  /**
   * Samples of a hole: {size, images, steps}, RGBA of the whole picture at the decoder's resolution.
   *
   * `onStep({step, steps, level, pixels, expected})`: after each step, from 1 on; `pixels` are the noisy images at noise
   * level `level`, `expected` the clean images that the network expected before the step (the previews). A decoder of
   * two stages tells a step 0 first: a sketch, before there are tokens of its own.
   * `solver`: "euler", "dpm++" or "sde-dpm++", of both stages; undefined is the decoder's own.
   */
  async sample({
    image,
    hidden,
    source = "prediction",
    other = null,
    samples = 6,
    seed = 0,
    steps = undefined,
    guidance = undefined,
    solver = undefined,
    canvas = undefined,
    keepSteps = false,
    beside = false, // other samples go on
    onStep = undefined,
  }) {
    if (source === "another" && !other) throw new TypeError('source "another" needs the other image.');
    const options = {
      image: this.#checked(image),
      hidden: this.#hole(hidden),
      source,
      other: source === "another" ? this.#checked(other) : null,
      samples,
      seed,
      steps,
      guidance,
      solver,
      canvas,
      keepSteps,
      previews: Boolean(onStep),
    };
    if (!beside) this.#sampling?.cancel("a newer sample() was asked for");
    const call = this.#calls.start("sample", options, { step: (state) => onStep?.(state) });
    if (!beside) this.#sampling = call;
    try {
      return await call.result;
    } finally {
      if (this.#sampling === call) this.#sampling = null;
    }
  }

  /** The masked autoencoder's picture of the same hole, RGBA of the whole picture. */
  reconstruct({ image, hidden }) {
    return this.#calls.start("reconstruct", { image: this.#checked(image), hidden: this.#hole(hidden) }).result;
  }

  /** End all running calls: they reject with EngineCancelled. */
  cancel() {
    this.#calls.cancelAll("cancelled");
  }

  /** End the worker and free its memory. */
  dispose() {
    this.#calls.cancelAll("the engine was disposed of");
    this.#worker.terminate();
  }

  #checked(image) {
    const [height, width] = this.manifest.size;
    if (image?.length !== 4 * height * width) {
      const wanted = 4 * height * width;
      throw new TypeError(`The image is RGBA of ${height} x ${width}, ${wanted} numbers, not ${image?.length}.`);
    }
    return Uint8ClampedArray.from(image);
  }

  #hole(hidden) {
    const [rows, cols] = this.manifest.grid;
    const hole = [...new Set(hidden)].sort((a, b) => a - b);
    if (!hole.length || hole.length >= rows * cols) {
      throw new RangeError("A hole has at least one patch, and leaves at least one visible.");
    }
    if (!hole.every((index) => Number.isInteger(index) && index >= 0 && index < rows * cols)) {
      throw new RangeError(`Patch indices are whole numbers from 0 to ${rows * cols - 1}.`);
    }
    return hole;
  }
}

/** Calls to the worker that wait for their answers. */
class Calls {
  #next = 0;
  #waiting = new Map();
  #worker;
  #broken = null;

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#hear(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      const why = event.message || "its script is not there";
      this.#fail(new EngineError("worker", `The worker of the engine ended: ${why}.`));
    };
  }

  start(call, options, events = {}) {
    const id = this.#next++;
    const result = new Promise((resolve, reject) => {
      if (this.#broken) {
        reject(this.#broken);
        return;
      }
      this.#waiting.set(id, { resolve, reject, events });
      this.#worker.postMessage({ id, call, options });
    });
    return { result, cancel: (why) => this.#cancel(id, why) };
  }

  cancelAll(why) {
    for (const id of [...this.#waiting.keys()]) this.#cancel(id, why);
  }

  #cancel(id, why) {
    const call = this.#waiting.get(id);
    if (!call) return;
    this.#waiting.delete(id);
    this.#worker.postMessage({ cancel: id });
    call.reject(new EngineCancelled(why));
  }

  #hear({ id, event, state, result, error }) {
    const call = this.#waiting.get(id); // none where the call was cancelled meanwhile
    if (!call) return;
    if (event) {
      call.events[event]?.(state);
      return;
    }
    this.#waiting.delete(id);
    if (error) call.reject(error.missing ? new EngineError(error.missing, error.message) : new Error(error.message));
    else call.resolve(result);
  }

  #fail(error) {
    this.#broken = error;
    for (const call of this.#waiting.values()) call.reject(error);
    this.#waiting.clear();
  }
}

function startWorker(url) {
  try {
    return new Worker(url, { type: "module", name: "ijepa-engine" });
  } catch (error) {
    throw new EngineError("worker", `The worker of the engine does not start: ${error.message}`);
  }
}

/** Where the files are, of a page that a server sends. */
function servedFiles(base, runtime) {
  const here = (name) => new URL(name, import.meta.url).href;
  const folder = (text, from) => new URL(text.endsWith("/") ? text : `${text}/`, from).href;
  return {
    worker: here("./worker.js"),
    sampler: here("./sampler.js"),
    networks: here("./networks.js"),
    runtime: runtime ? folder(runtime, import.meta.url) : here(`./${RUNTIME}`),
    models: folder(base, globalThis.location.href),
    inlined: null,
  };
}

/** The same of a page that holds all of them: scripts as data: addresses, the rest as it is. */
function inlinedFiles(inlined, base) {
  const script = (name) => {
    if (typeof inlined[name] !== "string") throw new EngineError("models", `The page holds no ${name}.`);
    // Not a blob: address: a page from the disk has no origin that its workers could import one of.
    const bytes = new TextEncoder().encode(inlined[name]);
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return `data:text/javascript;base64,${btoa(text)}`;
  };
  const names = Object.keys(inlined).filter((name) => name.startsWith(RUNTIME) && name.endsWith(".mjs"));
  const scripts = Object.fromEntries(names.map((name) => [name, script(name)]));
  const held = Object.fromEntries(Object.entries(inlined).filter(([name]) => !/\.m?js$/.test(name)));
  return {
    worker: script("worker.js"),
    sampler: script("sampler.js"),
    networks: script("networks.js"),
    runtime: RUNTIME,
    models: base.replace(/^\.\//, "").replace(/\/?$/, "/"),
    inlined: { ...held, ...scripts },
  };
}
