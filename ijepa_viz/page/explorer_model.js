// The PredictionExplorer without a kernel: its model's traits are set by the engine in the browser.

import { createEngine } from "./engine.js";
import { inlined } from "./files.js";
import { address, hiddenOf } from "./rgba.js";
import { Store } from "./store.js";

const SOURCES = { predicted: "prediction", other: "another", target: "target", null: "nothing" };
const LINES = { predicted: "#009E73", other: "#D55E00", target: "#0072B2", null: "#D55E00" };
const WORDS = {
  other: "decoded from another picture's prediction", target: "decoded from the target encoder's own tokens, not from a prediction",
  null: "decoded from nothing: neither from a prediction nor from the picture",
};

export class EngineModel extends Store {
  // state: traits of the widget. start() loads the engine and answers the first hole.
  constructor(state) {
    super(state);
    this.engine = null;
    this.latest = 0;
  }

  save_changes() { this.answer(); }

  async start() {
    this.set("busy", true);
    try {
      this.engine = await createEngine({ inlined: inlined(), backend: "wasm" });
    } catch (error) {
      this.set("busy", false);
      return this.set("error", `${error.message} So this page shows only what was there when it was written.`);
    }
    await this.answer();
  }

  async answer() {
    if (!this.engine) return;  // asked again when there is one
    const number = ++this.latest, mask = this.get("mask"), seq = this.get("seq"), show = this.get("show");
    this.engine.cancel();
    const put = (traits) => { for (const [name, value] of Object.entries(traits)) this.set(name, value); };
    if (!mask.includes("1") || !mask.includes("0")) {
      const words = mask.includes("1") ? "Nothing is left to see: show at least one patch." : "Nothing is hidden yet: drag over the picture.";
      return put({ pictures: [], cosines: [], story: [], caption: words, error: "", busy: false, result_seq: seq });
    }
    put({ busy: true, story: [], error: "" });
    try {
      const chosen = this.get("chosen"), gallery = this.get("gallery"), next = gallery[(chosen + 1) % gallery.length];
      const shown = gallery[chosen].picture, { size, decoder } = this.engine.manifest;
      if (this.get("image") !== shown) put({ image: shown, truth: shown });
      const hidden = hiddenOf(mask);
      const image = await pixels(gallery[chosen].input, size), canvas = await pixels(shown, decoder.size);
      const question = { image, canvas, hidden, other: await pixels(next.input, size) };
      const around = { hole: mask, line: LINES[show], token_tiles: [], reference_tiles: [], agreement: "", no_tokens: "This page draws pixels only." };
      const drawn = await this.engine.sample({
        ...question, source: SOURCES[show], samples: this.get("samples"), seed: this.get("seed"),
          steps: this.get("steps") || undefined, guidance: this.get("guidance"),
        onStep: ({ step, steps, size, expected }) => {
          if (number === this.latest && step < steps && step % 4 <= 1) put({ pictures: expected.map((one) => address(one, size)), ...around });
        },
      });
      const tokens = await this.engine.predict(question);
      if (number !== this.latest) return;
      const mean = tokens.cosine.reduce((a, b) => a + b, 0) / hidden.length, cosines = Array(mask.length).fill(-2);
      if (show === "predicted") hidden.forEach((patch, i) => { cosines[patch] = tokens.cosine[i]; });
      const words = WORDS[show] || `cosine of the predicted and the target tokens ${mean.toFixed(2)}`;
      put({ pictures: drawn.images.map((one) => address(one, drawn.size)), ...around, cosines, caption: `seed ${this.get("seed")}; ${words}`, truth: shown, result_seq: seq, busy: false });
    } catch (error) {
      if (error.name === "EngineCancelled" || number !== this.latest) return;
      put({ pictures: [], cosines: [], error: `The model could not answer: ${error.message.replace(/\.$/, "")}. Change the hole to ask again.`, busy: false, result_seq: seq });
    }
  }
}

// RGBA of a picture at [height, width].
async function pixels(source, [height, width]) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height).data;
}
