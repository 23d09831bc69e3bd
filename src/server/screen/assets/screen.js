// Improves the pages of the settings screen, which work without it: times in the reader's own zone, copying, judging
// while typing, forms that keep what was typed when something fails, and the conversation with the page around a frame.

const root = document.documentElement;
const inFrame = window !== window.parent;
// The origin of the page around the frame, as the server knows it.
const frame = inFrame ? root.dataset.frame : undefined;
const policy = window.trustedTypes?.createPolicy("lynkhook", { createHTML: (html) => html });
root.classList.add("script");

// Pages

const parse = (html) => new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");

const element = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const pageOf = ({ pathname, search }) => pathname + search;
// The page of the address bar that is shown.
let shown = pageOf(location);

const tokenOf = (page) => page.querySelector("meta[name=form-token]")?.content;

// Gives all forms the token of the present session.
const setToken = (token) => {
  document.querySelector("meta[name=form-token]")?.setAttribute("content", token);
  for (const input of document.querySelectorAll("input[name=form_token]")) input.value = token;
};

// Shows the main part and the trail of another page. Secrets that were typed stay, because the server never sends them back.
const show = (page, from) => {
  const old = document.querySelector("main");
  const main = page.querySelector("main");
  if (!main) return;
  for (const typed of old.querySelectorAll("input[type=password]")) {
    const same = main.querySelector(`input[type=password][name="${typed.name}"]`);
    if (!same || !typed.value) continue;
    same.value = typed.value;
    same.closest(".field")?.querySelector("[data-retype]")?.remove();
    const folded = same.closest("details");
    if (folded) folded.open = true;
  }
  old.replaceWith(main);
  const trail = page.querySelector(".trail");
  if (trail) document.querySelector(".trail")?.replaceWith(trail);
  document.title = page.title;
  if (tokenOf(page)) setToken(tokenOf(page));
  improve(main);
  const action = from?.getAttribute("action");
  const same = action && [...main.querySelectorAll("form")].find((form) => form.getAttribute("action") === action);
  const target = main.querySelector("[role=alert]") || same?.querySelector("button:not([disabled])") || main;
  target.focus({ preventScroll: target !== main && !target.matches("[role=alert]") });
};

// Says something at a form, and leaves everything as it is. A button in a row has it above the row.
const tell = (form, text) => {
  document.querySelector(".note.told")?.remove();
  const note = element("div", { class: "note bad told", role: "alert", tabindex: "-1" }, element("div", {}, text));
  const row = form.closest(".heading") || form.closest(".card > header, .actions");
  if (row) row.before(note);
  else form.prepend(note);
  note.focus();
};

// Says that what was typed into a form stays, if one can type into it.
const kept = (form) => (form.querySelector(".input, .choice") ? " What you typed is still here." : "");

// Forms

// A browser may have a session of a tab and one of a frame: the server is told which page asks.
const headers = { accept: "text/html", ...(inFrame && { "lynkhook-frame": "1" }) };

const post = (form, button) => {
  const body = new URLSearchParams(new FormData(form, button));
  return fetch(form.action, { method: "POST", body, headers });
};

// The token of the session that the browser has now, if it has one.
const freshToken = async () => {
  const answer = await fetch(location.href, { headers });
  return answer.ok ? tokenOf(parse(await answer.text())) : undefined;
};

const submit = async (form, button) => {
  const stop = run(form, button);
  try {
    let answer = await post(form, button);
    if (answer.status === 401 && frame && (await renew())) answer = await post(form, button);
    if (answer.status === 403) {
      const token = await freshToken();
      if (token && token !== form.elements.form_token?.value) {
        setToken(token);
        answer = await post(form, button);
      }
    }
    if (answer.status === 401) {
      return tell(form, `Your session has ended.${kept(form)} Open Webhooks again in your application, in another tab. Then come back and send this once more.`);
    }
    if (answer.status >= 500 || answer.status === 408) {
      const title = parse(await answer.text()).querySelector("main h1")?.textContent;
      return tell(form, `${title || "The server failed"}.${kept(form)} Check whether it was done, or try again in a moment.`);
    }
    const page = parse(await answer.text());
    // A refusal that is no form leaves the form as it is.
    if (!answer.ok && page.querySelector("main > .message")) {
      const told = [...page.querySelectorAll("main h1, main h1 + p")].map((part) => part.textContent);
      return tell(form, `${told.join(". ")}${kept(form)}`);
    }
    if (answer.redirected) history.pushState(null, "", answer.url);
    shown = pageOf(location);
    show(page, form);
  } catch {
    tell(form, `The server could not be reached.${kept(form)} Try again in a moment.`);
  } finally {
    stop();
  }
};

