// Controls side by side, and JEPA beside a masked autoencoder: sections that ask on while they are seen.

import { element } from "./painter.js";
import { LINE, covered, enlargedInto, pictureTile } from "./tiles.js";

const EACH = 3;
const ROWS = [
  { source: "prediction", name: "The prediction", words: "drawn from what the model expects in this hole" },
  { source: "another", name: "Another picture's prediction", words: "the same hole, expected in another picture. If it looked as right, the model would deserve no credit" },
  { source: "nothing", name: "Nothing", words: "the decoder on its own: what it draws when it is told nothing" },
  { source: "target", name: "The target itself", words: "from tokens that have seen the hidden part: what is missing here, the decoder lost" },
  { source: "prediction", steps: 1, name: "One step", words: "the mean of everything that fits the prediction: the blur" },
];

// Whether a section is on the screen; seen() is called when it comes.
export function watchSection(section, seen) {
  let visible = false;
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; if (visible) seen(); }, { rootMargin: "150px" }).observe(section);
  return () => visible;
}

export function controlsSection(section, store, asker) {
  const list = section.querySelector("[data-part=rows]");
  const rows = ROWS.map((row) => {
    const tiles = Array.from({ length: row.steps === 1 ? 1 : EACH }, () => pictureTile());
    const name = element("span", { className: "swatch" });
    name.style.background = LINE[row.source];
    const text = element("p", {}, element("strong", {}, name, row.name), element("br"), element("span", { textContent: row.words }));
    list.append(element("li", {}, text, element("div", { className: "triple" }, ...tiles)));
    return { ...row, tiles };
  });
  const clear = () => { for (const row of rows) for (const tile of row.tiles) tile.clear(); };
  store.on("change:result", () => { if (!store.get("result")) clear(); });
  asker.add({
    wanted: watchSection(section, () => asker.askOn()),
    work: async (engine, question, alive) => {
      for (const row of rows) {
        const drawn = await engine.sample({ ...question, source: row.source, steps: row.steps, guidance: row.steps === 1 ? 1 : question.guidance, samples: row.tiles.length, onStep: undefined });
        if (!alive()) return;
        row.tiles.forEach((tile, i) => {
          if (drawn.images[i]) tile.show(drawn.images[i], `${row.name}, picture ${i + 1}`, { hole: question.mask, grid: store.get("grid"), stroke: LINE[row.source] });
        });
      }
    },
  });
}

export function generativeSection(section, store, asker, pictures) {
  const find = (name) => section.querySelector(`[data-part=${name}]`);
  const tiles = {};
  const own = pictures.size[0] < pictures.shownSize[0] ? `, ${pictures.size[0]}\u00a0px` : "";  // it draws at the model's size
  for (const [name, words] of [["seen", "what both see"], ["mae", `masked autoencoder${own}`], ["mean", "I-JEPA, one step"], ["one", "I-JEPA, a sample"], ["two", "and another"]]) {
    tiles[name] = pictureTile(words);
    find("row").append(tiles[name]);
  }
  const truth = pictureTile("the truth");
  find("row").append(truth);
  store.on("change:result", () => { if (!store.get("result")) for (const tile of [...Object.values(tiles), truth]) tile.clear(); });
  asker.add({
    wanted: watchSection(section, () => asker.askOn()),
    work: async (engine, question, alive) => {
      const { mask, picture } = question, grid = store.get("grid");
      const outline = (stroke) => ({ hole: mask, grid, stroke });
      tiles.seen.show(covered(question.canvas, pictures.shownSize, mask, grid), "The picture with its hole", { grid });
      truth.show(new Uint8ClampedArray(question.canvas), "The truth", outline(LINE.truth));
      const without = engine.manifest.autoencoder === null;  // exported with --autoencoder none
      tiles.mae.hidden = without;
      if (without) find("missing").textContent = "This page's model was exported without a masked autoencoder: there is none to compare with.";
      const painted = without ? null : await engine.reconstruct(question);
      if (!alive()) return;
      find("missing").hidden = Boolean(painted);
      if (painted) tiles.mae.show(enlargedInto(question.canvas, pictures.shownSize, painted, pictures.size, mask, grid), "The masked autoencoder's pixels", outline("#CC79A7"));
      for (const [names, steps] of [[["mean"], 1], [["one", "two"], undefined]]) {
        const drawn = await engine.sample({ ...question, source: "prediction", steps, guidance: steps === 1 ? 1 : question.guidance, samples: names.length, onStep: undefined });
        if (!alive()) return;
        names.forEach((name, i) => tiles[name].show(drawn.images[i], `Drawn from I-JEPA's prediction: ${tiles[name].label.textContent}`, outline(LINE.prediction)));
      }
    },
  });
}
