// The processor's own card and bank fields, in a frame from its origin. Messages from anywhere else are passed over, and
// nothing but a token comes out of the frame.
"use strict";
(() => {
  const place = document.querySelector("[data-hosted-fields]");
  const form = document.querySelector("form[data-hosted-form]");
  if (!place || !form) return;
  const { origin, source, title } = place.dataset;

  const frame = document.createElement("iframe");
  frame.title = title;
  frame.className = "hosted-fields";
  frame.height = "620";
  frame.setAttribute("sandbox", "allow-forms allow-scripts allow-same-origin");
  frame.setAttribute("referrerpolicy", "no-referrer");
  frame.src = source;
  place.append(frame);

  window.addEventListener("message", (event) => {
    if (event.origin !== origin || event.source !== frame.contentWindow) return;
    const { type, token, height } = event.data || {};
    if (type === "ratepayer-height" && Number.isFinite(height)) {
      frame.height = String(Math.min(Math.max(Math.ceil(height), 120), 4000));
    }
    if (type === "ratepayer-token" && typeof token === "string" && token && !form.elements.token.value) {
      form.elements.token.value = token;
      form.requestSubmit();
    }
  });
})();
