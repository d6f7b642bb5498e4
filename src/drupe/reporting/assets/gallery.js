// The error gallery: filters, and fixes of one's own choice as a fix list.

const BATCH = 40; // cards shown at a time

function startGallery() {
  const list = document.getElementById("mistakes");
  if (!list) return;
  const part = (name) => document.getElementById(`gallery-${name}`);
  const cards = [...list.children];
  const actions = cards.map((card) => card.querySelector("select"));

  const follows = () => part("at").value === "explorer";
  const chosenRun = () =>
    follows() ? pageData.scored.indexOf(state.run.name) : Number(part("run").value);
  const isWrong = (mistake, run) => {
    if (!follows()) {
      return run < 0 ? mistake.wrong.length > 0 : mistake.wrong.includes(run);
    }
    const score = Math.fround(mistake.scores[run]);
    return mistake.kind === "miss"
      ? score < Math.fround(state.low)
      : score >= Math.fround(state.high);
  };

  const isShown = (mistake) => {
    const run = chosenRun();
    const kind = part("kind").value;
    const text = part("text").value.trim().toLowerCase();
    return (
      (kind === "" || mistake.kind === kind) &&
      (!part("suspected").checked || mistake.suspected) &&
      (!part("certified").checked ||
        (run < 0 ? mistake.missedWhenCertified.length > 0 : mistake.missedWhenCertified.includes(run))) &&
      (isWrong(mistake, run) || (part("certified").checked && !follows())) &&
      (text === "" || mistake.path.toLowerCase().includes(text))
    );
  };

  let limit = BATCH;
  const filter = () => {
    const run = chosenRun();
    part("run").disabled = follows();
    part("where").textContent = follows()
      ? `${state.run.name}, accepted below ${scoreText(state.low)}, rejected from ${scoreText(state.high)} on`
      : "";
    let matching = 0;
    pageData.mistakes.forEach((mistake, index) => {
      matching += isShown(mistake) ? 1 : 0;
      cards[index].hidden = !isShown(mistake) || matching > limit;
      const score = run < 0 ? mistake.median : mistake.scores[run];
      const words = run < 0 ? "median score" : "score";
      cards[index].querySelector(".score").textContent = `${words} ${score.toPrecision(3)}`;
    });
    const shown = Math.min(limit, matching).toLocaleString("en");
    part("shown").textContent = `${shown} of ${matching.toLocaleString("en")} shown`;
    part("none").hidden = matching > 0;
    part("more").hidden = matching <= limit;
  };

  const count = () => {
    const chosen = actions.filter((action) => action.value !== "").length;
    part("chosen").textContent = `${chosen.toLocaleString("en")} selected`;
    part("export").disabled = chosen === 0;
    cards.forEach((card, index) => card.classList.toggle("chosen", actions[index].value !== ""));
  };

  let waiting;
  document.addEventListener("thresholds", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (follows()) filter(); }, 150);
  });
  for (const name of ["at", "run", "kind", "suspected", "certified", "text"]) {
    part(name).addEventListener("input", () => {
      limit = BATCH;
      filter();
    });
  }
  part("more").addEventListener("click", () => {
    limit += BATCH;
    filter();
  });
  list.addEventListener("change", count);
  part("apply").addEventListener("click", () => {
    cards.forEach((card, index) => {
      if (!card.hidden) actions[index].value = part("all").value;
    });
    count();
  });
  part("export").addEventListener("click", () => {
    const fixes = pageData.mistakes
      .map((item, index) => ({ item, action: actions[index].value }))
      .filter(({ action }) => action !== "");
    download("fixes.csv", fixList(fixes));
  });
  actions.forEach((action) => { action.value = ""; }); // some browsers keep it over a reload
  filter();
  count();
}
