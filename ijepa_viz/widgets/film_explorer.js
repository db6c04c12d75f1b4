// FilmExplorer: films as synchronous loops, what is hidden of them, and two cues side by side.

const FILM_STYLE = `
.ijv .films { display: flex; flex-wrap: wrap; gap: 10px; margin: 0 0 8px; }
.ijv .films figure { margin: 0; } .ijv .films figcaption { color: var(--soft); max-width: 134px; }
.ijv .films canvas { width: 128px; height: 128px; image-rendering: pixelated; display: block; border: 3px solid var(--line); }
.ijv .films canvas[data-predicted=true] { border-color: #009E73; }
.ijv .side { min-width: 0; } .ijv .side .title { font-weight: 600; margin: 4px 0; }
.ijv .cells { display: grid; gap: 2px; width: max-content; margin: 4px 0; }
.ijv .cells button { width: 24px; height: 24px; padding: 0; border-radius: 2px; }
.ijv .cells button[aria-pressed=true] { background: var(--mask); border-color: var(--mask); }
.ijv .sides { display: flex; flex-wrap: wrap; gap: 0 16px; } .ijv .sides > div { max-width: 100%; }
.ijv .cue label { display: flex; flex: 1; align-items: center; gap: 6px; white-space: nowrap; } .ijv .cue input { flex: 1; min-width: 0; }
.ijv .side > canvas { max-width: 100%; }
.ijv input[list] { width: 22em; max-width: 100%; }
.ijv select { max-width: 100%; }
`;
const MILLISECONDS = 180, SIDE_COLOURS = ["--focus", "--mask"];
let filmLists = 0;

