// The chain of this hole, station by station: patches, tokens, prediction, noise to pictures.

import { element } from "./painter.js";
import { SAMPLES } from "./ask.js";
import { LINE, cosineColour, covered, gridTile, pictureTile, spread, tokenColours } from "./tiles.js";

export function chainSection(section, store, pictures, engine) {
  const find = (name) => section.querySelector(`[data-part=${name}]`);
  const grid = store.get("grid"), [rows, cols] = grid, count = rows * cols;
  const seen = pictureTile(), context = gridTile(grid);
  const cosineOf = (patch) => {
    const tokens = store.get("tokens"), at = tokens?.hidden?.indexOf(patch) ?? -1;
    return at < 0 ? "" : `row ${Math.floor(patch / cols) + 1}, column ${(patch % cols) + 1}: cosine ${tokens.cosine[at].toFixed(2)}`;
  };
  const predicted = gridTile(grid, cosineOf), target = gridTile(grid, cosineOf), cosine = gridTile(grid, cosineOf);
  const named = (tile, words) => element("figure", {}, tile, element("figcaption", { textContent: words }));
  find("patches").append(seen);
  find("context").append(context);
  find("tokens").append(named(predicted, "predicted"), named(target, "target"), named(cosine, "cosine, dark 0, bright 1"));
  const patch = find("patch");
  for (const tile of [predicted, target, cosine]) {
    tile.canvas.addEventListener("pointermove", (event) => { patch.textContent = cosineOf(tile.patchAt(event)) || "Point at a hidden patch, tap it or use the arrow keys, to read its cosine."; });
    // By keys: arrows go from patch to patch.
    let at = 0;
    tile.canvas.tabIndex = 0;
    const read = () => { patch.textContent = cosineOf(at) || `row ${Math.floor(at / cols) + 1}, column ${(at % cols) + 1}: not hidden`; };
    tile.canvas.addEventListener("focus", () => { at = store.get("tokens")?.hidden?.[0] ?? 0; read(); });
    tile.canvas.addEventListener("keydown", (event) => {
      const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [0, 0];
      if (!down && !right) return;
      event.preventDefault();
      const row = Math.min(Math.max(Math.floor(at / cols) + down, 0), rows - 1), col = Math.min(Math.max((at % cols) + right, 0), cols - 1);
      at = row * cols + col;
      read();
    });
    tile.canvas.addEventListener("pointerdown", (event) => { patch.textContent = cosineOf(tile.patchAt(event)) || patch.textContent; });
  }

  const tiles = Array.from({ length: SAMPLES }, (_, i) => pictureTile(String(i + 1)));
  find("frames").append(...tiles);
  const slider = find("step"), where = find("where"), play = find("play");
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  slider.oninput = () => { stop(); drawFrames(); };
  play.onclick = () => {
    if (timer) return stop();
    slider.value = 0;
    play.textContent = "Stop";
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      drawFrames();
      if (Number(slider.value) >= Number(slider.max)) stop();
    }, 350);
    drawFrames();
  };
  for (const input of section.querySelectorAll("input[name=state]")) input.onchange = drawFrames;

  function drawFrames() {
    const result = store.get("result"), states = result?.steps || [];
    slider.disabled = play.disabled = !states.length;
    if (!result) { where.textContent = ""; return tiles.forEach((tile) => tile.clear()); }
    const at = Math.min(Number(slider.value), states.length), last = at >= states.length || !states.length;
    const expected = section.querySelector("input[name=state]:checked").value === "expected";
    const state = states[Math.min(at, states.length - 1)];
    const noisy = !expected && at > 0 ? states[at - 1].pixels : null;
    tiles.forEach((tile, i) => {
      const pixels = last ? result.images[i] : expected ? state.expected[i] : noisy ? noisy[i] : result.noise?.[i] ?? states[0].pixels[i];
      if (!pixels) return tile.clear("not computed");
      tile.show(pixels, `Picture ${i + 1} after step ${at} of ${states.length}`, { hole: result.mask, grid, stroke: LINE[result.source] });
    });
    const level = last ? 0 : at ? states[at - 1].level : 1;
    where.textContent = states.length ? `step ${at} of ${states.length}: ${Math.round(100 * level)} % noise` : "The steps of answers from before are not kept.";
    slider.setAttribute("aria-valuetext", where.textContent);
  }

  function drawResult() {
    const result = store.get("result");
    section.classList.toggle("stale", !result);
    if (!result) return drawFrames();
    const { mask, picture, steps } = result, away = result.hidden.length;
    seen.show(covered(pictures.shown(picture), pictures.shownSize, mask, grid),
      `The picture in ${rows} by ${cols} patches, ${away} of them hidden`, { grid });
    const [height, width] = pictures.size, [tall, wide] = pictures.shownSize;
    const larger = tall > height ? ` (you see ${tall} × ${wide}, as in the drawings)` : "";
    find("patches-words").textContent = `The model reads ${height} × ${width} pixels${larger}, cut into ${rows} × ${cols} patches. ` +
      `${away} of ${count} are hidden; the other ${count - away} are the context.`;
    slider.max = steps.length || 1;
    slider.value = slider.max;
    drawFrames();
  }

  function drawTokens() {
    const tokens = store.get("tokens");
    if (!tokens) return;
    const known = Boolean(tokens.predicted), away = tokens.hidden.length;
    find("tokens-missing").hidden = known;
    const values = [...tokens.cosine];
    cosine.paint(spread(values.map(cosineColour), tokens.hidden, count), `Cosine of predicted and target token of ${away} hidden patches`);
    const mean = values.reduce((a, b) => a + b, 0) / away;
    find("cosine-words").textContent = `Over this hole: ${mean.toFixed(2)} on average, from ${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}.`;
    if (!known) return;
    const { dim, colours } = engine().manifest;
    find("context-words").textContent = `The context encoder turns the ${tokens.visible.length} visible patches into ${tokens.visible.length} tokens ` +
      `of ${dim} numbers each. Not one pixel of the hole is read.`;
    context.paint(spread(tokenColours(tokens.context, dim, colours), tokens.visible, count), `${tokens.visible.length} context tokens as colours`);
    predicted.paint(spread(tokenColours(tokens.predicted, dim, colours), tokens.hidden, count), `${away} predicted tokens as colours`);
    target.paint(spread(tokenColours(tokens.target, dim, colours), tokens.hidden, count), `${away} target tokens as colours`);
  }
  store.on("change:result", () => { stop(); drawResult(); });
  store.on("change:tokens", drawTokens);
  drawResult();
}
