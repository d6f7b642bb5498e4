// The threshold explorer: two thresholds in, every figure out, within one frame.

const BINS = 96;
const STEP = 0.01; // of the sliders, in logits

const runs = pageData.runs.map((run) => ({
  ...run,
  clean: decodeFloats(run.clean),
  defects: decodeFloats(run.defects),
}));

// Of each number of items: the lower 95 % bounds of its counts, of recall one-sided.
const boundsOf = (tables) =>
  Object.fromEntries(
    Object.entries(tables).map(([items, text]) => [items, decodeFloats(text, Float64Array)]),
  );
const recallBounds = boundsOf(pageData.lowerBounds.recall);
const yieldBounds = boundsOf(pageData.lowerBounds.yield);

const field = (name) => document.getElementById(`explorer-${name}`);
const state = { run: runs[0], low: 0.5, high: 0.5, review: false };

function writeText(name, text) {
  field(name).textContent = text;
}

/** Return a score with enough digits to find it again. */
function scoreText(score) {
  return String(Number(score.toPrecision(7)));
}

function readNumber(name, fallback, low, high) {
  const value = Number(field(name).value);
  const valid = field(name).value.trim() !== "" && value >= low && value <= high;
  field(name).setAttribute("aria-invalid", String(!valid));
  return valid ? value : fallback;
}

/** Set both thresholds; the one that `moved` pushes the other one along, `source` is left alone. */
function setThresholds(low, high, moved, source) {
  state.low = low;
  state.high = state.review ? high : low;
  if (state.low > state.high) {
    if (moved === "low") state.high = state.low;
    else state.low = state.high;
  }
  update(source);
}

function showThresholds(source) {
  for (const name of ["low", "high"]) {
    const score = state[name];
    const slider = field(`${name}-slider`);
    if (source !== slider) slider.value = placeOfScore(score);
    slider.setAttribute("aria-valuetext", `score ${scoreText(score)}`);
    // Never while somebody types in it.
    if (source !== field(name)) field(name).value = scoreText(score);
  }
}

function showCounts(counts) {
  for (const [label, lanes] of Object.entries(counts)) {
    for (const [lane, count] of Object.entries(lanes)) {
      writeText(`${label}-${lane}`, count.toLocaleString("en"));
    }
  }
}

function showRates(counts) {
  const total = (lanes) => lanes.accepted + lanes.reviewed + lanes.rejected;
  const [defects, clean] = [total(counts.defects), total(counts.clean)];
  const recall = describeRecall(defects - counts.defects.accepted, recallBounds[defects]);
  writeText("recall", recall.rate);
  writeText("recall-more", `${recall.counts}; one-sided 95 % bound ${recall.bound}`);
  const yields = describeRate(counts.clean.accepted, yieldBounds[clean]);
  writeText("yield", yields.rate);
  writeText("yield-more", `${yields.counts}; 95 % interval ${yields.interval}`);
}

function showLoad(counts) {
  const prevalence = readNumber("prevalence", 5, 0.001, 99.999) / 100;
  const costs = {
    miss: readNumber("cost-miss", 0, 0, 1e12),
    falseReject: readNumber("cost-reject", 0, 0, 1e12),
    review: readNumber("cost-review", 0, 0, 1e12),
  };
  const load = lineLoad(counts, prevalence, costs);
  const shown = (value) =>
    value.toLocaleString("en", { maximumSignificantDigits: value < 100 ? 3 : 4 });
  writeText("load-misses", shown(load.misses));
  writeText("load-reviews", shown(load.reviews));
  writeText("load-rejects", shown(load.rejects));
  writeText("load-false", shown(load.falseRejects));
  writeText("load-cost", shown(load.cost));
  const perHour = readNumber("speed", 36000, 1, 1e9) / PER;
  const hours = readNumber("hours", 16, 0.1, 24);
  writeText("day-misses", shown(load.misses * perHour * hours));
  writeText("day-rejects", shown(load.rejects * perHour * hours));
  writeText("day-false", shown(load.falseRejects * perHour * hours));
  writeText("day-reviews", shown(load.reviews * perHour * hours));
  writeText("day-cost", shown(load.cost * perHour * hours));
}

