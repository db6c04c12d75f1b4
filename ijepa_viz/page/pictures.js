// Pictures of the page: drawn scenes and photographs from one sheet, and the visitor's own.

import { readBitmap, readJSON } from "./files.js";

export const OWN = "own";

export class Pictures {
  // index: {size and shown ([height, width] of the model's pictures, and of those that the page shows beside the
  // decoder's), columns, pictures: [{id, name, kind}]}, in the order of the sheets. sheets: {model, shown}.
  constructor(index, sheets) {
    this.index = index;
    this.size = index.size;
    this.shownSize = index.shown;
    this.entries = index.pictures.slice();
    this.cells = new Map(index.pictures.map((entry, i) => [entry.id, i]));
    this.sheets = sheets;
    this.own = null;  // {model, shown}: canvases
  }

  static async load() {
    const [index, model] = await Promise.all([readJSON("data/pictures.json"), readBitmap("data/pictures.webp")]);
    const same = String(index.size) === String(index.shown);
    return new Pictures(index, { model, shown: same ? model : await readBitmap("data/shown.webp") });
  }

  ids() { return this.entries.map((entry) => entry.id); }
  entry(id) { return id === OWN ? this.own && { id: OWN, name: "your own picture", kind: "own" } : this.entries[this.cells.get(id)]; }

  // A canvas of the picture as the page shows it.
  canvas(id) { return this.drawn(id, "shown", this.shownSize); }

  // RGBA of the picture, Uint8ClampedArray of height x width: as the model reads it, and as the page shows it.
  pixels(id) { return pixelsOf(this.drawn(id, "model", this.size)); }
  shown(id) { return pixelsOf(this.canvas(id)); }

  drawn(id, name, [height, width]) {
    if (id === OWN) return this.own[name];
    const canvas = Object.assign(document.createElement("canvas"), { width, height }), cell = this.cells.get(id);
    const x = (cell % this.index.columns) * width, y = Math.floor(cell / this.index.columns) * height;
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(this.sheets[name], x, y, width, height, 0, 0, width, height);
    return canvas;
  }

  // Keep the part (left, top, width, height), of these proportions, of an image as the visitor's own picture.
  take(image, part) {
    this.own = { model: reduced(image, part, this.size), shown: reduced(image, part, this.shownSize) };
  }

  // ``count`` pictures of this one's kind, and not this one, by chance.
  others(id, count) {
    const kind = this.entry(id)?.kind === "photograph" ? "photograph" : "scene";
    const left = this.entries.filter((entry) => entry.kind === kind && entry.id !== id).map((entry) => entry.id);
    return shuffled(left).slice(0, count);
  }

  // Another picture than ``id``, always the same one: for the control.
  other(id) {
    const scenes = this.entries.filter((entry) => entry.kind === (this.entry(id)?.kind === "photograph" ? "photograph" : "scene"));
    const at = scenes.findIndex((entry) => entry.id === id);
    if (scenes.length === 1 && at === 0) return (this.entries.find((entry) => entry.id !== id) ?? scenes[0]).id;
    return scenes[(at + 1) % scenes.length].id;
  }
}

// In an order by chance.
export function shuffled(items) {
  const all = items.slice();
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [all[i], all[j]] = [all[j], all[i]];
  }
  return all;
}

function pixelsOf(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height).data;
}

// The part of an image as a canvas of [height, width].
function reduced(image, part, [tall, wide]) {
  let source = image, [x, y, width, height] = part;
  // Halved step by step: one step from megapixels to 64 px would skip most of them.
  while (width >= 4 * wide) {
    const half = document.createElement("canvas");
    Object.assign(half, { width: Math.round(width / 2), height: Math.round(height / 2) });
    paper(half).drawImage(source, x, y, width, height, 0, 0, half.width, half.height);
    [source, x, y, width, height] = [half, 0, 0, half.width, half.height];
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: wide, height: tall });
  paper(canvas).drawImage(source, x, y, width, height, 0, 0, wide, tall);
  return canvas;
}

// A pen on white paper: transparent pixels become white.
function paper(canvas) {
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  return pen;
}
