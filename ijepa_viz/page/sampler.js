// The sampler of the decoder in JavaScript: torch's Gaussian noise from a seed, noise levels, and the loops of flow
// matching: Euler, DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2) and SDE-DPM-Solver++(2M) (the same
// paper). Numbers only, no networks.

/** Mersenne Twister (Matsumoto and Nishimura 1998), the generator of torch on a CPU. */
class MersenneTwister {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let i = 1; i < 624; i += 1) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.at = 624;
  }

  /** 32 random bits. */
  next() {
    if (this.at === 624) this.#renew();
    let y = this.state[this.at];
    this.at += 1;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #renew() {
    const s = this.state;
    for (let i = 0; i < 624; i += 1) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }
}

/** Gaussian noise of a seed: the numbers of `torch.randn(n, generator=torch.Generator().manual_seed(seed))`. */
export class GaussianNoise {
  #bits;

  constructor(seed) {
    if (!Number.isSafeInteger(seed)) throw new TypeError(`A seed is a whole number, got ${seed}.`);
    this.#bits = new MersenneTwister(Number(BigInt.asUintN(32, BigInt(seed)))); // as torch, the lower 32 bits
  }

  /** The next `count` numbers, at least 16. Torch computes fewer in another way. */
  draw(count) {
    if (count < 16) throw new RangeError(`Noise is drawn for at least 16 numbers at once, got ${count}.`);
    const noise = new Float32Array(count);
    this.#fill(noise, 0, count);
    for (let at = 0; at + 16 <= count; at += 16) boxMuller(noise, at);
    if (count % 16) {
      // The last 16 are drawn again, as torch does.
      this.#fill(noise, count - 16, count);
      boxMuller(noise, count - 16);
    }
    return noise;
  }

  /** Uniform numbers in [0, 1), multiples of 2^-24. */
  #fill(noise, from, to) {
    for (let i = from; i < to; i += 1) noise[i] = (this.#bits.next() & 0xffffff) / 0x1000000;
  }
}

/** 16 uniform numbers to 16 Gaussian ones: the first eight give the radius, the last eight the angle. */
function boxMuller(noise, at) {
  for (let j = at; j < at + 8; j += 1) {
    const radius = Math.sqrt(-2 * Math.log(1 - noise[j]));
    const angle = 2 * Math.PI * noise[j + 8];
    noise[j] = radius * Math.cos(angle);
    noise[j + 8] = radius * Math.sin(angle);
  }
}

/**
 * Noise levels of `steps` evaluations, from the largest down, and 0 at the end: `steps + 1` numbers.
 *
 * @param solver {name: "euler" | "dpm++" | "sde-dpm++", largest (of the last two), shift} of the manifest.
 */
export function noiseLevels(solver, steps) {
  if (!Number.isInteger(steps) || steps < 1) throw new RangeError(`steps is a whole number from 1, got ${steps}.`);
  const { largest = 0.999, shift = solver.name === "sde-dpm++" ? 2 : 1 } = solver; // as decoders.sampling.SOLVERS
  const top = { euler: 1, "dpm++": largest, "sde-dpm++": largest }[solver.name];
  if (top === undefined) throw new RangeError(`There is no solver ${solver.name}: "euler", "dpm++" or "sde-dpm++".`);
  const levels = Array.from({ length: steps }, (_, i) => {
    const level = top * (1 - i / steps);
    return Math.fround((shift * level) / (1 + (shift - 1) * level));
  });
  return [...levels, 0];
}

/**
 * From noise to clean numbers.
 *
 * @param denoise async (noisy, level) -> clean estimate, of the length of `noisy`; with guidance inside.
 *     noise: Float32Array. solver, steps: as of noiseLevels. detail: noise level at which sampling ends with the
 *     expected numbers. fresh: () -> Float32Array, new noise, of sde-dpm++ once a step, the last one too as in Python.
 *     onStep: async ({step, level, latents, clean}), after each step; may throw to end it.
 */
export async function sampleLoop({ denoise, noise, solver, steps, detail = 0, fresh, onStep = async () => {} }) {
  const levels = noiseLevels(solver, steps);
  const advance = { euler, "dpm++": dpmSolver, "sde-dpm++": stochasticDpmSolver }[solver.name];
  if (solver.name === "sde-dpm++" && !fresh) throw new TypeError("sde-dpm++ draws noise in every step: give fresh.");
  let latents = noise;
  let before = null;
  for (let i = 0; i < steps; i += 1) {
    const clean = await denoise(latents, levels[i]);
    const ends = levels[i] <= detail + 1e-6 || levels[i + 1] === 0;
    const more = solver.name === "sde-dpm++" ? fresh() : null;
    latents = ends ? clean : advance(latents, clean, before, levels, i, more);
    before = clean;
    await onStep({ step: i + 1, level: ends ? 0 : levels[i + 1], latents, clean });
    if (ends) break;
  }
  return latents;
}

/** Along the straight line through the noisy and the clean numbers. */
function euler(noisy, clean, before, levels, i) {
  const keep = levels[i + 1] / levels[i];
  return noisy.map((value, k) => keep * value + (1 - keep) * clean[k]);
}

/** DPM-Solver++(2M): a straight line in the clean estimates over the log signal-to-noise ratio. */
function dpmSolver(noisy, clean, before, levels, i) {
  const logRatio = (level) => Math.log(1 - level) - Math.log(level);
  const [from, to] = [levels[i], levels[i + 1]];
  const keep = to / from;
  const h = logRatio(to) - logRatio(from);
  const weight = (1 - to) * (1 - Math.exp(-h));
  if (!before) return noisy.map((value, k) => keep * value + weight * clean[k]);
  const ahead = h / (logRatio(from) - logRatio(levels[i - 1])) / 2;
  return noisy.map((value, k) => keep * value + weight * (clean[k] + ahead * (clean[k] - before[k])));
}

/** SDE-DPM-Solver++(2M): as above, of the stochastic equation, whose every step forgets some noise and adds `fresh`. */
function stochasticDpmSolver(noisy, clean, before, levels, i, fresh) {
  const logRatio = (level) => Math.log(1 - level) - Math.log(level);
  const [from, to] = [levels[i], levels[i + 1]];
  const h = logRatio(to) - logRatio(from);
  const keep = (to / from) * Math.exp(-h);
  const gone = 1 - Math.exp(-2 * h);
  const weight = (1 - to) * gone;
  const added = to * Math.sqrt(gone);
  const ahead = before ? h / (logRatio(from) - logRatio(levels[i - 1])) / 2 : 0;
  return noisy.map((value, k) => {
    const expected = before ? clean[k] + ahead * (clean[k] - before[k]) : clean[k];
    return keep * value + weight * expected + added * fresh[k];
  });
}
