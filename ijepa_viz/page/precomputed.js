// Answers that were computed before, with the engine's interface: for the first sight of the page, and for browsers
// that cannot run the model. A hole is answered by the nearest one that is there.

import { readBitmap, readJSON } from "./files.js";

const SOURCES = { prediction: "prediction", another: "another", nothing: "nothing", target: "target" };

export class Precomputed {
  // index: {grid, input and size ([height, width] of the model's and the decoder's pictures), tile ([height, width]), columns, pictures: [id], holes: ["0101..."], counts: {source: tiles}, cosine: [[...]]}.
  constructor(index, sheet) {
    Object.assign(this, { index, sheet, precomputed: true });
    this.backend = "precomputed";
    this.manifest = { grid: index.grid, size: index.input, decoder: { steps: index.steps } };
    this.each = Object.values(index.counts).reduce((a, b) => a + b, 0);
  }

  static async load() {
    const [index, sheet] = await Promise.all([readJSON("data/answers.json"), readBitmap("data/answers.webp")]);
    return new Precomputed(index, sheet);
  }

  knows(picture) { return this.index.pictures.includes(picture); }

  // The known hole whose middle is nearest to this one's.
  nearest(mask) {
    const [, cols] = this.index.grid;
    const middle = (text) => {
      const at = [...text].flatMap((c, i) => (c === "1" ? [[Math.floor(i / cols), i % cols]] : []));
      return [0, 1].map((axis) => at.reduce((sum, place) => sum + place[axis], 0) / at.length);
    };
    const [row, col] = middle(mask);
    const away = (hole) => { const [r, c] = middle(hole); return (r - row) ** 2 + (c - col) ** 2; };
    return this.index.holes.reduce((best, hole) => (away(hole) < away(best) ? hole : best));
  }

  // Number of an answer: of the picture, then of the hole.
  number(picture, mask) {
    if (!this.knows(picture)) throw new Error("no answer was computed before for this picture. Choose one of the first pictures of the row");
    return this.index.pictures.indexOf(picture) * this.index.holes.length + this.index.holes.indexOf(mask);
  }

  async sample({ picture, mask, canvas, source = "prediction", steps, samples = 6 }) {
    const hole = this.nearest(mask), { index } = this, [, cols] = index.grid;
    const from = steps === 1 && source === "prediction" ? "blur" : SOURCES[source];
    const before = Object.keys(index.counts).slice(0, Object.keys(index.counts).indexOf(from)).reduce((sum, name) => sum + index.counts[name], 0);
    const first = this.number(picture, hole) * this.each + before;
    const corner = hole.indexOf("1"), [height, width] = index.size, patch = width / cols, [down, across] = index.tile;
    const [x, y] = [(corner % cols) * patch, Math.floor(corner / cols) * patch];
    const images = Array.from({ length: Math.min(samples, index.counts[from]) }, (_, i) => {
      const pen = new OffscreenCanvas(width, height).getContext("2d");
      pen.putImageData(new ImageData(new Uint8ClampedArray(canvas), width, height), 0, 0);
      const at = first + i, left = (at % index.columns) * across, top = Math.floor(at / index.columns) * down;
      pen.drawImage(this.sheet, left, top, across, down, x, y, across, down);
      return pen.getImageData(0, 0, width, height).data;
    });
    const otherPicture = index.pictures[(index.pictures.indexOf(picture) + 1) % index.pictures.length];
    return { size: index.size, images, mask: hole, states: [], otherPicture };
  }

  async predict({ picture, mask }) {
    return { cosine: Float32Array.from(this.index.cosine[this.number(picture, this.nearest(mask))]) };
  }

  async reconstruct() { return null; }
  cancel() {}
  dispose() {}
}
