// In the head, so that no light page flashes up in the dark: the system's theme until one is chosen.
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches
  ? "dark"
  : "light";
