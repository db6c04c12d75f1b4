// Small pictures of results: RGBA in a frame, tokens as colours, cosines as a map.

import { border, element, viridis } from "./painter.js";
import { sizeOf } from "./rgba.js";

export const LINE = { prediction: "#009E73", another: "#D55E00", nothing: "#D55E00", target: "#0072B2", truth: "#0072B2", none: "" };

// A picture that is painted in place: tile.show(pixels, words, {grid, hole, stroke}), tile.clear(). Without a stroke there
// is no line around the hole.
export function pictureTile(under = "") {
  const canvas = element("canvas", { width: 1, height: 1 });
  canvas.setAttribute("role", "img");
  const place = element("span", { className: "place" }, canvas), label = element("span", { className: "under", textContent: under });
  const tile = element("span", { className: "tile" }, place, ...(under ? [label] : []));
  let line = "";
  tile.canvas = canvas;
  tile.label = label;
  tile.show = (pixels, words, outline) => {
    const [height, width] = sizeOf(pixels, outline.grid);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    canvas.setAttribute("aria-label", words);
    place.classList.add("full");
    const key = JSON.stringify(outline);
    if (key === line) return;
    line = key;
    place.querySelector("svg")?.remove();
    if (outline.stroke) place.append(border(outline.hole, outline.grid, outline.stroke));
  };
  tile.clear = (words = "nothing yet") => {
    Object.assign(canvas, { width: 1, height: 1 });
    canvas.setAttribute("aria-label", words);
    place.classList.remove("full");
    place.querySelector("svg")?.remove();
    line = "";
  };
  tile.clear();
  return tile;
}

// One square a patch, in CSS colours; null leaves it empty. say(patch) is the text of a patch under the pointer.
export function gridTile([rows, cols], say = () => "") {
  const canvas = element("canvas", { width: cols * 24, height: rows * 24 });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "nothing yet");
  const place = element("span", { className: "place full" }, canvas);
  const tile = element("span", { className: "tile" }, place);
  tile.canvas = canvas;
  tile.paint = (colours, words) => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    colours.forEach((colour, i) => {
      const x = (i % cols) * 24, y = Math.floor(i / cols) * 24;
      pen.fillStyle = colour || "rgba(128, 128, 128, 0.18)";
      pen.fillRect(x + 1, y + 1, 22, 22);
    });
    canvas.setAttribute("aria-label", words);
  };
  tile.patchAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const c = Math.floor(((event.clientX - box.left) / box.width) * cols), r = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return r >= 0 && c >= 0 && r < rows && c < cols ? r * cols + c : -1;
  };
  canvas.addEventListener("pointermove", (event) => { canvas.title = say(tile.patchAt(event)); });
  return tile;
}

// Tokens (n * D) as CSS colours, by the model's fixed projection {mean, components, low, high}: equal colours, alike tokens.
export function tokenColours(tokens, width, projection) {
  const { mean, components, low, high } = projection, count = tokens.length / width;
  return Array.from({ length: count }, (_, i) => {
    const shares = components.slice(0, 3).map((direction, k) => {
      let along = 0;
      for (let d = 0; d < width; d++) along += direction[d] * (tokens[i * width + d] - mean[d]);
      return Math.min(1, Math.max(0, (along - low[k]) / (high[k] - low[k])));
    });
    return `rgb(${shares.map((share) => Math.round(255 * share)).join()})`;
  });
}

// Colours of some patches spread over the grid.
export function spread(colours, patches, count) {
  const all = Array(count).fill(null);
  patches.forEach((patch, i) => { all[patch] = colours[i]; });
  return all;
}

export const cosineColour = (value) => viridis(value);

// A picture whose hidden patches are those of another one, of another size: drawn larger, as smooth as the browser can.
export function enlargedInto(canvas, [height, width], pixels, [tall, wide], mask, [rows, cols]) {
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const small = new OffscreenCanvas(wide, tall);
  small.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), wide, tall), 0, 0);
  pen.putImageData(new ImageData(new Uint8ClampedArray(canvas), width, height), 0, 0);
  pen.imageSmoothingQuality = "high";
  pen.beginPath();
  const [w, h] = [width / cols, height / rows];
  [...mask].forEach((cell, i) => { if (cell === "1") pen.rect((i % cols) * w, Math.floor(i / cols) * h, w, h); });
  pen.clip();
  pen.drawImage(small, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height).data;
}

// The picture with its hidden patches grey and hatched, as RGBA.
export function covered(pixels, [height, width], mask, [rows, cols]) {
  const out = new Uint8ClampedArray(pixels), h = height / rows, w = width / cols;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (mask[Math.floor(y / h) * cols + Math.floor(x / w)] !== "1") continue;
      const shade = (x + y) % 8 < 2 ? 150 : 85;
      out.set([shade, shade, shade + 5, 255], 4 * (y * width + x));
    }
  }
  return out;
}
