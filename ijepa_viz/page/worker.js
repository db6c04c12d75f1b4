// The worker of the engine: loads onnxruntime-web and the networks, and answers engine.js. Never imported by a page.
//
// A call that samples looks for news between its steps, so that it can be cancelled and others are answered meanwhile.

const PROVIDERS = {
  wasm: { script: "ort.wasm.bundle.min.mjs", binary: "ort-wasm-simd-threaded.wasm.gz" },
  webgpu: { script: "ort.webgpu.bundle.min.mjs", binary: "ort-wasm-simd-threaded.asyncify.wasm.gz" },
};

// Networks of the first stroke; the others are opened after the engine is ready.
const FIRST = ["predict", "denoise", "denoise_tokens"];

const running = new Map(); // id -> whether it was cancelled
let runtime = null;
let networks = null;

class Missing extends Error {
  constructor(missing, message) {
    super(message);
    this.missing = missing;
  }
}

class Cancelled extends Error {}

self.onmessage = async ({ data }) => {
  if (data.cancel !== undefined) {
    if (running.has(data.cancel)) running.set(data.cancel, true);
    return;
  }
  const { id, call, options } = data;
  const task = { id, tell: (event, state) => self.postMessage({ id, event, state }) };
  running.set(id, false);
  try {
    const result = await CALLS[call](options, task);
    self.postMessage({ id, result }, transferable(result));
  } catch (error) {
    if (!(error instanceof Cancelled)) self.postMessage({ id, error: described(error) });
  } finally {
    running.delete(id);
  }
};

const CALLS = {
  load: async ({ files, backend, threads }, task) => {
    const reader = new Files(files, task);
    const manifest = await reader.json(files.models, "manifest.json");
    runtime = new Runtime(threads);
    const [sampler, { Networks }] = await Promise.all([import(files.sampler), import(files.networks)]);
    await runtime.load(reader, manifest, backend);
    networks = new Networks(manifest, { sampler, run: (name, inputs) => runtime.run(name, inputs), rest: breathe });
    setTimeout(() => runtime.openRest());
    return { manifest, backend: runtime.backend, threads: runtime.threads, note: runtime.note };
  },
  predict: ({ image, hidden }, task) => networks.predict(image, hidden, task),
  sample: (options, task) => networks.sample(options, task),
  reconstruct: ({ image, hidden }, task) => networks.reconstruct(image, hidden, task),
};

/** Let messages be heard, and end a task that was cancelled. */
async function breathe(task) {
  await new Promise((go) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      go();
    };
    port2.postMessage(null);
  });
  if (running.get(task.id)) throw new Cancelled();
}

function described(error) {
  const text = String(error?.message ?? error);
  const memory = error instanceof RangeError || /memory|allocat/i.test(text);
  return { missing: error?.missing ?? (memory ? "memory" : undefined), message: text };
}

function transferable(result) {
  const found = new Set();
  const look = (value) => {
    if (ArrayBuffer.isView(value)) found.add(value.buffer);
    else if (value && typeof value === "object") Object.values(value).forEach(look);
  };
  look(result);
  return [...found];
}

/** Files of the page, from its server or from within itself. */
class Files {
  #done = 0;

  constructor(files, task) {
    this.files = files;
    this.task = task;
    this.total = 0;
  }

