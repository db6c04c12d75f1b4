// What is computed with the networks: tokens of a hole, samples by the decoder, the masked autoencoder's picture.
// Tensors and pictures only: worker.js gives the function that runs a network.

/** The networks of a manifest. */
export class Networks {
  #sampler;
  #run;
  #rest;

  /**
   * @param sampler module sampler.js. run: async (name, inputs) -> outputs of one network; an input is [type, data,
   *     dims]. rest: async (task), which lets messages be heard and throws where the task was cancelled.
   */
  constructor(manifest, { sampler, run, rest }) {
    this.manifest = manifest;
    this.#sampler = sampler;
    this.#run = run;
    this.#rest = rest;
  }

  /** RGBA to the networks' input (3, H, W), normalised. */
  #normalised(image) {
    const { mean, std } = this.manifest.normalisation;
    const [height, width] = this.manifest.size;
    const area = height * width;
    const pixels = new Float32Array(3 * area);
    for (let c = 0; c < 3; c += 1) {
      for (let i = 0; i < area; i += 1) pixels[c * area + i] = (image[4 * i + c] / 255 - mean[c]) / std[c];
    }
    return ["float32", pixels, [1, 3, height, width]];
  }

  #masks(hidden) {
    const count = this.manifest.grid[0] * this.manifest.grid[1];
    const hole = new Set(hidden);
    const visible = Array.from({ length: count }, (_, i) => i).filter((i) => !hole.has(i));
    const context = ["int64", visible, [1, visible.length]];
    return { visible, inputs: { context, targets: ["int64", hidden, [1, 1, hidden.length]] } };
  }

  async #predicted(image, hidden) {
    const { visible, inputs } = this.#masks(hidden);
    const { context_tokens, predicted } = await this.#run("predict", { images: this.#normalised(image), ...inputs });
    return { visible, context: layerNormed(context_tokens, this.manifest.dim), predicted };
  }

  async #target(image, hidden) {
    const { tokens } = await this.#run("target", { images: this.#normalised(image) });
    const { dim } = this.manifest;
    const target = new Float32Array(hidden.length * dim);
    hidden.forEach((patch, i) => target.set(tokens.subarray(patch * dim, (patch + 1) * dim), i * dim));
    return target;
  }

  async predict(image, hidden, task) {
    const found = await this.#predicted(image, hidden);
    await this.#rest(task);
    const target = await this.#target(image, hidden);
    const cosine = Float32Array.from(hidden, (_, i) => cosineAt(found.predicted, target, i, this.manifest.dim));
    return { ...found, target, cosine };
  }

  async sample(options, task) {
    const { image, hidden, source, other, samples, seed, steps, guidance, solver, canvas, keepSteps, previews } = options;
    const { decoder } = this.manifest;
    if (!decoder) throw new Error("This model was exported without a decoder.");
    if (!(Number.isInteger(samples) && samples >= 1)) {
      throw new TypeError(`samples is a whole number from 1, got ${samples}.`);
    }
    await this.#rest(task);
    const target = source === "target";
    const tokens = target
      ? await this.#target(image, hidden)
      : (await this.#predicted(source === "another" ? other : image, hidden)).predicted;
    const noise = Array.from({ length: samples }, (_, i) => new this.#sampler.GaussianNoise(seed + i));
    const drawn = this.#noise(noise, decoder.channels, hidden); // before the tokens' noise, as in Python
    const wanted = {
      hidden,
      samples,
      conditioning: source === "nothing" ? decoder.conditioning.null : decoder.conditioning.tokens,
      source: target ? decoder.sources.target : decoder.sources.predicted,
      guidance: guidance ?? 1,
    };
    const known = this.#solver(solver);
    const pixelSteps = decoder.stochastic ? (steps ?? decoder.steps) : 1;
    const tokenSteps = steps === undefined ? decoder.token_steps : Math.min(decoder.token_steps, steps);
    const stage = { ...wanted, tokens: repeated(tokens, samples) };
    const background = this.#background(canvas ?? image);
    const show = (values) => this.#composed(values, hidden, samples, background);
    const size = decoder.size;
    if (this.manifest.graphs.denoise_tokens && !target && source !== "nothing" && tokenSteps > 0) {
      // Two stages keep one waiting: first what one step expects of the tokens as they are, the same for all samples.
      if (previews) {
        const one = drawn.subarray(0, drawn.length / samples);
        const draw = this.#denoiser("denoise", decoder.channels, { ...wanted, samples: 1, tokens, guidance: 1 });
        const sketch = show(repeated(await draw(one, noiseTop(known, this.#sampler)), samples));
        task.tell("step", { step: 0, steps: pixelSteps, level: 1, size, pixels: sketch, expected: sketch });
        await this.#rest(task);
      }
      const temperature = tokenSteps === 1 ? 1 : decoder.token_temperature;
      const latents = await this.#sampler.sampleLoop({
        denoise: this.#denoiser("denoise_tokens", decoder.token_channels, stage),
        noise: this.#noise(noise, decoder.token_channels, hidden).map((value) => temperature * value),
        solver: solver === undefined ? (decoder.token_solver ?? known) : known,
        steps: tokenSteps,
        fresh: () => this.#noise(noise, decoder.token_channels, hidden).map((value) => decoder.token_temperature * value),
        onStep: () => this.#rest(task),
      });
      const { mean, std } = decoder.token_statistics;
      stage.tokens = latents.map((value, i) => value * std[i % this.manifest.dim] + mean[i % this.manifest.dim]);
      Object.assign(stage, { source: decoder.sources.target, guidance: 1 });
    }
    const kept = keepSteps ? { steps: [show(drawn)], levels: [1], expected: [] } : null;
    const pixels = await this.#sampler.sampleLoop({
      denoise: this.#denoiser("denoise", decoder.channels, stage),
      noise: drawn,
      solver: known,
      steps: pixelSteps,
      detail: decoder.detail,
      fresh: () => this.#noise(noise, decoder.channels, hidden),
      onStep: async ({ step, level, latents, clean }) => {
        await this.#rest(task);
        if (previews) {
          task.tell("step", { step, steps: pixelSteps, level, size, pixels: show(latents), expected: show(clean) });
        }
        if (!kept) return;
        kept.steps.push(show(latents));
        kept.expected.push(show(clean));
        kept.levels.push(level);
      },
    });
    return { size, images: show(pixels), ...kept };
  }

  #solver(name) {
    const { solver } = this.manifest.decoder;
    return name === undefined || name === solver.name ? solver : { name };
  }

  /** Noise of the hole's patches, from that of the whole grid: a patch keeps its noise as the hole grows. */
  #noise(generators, channels, hidden) {
    const [rows, cols] = this.manifest.grid;
    const noise = new Float32Array(generators.length * hidden.length * channels);
    let at = 0;
    for (const generator of generators) {
      const all = generator.draw(rows * cols * channels);
      for (const patch of hidden) {
        noise.set(all.subarray(patch * channels, (patch + 1) * channels), at);
        at += channels;
      }
    }
    return noise;
  }

  /** The decoder's network with guidance: (noisy, level) -> clean. */
  #denoiser(name, channels, { tokens, hidden, samples, conditioning, source, guidance }) {
    const nothing = this.manifest.decoder.conditioning.null;
    const every = (value) => ["int64", new Array(samples).fill(value), [samples]];
    const indices = new Array(samples).fill(hidden).flat();
    const cols = this.manifest.grid[1];
    const extent = (of) => Math.max(...hidden.map(of)) - Math.min(...hidden.map(of)) + 1;
    const box = [extent((i) => Math.floor(i / cols)), extent((i) => i % cols)];
    const inputs = {
      patch_indices: ["int64", indices, [samples, hidden.length]],
      tokens: ["float32", tokens, [samples, hidden.length, this.manifest.dim]],
      token_source: every(source),
      box: ["float32", new Float32Array(box[0] * box[1]), box],
    };
    const evaluate = async (noisy, level, mode) => {
      const noise = { noisy: ["float32", noisy, [samples, hidden.length, channels]] };
      const sigma = ["float32", new Float32Array(samples).fill(level), [samples]];
      return (await this.#run(name, { ...inputs, ...noise, sigma, conditioning: every(mode) })).clean;
    };
    return async (noisy, level) => {
      const conditional = await evaluate(noisy, level, conditioning);
      if (guidance === 1 || !this.manifest.decoder.stochastic) return conditional;
      const unconditional = await evaluate(noisy, level, nothing);
      return conditional.map((value, i) => unconditional[i] + guidance * (value - unconditional[i]));
    };
  }

  /** The picture at the decoder's resolution. */
  #background(image) {
    const [height, width] = this.manifest.decoder.size;
    if (image.length === 4 * height * width) return image;
    return enlarged(image, this.manifest.size, [height, width]);
  }

  /** Pixels of hidden patches, (S, T, 3 p p) in [-1, 1], in the picture: an RGBA picture a sample. */
  #composed(values, hidden, samples, background) {
    const { size, pixels: patch } = this.manifest.decoder;
    return Array.from({ length: samples }, (_, s) => {
      const picture = Uint8ClampedArray.from(background);
      const own = values.subarray((s * values.length) / samples, ((s + 1) * values.length) / samples);
      this.#paint(picture, size[1], patch, hidden, (i) => 255 * (own[i] / 2 + 0.5));
      return picture;
    });
  }

  #paint(picture, width, patch, hidden, colour) {
    const cols = this.manifest.grid[1];
    const area = patch * patch;
    hidden.forEach((index, t) => {
      const corner = Math.floor(index / cols) * patch * width + (index % cols) * patch;
      for (let i = 0; i < area; i += 1) {
        const at = 4 * (corner + Math.floor(i / patch) * width + (i % patch));
        for (let c = 0; c < 3; c += 1) picture[at + c] = colour((3 * t + c) * area + i, c);
        picture[at + 3] = 255;
      }
    });
  }

  /** The masked autoencoder's picture. */
  async reconstruct(image, hidden, task) {
    await this.#rest(task);
    const inputs = { images: this.#normalised(image), ...this.#masks(hidden).inputs };
    const { pixels } = await this.#run("reconstruct", inputs);
    const { mean, std } = this.manifest.normalisation;
    const picture = Uint8ClampedArray.from(image);
    const colour = (i, c) => 255 * (pixels[i] * std[c] + mean[c]);
    this.#paint(picture, this.manifest.size[1], this.manifest.patch, hidden, colour);
    return picture;
  }
}

