// What the page asks its server: see server.py. Every answer comes back when it is on the disk.

const served = {
  async ask(path, body) {
    const posted = body === undefined ? {} : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    };
    const response = await fetch(path, { cache: "no-store", ...posted });
    if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
    return response.json();
  },
  state() { return this.ask("state"); },
  answer(showing, judgement, type, seconds) {
    return this.ask("answer", { showing, judgement, type, seconds });
  },
  undo() { return this.ask("undo", {}); },
  end() { return this.ask("end"); },
  picture(id) { return `picture/${encodeURIComponent(id)}`; },
};

document.addEventListener("DOMContentLoaded", () => startReview(served));
