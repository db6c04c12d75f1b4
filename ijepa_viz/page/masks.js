// Masks as in training: the sampler's settings as sliders, the widget of the notebooks on masks drawn in the page.

import { maskSampler } from "./painter.js";
import { generator, hiddenText, multiblock } from "./multiblock.js";
import { Store } from "./store.js";

const SHOWN = 6, MANY = 256;

// use(mask) takes the hole of the first mask to the painter.
export function masksSection(section, grid, use) {
  const store = new Store({
    grid, strategies: ["multiblock"], strategy: "multiblock", mode: "unbiased", targets: 4, scale_low: 0.15, scale_high: 0.2,
    aspect_low: 0.75, aspect_high: 1.5, context_low: 0.85, scale: 0.6, seed: 0, seq: 0, masks: [], many: MANY,
    context_share: [], context_counts: [], summary: "", result_seq: -1, error: "",
  });
  let drawn = [];
  const sample = () => {
    const options = {
      mode: store.get("mode"), targets: store.get("targets"), targetScale: [store.get("scale_low"), store.get("scale_high")],
      targetAspect: [store.get("aspect_low"), store.get("aspect_high")], contextScale: [store.get("context_low"), 1],
    };
    drawn = multiblock(MANY, grid, generator(store.get("seed")), options);
    for (const [name, value] of Object.entries(describe(drawn, grid))) store.set(name, value);
    store.set("result_seq", store.get("seq"));
  };
  store.on("change:seq", sample);
  sample();
  maskSampler.render({ model: store, el: section.querySelector("[data-part=sampler]") });
  section.querySelector("[data-part=use]").onclick = () => use(hiddenText(drawn[0], grid));
}

function describe(drawn, [rows, cols]) {
  const total = rows * cols, share = Array(total).fill(0), counts = Array(total + 1).fill(0);
  let leaked = 0, hidden = 0;
  const texts = drawn.map(({ context, targets }) => {
    const cells = Array(total).fill("."), seen = new Set(context);
    for (const patch of context) { cells[patch] = "c"; share[patch] += 1 / drawn.length; }
    counts[context.length] += 1;
    targets.forEach((block, m) => { for (const patch of block) cells[patch] = seen.has(patch) ? "x" : String(m); });
    const away = new Set(targets.flat());
    hidden += away.size;
    leaked += [...away].filter((patch) => seen.has(patch)).length;
    return cells.join("");
  });
  const lengths = drawn.map(({ context }) => context.length), n = drawn.length;
  let summary = `Context: ${(lengths.reduce((a, b) => a + b, 0) / n).toFixed(1)} of ${total} patches on average, ` +
    `${Math.min(...lengths)} to ${Math.max(...lengths)}. In targets: ${(hidden / n).toFixed(1)}.`;
  if (leaked) summary += ` Of these, ${(leaked / n).toFixed(1)} can be seen all the same: the sampler leaks.`;
  return { masks: texts.slice(0, SHOWN), context_share: share, context_counts: counts, summary, error: "" };
}
