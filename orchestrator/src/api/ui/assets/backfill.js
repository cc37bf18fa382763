// The form for a backfill: what each date would do, while it is filled in.
import { ask, make, params, tell } from "./page.js";

const form = document.getElementById("backfill");
const preview = document.getElementById("preview");
const address = `${form.dataset.pipeline}/backfills`;
const SHOWN = 40;

function wanted() {
  const text = (name) => form.elements[name].value.trim();
  const most = text("max_active");
  return {
    from: text("from"), to: text("to"), reprocess: text("reprocess"), params: params(form),
    ...(most ? { max_active: Number(most) } : {}), ...(text("reason") ? { reason: text("reason") } : {}),
  };
}

let asked = 0;
async function show() {
  const mine = ++asked;
  try {
    const body = wanted();
    if (!body.from || !body.to) return;
    const plan = await ask(address, { ...body, dry_run: true });
    if (mine !== asked) return;
    const rows = plan.dates.slice(0, SHOWN).map((date) => make("li", {}, `${date.run}  ${date.what}`));
    preview.replaceChildren(
      make("p", {}, make("strong", {}, `${plan.dates.length} date${plan.dates.length === 1 ? "" : "s"}`)),
      ...plan.warnings.map((warning) => make("p", { class: "warned" }, warning)),
      make("ul", { class: "changes" }, ...rows, ...(plan.dates.length > SHOWN ? [make("li", {}, `and ${plan.dates.length - SHOWN} more`)] : [])),
    );
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
    const made = await ask(address, wanted());
    if (made.id) {
      location.assign(`/backfills/${made.id}`);
      return;
    }
    tell("No date would run.");
  } catch (error) {
    preview.replaceChildren(make("p", { class: "wrong", role: "alert" }, error.message));
  }
  button.disabled = false;
});
