// A crop enlarged: its channels apart, from as large as fits to eight times that; and its heatmap,
// where there is one.

function startPictures() {
  const dialog = document.getElementById("look");
  const part = (name) => document.getElementById(`look-${name}`);
  const heats = new Map(Object.entries(pageData.heats ?? {}));
  let looked;
  const fit = () => {
    // At 100 all of it is seen, whatever its shape.
    const { clientWidth, clientHeight } = part("picture").parentElement;
    const { naturalWidth, naturalHeight } = part("picture");
    const most = Math.min(clientWidth / naturalWidth, clientHeight / naturalHeight) || 1;
    part("picture").style.width = `${(most * naturalWidth * part("zoom").value) / 100}px`;
  };
  const show = () => {
    const { path } = looked.dataset;
    const small = looked.querySelector("img").src;
    const plain = "heat" in looked.dataset
      ? (looked.parentElement.querySelector("button.look:not([data-heat]) img")?.src ?? small)
      : small;
    part("picture").src = part("heat").checked ? heats.get(path) : plain;
    part("picture").style.filter = part("channel").value;
    fit();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.look");
    if (!button) return;
    looked = button;
    part("path").textContent = button.dataset.path;
    part("zoom").value = "100";
    part("heat-choice").hidden = !heats.has(button.dataset.path);
    part("heat").checked = "heat" in button.dataset;
    dialog.showModal(); // the frame has no size before
    show();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  part("close").addEventListener("click", () => dialog.close());
  part("picture").addEventListener("load", fit);
  for (const name of ["channel", "zoom", "heat"]) part(name).addEventListener("input", show);
}