export default {
  render({ model, el }) {
    const [rows, cols] = model.get("grid"), frames = model.get("frames"), tubelet = model.get("tubelet");
    el.append(element("style", { textContent: STYLE + FILM_STYLE }));
    const root = element("div", { className: "ijv" });
    keepKeys(root);
    const left = element("div"), right = element("div", { className: "side" });
    left.style.cssText = "max-width: min(360px, 100%); min-width: 0";
    const alertBox = element("div"), status = element("p", { className: "status" });
    alertBox.setAttribute("role", "alert");
    status.setAttribute("aria-live", "polite");
    status.dataset.testid = "film-status";

    const ask = () => { model.set("seq", model.get("seq") + 1); model.save_changes(); };
    const choose = (name, value) => { if (model.get(name) !== value) { model.set(name, value); ask(); } };
    const line = (text, ...nodes) => { const row = element("div", { className: "bar" }, element("label", {}, text, ...nodes)); left.append(row); return row; };

    // ---------------------------------------------------------------- what is shown, and what is hidden
    const clip = element("select");
    model.get("clips").forEach((one, i) => clip.append(element("option", { value: i, textContent: one.name })));
    clip.onchange = () => {
      const chosen = Number(clip.value);  // read first: a changed cue draws the menus anew, as they are in the model
      model.set("cue_b", model.get("clips")[chosen].cues[0] || "");
      choose("clip", chosen);
    };
    line("film", clip);
    const hides = element("select");
    for (const [value, words] of [["future", "the future from here"], ["hole", "a hole in the frames from here"]]) hides.append(element("option", { value, textContent: words }));
    hides.onchange = () => choose("hides", hides.value);
    line("hide", hides);
    const seen = element("input", { type: "range", step: 1 }), seenText = element("output");
    seen.oninput = () => { seenText.textContent = `${seen.value * tubelet} frames seen`; };
    seen.onchange = () => choose("seen", Number(seen.value));
    line("from", seen, seenText);

    // One button a patch; arrow keys move between them, as in a grid.
    const cells = element("div", { className: "cells" });
    cells.style.gridTemplateColumns = `repeat(${cols}, 24px)`;
    cells.setAttribute("role", "group");
    cells.setAttribute("aria-label", "hidden patches");
    let at = 0;
    const buttons = Array.from({ length: rows * cols }, (_, i) => {
      const button = element("button", { type: "button", tabIndex: i ? -1 : 0 });
      button.setAttribute("aria-label", `row ${Math.floor(i / cols) + 1}, column ${(i % cols) + 1}`);
      button.onclick = () => {
        const before = model.get("hole");
        choose("hole", before.slice(0, i) + (before[i] === "1" ? "0" : "1") + before.slice(i + 1));
      };
      button.onfocus = () => { buttons[at].tabIndex = -1; at = i; button.tabIndex = 0; };
      return button;
    });
    cells.onkeydown = (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const row = Math.min(rows - 1, Math.max(0, Math.floor(at / cols) + step[0]));
      const col = Math.min(cols - 1, Math.max(0, (at % cols) + step[1]));
      buttons[row * cols + col].focus();
    };
    cells.append(...buttons);
    left.append(cells);

    // ---------------------------------------------------------------- cues
    const suggestions = element("datalist", { id: `ijv-cues-${++filmLists}-${Math.random().toString(36).slice(2)}` });
    left.append(suggestions);
    const cues = ["cue_a", "cue_b"].map((name, i) => {
      const input = element("input", { type: "text", placeholder: "no cue", spellcheck: false });
      input.setAttribute("list", suggestions.id);
      input.onchange = () => choose(name, input.value.trim());
      const row = line(`cue ${"AB"[i]}`, input);
      row.classList.add("cue");
      row.hidden = !model.get("takes_cues");
      return [name, input];
    });
    const known = element("details", {}, element("summary", { textContent: "words that cues can have" }), element("p", { className: "soft", textContent: model.get("words").join(", ") }));
    known.hidden = !model.get("takes_cues");
    left.append(known, status, alertBox);

    // ---------------------------------------------------------------- loops
    const play = element("button", { type: "button" });
    // A label holds its menu's options or its number too: names of their own are shorter to hear.
    const scrub = element("input", { type: "range", min: 1, max: frames, step: 1, value: 1 }), scrubText = element("output");
    const bar = element("div", { className: "bar" }, play, element("label", {}, "frame", scrub, scrubText));
    const shelf = element("div");
    shelf.dataset.testid = "film-loops";
    const chart = element("canvas", { width: 420, height: 130 }), chartWords = element("p", { className: "soft" });
    chart.setAttribute("role", "img");
    right.append(bar, shelf, chart, chartWords);
    for (const [node, name] of [[clip, "film"], [hides, "hide"], [seen, "steps seen"], [scrub, "frame shown"]]) node.setAttribute("aria-label", name);
    root.append(left, right);
    el.append(root);

    let frame = 0, playing = !matchMedia("(prefers-reduced-motion: reduce)").matches, timer = null, loops = [];
    const drawFrame = () => {
      const hidden = model.get("hidden_frames")[frame];
      for (const { canvas, image, predicted } of loops) {
        if (!image.complete || !image.naturalWidth) continue;
        const side = image.naturalHeight, pen = canvas.getContext("2d");
        const width = image.naturalWidth / frames;
        if (canvas.width !== width) { canvas.width = width; canvas.height = side; }
        pen.drawImage(image, frame * width, 0, width, side, 0, 0, width, side);
        canvas.dataset.predicted = String(predicted && Boolean(hidden));
      }
      scrub.value = frame + 1;
      scrubText.textContent = `${frame + 1} of ${frames}${hidden ? ", predicted" : ", seen"}`;
      root.dataset.frame = frame;
    };
    const run = () => {
      clearInterval(timer);
      timer = playing ? setInterval(() => { frame = (frame + 1) % frames; drawFrame(); }, MILLISECONDS) : null;
      play.textContent = playing ? "pause" : "play";
    };
    play.onclick = () => { playing = !playing; run(); };
    scrub.oninput = () => { playing = false; run(); frame = Number(scrub.value) - 1; drawFrame(); };

    const loop = (source, name, predicted, alt) => {
      const canvas = element("canvas", { width: 64, height: 64 }), image = new Image();
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", alt);
      image.onload = drawFrame;
      image.src = source;
      loops.push({ canvas, image, predicted });
      return element("figure", {}, canvas, element("figcaption", { textContent: name }));
    };

    function drawFilms() {
      loops = [];
      const name = model.get("clips")[model.get("clip")].name;
      const first = element("div", { className: "films" }, loop(model.get("truth"), "true film", false, `The true film: ${name}`),
        loop(model.get("context"), "what the model sees", false, "The film with what is hidden in grey"));
      const sides = model.get("sides").map((side, i) => {
        const title = `${"AB"[i]}: ${side.cue || "no cue"}`;
        const films = side.films.map((one, j) => loop(one, side.names[j], true, `Predicted with ${side.cue || "no cue"}, ${side.names[j]}`));
        const group = element("div", {}, element("p", { className: "title", textContent: title }), element("div", { className: "films" }, ...films));
        group.setAttribute("role", "group");
        group.setAttribute("aria-label", title);
        return group;
      });
      shelf.replaceChildren(first, element("div", { className: "sides" }, ...sides));
      shelf.dataset.shown = model.get("result_seq");
      drawFrame();
      drawChart();
    }

    function drawChart() {
      const css = getComputedStyle(root), pen = chart.getContext("2d"), sides = model.get("sides");
      const every = sides.flatMap((side) => side.errors).filter((error) => error !== null);
      const top = Math.max(0.05, ...every), steps = frames / tubelet, x = (i) => 34 + ((i + 0.5) * 380) / steps, y = (v) => 104 - (96 * v) / top;
      pen.clearRect(0, 0, chart.width, chart.height);
      pen.fillStyle = css.color; pen.font = "11px system-ui, sans-serif";
      pen.fillText(top.toFixed(2), 2, 12); pen.fillText("0", 20, 108); pen.fillText("frame", 2, 124);
      for (let i = 0; i < steps; i++) pen.fillText(String((i + 1) * tubelet), x(i) - 6, 124);
      const words = sides.map((side, i) => {
        pen.strokeStyle = pen.fillStyle = css.getPropertyValue(SIDE_COLOURS[i]); pen.lineWidth = 2;
        pen.setLineDash(i ? [5, 3] : []);
        pen.beginPath();
        side.errors.forEach((error, step) => { if (error !== null) pen.lineTo(x(step), y(error)); });
        pen.stroke();
        pen.setLineDash([]);
        side.errors.forEach((error, step) => { if (error !== null) pen.fillRect(x(step) - 3, y(error) - 3, 6, 6); });
        const told = side.errors.flatMap((error, step) => (error === null ? [] : [`${error.toFixed(2)} at frame ${(step + 1) * tubelet}`]));
        return `${"AB"[i]} (${i ? "dashed" : "solid"}): ${told.join(", ")}`;
      });
      chartWords.textContent = `Error of the prediction, 1 minus cosine. ${words.join(". ")}.`;
      chart.setAttribute("aria-label", chartWords.textContent);
    }

    function drawControls() {
      clip.value = model.get("clip");
      hides.value = model.get("hides");
      seen.min = model.get("hides") === "future" ? 1 : 0;
      seen.max = frames / tubelet - 1;
      seen.value = model.get("seen");
      seenText.textContent = `${model.get("seen") * tubelet} frames seen`;
      cells.hidden = model.get("hides") !== "hole";
      [...model.get("hole")].forEach((cell, i) => buttons[i].setAttribute("aria-pressed", cell === "1"));
      suggestions.replaceChildren(...model.get("clips")[model.get("clip")].cues.map((value) => element("option", { value })));
      for (const [name, input] of cues) if (root.getRootNode().activeElement !== input) input.value = model.get(name);
    }
    function drawWords() {
      status.textContent = model.get("error") ? "" : model.get("caption");
      status.dataset.shown = model.get("result_seq");
      alertBox.textContent = model.get("error");
    }
    const complain = (text) => { alertBox.textContent = text; };
    const stopWatching = watchKernel(model, complain);
    const reactions = [
      ...["sides", "truth", "context"].map((name) => [name, drawFilms]),
      ...["clip", "hides", "seen", "hole", "cue_a", "cue_b"].map((name) => [name, drawControls]),
      ...["caption", "error", "result_seq"].map((name) => [name, drawWords]),
    ];
    reactions.forEach(([name, react]) => model.on(`change:${name}`, react));
    drawControls();
    drawFilms();
    drawWords();
    run();
    const stopRedrawing = redrawInPageColours(root, drawChart);
    return () => {
      clearInterval(timer);
      stopWatching();
      stopRedrawing();
      reactions.forEach(([name, react]) => model.off(`change:${name}`, react));
    };
  },
};
