// Runs before the page is drawn, so that it does not flash: the chosen theme, or the system's.
"use strict";
(() => {
  const root = document.documentElement;
  const chosen = () => (document.cookie.match(/(?:^|; )theme=(light|dark)/) || [])[1] || "";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => root.setAttribute("data-bs-theme", chosen() || (dark.matches ? "dark" : "light"));
  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll("[data-theme-switch]")) {
      const buttons = group.querySelectorAll("[data-theme-choice]");
      const show = () => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.themeChoice === chosen())));
      group.hidden = false;
      show();
      buttons.forEach((b) => b.addEventListener("click", () => {
        const age = b.dataset.themeChoice ? 31536000 : 0;
        document.cookie = `theme=${b.dataset.themeChoice}; path=/; max-age=${age}; samesite=lax` + (location.protocol === "https:" ? "; secure" : "");
        apply();
        show();
      }));
    }
  });
})();
