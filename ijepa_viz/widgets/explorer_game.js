// "Predict, then reveal": which side is the model's, and which a control's?

// begin() starts, next() asks for another hole; each ends in a new model.game. shown(playing) is told when the names
// of what is on the page must not be seen.
function gamePanel(model, { begin, next, shown }) {
  const panel = element("div", { className: "game", hidden: true });
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", "Predict, then reveal");
  panel.dataset.testid = "game";
  const words = element("p");
  words.setAttribute("aria-live", "polite");
  const pad = sketchPad(), blocks = blockPicker();
  const ways = { draw: ["Draw it", pad], pick: ["Pick a block", blocks] };
  let way = "draw";
  const wayButtons = Object.entries(ways).map(([name, [label]]) => element("button", {
    type: "button", textContent: label, onclick: () => { way = name; draw(); },
  }));
  const waiting = element("p", { className: "soft", textContent: "The blocks are being cut …" });
  const expected = element("input", { type: "text", placeholder: "a head, a wheel, more grass …", maxLength: 60 });
  const ready = element("button", { type: "button", textContent: "Show both sides" });
  const first = element("div", {}, element("style", { textContent: SKETCH_STYLE }),
    element("div", { className: "bar" }, ...wayButtons), pad, blocks, waiting,
    element("div", { className: "bar" }, element("label", {}, "I expect", expected), ready));
  const sides = element("div", { className: "sides", tabIndex: -1 });
  const answer = element("div", { className: "answer", hidden: true });
  const score = scoreDrawing(model);
  const again = element("button", { type: "button", textContent: "Next round" });
  const done = element("button", { type: "button", textContent: "End the game", onclick: () => turn("off") });
  panel.append(words, first, sides, answer, score, element("div", { className: "bar" }, again, done, score.save));
  let state = "off", laid = null;

  const outline = (stroke) => ({ hole: model.get("game_round").hole, grid: model.get("grid"), stroke });
  const here = () => model.get("game_round").number === model.get("game");

  function turn(to) {
    state = to;
    panel.hidden = state === "off";
    if (state === "off") words.textContent = "";
    first.hidden = state !== "predict";
    sides.hidden = !["choose", "named"].includes(state);
    answer.hidden = again.hidden = state !== "named";
    shown(state === "off" ? "off" : state === "named" ? "named" : "playing");
    draw();
    if (state !== "off") panel.scrollIntoView({ block: "nearest" });
  }

  function start(ask) {
    expected.value = "";
    pad.blank();
    blocks.show([]);
    laid = null;
    ask();  // first: the round before is over
    turn("predict");
    expected.focus({ preventScroll: true });
  }

  function pick(side) {
    const { model: own, control, candidates = [], right: place_of_truth } = model.get("game_round");
    const right = side === own, picked = blocks.picked(), sketch = pad.drawn();
    model.set("score", [...model.get("score"), right]);
    if (picked !== null) model.set("picks", [...(model.get("picks") || []), { right: picked === place_of_truth, of: candidates.length }]);
    model.save_changes();
    turn("named");
    const truth = place(model.get("game_round").truth, "The truth: the picture as it is", outline("#0072B2"));
    const said = expected.value.trim();
    const yours = [];
    if (sketch) yours.push(place(sketch, "What you drew", outline("#6b6b70")));
    if (picked !== null) yours.push(element("img", { className: "picked", src: candidates[picked], alt: "The block that you picked" }));
    const block = picked === null ? "" : picked === place_of_truth ? " Your block is the true one." : " Your block is of another picture.";
    answer.replaceChildren(...yours, truth, element("p", {
      textContent: `${right ? "Right" : "No"}: ${"AB"[own]} is the model, ${"AB"[1 - own]} a control, ${control}'s prediction.` +
        `${said ? ` You expected: ${said}.` : ""}${block} The truth has the blue frame.`,
    }));
    again.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });  // the truth has joined it
  }

  // The round brings the picture to draw on, and the blocks.
  function predicting() {
    const { number, truth, hole, candidates = [] } = here() ? model.get("game_round") : {};
    words.textContent = "What do you expect in the hole? Draw it, pick it or write it before you look.";
    if (here() && laid !== number) {
      laid = number;
      pad.show({ source: truth, hole, grid: model.get("grid") });
      blocks.show(candidates);
    }
    const pickable = !here() || candidates.length > 1;  // where no other picture is, there is nothing to pick from
    if (!pickable) way = "draw";
    Object.keys(ways).forEach((name, i) => {
      wayButtons[i].setAttribute("aria-pressed", String(way === name));
      ways[name][1].hidden = way !== name;
    });
    wayButtons[1].hidden = !pickable;
    waiting.hidden = way !== "pick" || here();
  }

  function draw() {
    score.show();
    ready.disabled = !here();
    ready.textContent = here() ? "Show both sides" : "drawing…";
    if (state === "predict") predicting();
    if (state === "choose") words.textContent = "One side shows what the model expects in this hole, the other is a control: what it expects there in another image. Which side is the model's?";
    if (state === "named") words.textContent = "The model's side has a green frame.";
    if (!["choose", "named"].includes(state)) return sides.replaceChildren();
    const { sides: pictures, model: own, control } = model.get("game_round");
    sides.replaceChildren(...pictures.map((some, side) => {
      const name = "AB"[side];
      const box = element("div", { className: "side" }, element("strong", {
        textContent: state === "named" ? `${name}: ${side === own ? "the model" : `control, ${control}`}` : name,
      }));
      box.append(...some.map((source, i) => place(source, `Side ${name}, picture ${i + 1}`, outline("#6b6b70"))));
      if (state === "choose") box.append(element("button", { type: "button", textContent: `${name} is the model's`, onclick: () => pick(side) }));
      box.classList.toggle("is-model", state === "named" && side === own);
      return box;
    }));
    if (state === "choose") sides.focus({ preventScroll: true });  // no side's button, which the same Enter would press
  }

  ready.onclick = () => turn("choose");
  expected.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (here()) turn("choose");
  };
  again.onclick = () => start(next);
  const onRound = () => { if (state === "predict") draw(); };
  const changes = [["game_round", onRound], ["score", () => score.show()], ["picks", () => score.show()]];
  changes.forEach(([name, react]) => model.on(`change:${name}`, react));
  return {
    panel, start: () => start(begin), stop: () => turn("off"),
    cleanUp: () => changes.forEach(([name, react]) => model.off(`change:${name}`, react)),
  };
}

