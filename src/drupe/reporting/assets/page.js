// Switches the theme, and draws the charts in it.

function startTheme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const show = (theme) => {
    root.dataset.theme = theme;
    button.setAttribute("aria-pressed", String(theme === "dark"));
    drawCharts();
  };
  button.addEventListener("click", () => show(root.dataset.theme === "dark" ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    show(event.matches ? "dark" : "light");
  });
  let before;
  window.addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    show("light");
    resizeCharts(PRINT_WIDTH);
  });
  window.addEventListener("afterprint", () => {
    resizeCharts(null);
    show(before);
  });
  show(root.dataset.theme);
}
