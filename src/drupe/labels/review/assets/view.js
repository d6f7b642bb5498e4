// The page of a review. `backend` gives states (see session.py), takes answers, and knows where
// pictures are. Names are only ever put in as text.

function startReview(backend) {
  const find = (id) => document.getElementById(id);
  const canvas = find("picture");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const STEP = 1.5;
  let state = null;
  let pixels = null; // as they are in the file; null while there is no picture
  let shownAt = 0;
  let zoom = 1; // 1: as large as fits
  let busy = true;

  // Keys count when the last answer is kept and the next picture is there; the body says so.
  function setBusy(value) {
    busy = value;
    document.body.setAttribute("aria-busy", String(value));
    document.body.dataset.answered = state ? state.answered : "";
  }

  function say(text) {
    find("alert").textContent = text;
    find("alert").hidden = !text;
  }

  function timeLeft(seconds) {
    if (!seconds) return "";
    if (seconds < 60) return " · less than a minute left";
    const minutes = Math.round(seconds / 60);
    return minutes < 60
      ? ` · about ${minutes} min left`
      : ` · about ${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
  }

  // ---- the picture ---------------------------------------------------------------------------

  function fitting() {
    const frame = find("frame");
    const scale = Math.min(
      (frame.clientWidth - 2) / pixels.width,
      (frame.clientHeight - 2) / pixels.height,
    );
    return scale > 1 ? Math.floor(scale * 4) / 4 : scale;
  }

  function resize() {
    if (!pixels) return;
    const scale = fitting() * zoom;
    canvas.style.width = `${pixels.width * scale}px`;
    canvas.style.height = `${pixels.height * scale}px`;
    find("scale").textContent = `${Math.round(100 * scale)} %`;
  }

  function setZoom(next) {
    zoom = Math.min(Math.max(next, 0.25), 32);
    resize();
  }

  function draw() {
    if (!pixels) return;
    const chosen = document.querySelector("input[name=channel]:checked").value;
    const gain = 2 ** Number(find("contrast").value);
    const light = 2 ** Number(find("brightness").value);
    const table = new Uint8ClampedArray(256);
    for (let value = 0; value < 256; value += 1) {
      table[value] = (value * light - 128) * gain + 128;
    }
    const from = pixels.data;
    const made = new ImageData(pixels.width, pixels.height);
    const to = made.data;
    const one = chosen === "all" ? null : Number(chosen);
    for (let at = 0; at < from.length; at += 4) {
      to[at] = table[from[at + (one === null ? 0 : one)]];
      to[at + 1] = table[from[at + (one === null ? 1 : one)]];
      to[at + 2] = table[from[at + (one === null ? 2 : one)]];
      to[at + 3] = 255;
    }
    pen.putImageData(made, 0, 0);
  }

  function loadPicture(url) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("picture"));
      image.src = url;
    });
  }

  async function showPicture(id) {
    pixels = null;
    find("trouble").hidden = true;
    canvas.hidden = false;
    try {
      const image = await loadPicture(backend.picture(id));
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      pen.drawImage(image, 0, 0);
      pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
      zoom = 1;
      resize();
      draw();
    } catch (error) {
      canvas.hidden = true;
      find("trouble").hidden = false;
      find("trouble").textContent =
        "This picture can't be shown: its file is gone, damaged, or another one by now. " +
        "Answer “can't tell” or “bad picture”.";
    }
    shownAt = performance.now();
  }

  function showStrip(names) {
    find("strip").replaceChildren(...names.map((name, index) => {
      const entry = document.createElement("li");
      const image = document.createElement("img");
      image.alt = `Picture beside it, ${index + 1}`;
      image.src = backend.picture(name);
      entry.append(image);
      return entry;
    }));
  }

  // ---- states --------------------------------------------------------------------------------

  async function show(next) {
    state = next;
    find("bar").max = state.total;
    find("bar").value = state.answered;
    const done = state.answered.toLocaleString("en");
    find("progress").textContent =
      `${done} of ${state.total.toLocaleString("en")}${timeLeft(state.seconds_left)} · ${state.reviewer}`;
    find("undo").disabled = !state.can_undo;
    closeTypes();
    const finished = state.showing === null;
    find("look").hidden = finished;
    find("end").hidden = !finished;
    if (finished) {
      await showEnd();
    } else {
      find("type").hidden = state.types.length === 0;
      await showPicture(state.showing);
      showStrip(state.strip);
      const judged = pixels !== null;
      for (const button of document.querySelectorAll(".good, .defect, .type")) button.disabled = !judged;
    }
    setBusy(false);
  }

  async function step(action) {
    if (busy) return;
    setBusy(true);
    say("");
    try {
      await show(await action());
    } catch (error) {
      setBusy(false);
      say(
        error instanceof TypeError
          ? "The server doesn't answer. What was answered is kept: start the same command again."
          : error.message,
      );
    }
  }

  function answer(judgement, type = "") {
    if (!state || state.showing === null) return;
    if (!pixels && (judgement === "good" || judgement === "defect")) return;
    step(() => backend.answer(state.showing, judgement, type, (performance.now() - shownAt) / 1000));
  }

  function undo() {
    if (state && state.can_undo) step(() => backend.undo());
  }

  async function showEnd() {
    const found = await backend.end();
    const table = find("differing");
    table.hidden = !found || found.items.length === 0;
    if (!found) {
      find("end-text").textContent = "Export the answers, and give the file to drupe labels apply.";
    } else {
      const named = found.items.length < found.differing ? `, the first ${found.items.length} of them below` : "";
      find("end-text").textContent =
        `${found.differing.toLocaleString("en")} answers differ from the label${named}. Nothing has been changed: drupe labels apply does that.`;
      find("rows").replaceChildren(...found.items.map(row));
    }
    find("end-title").focus();
  }

  function row(item) {
    const line = document.createElement("tr");
    const image = document.createElement("img");
    image.alt = "";
    image.loading = "lazy";
    image.src = backend.picture(item.id);
    const words = { good: state.classes[0], defect: state.classes[1], unclear: "can't tell", bad: "bad picture" };
    const score = item.score === null ? "" : item.score.toPrecision(2);
    const said = words[item.judgement] + (item.type ? ` (${item.type})` : "");
    for (const content of [image, item.path, item.label, said, score, item.why]) {
      const cell = document.createElement("td");
      cell.append(content); // a string becomes text
      line.append(cell);
    }
    return line;
  }

  // ---- types of defects ----------------------------------------------------------------------

  function closeTypes() {
    find("types").hidden = true;
    find("type").setAttribute("aria-expanded", "false");
    resize();
  }

  function toggleTypes() {
    if (!state || !state.types.length || !pixels) return;
    if (!find("types").hidden) {
      closeTypes();
      return;
    }
    find("types").replaceChildren(...state.types.map((name, index) => {
      const button = document.createElement("button");
      const key = document.createElement("kbd");
      button.type = "button";
      button.append(name);
      if (index < 9) {
        key.textContent = index + 1;
        button.append(key);
      }
      button.addEventListener("click", () => answer("defect", name));
      return button;
    }));
    find("types").hidden = false;
    find("type").setAttribute("aria-expanded", "true");
    resize();
    find("types").firstElementChild.focus();
  }

  // ---- what a person does --------------------------------------------------------------------

  function nextChannel() {
    const all = [...document.querySelectorAll("input[name=channel]")];
    const now = all.findIndex((one) => one.checked);
    all[(now + 1) % all.length].checked = true;
    draw();
  }

  function reset() {
    find("contrast").value = 0;
    find("brightness").value = 0;
    document.querySelector("input[name=channel][value=all]").checked = true;
    setZoom(1);
    draw();
  }

  const KEYS = {
    g: () => answer("good"),
    d: () => answer("defect"),
    c: () => answer("unclear"),
    b: () => answer("bad"),
    t: toggleTypes,
    u: undo,
    v: nextChannel,
    "+": () => setZoom(zoom * STEP),
    "=": () => setZoom(zoom * STEP),
    "-": () => setZoom(zoom / STEP),
    0: reset,
    Escape: closeTypes,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const digit = Number(event.key);
    if (!find("types").hidden && digit >= 1 && digit <= state.types.length) {
      event.preventDefault();
      answer("defect", state.types[digit - 1]);
      return;
    }
    const action = KEYS[event.key] || KEYS[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
  for (const button of document.querySelectorAll("[data-judgement]")) {
    button.addEventListener("click", () => answer(button.dataset.judgement));
  }
  find("type").addEventListener("click", toggleTypes);
  find("undo").addEventListener("click", undo);
  find("end-undo").addEventListener("click", undo);
  find("in").addEventListener("click", () => setZoom(zoom * STEP));
  find("out").addEventListener("click", () => setZoom(zoom / STEP));
  find("fit").addEventListener("click", reset);
  for (const input of document.querySelectorAll("#contrast, #brightness, input[name=channel]")) {
    input.addEventListener("input", draw);
  }
  find("frame").addEventListener("wheel", (event) => {
    event.preventDefault();
    setZoom(event.deltaY < 0 ? zoom * 1.2 : zoom / 1.2);
  }, { passive: false });
  window.addEventListener("resize", resize);
  if (backend.exported) {
    find("export").hidden = false;
    find("export").addEventListener("click", () => {
      const { name, text } = backend.exported();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
      link.download = name;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
  backend.state().then(show).catch((error) => say(error.message));
}
