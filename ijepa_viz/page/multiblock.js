// Multi-block masks as in pretraining (section 3, appendix A.1): the rules of ijepa_viz/masks/multiblock.py.

// Rounds of rejection sampling for a context that is too small, before the fallback.
const ATTEMPTS = 20;

export const DEFAULTS = {
  mode: "unbiased", targets: 4, targetScale: [0.15, 0.2], targetAspect: [0.75, 1.5], contextScale: [0.85, 1], minKeep: 10,
};

// A generator of numbers in [0, 1) from a seed (mulberry32).
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Half to even, as Python rounds.
function round(value) {
  const low = Math.floor(value), rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
}

const between = ([low, high], share) => low + (high - low) * share;

// [height, width] of a block of about ``area`` patches and height / width ``aspect``, at most ``limit``.
export function blockSize(area, aspect, limit) {
  const side = (length, most) => Math.max(1, Math.min(Math.max(1, round(length)), most));
  return [side(Math.sqrt(area * aspect), limit[0]), side(Math.sqrt(area / aspect), limit[1])];
}

// Patch indices of a block of one size at a random position; no block reaches the last ``margin`` rows and columns.
function randomBlock([rows, cols], random, [height, width], margin) {
  const right = cols - width + 1 - margin, place = Math.floor(random() * (rows - height + 1 - margin) * right);
  const top = Math.floor(place / right), left = place % right, found = [];
  for (let r = top; r < top + height; r++) for (let c = left; c < left + width; c++) found.push(r * cols + c);
  return found;
}

// ``count`` masks, each {targets: [[patch, ...], ...], context: [patch, ...]}. Sizes are drawn once, positions for each.
export function multiblock(count, grid, random, options = {}) {
  const { mode, targets, targetScale, targetAspect, contextScale, minKeep } = { ...DEFAULTS, ...options };
  if (!["unbiased", "faithful"].includes(mode)) throw new Error(`mode must be "unbiased" or "faithful", got "${mode}".`);
  const [rows, cols] = grid, total = rows * cols, faithful = mode === "faithful", margin = faithful ? 1 : 0;
  const draws = [random(), random(), random()];
  let area, aspect, contextArea;
  if (faithful) {  // one number gives both the area, in whole patches, and the aspect ratio
    area = Math.floor(total * between(targetScale, draws[1]));
    aspect = between(targetAspect, draws[1]);
    contextArea = Math.floor(total * between(contextScale, draws[2]));
  } else {
    area = total * between(targetScale, draws[0]);
    aspect = Math.exp(between(targetAspect.map(Math.log), draws[1]));
    contextArea = total * between(contextScale, draws[2]);
  }
  const limit = [rows - margin, cols - margin];
  let size = blockSize(area, aspect, limit);
  if (size[0] * size[1] === total) size = [size[0], Math.max(1, size[1] - 1)];  // else no context is left
  // Of the image's own proportions: a square block would cover less than its share of a wide one.
  const contextSize = blockSize(contextArea, faithful ? 1 : rows / cols, limit), keep = Math.max(1, Math.min(minKeep, Math.floor(total / 4)));
  const drawTargets = (n) => Array.from({ length: n }, () => randomBlock(grid, random, size, margin));
  const drawContext = () => randomBlock(grid, random, contextSize, margin);
  const without = (context, blocks) => { const away = new Set(blocks.flat()); return context.filter((i) => !away.has(i)); };
  if (faithful) return faithfully(count, drawTargets, drawContext, without, targets, grid, contextSize, keep);
  return Array.from({ length: count }, () => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const blocks = drawTargets(targets), context = without(drawContext(), blocks);
      if (context.length >= keep) return { targets: blocks, context };
    }
    // Many large targets on a small grid: all targets coincide, and the complement is the context.
    const [block] = drawTargets(1), everything = Array.from({ length: total }, (_, i) => i);
    return { targets: Array(targets).fill(block), context: without(everything, [block]) };
  });
}

function faithfully(count, drawTargets, drawContext, without, targets, grid, contextSize, keep) {
  const least = Math.min(keep, contextSize[0] * contextSize[1] - 1);
  const positions = (grid[0] - contextSize[0]) * (grid[1] - contextSize[1]);
  const attempts = positions > 1 ? ATTEMPTS : 1;  // the only position needs one attempt
  const found = Array.from({ length: count }, () => {
    const blocks = drawTargets(targets);
    let context = without(drawContext(), blocks);
    // With too little context, one target region after the other is returned to it: the reference code's leak.
    for (let kept = targets; kept >= 0 && context.length <= least; kept--) {
      for (let a = 0; a < attempts && context.length <= least; a++) context = without(drawContext(), blocks.slice(0, kept));
    }
    return { targets: blocks, context };
  });
  // Truncated to the shortest context of the batch in raster order, which removes bottom rows.
  const shortest = Math.min(...found.map((mask) => mask.context.length));
  return found.map((mask) => ({ ...mask, context: mask.context.slice(0, shortest) }));
}

// The union of a mask's targets as "0101...", 1 = hidden.
export function hiddenText({ targets }, [rows, cols]) {
  const cells = Array(rows * cols).fill("0");
  for (const block of targets) for (const patch of block) cells[patch] = "1";
  return cells.join("");
}
