// Predict, then reveal: rounds of the explorer's game, on pictures and holes of their own.

import { EXPLORER_STYLE, STYLE, element, gamePanel } from "./painter.js";
import { shuffled } from "./pictures.js";
import { address, hiddenOf } from "./rgba.js";
import { Store } from "./store.js";
import { covered, pictureTile } from "./tiles.js";

const EACH = 3;
// Blocks of other pictures among which the true one stands.
const OTHERS = 4;

// ready() says whether there is an engine that can be asked; engine() is it.
export function gameSection(section, pictures, grid, { engine, choices }) {
  const find = (name) => section.querySelector(`[data-part=${name}]`);
  const store = new Store({ grid, game: 0, game_round: {}, score: [], picks: [] });
  const picture = pictureTile(), start = find("start"), error = find("error");
  find("picture").append(picture);
  const panel = gamePanel(store, { begin: round, next: round, shown: (state) => { start.hidden = find("intro").hidden = state !== "off"; find("picture").hidden = state === "off"; } });
  const frame = element("div", { className: "ijv explorer" }, panel.panel);
  find("panel").append(element("style", { textContent: STYLE + EXPLORER_STYLE }), frame);
  start.onclick = () => panel.start();

  function round() {
    const number = store.get("game") + 1;
    store.set("game", number);
    error.textContent = "";
    const ids = choices(engine()), id = ids[Math.floor(Math.random() * ids.length)];
    const mask = engine().precomputed ? engine().index.holes[Math.floor(Math.random() * engine().index.holes.length)] : anyBlock(grid);
    picture.show(covered(pictures.shown(id), pictures.shownSize, mask, grid), "The picture with its hole", { grid });
    prepare(number, id, mask).catch((problem) => { error.textContent = `This round could not be drawn: ${problem.message}. End the game and start again.`; });
  }

  async function prepare(number, id, mask) {
    const other = pictures.pixels(pictures.other(id)), seed = 1000 + Math.floor(Math.random() * 1e6);
    const question = { picture: id, mask, image: pictures.pixels(id), canvas: pictures.shown(id), other, hidden: hiddenOf(mask), samples: EACH, seed };
    const sides = [];
    for (const source of ["prediction", "another"]) {
      const drawn = await patiently(() => engine().sample({ ...question, source, beside: true }));
      sides.push(drawn.images.map((pixels) => address(pixels, drawn.size)));
    }
    if (number !== store.get("game")) return;
    const model = Math.random() < 0.5 ? 0 : 1;
    store.set("game_round", {
      number, sides: model ? sides.reverse() : sides, model, control: "another image", hole: mask,
      truth: pictures.canvas(id).toDataURL(), ...candidates(id, mask),
    });
  }

  // Blocks to pick from: the true one among those of other pictures at its place, none of them twice.
  function candidates(id, mask) {
    const truth = block(pictures.canvas(id), mask, grid), blocks = [truth];
    for (const other of pictures.others(id, 4 * OTHERS)) {
      const found = block(pictures.canvas(other), mask, grid);
      if (blocks.length <= OTHERS && !blocks.includes(found)) blocks.push(found);
    }
    const order = shuffled(blocks);
    return { candidates: order, right: order.indexOf(truth) };
  }
  return { store };
}

// A rectangular hole's pixels of a picture, as an address.
function block(picture, mask, [rows, cols]) {
  const hidden = hiddenOf(mask), at = hidden.map((patch) => [Math.floor(patch / cols), patch % cols]);
  const [top, left] = [0, 1].map((axis) => Math.min(...at.map((place) => place[axis])));
  const [high, wide] = [0, 1].map((axis) => Math.max(...at.map((place) => place[axis])) + 1 - [top, left][axis]);
  const side = picture.width / cols, canvas = Object.assign(document.createElement("canvas"), { width: wide * side, height: high * side });
  canvas.getContext("2d").drawImage(picture, left * side, top * side, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL();
}

// The painter's questions cancel each other; a round only waits for its turn.
async function patiently(ask) {
  for (let tries = 0; ; tries++) {
    try { return await ask(); } catch (error) {
      if (error.name !== "EngineCancelled" || tries > 20) throw error;
      await new Promise((go) => setTimeout(go, 400));
    }
  }
}

// A block of half the sides somewhere in the picture.
export function anyBlock([rows, cols], random = Math.random) {
  const height = Math.max(1, Math.floor(rows / 2)), width = Math.max(1, Math.floor(cols / 2));
  const top = Math.floor(random() * (rows - height + 1)), left = Math.floor(random() * (cols - width + 1));
  return Array.from({ length: rows * cols }, (_, i) => {
    const r = Math.floor(i / cols), c = i % cols;
    return r >= top && r < top + height && c >= left && c < left + width ? "1" : "0";
  }).join("");
}
