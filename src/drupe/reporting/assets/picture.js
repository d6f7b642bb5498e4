// A crop enlarged: its channels apart, from as large as fits to eight times that.

function startPictures() {
  const dialog = document.getElementById("look");
  const part = (name) => document.getElementById(`look-${name}`);
  const show = () => {
    part("picture").style.filter = part("channel").value;
    part("picture").style.width = `${part("zoom").value}%`;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.look");
    if (!button) return;
    const small = button.querySelector("img");
    part("picture").src = small.src;
    part("path").textContent = button.dataset.path;
    part("zoom").value = "100";
    show();
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  part("close").addEventListener("click", () => dialog.close());
  for (const name of ["channel", "zoom"]) part(name).addEventListener("input", show);
}
