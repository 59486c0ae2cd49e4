// Dark or light: as the system has it, until somebody says otherwise.

export function theme(change) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  let chosen = localStorage.getItem("sam3-theme");
  if (change) {
    chosen = (chosen || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
    localStorage.setItem("sam3-theme", chosen);
  }
  if (chosen) document.documentElement.dataset.theme = chosen;
}
