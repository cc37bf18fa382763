// What every page does: stay true while things happen, carry out what buttons say after showing what would
// change, filter lists. Text goes into pages as text only.

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content;

/** A question to the API, or something to be done; refusals are errors in the server's words. */
export async function ask(path, body) {
  const options = { headers: {} };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["content-type"] = "application/json";
    options.headers["trunkline-change"] = meta("change") ?? "";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it running?");
  }
  if (answer.status === 204) return null;
  const said = await answer.json().catch(() => ({}));
  if (answer.status === 401) throw new Error("You are signed out. Load the page again to sign in.");
  if (!answer.ok) throw new Error(said.detail ?? `The server answered ${answer.status}.`);
  return said;
}

/** An element with attributes and children; children are elements or texts. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Says something in passing. */
export function tell(text, bad = false) {
  const told = document.getElementById("told");
  told.replaceChildren(make("p", { class: bad ? "bad" : "" }, text));
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => told.replaceChildren(), 6000);
}

// --- staying true -------------------------------------------------------------------------------------------

const listeners = [];
/** Calls back when something happened that the page is about. */
export function whenever(something) {
  listeners.push(something);
}

/** The page as it would be loaded now. Parsed without running anything. */
function reload() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.open("GET", location.href);
    request.onload = () => (request.status === 200 ? resolve(request.response) : reject());
    request.onerror = reject;
    request.send();
  });
}

async function refresh() {
  const live = [...document.querySelectorAll("[data-live]")];
  if (!live.length) return;
  const fresh = await reload().catch(() => null);
  if (!fresh) return;
  for (const part of live) {
    const other = part.id && fresh.getElementById(part.id);
    if (!other || part.isEqualNode(other)) continue;
    // A part about one thing is replaced only when it is about another: what lives inside follows by itself.
    if ("key" in part.dataset) {
      if (part.dataset.key === other.dataset.key) continue;
      part.dataset.key = other.dataset.key;
    }
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const address = focused?.getAttribute("href");
    part.replaceChildren(...document.adoptNode(other).childNodes);
    if (address) [...part.querySelectorAll("[href]")].find((link) => link.getAttribute("href") === address)?.focus();
    part.dispatchEvent(new CustomEvent("fresh", { bubbles: true }));
  }
  filterAll();
}

let pending = false;
/** Soon, once, however much happens meanwhile. */
export function soon() {
  if (pending) return;
  pending = true;
  setTimeout(async () => {
    pending = false;
    await refresh();
    for (const listener of listeners) listener();
  }, 400);
}

/** Says for as long as it lasts that nothing is heard. */
const silence = make("p", { class: "silence", role: "status", hidden: true });
function heard(is) {
  if (is) silence.hidden = true;
  else if (silence.hidden) {
    silence.textContent = `Nothing heard from the server since ${new Date().toLocaleTimeString()}: what is shown may be out of date.`;
    silence.hidden = false;
  }
}

const LOOK_AGAIN = 30_000;
const events = meta("events");
if (events) {
  document.querySelector("main").before(silence);
  let source;
  const follow = () => {
    source = new EventSource(events);
    source.onmessage = soon;
    // What happened between the page and the stream, or while the stream was cut, is told by nobody.
    source.onopen = () => {
      heard(true);
      soon();
    };
    source.onerror = () => {
      if (!document.hidden) heard(false);
      // A proxy that answers in the server's place ends the stream for good.
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
    };
  };
  follow();
  // How long something takes goes on without an event.
  setInterval(() => document.hidden || soon(), LOOK_AGAIN);
  document.addEventListener("visibilitychange", () => {
    source?.close();
    if (!document.hidden) follow();
  });
  addEventListener("pagehide", () => source?.close());
}

// --- doing --------------------------------------------------------------------------------------------------

/** Shows what would change, asks why, does it. `steps` are requests; each is previewed and then sent. Gives their answers,
    or nothing where it was left as it is. */
export async function confirmed(title, steps, reasoned = true) {
  let previews;
  try {
    previews = await Promise.all(steps.map(({ path, body }) => ask(path, { ...body, dry_run: true })));
  } catch (error) {
    tell(error.message, true);
    return null;
  }
  const lines = previews.flatMap((preview) => {
    const switched = preview.changed ? [`${preview.pipeline}: ${preview.paused ? "starts nothing more" : "goes on"}`] : [];
    const changes = preview.changes ?? switched;
    return previews.length > 1 ? changes.map((change) => `${preview.run}  ${change}`) : changes;
  });
  const reason = make("input", { id: "reason", maxlength: "2000", placeholder: "for the history", autocomplete: "off" });
  const wrong = make("p", { class: "wrong", role: "alert", hidden: true });
  const yes = make("button", { class: "primary", type: "submit" }, "Do it");
  const dialog = make("dialog", { "aria-labelledby": "dialog-title" },
    make("form", { method: "dialog" },
      make("h2", { id: "dialog-title" }, title),
      lines.length
        ? make("ul", { class: "changes" }, ...lines.slice(0, 200).map((line) => make("li", {}, line)),
            ...(lines.length > 200 ? [make("li", {}, `and ${lines.length - 200} more`)] : []))
        : make("p", { class: "muted" }, "Nothing changes at once."),
      ...(reasoned ? [make("label", { for: "reason" }, "Reason"), reason] : []), wrong,
      make("div", { class: "actions" }, yes, make("button", { type: "button", onclick: () => dialog.close() }, "Keep as it is"))));
  document.body.append(dialog);
  return new Promise((resolve) => {
    let done = null;
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      yes.disabled = true;
      try {
        const answers = [];
        for (const { path, body } of steps) {
          answers.push(await ask(path, { ...body, dry_run: false, ...(reason.value ? { reason: reason.value } : {}) }));
        }
        done = answers;
        tell(`Done: ${title}`);
        soon();
        dialog.close();
      } catch (error) {
        wrong.hidden = false;
        wrong.textContent = error.message;
        yes.disabled = false;
      }
    });
    dialog.showModal();
    (reasoned ? reason : yes).focus();
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) {
    const body = button.dataset.body ? JSON.parse(button.dataset.body) : {};
    confirmed(button.dataset.title, [{ path: `/api/v1${button.dataset.do}`, body }], !("noReason" in button.dataset));
  }
  if (event.target.closest("[data-sign-out]")) {
    ask("/sign-out", {}).then(() => location.assign("/sign-in"), (error) => tell(error.message, true));
  }
});

// --- finding ------------------------------------------------------------------------------------------------

function filterAll() {
  for (const input of document.querySelectorAll("[data-filter]")) {
    const wanted = input.value.trim().toLowerCase();
    for (const row of document.querySelectorAll(`${input.dataset.filter} tbody tr`)) {
      row.hidden = wanted !== "" && !row.dataset.name?.toLowerCase().includes(wanted);
    }
  }
}
document.addEventListener("input", (event) => {
  if (event.target.matches("[data-filter]")) filterAll();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    const search = document.querySelector("main input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});