  /** A file's bytes, unpacked if they are packed by gzip. */
  async bytes(folder, name) {
    const found = this.files.inlined ? this.#held(folder + name) : await this.#fetched(folder + name);
    const packed = found[0] === 0x1f && found[1] === 0x8b;
    if (!packed) return found;
    const stream = new Blob([found]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** Whether a page that holds its files holds this one; of a server it is not known. */
  mayHave(path) {
    return !this.files.inlined || path in this.files.inlined;
  }

  async json(folder, name) {
    return JSON.parse(new TextDecoder().decode(await this.bytes(folder, name)));
  }

  #held(path) {
    const text = this.files.inlined[path];
    if (typeof text !== "string") throw new Missing("models", `The page holds no ${path}.`);
    const bytes = path.endsWith(".json") ? new TextEncoder().encode(text) : fromBase64(text);
    this.#count(bytes.length);
    return bytes;
  }

  async #fetched(url) {
    let response;
    try {
      response = await fetch(url);
    } catch (error) {
      throw new Missing("models", `${url} cannot be read (${error.message}): is the page opened from a server?`);
    }
    if (!response.ok) throw new Missing("models", `${url} is not there: the server answers ${response.status}.`);
    const parts = [];
    let length = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
      this.#count(value.length);
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  #count(length) {
    this.#done += length;
    if (this.total) this.task.tell("progress", { done: Math.min(this.#done, this.total), total: this.total });
  }
}

function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** onnxruntime-web with the networks of a manifest. */
class Runtime {
  #graphs = {};
  #sessions = {};
  #weights = {}; // promises of files that are read and not opened yet
  #read = null;
  #turn = Promise.resolve();

  constructor(threads) {
    this.threads = threads;
    this.note = ""; // why the backend is not the one that was asked for
  }

  async load(reader, manifest, backend) {
    const { files } = reader;
    const sizes = await reader.json(files.runtime, "files.json");
    const kind = (await this.#hasWebGPU(backend, sizes, reader)) ? "webgpu" : "wasm";
    this.#graphs = manifest.graphs;
    const first = FIRST.filter((name) => name in this.#graphs);
    reader.total = first.reduce((sum, name) => sum + this.#graphs[name].bytes, sizes[PROVIDERS[kind].binary]);
    this.#read = (name) => reader.bytes(files.models, this.#graphs[name].file);
    const start = this.#start(reader, kind);
    for (const name of first) this.#weights[name] = this.#read(name);
    await Promise.all([start, ...Object.values(this.#weights)]);
    try {
      this.backend = kind;
      for (const name of first) await this.#open(name);
    } catch (error) {
      if (kind === "wasm") throw error;
      // The runtime with WebGPU computes on the processor as well.
      this.note = `WebGPU failed (${error.message}), the processor computes.`;
      this.backend = "wasm";
      for (const name of first) await this.#open(name);
    }
  }

  /** The other networks, so that who asks for one finds it there. */
  async openRest() {
    for (const name of Object.keys(this.#graphs)) {
      // What fails here is tried again, and told, when it is asked for.
      if (!this.#sessions[name]) await this.#open(name).catch(() => {});
    }
  }

  async #hasWebGPU(backend, sizes, reader) {
    if (backend === "wasm") return false;
    const { binary } = PROVIDERS.webgpu;
    const has = binary in sizes && reader.mayHave(reader.files.runtime + binary);
    if (has && (await self.navigator?.gpu?.requestAdapter())) return true;
    if (backend === "webgpu") this.note = "There is no WebGPU here, the processor computes.";
    return false;
  }

  async #start(reader, kind) {
    const { files } = reader;
    const { script, binary } = PROVIDERS[kind];
    const path = files.runtime + script;
    const [module, bytes] = await Promise.all([
      import(files.inlined?.[path] ?? path),
      reader.bytes(files.runtime, binary),
    ]);
    this.ort = module;
    this.ort.env.wasm.wasmBinary = bytes.buffer;
    this.ort.env.wasm.numThreads = this.threads;
    this.ort.env.logLevel = "error";
  }

  #open(name) {
    const options = { executionProviders: [this.backend], graphOptimizationLevel: "all" };
    const weights = (this.#weights[name] ??= this.#read(name));
    weights.catch(() => delete this.#weights[name]);
    const session = this.#alone(async () => this.ort.InferenceSession.create(await weights, options));
    this.#sessions[name] = session;
    session.then(
      () => {
        delete this.#weights[name]; // the session has its own copy
      },
      () => {
        if (this.#sessions[name] === session) delete this.#sessions[name];
      },
    );
    return session;
  }

  /** Run one network: inputs name -> [type, data, dims], outputs name -> numbers. */
  async run(name, inputs) {
    if (!(name in this.#graphs)) throw new Error(`This model was exported without the network ${name}.`);
    const session = await (this.#sessions[name] ?? this.#open(name));
    const feeds = {};
    for (const input of session.inputNames) {
      const [type, data, dims] = inputs[input];
      feeds[input] = new this.ort.Tensor(type, type === "int64" ? BigInt64Array.from(data, BigInt) : data, dims);
    }
    const outputs = await this.#alone(() => session.run(feeds));
    return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data.slice()]));
  }

  /** The runtime does one thing at a time. */
  #alone(work) {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}