/** The noise level that sampling starts from. */
const noiseTop = (solver, sampler) => sampler.noiseLevels(solver, 1)[0];

function repeated(values, times) {
  const all = new Float32Array(values.length * times);
  for (let i = 0; i < times; i += 1) all.set(values, i * values.length);
  return all;
}

/** Each token to mean 0 and variance 1, as the loss does with target tokens. */
function layerNormed(tokens, dim) {
  for (let at = 0; at < tokens.length; at += dim) {
    const token = tokens.subarray(at, at + dim);
    const mean = token.reduce((sum, v) => sum + v, 0) / dim;
    const variance = token.reduce((sum, v) => sum + (v - mean) ** 2, 0) / dim;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    token.forEach((v, i) => {
      token[i] = (v - mean) * scale;
    });
  }
  return tokens;
}

function cosineAt(a, b, row, dim) {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = row * dim; i < (row + 1) * dim; i += 1) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return dot / Math.max(Math.sqrt(aa * bb), 1e-8);
}

/** RGBA of another size, between the four nearest pixels. */
function enlarged(image, [height, width], [rows, cols]) {
  const out = new Uint8ClampedArray(4 * rows * cols);
  const nearest = (i, from, to) => {
    const at = Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
    const low = Math.floor(at);
    return [low, Math.min(low + 1, from - 1), at - low];
  };
  for (let r = 0; r < rows; r += 1) {
    const [top, bottom, down] = nearest(r, height, rows);
    for (let c = 0; c < cols; c += 1) {
      const [left, right, across] = nearest(c, width, cols);
      for (let k = 0; k < 4; k += 1) {
        const at = (y, x) => image[4 * (y * width + x) + k];
        const above = at(top, left) * (1 - across) + at(top, right) * across;
        const below = at(bottom, left) * (1 - across) + at(bottom, right) * across;
        out[4 * (r * cols + c) + k] = above * (1 - down) + below * down;
      }
    }
  }
  return out;
}
