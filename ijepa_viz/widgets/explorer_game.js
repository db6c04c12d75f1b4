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
  const expected = element("input", { type: "text", placeholder: "a head, a wheel, more grass …", maxLength: 60 });
  const ready = element("button", { type: "button", textContent: "Show both sides" });
  const first = element("div", { className: "bar" }, element("label", {}, "I expect", expected), ready);
  const sides = element("div", { className: "sides", tabIndex: -1 });
  const answer = element("div", { className: "answer", hidden: true });
  const score = scoreDrawing(model);
  const again = element("button", { type: "button", textContent: "Next round" });
  const done = element("button", { type: "button", textContent: "End the game", onclick: () => turn("off") });
  panel.append(words, first, sides, answer, score, element("div", { className: "bar" }, again, done));
  let state = "off";

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
    ask();  // first: the round before is over
    turn("predict");
    expected.focus({ preventScroll: true });
  }

  function pick(side) {
    const { model: own, control } = model.get("game_round");
    const right = side === own;
    model.set("score", [...model.get("score"), right]);
    model.save_changes();
    turn("named");
    const truth = place(model.get("game_round").truth, "The truth: the picture as it is", outline("#0072B2"));
    const said = expected.value.trim();
    answer.replaceChildren(truth, element("p", {
      textContent: `${right ? "Right" : "No"}: ${"AB"[own]} is the model, ${"AB"[1 - own]} a control, ${control}'s prediction.` +
        `${said ? ` You expected: ${said}.` : ""} The truth has the blue frame.`,
    }));
    again.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });  // the truth has joined it
  }

  function draw() {
    score.show();
    ready.disabled = !here();
    ready.textContent = here() ? "Show both sides" : "drawing…";
    if (state === "predict") words.textContent = "What do you expect in the hole? Say it, write it or sketch it before you look.";
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
  const changes = [["game_round", onRound], ["score", () => score.show()]];
  changes.forEach(([name, react]) => model.on(`change:${name}`, react));
  return {
    panel, start: () => start(begin), stop: () => turn("off"),
    cleanUp: () => changes.forEach(([name, react]) => model.off(`change:${name}`, react)),
  };
}

// Share of all games of n rounds in which guessing gets at least k right.
function byGuessing(k, n) {
  let sum = 0, ways = 1;
  for (let i = 0; i <= n; i++) {
    if (i >= k) sum += ways;
    ways *= (n - i) / (i + 1);
  }
  return sum / 2 ** n;
}

// A square a round, filled where the model was recognised, and the number in words.
function scoreDrawing(model) {
  const box = element("div"), words = element("p");
  words.dataset.testid = "score";
  box.show = () => {
    const all = model.get("score"), last = all.slice(-40), right = all.filter(Boolean).length;
    box.hidden = !all.length;
    words.textContent = `${right} of ${all.length} right. Guessing alone gets at least that many in ` +
      `${(100 * byGuessing(right, all.length)).toFixed(0)} % of such games.`;
    const squares = last.map((good, i) => vector("rect", {
      x: 1 + 16 * (i % 20), y: 1 + 16 * Math.floor(i / 20), width: 12, height: 12, stroke: "var(--ink)", "stroke-width": 1.5,
      fill: good ? "#009E73" : "none",
    }));
    const height = 16 * Math.ceil(last.length / 20);
    box.replaceChildren(words, vector("svg", { width: 322, height, viewBox: `0 0 322 ${height}`, "aria-hidden": "true" }, ...squares));
  };
  return box;
}