// Marks a form as sent. A test counts its seconds, because it may take ten.
const run = (form, button) => {
  if (!button) return () => {};
  const { textContent: text } = button;
  const began = Date.now();
  const count = () => (button.textContent = `Testing… ${Math.floor((Date.now() - began) / 1000)} s`);
  const counting = "test" in form.dataset ? (count(), setInterval(count, 1000)) : undefined;
  button.setAttribute("aria-busy", "true");
  form.dataset.sent = "";
  return () => {
    clearInterval(counting);
    button.removeAttribute("aria-busy");
    button.textContent = text;
    delete form.dataset.sent;
  };
};

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || "enter" in form.dataset) return;
  event.preventDefault();
  if (!("sent" in form.dataset)) submit(form, event.submitter);
});
// A link within the page changes the fragment only; everything typed stays.
addEventListener("popstate", () => pageOf(location) !== shown && location.reload());

// Judging a field when it is left

const judge = async (form, field) => {
  const body = new URLSearchParams(new FormData(form));
  body.set("left", field);
  const answer = await fetch(form.dataset.judge, { method: "POST", body, headers: { ...headers, accept: "application/json" } });
  if (!answer.ok) return;
  const { faults } = await answer.json();
  const input = form.elements[field];
  const error = document.getElementById(`${field}-error`);
  if (!error || input.value !== body.get(field)) return;
  const fault = faults.find((fault) => fault.field === field);
  error.hidden = !fault;
  error.querySelector("span").textContent = fault?.text || "";
  if (fault) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
};

// A field that is left for a button is not judged, because a text that appears would move the button from the pointer.
document.addEventListener("focusout", ({ target, relatedTarget }) => {
  const form = target.form;
  if (form?.dataset.judge && "judged" in target.dataset && !relatedTarget?.closest(".actions")) {
    judge(form, target.name).catch(() => {});
  }
});

// Copying

document.addEventListener("click", async ({ target }) => {
  const button = target.closest?.("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    return;
  }
  const label = button.getAttribute("aria-label");
  button.classList.add("copied");
  button.setAttribute("aria-label", "Copied");
  setTimeout(() => {
    button.classList.remove("copied");
    button.setAttribute("aria-label", label);
  }, 2000);
});

// Times: in the reader's own zone, with UTC beside

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const zoneIsUtc = new Date().getTimezoneOffset() === 0 && local.resolvedOptions().timeZone === "UTC";

const improve = (part) => {
  for (const time of part.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    if (zoneIsUtc || Number.isNaN(date.getTime()) || time.querySelector(".utc")) continue;
    time.replaceChildren(local.format(date), " ", element("span", { class: "utc" }, time.textContent));
  }
};

// The page around a frame

const say = (message) => frame && parent.postMessage(message, frame);

// Asks the page around for a new link, and enters with it. What was typed stays.
let settle;
let renewal;
const renew = () => {
  renewal ??= new Promise((resolve) => {
    settle = resolve;
    setTimeout(resolve, 10000, false);
    say({ lynkhook: "expired" });
  }).finally(() => (renewal = undefined));
  return renewal;
};

const isEnded = () => document.querySelector("[data-ended]");

const enter = async ({ source, origin, data }) => {
  if (source !== parent || origin !== frame || data?.lynkhook !== "link") return;
  const url = new URL(data.url, location);
  if (url.origin !== location.origin) return;
  const body = new URLSearchParams({ link: url.searchParams.get("link") });
  const answer = await fetch(url.pathname, { method: "POST", body, headers }).catch(() => {});
  const token = answer?.ok && tokenOf(parse(await answer.text()));
  if (token) setToken(token);
  settle?.(Boolean(token));
  if (isEnded()) token ? location.reload() : say({ lynkhook: "failed" });
};

improve(document);
if (inFrame) document.querySelector("form[data-enter]")?.requestSubmit();
if (frame) {
  new ResizeObserver(() => say({ lynkhook: "height", height: Math.ceil(document.body.getBoundingClientRect().height) })).observe(document.body);
  addEventListener("message", enter);
  if (isEnded()) renew();
}
