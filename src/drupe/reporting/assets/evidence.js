// The arithmetic of the threshold explorer, equal to Python's: no DOM in this file.
// Scores are float32 and thresholds are rounded to float32 before they are compared, as
// drupe.evaluation.lanes.Thresholds.decide does.

const PER = 1000; // reviewer load and cost are stated per this many items

/** Return base64 of little-endian numbers as a Float32Array, or as a Float64Array. */
function decodeFloats(text, Numbers = Float32Array) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Numbers(bytes.buffer);
}

/** Return how many of ascending float32 `scores` lie below `threshold`: O(log n). */
function countBelow(scores, threshold) {
  const limit = Math.fround(threshold);
  let low = 0;
  let high = scores.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (scores[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the counts of each lane, as drupe.evaluation.lanes.LaneCounts. */
function laneCounts(run, low, high) {
  const lanes = (scores) => {
    const accepted = countBelow(scores, low);
    const belowHigh = countBelow(scores, high);
    return { accepted, reviewed: belowHigh - accepted, rejected: scores.length - belowHigh };
  };
  return { clean: lanes(run.clean), defects: lanes(run.defects) };
}

/**
 * Return the exact binomial bounds [low, high], as drupe.evaluation.intervals.clopper_pearson.
 * `lows` holds the lower bound of each count, 0 to n: an upper one is that of the failures, mirrored.
 */
function exactBounds(successes, lows) {
  const failures = lows.length - 1 - successes;
  return [lows[successes], 1 - lows[failures]];
}

/** Return what 1,000 items of a line bring, as drupe.evaluation.lanes.LineLoad. */
function lineLoad(counts, prevalence, costs) {
  const total = (lanes) => lanes.accepted + lanes.reviewed + lanes.rejected;
  const perDefect = (PER * prevalence) / total(counts.defects);
  const perClean = (PER * (1 - prevalence)) / total(counts.clean);
  const misses = perDefect * counts.defects.accepted;
  const reviews = perDefect * counts.defects.reviewed + perClean * counts.clean.reviewed;
  const falseRejects = perClean * counts.clean.rejected;
  return {
    misses,
    reviews,
    falseRejects,
    rejects: perDefect * counts.defects.rejected + falseRejects,
    cost: misses * costs.miss + falseRejects * costs.falseReject + reviews * costs.review,
  };
}

/** Return a number in [0, 1] times 100 as its decimal digits and the number of decimals. */
function percentDigits(rate) {
  const [mantissa, exponent] = String(rate).split("e");
  const [whole, fraction = ""] = mantissa.split(".");
  let decimals = fraction.length - Number(exponent || 0) - 2;
  let digits = BigInt(whole + fraction);
  if (decimals < 0) {
    digits *= 10n ** BigInt(-decimals);
    decimals = 0;
  }
  return { digits, decimals };
}

/** Return a rate as a percentage; see drupe.evaluation.intervals.format_percent. */
function formatPercent(rate, rounding = "nearest", decimals = 1, sign = "\u00a0%") {
  if (rate === null || Number.isNaN(rate)) return "–";
  if (rate === 0 || rate === 1) return `${100 * rate}${sign}`;
  const exact = percentDigits(rate);
  for (let kept = decimals; ; kept += 1) {
    let digits = exact.digits;
    if (exact.decimals > kept) {
      const step = 10n ** BigInt(exact.decimals - kept);
      const rest = digits % step;
      digits /= step;
      const up =
        (rounding === "up" && rest > 0n) ||
        (rounding === "nearest" &&
          (2n * rest > step || (2n * rest === step && digits % 2n === 1n)));
      if (up) digits += 1n;
    } else {
      digits *= 10n ** BigInt(kept - exact.decimals);
    }
    // Decimals are added until a rate that is not 0 or 1 stops looking like it.
    if (digits === 0n || digits === 100n * 10n ** BigInt(kept)) continue;
    const text = String(digits).padStart(kept + 1, "0");
    const place = text.length - kept;
    return `${text.slice(0, place)}${kept ? "." : ""}${text.slice(place)}${sign}`;
  }
}

/** Return "98.9 % (382 of 386; 95 % interval 97.3–99.7 %)" in parts; `lows` are two-sided. */
function describeRate(successes, lows) {
  const trials = lows.length - 1;
  const [low, high] = exactBounds(successes, lows);
  return {
    rate: formatPercent(trials ? successes / trials : null),
    counts: `${successes.toLocaleString("en")} of ${trials.toLocaleString("en")}`,
    interval: `${formatPercent(low, "down", 1, "")}–${formatPercent(high, "up")}`,
  };
}

/** Return a recall as drupe threshold states it: with a one-sided lower bound, two decimals each. */
function describeRecall(successes, lows) {
  const trials = lows.length - 1;
  return {
    rate: formatPercent(trials ? successes / trials : null, "nearest", 2),
    counts: `${successes.toLocaleString("en")} of ${trials.toLocaleString("en")}`,
    bound: formatPercent(lows[successes], "down", 2),
  };
}

/** Return whether `low` is covered: a lower threshold than the certified one misses no more. */
function isCertified(certificate, low) {
  return certificate !== null && Math.fround(low) <= Math.fround(certificate.threshold);
}

// The sliders run over logits: certified thresholds lie close to 0, where scores crowd.
const LOGIT_END = 12;

/** Return the score of a slider's place in [-LOGIT_END, LOGIT_END]; its ends are 0 and 1. */
function scoreOfPlace(place) {
  if (place <= -LOGIT_END) return 0;
  if (place >= LOGIT_END) return 1;
  return 1 / (1 + Math.exp(-place));
}

/** Return the slider's place of a score in [0, 1]. */
function placeOfScore(score) {
  const logit = score <= 0 ? -LOGIT_END : score >= 1 ? LOGIT_END : Math.log(score / (1 - score));
  return Math.max(-LOGIT_END, Math.min(LOGIT_END, logit));
}

/** Return how many of ascending `scores` lie in each of `bins` equal steps of the slider. */
function histogram(scores, bins) {
  const counts = [];
  let before = 0;
  for (let bin = 1; bin <= bins; bin += 1) {
    const end = scoreOfPlace(-LOGIT_END + (2 * LOGIT_END * bin) / bins);
    const below = bin === bins ? scores.length : countBelow(scores, end);
    counts.push(below - before);
    before = below;
  }
  return counts;
}
