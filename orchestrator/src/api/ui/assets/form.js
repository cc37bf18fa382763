// What the forms have in common: they show what they would do while they are filled in, and do it when sent.
import { make } from "./page.js";

const wrong = (error) => make("p", { class: "wrong", role: "alert" }, error.message);

function value(field) {
  const text = field.value;
  if (text === field.dataset.default) return undefined;
  switch (field.dataset.kind) {
    case "integer":
    case "number":
      return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
    case "boolean":
      return text === "true";
    case "array":
      try {
        return JSON.parse(text);
      } catch {
        throw new Error(`${field.dataset.param}: write a list as JSON, such as ["a", "b"]`);
      }
    default:
      return text;
  }
}

/** What a form gives for a pipeline's params: only what differs from their defaults. */
export function params(form) {
  const given = {};
  for (const field of form.querySelectorAll("[data-param]")) {
    const said = value(field);
    if (said !== undefined) given[field.dataset.param] = said;
  }
  return given;
}

/** A count with its word. */
export const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** Has a form show what it would do, a moment after each change, and do it when sent. `foresee` answers the
    elements to show, or nothing while there is nothing to say; `send` does it and leads on. */
export function begin(form, preview, foresee, send) {
  let asked = 0;
  const look = async () => {
    const mine = ++asked;
    const shown = await Promise.resolve().then(foresee).catch((error) => [wrong(error)]);
    if (mine === asked && shown) preview.replaceChildren(...shown);
  };
  let timer;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, 250);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    await send().catch((error) => preview.replaceChildren(wrong(error)));
    button.disabled = false;
  });
  look();
}
