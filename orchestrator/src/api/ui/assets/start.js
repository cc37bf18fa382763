// The form for a run: shows what the run would be while it is filled in, and makes it.
import { ask, make, params, tell } from "./page.js";

const form = document.getElementById("start");
const preview = document.getElementById("preview");
const requests = document.getElementById("requests");
const base = form.dataset.pipeline;

function wanted() {
  const date = form.elements.date.value.trim();
  return { ...(date ? { date } : {}), params: params(form) };
}

let asked = 0;
async function show() {
  const mine = ++asked;
  try {
    const body = wanted();
    const [made, plan] = await Promise.all([
      ask(`${base}/runs`, { ...body, dry_run: true }),
      ask(`${base}/plan`, body),
    ]);
    if (mine !== asked) return;
    const exists = made.detail;
    preview.replaceChildren(
      make("p", {}, make("strong", {}, made.run), " ", make("span", {}, made.covers)),
      ...(made.warning ? [make("p", { class: "warned" }, made.warning)] : []),
      ...(exists ? [make("p", { class: "warned" }, "There is such a run already: ", make("a", { href: `/runs/${encodeURIComponent(made.run)}` }, `${made.run}, ${exists.state}`), ". Clear it to run it again.")] : []),
    );
    requests.hidden = false;
    requests.querySelector("div").replaceChildren(...plan.tasks.map((task) =>
      make("section", {},
        make("h3", {}, task.task, " ", make("span", { class: "none" }, task.type)),
        make("pre", { tabindex: "0" }, task.request ? JSON.stringify(task.request, null, 2) : task.note ?? ""))));
  } catch (error) {
    if (mine === asked) preview.replaceChildren(make("p", { class: "wrong" }, error.message));
  }
}

let timer;
form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, 250);
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  try {
    const made = await ask(`${base}/runs`, wanted());
    location.assign(`/runs/${encodeURIComponent(made.run)}`);
  } catch (error) {
    tell(error.message, true);
    preview.replaceChildren(make("p", { class: "wrong", role: "alert" }, error.message));
    button.disabled = false;
  }
});
show();