// Share of all games in which guessing gets at least k right; chances has each round's chance of a right guess.
function byGuessing(k, chances) {
  let ways = [1];  // ways[i]: probability of i right so far
  for (const chance of chances) {
    ways = [...ways, 0].map((p, i) => p * (1 - chance) + (i ? ways[i - 1] * chance : 0));
  }
  return ways.slice(k).reduce((sum, p) => sum + p, 0);
}

// A square a round, filled where the model was recognised, and the number in words; the same for the blocks picked.
function scoreDrawing(model) {
  const box = element("div");
  const tallies = [
    ["score", "score", "", (one) => one, () => 1 / 2], ["picks", "picks", "Blocks: ", (one) => one.right, (one) => 1 / one.of],
  ].map(([trait, testid, before, isRight, chance]) => {
    const words = element("p"), part = element("div", {}, words);
    words.dataset.testid = testid;
    const show = () => {
      const all = model.get(trait) || [], last = all.slice(-40), right = all.filter(isRight).length;
      part.hidden = !all.length;
      words.textContent = `${before}${right} of ${all.length} right. Guessing alone gets at least that many in ` +
        `${(100 * byGuessing(right, all.map(chance))).toFixed(0)} % of such games.`;
      const squares = last.map((one, i) => vector("rect", {
        x: 1 + 16 * (i % 20), y: 1 + 16 * Math.floor(i / 20), width: 12, height: 12, stroke: "var(--ink)", "stroke-width": 1.5,
        fill: isRight(one) ? "#009E73" : "none",
      }));
      const height = 16 * Math.ceil(last.length / 20);
      part.replaceChildren(words, vector("svg", { width: 322, height, viewBox: `0 0 322 ${height}`, "aria-hidden": "true" }, ...squares));
    };
    box.append(part);
    return show;
  });
  const save = element("button", {
    type: "button", textContent: "Save score", title: "A CSV file, a line for each answer", onclick: () => saveScore(model),
  });
  box.save = save;
  box.show = () => {
    tallies.forEach((show) => show());
    save.hidden = !model.get("score").length;
  };
  return box;
}

// One line an answer: what was asked, whether it was right, and the chance of a guess.
function saveScore(model) {
  const sides = model.get("score").map((right, i) => ["model or control", i + 1, Number(right), 0.5]);
  const blocks = (model.get("picks") || []).map(({ right, of }, i) => ["block", i + 1, Number(right), +(1 / of).toFixed(4)]);
  const lines = [["asked", "number", "right", "chance"], ...sides, ...blocks].map((line) => line.join());
  download("score.csv", "text/csv", lines.join("\n") + "\n");
}
