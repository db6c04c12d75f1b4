// PredictionExplorer: the surface, a few controls, and the samples beside it.

export default {
  render({ model, el }) {
    const surface = paintingSurface(model, el);
    const right = element("div");
    const bar = element("div", { className: "bar" });
    const strip = element("div", { className: "strip" });
    strip.dataset.testid = "samples";
    const caption = element("p", { className: "status" });
    caption.setAttribute("aria-live", "polite");

    const ask = () => { model.set("seq", model.get("seq") + 1); model.save_changes(); };
    const samples = element("input", { type: "number", min: 1, max: 12, value: model.get("samples") });
    const seed = element("input", { type: "number", min: 0, value: model.get("seed") });
    const show = element("select", { title: "What the decoder is given" });
    for (const [value, text] of [
      ["predicted", "the prediction"],
      ["pooled", "the prediction, averaged (as in the paper)"],
      ["other", "control: another image's prediction"],
      ["target", "control: the target encoder's tokens"],
      ["null", "control: nothing"],
    ]) show.append(element("option", { value, textContent: text }));
    show.value = model.get("show");
    samples.onchange = () => {
      samples.value = Math.min(12, Math.max(1, Math.round(Number(samples.value) || 1)));
      model.set("samples", Number(samples.value)); ask();
    };
    seed.onchange = () => {
      seed.value = Math.max(0, Math.round(Number(seed.value) || 0));
      model.set("seed", Number(seed.value)); ask();
    };
    show.onchange = () => { model.set("show", show.value); ask(); };
    bar.append(
      element("label", {}, "decode", show),
      element("label", {}, "samples", samples),
      element("label", {}, "seed", seed),
    );
    right.append(bar, strip, caption);
    surface.root.append(right);

    function draw() {
      const pictures = model.get("pictures");
      while (strip.children.length > pictures.length) strip.lastChild.remove();
      pictures.forEach((source, i) => {
        if (!strip.children[i]) strip.append(element("img", { draggable: false }));
        strip.children[i].src = source;
        strip.children[i].alt = `Sample ${i + 1}. ${model.get("caption")}`;
      });
      caption.textContent = model.get("busy") ? "drawing…" : model.get("caption");
      strip.setAttribute("aria-busy", String(model.get("busy")));
      strip.dataset.shown = model.get("result_seq");
    }
    const names = ["change:pictures", "change:busy", "change:caption", "change:result_seq"];
    names.forEach((name) => model.on(name, draw));
    const settings = () => {
      samples.value = model.get("samples"); seed.value = model.get("seed"); show.value = model.get("show");
    };
    const kept = ["change:samples", "change:seed", "change:show"];
    kept.forEach((name) => model.on(name, settings));
    draw();
    return () => {
      surface.cleanUp();
      names.forEach((name) => model.off(name, draw));
      kept.forEach((name) => model.off(name, settings));
    };
  },
};