function certificateText(certificate, covered) {
  if (!certificate) {
    return "Not certified: this run has no certified threshold. Whatever is set here is a look, not a promise.";
  }
  const target = `recall ≥ ${Number((100 * certificate.min_recall).toPrecision(8))} %`;
  const confidence = `${Number((100 * certificate.confidence).toPrecision(4))} % confidence`;
  const limit = scoreText(certificate.threshold);
  if (!covered) {
    return `Not certified: above ${limit}, the threshold up to which ${target} is certified.`;
  }
  const kind = certificate.approximate ? "Approximately certified" : "Certified";
  const why = certificate.approximate ? ` Approximate, because ${certificate.approximate}.` : "";
  const joint =
    certificate.candidates > 1 ? `, raised for a choice between ${certificate.candidates} models` : "";
  return `${kind}: ${target} at ${confidence}${joint}; up to ${limit}, from ${certificate.defects.toLocaleString("en")} calibration defects with ${certificate.misses_allowed} misses allowed.${why}`;
}

function showCertificate() {
  const { certificate } = state.run;
  const covered = isCertified(certificate, state.low);
  const kind = covered ? (certificate.approximate ? "approximate" : "certified") : "open";
  field("certificate").dataset.state = kind;
  writeText("certificate", certificateText(certificate, covered));
  field("panel").dataset.state = kind;
  field("snap").disabled = certificate === null;
}

function moveLines() {
  const share = (score) => (50 * (placeOfScore(score) + LOGIT_END)) / LOGIT_END;
  const [low, high] = [share(state.low), share(state.high)];
  for (const [name, x] of [["low-line", low], ["high-line", high]]) {
    field(name).setAttribute("x1", `${x}%`);
    field(name).setAttribute("x2", `${x}%`);
  }
  field("review-zone").setAttribute("x", `${low}%`);
  field("review-zone").setAttribute("width", `${high - low}%`);
  field("high-line").toggleAttribute("hidden", !state.review);
}

function update(source) {
  const counts = laneCounts(state.run, state.low, state.high);
  showThresholds(source);
  showCounts(counts);
  showRates(counts);
  showLoad(counts);
  showCertificate();
  moveLines();
  announce();
  document.dispatchEvent(new Event("thresholds"));
}

let announcement;
/** Tell screen readers the outcome once the thresholds rest. */
function announce() {
  clearTimeout(announcement);
  announcement = setTimeout(() => {
    writeText(
      "status",
      `Recall ${field("recall").textContent}, clean yield ${field("yield").textContent}. ${field("certificate").textContent}`,
    );
  }, 600);
}

/** Draw both classes' scores as steps; as roots, few items are still seen. */
function drawHistogram() {
  const height = field("heights").value === "linear" ? (count) => count : Math.sqrt;
  for (const label of ["clean", "defects"]) {
    const counts = histogram(state.run[label], BINS).map(height);
    const largest = Math.max(1, ...counts);
    const steps = counts.map((count, bin) => {
      const y = 100 - (96 * count) / largest;
      return `L${bin} ${y}L${bin + 1} ${y}`;
    });
    field(`${label}-shape`).setAttribute("d", `M0 100${steps.join("")}L${BINS} 100Z`);
  }
}

function chooseRun(index) {
  state.run = runs[index];
  const certified = state.run.certificate?.threshold;
  drawHistogram();
  setThresholds(certified ?? 0.5, state.review ? Math.max(state.high, certified ?? 0.5) : 0.5, "low");
}

function startExplorer() {
  const moved = (name, score, source) => {
    const { low, high } = { ...state, [name]: score };
    setThresholds(low, high, name, source);
  };
  for (const name of ["low", "high"]) {
    const slider = field(`${name}-slider`);
    Object.assign(slider, { min: -LOGIT_END, max: LOGIT_END, step: STEP });
    slider.addEventListener("input", () => moved(name, scoreOfPlace(Number(slider.value)), slider));
    field(name).addEventListener("input", () => {
      moved(name, readNumber(name, state[name], 0, 1), field(name));
    });
    field(name).addEventListener("change", () => showThresholds());
  }
  field("run").addEventListener("change", (event) => chooseRun(event.target.selectedIndex));
  field("review").addEventListener("change", (event) => {
    state.review = event.target.checked;
    field("high-controls").hidden = !state.review;
    setThresholds(state.low, state.review ? Math.max(0.5, state.low) : state.low, "low");
  });
  field("snap").addEventListener("click", () => {
    setThresholds(state.run.certificate.threshold, state.high, "low");
  });
  field("half").addEventListener("click", () => setThresholds(0.5, state.high, "low"));
  for (const name of ["prevalence", "cost-miss", "cost-reject", "cost-review", "speed", "hours"]) {
    field(name).addEventListener("input", () => update(field(name)));
  }
  field("heights").addEventListener("input", drawHistogram);
  chooseRun(0);
}
