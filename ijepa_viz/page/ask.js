// One question at a time: what is expected in this hole? The newest question wins; sections that are seen ask on.

import { hiddenOf } from "./rgba.js";

export const SAMPLES = 6;
const PAUSE = 300;

export class Asker {
  // store: of the page; answers appear in its "preview", "result" and "tokens".
  constructor(store, pictures) {
    Object.assign(this, { store, pictures, engine: null, latest: 0, sections: [] });
  }

  // A section of the page that asks on: wanted() says whether it is seen, work(engine, question, alive) fills it.
  add(section) { this.sections.push({ ...section, answered: null }); }

  question() {
    const { store, pictures } = this, mask = store.get("mask"), picture = store.get("picture");
    const other = pictures.other(picture);
    return {
      number: this.latest, mask, picture, hidden: hiddenOf(mask),
      image: pictures.pixels(picture), canvas: pictures.shown(picture), otherPicture: other, other: pictures.pixels(other),
      source: store.get("source"), seed: store.get("seed"), steps: store.get("steps") || undefined,
      guidance: store.get("guidance"),
    };
  }

  async ask() {
    const { store } = this, number = ++this.latest, mask = store.get("mask");
    this.engine?.cancel();
    for (const name of ["result", "tokens", "preview"]) store.set(name, null);
    store.set("error", "");
    if (!mask.includes("1") || !mask.includes("0")) {
      store.set("busy", false);
      return store.set("words", mask.includes("1") ? "Nothing is left to see: show at least one patch." : "Drag over the picture to hide a part of it.");
    }
    store.set("busy", true);
    store.set("words", "");
    if (!this.engine) return;  // asked again as soon as there is one
    try {
      await this.answer(number);
    } catch (error) {
      if (error.name !== "EngineCancelled" && number === this.latest) this.fail(error);
    } finally {
      if (number === this.latest) store.set("busy", false);
    }
    if (number === this.latest) await this.askOn();
  }

  async answer(number) {
    const { store, engine } = this, question = this.question(), steps = [];
    const asked = performance.now();
    const drawn = await engine.sample({
      ...question, samples: SAMPLES, keepSteps: true,
      onStep: (state) => {
        if (number !== this.latest) return;
        if (!store.get("preview")) store.set("firstPreview", performance.now() - asked);
        if (state.step) steps.push(state);  // step 0 is a sketch
        store.set("preview", { ...question, images: state.expected, size: state.size, step: state.step, of: state.steps });
      },
    });
    if (number !== this.latest) return;
    if (drawn.mask && drawn.mask !== question.mask) {  // an answer from before: of the nearest hole
      Object.assign(question, { mask: drawn.mask, hidden: [...drawn.mask].flatMap((c, i) => (c === "1" ? [i] : [])) });
      store.set("mask", drawn.mask);
    }
    if (drawn.otherPicture) question.otherPicture = drawn.otherPicture;
    store.set("took", performance.now() - asked);
    store.set("result", { ...question, images: drawn.images, size: drawn.size, steps: drawn.states ?? steps, noise: drawn.steps?.[0] });
    const tokens = await engine.predict(question);
    if (number === this.latest) store.set("tokens", { ...question, ...tokens });
  }

  // The sections that are seen and have not answered this question yet.
  async askOn() {
    const { store, engine } = this, number = this.latest, alive = () => number === this.latest;
    if (!engine || this.asking === number || !store.get("result")) return;
    this.asking = number;
    const question = { ...store.get("result") };
    try {
      for (let next; alive() && (next = this.sections.find((s) => s.answered !== number && s.wanted())); ) {
        try {
          await next.work(engine, question, alive);
          next.answered = number;
        } catch (error) {
          if (error.name !== "EngineCancelled") throw error;
          await new Promise((go) => setTimeout(go, PAUSE));  // a round of the game came between
        }
      }
    } catch (error) {
      if (alive()) this.fail(error);
    } finally {
      if (this.asking === number) this.asking = 0;
    }
  }

  fail(error) {
    console.warn(error);
    this.store.set("error", `The model could not answer: ${error.message.replace(/\.$/, "")}. Change the hole to ask again, or reload the page.`);
  }
}
