"use strict";
// The form works without this script. With it the page does not reload, what was typed stays, and the page that frames
// it learns the height and the token. Messages go to the registered origin only.
(() => {
  const body = document.body;
  const parentOrigin = body.dataset.parent;
  const main = document.querySelector("main");

  const tell = (message) => {
    if (parentOrigin && window.parent !== window) window.parent.postMessage(message, parentOrigin);
  };
  const tellToken = (token) => tell({ type: "ratepayer-token", token });

  new ResizeObserver(() => {
    tell({ type: "ratepayer-height", height: Math.ceil(main.getBoundingClientRect().height) });
  }).observe(main);

  if (body.dataset.token) {
    tellToken(body.dataset.token);
    document.getElementById("ready").focus();
  }
  const form = document.querySelector("form");
  if (!form) return;

  const summary = document.getElementById("summary");
  const list = summary.querySelector("ul");
  const title = document.title.startsWith(`${body.dataset.error}: `)
    ? document.title.slice(body.dataset.error.length + 2)
    : document.title;
  const button = form.querySelector("button");
  const label = button.textContent;
  const fieldOf = (name) => document.getElementById(name).closest(".field");

  const describe = (name, sentence) => {
    const line = document.getElementById(`${name}-error`);
    line.textContent = sentence;
    line.hidden = !sentence;
    const field = fieldOf(name);
    const target = field.matches("fieldset") ? field : document.getElementById(name);
    const ids = (target.getAttribute("aria-describedby") || "").split(" ").filter((id) => id && id !== line.id);
    if (sentence) ids.push(line.id);
    if (ids.length) target.setAttribute("aria-describedby", ids.join(" "));
    else target.removeAttribute("aria-describedby");
    if (target !== field) {
      if (sentence) target.setAttribute("aria-invalid", "true");
      else target.removeAttribute("aria-invalid");
    }
  };

  const show = (errors) => {
    list.replaceChildren(
      ...Object.entries(errors).map(([name, sentence]) => {
        const item = document.createElement("li");
        if (name) {
          const link = document.createElement("a");
          link.href = `#${name}`;
          link.textContent = sentence;
          link.addEventListener("click", (event) => {
            event.preventDefault();
            document.getElementById(name).focus();
          });
          item.append(link);
        } else {
          item.textContent = sentence;
        }
        return item;
      }),
    );
    summary.querySelector(".again").textContent = "";
    for (const line of form.querySelectorAll(".error")) {
      const name = line.id.replace(/-error$/, "");
      describe(name, errors[name] || "");
    }
    document.title = `${body.dataset.error}: ${title}`;
    summary.hidden = false;
    summary.focus();
  };

  const busy = (is) => {
    button.textContent = is ? body.dataset.checking : label;
    if (is) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.hasAttribute("aria-disabled")) return;
    busy(true);
    let answer;
    try {
      const response = await fetch(location.href, {
        method: "POST",
        headers: { Accept: "application/json" },
        body: new URLSearchParams(new FormData(form)),
        redirect: "error",
        signal: AbortSignal.timeout(30000),
      });
      answer = await response.json();
    } catch {
      answer = { errors: { "": body.dataset.noConnection } };
    }
    busy(false);
    if (answer.redirect) {
      location.assign(answer.redirect);
    } else if (answer.token) {
      const shown = new DOMParser().parseFromString(answer.page, "text/html");
      document.title = shown.title;
      main.replaceChildren(...shown.querySelector("main").childNodes);
      document.getElementById("ready").focus();
      tellToken(answer.token);
    } else {
      show(answer.errors);
    }
  });

  if (!summary.hidden) summary.focus();
})();
