// What a page does beyond links and forms. Every page works without it.
"use strict";
(() => {
  const say = (words) => {
    const live = document.getElementById("live");
    if (live) live.textContent = words;
  };

  // "/" goes to the search box, unless somebody is typing or has switched it off.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const box = document.querySelector("[data-shortcut]");
    if (!box) return;
    event.preventDefault();
    box.focus();
    box.select();
  });

  // Menus and filter boxes close with Escape, with a click elsewhere, and when focus leaves them.
  const opened = () => document.querySelectorAll("details.menu[open], details.pick[open]");
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const one of opened()) {
      const inside = one.contains(document.activeElement);
      one.open = false;
      if (inside) one.querySelector("summary").focus();
    }
  });
  for (const kind of ["click", "focusin"]) {
    document.addEventListener(kind, (event) => {
      for (const one of opened()) if (!one.contains(event.target)) one.open = false;
    });
  }

  // A filter form leaves empty boxes out of the address.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-drop-empty]") || event.defaultPrevented) return;
    for (const box of event.target.elements) if (box.name && box.value === "") box.disabled = true;
    window.setTimeout(() => { for (const box of event.target.elements) box.disabled = false; });
  });
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb !== "get") return;
    const data = event.detail.formData;
    for (const [name, value] of [...data.entries()]) if (value === "") data.delete(name, value);
  });
  // What cannot be shown in place is shown as the page that it is.
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.requestConfig.verb === "get" && event.detail.target.id === "list") {
      window.location.assign(event.detail.pathInfo.finalRequestPath);
    }
  });

  // A button pressed twice sends once. The server refuses the second anyway; this spares the answer.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  const ready = (root) => {
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
    for (const button of root.querySelectorAll("[data-print]")) button.hidden = false;
    const wrong = root.querySelector("[data-error-summary]");
    if (wrong) wrong.focus();
  };
  document.addEventListener("click", (event) => {
    const print = event.target.closest("[data-print]");
    if (print) window.print();
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    navigator.clipboard.writeText(button.dataset.copy).then(() => {
      say(button.dataset.copied);
      button.classList.add("copied");
      window.setTimeout(() => button.classList.remove("copied"), 1500);
    });
  });
  document.addEventListener("DOMContentLoaded", () => ready(document));
  document.addEventListener("htmx:load", (event) => ready(event.target));

  // The warning that the session is about to end, two minutes before, with the offer to stay.
  const WARN = 120;
  document.addEventListener("DOMContentLoaded", () => {
    const meta = document.querySelector('meta[name="session-seconds"]');
    const dialog = document.getElementById("session-warning");
    if (!meta || !dialog) return;
    const left = dialog.querySelector("[data-seconds-left]");
    const form = dialog.querySelector("form");
    let end = Date.now() + Number(meta.content) * 1000;
    const clock = new Intl.NumberFormat(document.documentElement.lang, { minimumIntegerDigits: 2 });
    const tick = () => {
      const seconds = Math.max(0, Math.round((end - Date.now()) / 1000));
      if (seconds <= WARN && !dialog.open) dialog.showModal();
      if (dialog.open) left.textContent = `${Math.floor(seconds / 60)}:${clock.format(seconds % 60)}`;
      if (seconds > 0) return;
      window.clearInterval(timer);
      window.location.reload();
    };
    const timer = window.setInterval(tick, 1000);
    const tell = () => { try { localStorage.setItem("session-end", String(end)); } catch { /* no storage, one tab */ } };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
      const seconds = answer.ok ? (await answer.json()).seconds : 0;
      if (!seconds) { window.location.reload(); return; }
      end = Date.now() + seconds * 1000;
      tell();
      dialog.close();
    });
    // Another tab that stays signed in keeps this one signed in.
    window.addEventListener("storage", (event) => {
      if (event.key !== "session-end" || Number(event.newValue) <= end) return;
      end = Number(event.newValue);
      if (dialog.open) dialog.close();
    });
    tell();
  });
})();
