// Pictures of the page: drawn scenes and photographs from one sheet, and the visitor's own.

import { readBitmap, readJSON } from "./files.js";

export const OWN = "own";

export class Pictures {
  // index: {size: [height, width], columns, pictures: [{id, name, kind, model}]}, in the order of the sheet.
  constructor(index, sheet) {
    this.index = index;
    this.size = index.size;
    this.entries = index.pictures.slice();
    this.cells = new Map(index.pictures.map((entry, i) => [entry.id, i]));
    this.sheet = sheet;
    this.own = null;
  }

  static async load() {
    const [index, sheet] = await Promise.all([readJSON("data/pictures.json"), readBitmap("data/pictures.webp")]);
    return new Pictures(index, sheet);
  }

  ids() { return this.entries.map((entry) => entry.id); }
  entry(id) { return id === OWN ? this.own && { id: OWN, name: "your own picture", kind: "own" } : this.entries[this.cells.get(id)]; }

  // A canvas of the picture at its size.
  canvas(id) {
    if (id === OWN) return this.own;
    const canvas = document.createElement("canvas"), cell = this.cells.get(id), [height, width] = this.size;
    Object.assign(canvas, { width, height });
    const x = (cell % this.index.columns) * width, y = Math.floor(cell / this.index.columns) * height;
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(this.sheet, x, y, width, height, 0, 0, width, height);
    return canvas;
  }

  // RGBA of the picture, Uint8ClampedArray of height x width.
  pixels(id) {
    const [height, width] = this.size;
    return this.canvas(id).getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height).data;
  }

  // Keep the part (left, top, width, height), of these proportions, of an image as the visitor's own picture.
  take(image, part) {
    const [tall, wide] = this.size;
    let source = image, [x, y, width, height] = part;
    // Halved step by step: one step from megapixels to 64 px would skip most of them.
    while (width >= 4 * wide) {
      const half = document.createElement("canvas");
      Object.assign(half, { width: Math.round(width / 2), height: Math.round(height / 2) });
      paper(half).drawImage(source, x, y, width, height, 0, 0, half.width, half.height);
      [source, x, y, width, height] = [half, 0, 0, half.width, half.height];
    }
    this.own = document.createElement("canvas");
    Object.assign(this.own, { width: wide, height: tall });
    paper(this.own).drawImage(source, x, y, width, height, 0, 0, wide, tall);
  }

  // Another picture than ``id``, always the same one: for the control.
  other(id) {
    const scenes = this.entries.filter((entry) => entry.kind === (this.entry(id)?.kind === "photograph" ? "photograph" : "scene"));
    const at = scenes.findIndex((entry) => entry.id === id);
    if (scenes.length === 1 && at === 0) return (this.entries.find((entry) => entry.id !== id) ?? scenes[0]).id;
    return scenes[(at + 1) % scenes.length].id;
  }
}

// A pen on white paper: transparent pixels become white.
function paper(canvas) {
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  return pen;
}
