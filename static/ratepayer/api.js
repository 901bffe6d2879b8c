/* The API page: Swagger UI over our own OpenAPI document, with what it lacks for people who do not see or use a mouse. */
"use strict";

(function () {
  const at = document.getElementById("api");
  const element = (system, ...parts) => system.React.createElement(...parts);

  // A heading between the page's and those of the groups, so that none is skipped.
  const headed = (Original, system) => (props) =>
    element(system, system.React.Fragment, null,
      element(system, "h2", { className: "sr-only" }, "Calls"),
      element(system, Original, props));

  const about = (Original, system) => (props) =>
    element(system, "section", { "aria-label": "About this API" }, element(system, Original, props));

  // Fields that come without a name.
  const named = (Original, system) => (props) =>
    element(system, Original, { "aria-label": props.title || "Body of the request", ...props });

  // Regions that come without a name of their own.
  new MutationObserver(() => {
    for (const region of at.querySelectorAll("[role=region]:not([aria-label])")) {
      const summary = region.closest(".opblock").querySelector(".opblock-summary-path, .opblock-summary-path__deprecated");
      const verb = region.closest(".opblock").querySelector(".opblock-summary-method");
      region.setAttribute("aria-label", `Answers to ${verb.textContent} ${summary.textContent}`);
    }
  }).observe(at, { childList: true, subtree: true });

  window.SwaggerUIBundle({
    url: at.dataset.document,
    domNode: at,
    presets: [window.SwaggerUIBundle.presets.apis],
    plugins: [{ wrapComponents: { InfoContainer: about, operations: headed, TextArea: named } }],
    layout: "BaseLayout",
    deepLinking: false,
    syntaxHighlight: false,
    validatorUrl: null,
    defaultModelsExpandDepth: -1,
  });
})();
