// Forms about accounts and tokens: what they give is sent, and what is shown only once is shown.
import { ask, confirmed, make, soon, tell } from "./page.js";

const shown = document.getElementById("shown");

/** `viewer finance=operator` as the operations take it. */
function roles(text) {
  const given = {};
  for (const word of text.split(/[\s,]+/).filter(Boolean)) {
    const at = word.lastIndexOf("=");
    given[at < 0 ? "" : word.slice(0, at)] = word.slice(at + 1);
  }
  return given;
}

const readers = {
  roles,
  folders: (text) => text.split(/[\s,]+/).filter(Boolean),
  days: (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? undefined : Number(text)),
};

function body(form) {
  const given = {};
  for (const field of form.elements) {
    if (field.name) given[field.name] = (readers[field.name] ?? ((text) => text))(field.value);
  }
  return given;
}

/** Does it, and shows what is shown only once. What changes an account is shown before, as everywhere. */
async function send(path, given, title, form) {
  try {
    const steps = [{ path: `/api/v1${path}`, body: given }];
    const [done] = title ? (await confirmed(title, steps, false)) ?? [] : [await ask(steps[0].path, given)];
    if (!done) return;
    const secret = done.password ?? done.token;
    if (secret) {
      const whose = done.account ? `The password of ${done.account}` : `The token ${done.name}`;
      shown.replaceChildren(make("p", {}, `${whose}, shown only now: `), make("pre", { tabindex: "0" }, secret));
    } else {
      shown.replaceChildren();
    }
    if (!title) tell("Done.");
    form?.reset();
    soon();
  } catch (error) {
    shown.replaceChildren(make("p", { class: "wrong", role: "alert" }, error.message));
  }
}

document.addEventListener("submit", (event) => {
  const { ask: path, title } = event.target.dataset;
  if (!path) return;
  event.preventDefault();
  send(path, body(event.target), title, event.target);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-ask]");
  if (button) send(button.dataset.ask, JSON.parse(button.dataset.body), button.dataset.title);
});
