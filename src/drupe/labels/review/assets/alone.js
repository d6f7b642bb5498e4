// The page as one file: pictures are inside, answers are kept by the browser and exported as the
// lines of an answers file (see answers.py).

function lone() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const key = `drupe-review ${data.review} ${data.reviewer}`;
  const place = new Map(data.order.map((one, index) => [one.id, index]));
  const beside = (one) => one.strip.filter((name) => data.pictures[name]);
  let lines = [];
  let held = new Map();

  function keep(line) {
    const before = lines;
    lines = [...lines, line];
    try {
      localStorage.setItem(key, JSON.stringify(lines));
    } catch (error) {
      lines = before;
      throw new Error(`The browser keeps no more answers; export them. (${error.message})`);
    }
    count(line);
  }

  function count([index, judgement]) {
    const id = data.order[index].id;
    held.delete(id);
    if (judgement !== null) held.set(id, lines.length);
  }

  function load() {
    let kept = [];
    try {
      kept = JSON.parse(localStorage.getItem(key) || "[]");
    } catch (error) {
      kept = [];
    }
    for (const line of Array.isArray(kept) ? kept : []) {
      if (Array.isArray(line) && data.order[line[0]]) {
        lines.push(line);
        count(line);
      }
    }
  }

  function median(numbers) {
    const sorted = [...numbers].sort((a, b) => a - b);
    const middle = Math.floor(sorted.length / 2);
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  function state() {
    const current = data.order.find((one) => !held.has(one.id));
    const looks = lines.filter((line) => line[1] !== null).slice(-20).map((line) => line[4]);
    const left = data.order.length - held.size;
    return {
      reviewer: data.reviewer,
      classes: data.classes,
      types: data.types,
      answered: held.size,
      total: data.order.length,
      seconds_left: looks.length ? median(looks) * left : null,
      can_undo: held.size > 0,
      showing: current ? current.id : null,
      strip: current ? beside(current) : [],
    };
  }

  load();
  return {
    async state() { return state(); },
    async answer(showing, judgement, type, seconds) {
      const look = Math.round(1000 * Math.min(Math.max(seconds, 0), 600)) / 1000;
      keep([place.get(showing), judgement, type, new Date().toISOString(), look]);
      return state();
    },
    async undo() {
      const last = [...held.keys()].pop();
      if (last) keep([place.get(last), null, "", new Date().toISOString(), 0]);
      return state();
    },
    async end() { return null; },
    picture(id) {
      const index = place.get(id);
      return data.pictures[index === undefined ? id : data.order[index].seen] || "";
    },
    exported() {
      const text = lines.map(([index, judgement, type, at, seconds]) => JSON.stringify({
        review: data.review,
        reviewer: data.reviewer,
        showing: data.order[index].id,
        judgement,
        type,
        at,
        seconds,
        seen: judgement !== null && data.pictures[data.order[index].seen] ? data.order[index].seen : "",
        is_third: data.is_third,
      }));
      return { name: `answers-${data.review}.jsonl`, text: text.map((line) => `${line}\n`).join("") };
    },
  };
}

document.addEventListener("DOMContentLoaded", () => startReview(lone()));
