// Stripe's own fields, in frames of Stripe's inside this page; this page stands in a frame of ours, which hears the height
// and, when Stripe has taken the method, the name of what was set up. No number comes by here.
"use strict";
(() => {
  const form = document.querySelector("form[data-fields]");
  const problem = document.getElementById("problem");
  const main = document.querySelector("main");
  const origin = window.location.origin;
  const tell = (message) => {
    if (window.parent !== window) window.parent.postMessage(message, origin);
  };
  new ResizeObserver(() => {
    tell({ type: "ratepayer-height", height: Math.ceil(main.getBoundingClientRect().height) + 16 });
  }).observe(main);
  if (!form) return;

  const { publishableKey, clientSecret, language, returnUrl, unavailable, waiting, checking } = form.dataset;
  const button = form.querySelector("button");
  const label = button.textContent;
  const show = (sentence) => {
    problem.textContent = sentence;
    problem.hidden = !sentence;
    if (sentence) problem.focus();
  };
  const busy = (is) => {
    button.textContent = is ? checking : label;
    if (is) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
  };
  if (typeof window.Stripe !== "function") {
    show(unavailable);
    return;
  }

  const stripe = window.Stripe(publishableKey, { locale: language });
  const elements = stripe.elements({ clientSecret });
  const fields = elements.create("payment");
  fields.on("ready", () => {
    button.hidden = false;
  });
  fields.on("loaderror", () => show(unavailable));
  fields.mount("#fields");

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.hasAttribute("aria-disabled")) return;
    show("");
    busy(true);
    let answer;
    try {
      answer = await stripe.confirmSetup({
        elements,
        redirect: "if_required",
        confirmParams: { return_url: returnUrl },
      });
    } catch {
      answer = { error: { message: unavailable } };
    }
    busy(false);
    const { error, setupIntent } = answer;
    if (error) show(error.message || unavailable);
    else if (setupIntent.status === "succeeded") {
      button.setAttribute("aria-disabled", "true");
      tell({ type: "ratepayer-token", token: setupIntent.id });
    } else show(waiting);
  });
})();
