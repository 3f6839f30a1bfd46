// The form for one service's rules: shows them, previews what other values would change, applies the change, and undoes it.
import { ask, element, pause, run, say } from "./common.js";

const { state: stateUrl, plan, apply, undo, propagation, export: exportUrl, stats, service: wanted } = document.body.dataset;
const [FIELDS, WORDS] = ["fields", "words"].map((id) => JSON.parse(document.getElementById(id).textContent));
const [namespaces, services, form, planned, diff, warnings, applyButton, again, judge, progress, history, rules, exported] = [
  "namespace", "service", "form", "planned", "diff", "warnings", "apply", "again", "judge", "progress", "history", "rules", "export",
].map((id) => document.getElementById(id));
const TEXT = (name) => ({ name, kind: "text" });
const ROUTE_GROUPS = {
  condition: ["header", "header_value", "uri_prefix", "method"],
  mirroring: ["mirror", "mirror_percent"],
  fault: ["delay", "delay_percent", "abort", "abort_percent"],
  patience: ["timeout", "retries", "retry_timeout", "retry_on"],
};
const GROUPS = [
  ["breaker", "destination", ["connections", "pending", "per_connection"]],
  ["ejection", "destination", ["eject_after", "eject_interval", "eject_time", "eject_percent"]],
  ["rate_limit", "rate", ["rate_requests", "rate_seconds"]],
  ["mutual_tls", "mtls", ["mtls"]],
];
const known = (part, name) => FIELDS[part].find((field) => field.name === name) ?? TEXT(name);
const query = (where) => new URLSearchParams(where).toString();

let now = null; // the last state read from the cluster
let base = null; // the values that the form was built from
let touched = false;
let shown = null; // the plan on the page: the requested values, and the plan's digest
let busy = false;
let numbered = 0;

// -- parts of the form ---------------------------------------------------------------------------------------------------

function input(field, value, choices) {
  numbered += 1;
  const id = `field-${numbered}`;
  const common = { id, name: field.name, "data-kind": field.kind };
  let made;
  if (field.kind === "choice" || choices) {
    made = element("select", common, ...["", ...(choices ?? field.choices)].map((c) => element("option", { value: c, selected: c === (value ?? "") }, c)));
  } else {
    const number = field.kind === "text" ? { type: "text" } : { type: "number", min: field.low, max: field.high, step: field.kind === "integer" ? 1 : "any" };
    made = element("input", { ...common, ...number, value: value ?? "" });
  }
  const unit = { seconds: "s", percent: "%" }[field.kind];
  return element("span", { class: "field" }, element("label", { for: id }, WORDS[`f_${field.name}`] ?? field.name), " ", made, unit ? ` ${unit}` : "");
}

function group(legend, locked, ...children) {
  const note = locked ? [element("p", { class: "note" }, `${WORDS.owned_by} ${locked}`)] : [];
  return element("fieldset", { disabled: Boolean(locked) }, element("legend", {}, legend), ...note, ...children);
}

const help = (name) => (WORDS[`help_${name}`] ? [element("p", { class: "help" }, WORDS[`help_${name}`])] : []);

const button = (label, act, attributes = {}) => {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", act);
  return made;
};

function touch() {
  touched = true;
  planned.hidden = true;
  shown = null;
}

function weightInputs(values) {
  if (values.weights === null) return [element("p", { class: "note" }, WORDS.leads_elsewhere)];
  const there = Object.keys(values.weights);
  const names = [...new Set([...(now.weights.length ? [] : [""]), ...there, ...now.weights])];
  return names.map((name) => {
    const made = input({ name: "weight", kind: "percent", low: 0, high: 100 }, values.weights[name] ?? 0);
    made.querySelector("label").textContent = name || WORDS.whole_service;
    const box = made.querySelector("input");
    Object.assign(box.dataset, { subset: name, kind: "integer" });
    box.step = 1;
    return made;
  });
}

function routeCard(values) {
  const card = element("fieldset", { class: "route" });
  card.values = values;
  const choices = { mirror: now.weights };
  const groups = Object.entries(ROUTE_GROUPS).map(([name, fields]) => {
    if (name === "condition" && values.kept) return element("p", { class: "note" }, WORDS.kept);
    const used = fields.some((f) => values[f] !== null && values[f] !== undefined);
    return element("details", { open: used }, element("summary", {}, WORDS[name]), ...fields.map((f) => input(known("routes", f), values[f], choices[f])));
  });
  const move = (up) => { const other = up ? card.previousElementSibling : card.nextElementSibling; if (other) { (up ? other.before(card) : other.after(card)); touch(); number(); } };
  card.append(
    element("legend", {}), element("div", { class: "weights" }, ...weightInputs(values)), ...groups,
    element("p", {}, button("↑", () => move(true), { "aria-label": WORDS.earlier }), " ", button("↓", () => move(false), { "aria-label": WORDS.later }), " ",
      button(WORDS.remove, () => { card.remove(); touch(); number(); })),
  );
  return card;
}

function number() {
  [...form.querySelectorAll("fieldset.route > legend")].forEach((legend, index) => { legend.textContent = `${WORDS.route} ${index + 1}`; });
}

function egressRow(values) {
  const row = element("div", { class: "row" }, input(TEXT("host"), values.host), input(known("egress", "port"), values.port), input(known("egress", "protocol"), values.protocol));
  row.append(button(WORDS.remove, () => { row.remove(); touch(); }));
  return row;
}

function callerBoxes(values) {
  const any = element("input", { type: "checkbox", id: "anybody", checked: values === null });
  const names = [...new Set([...now.accounts, ...(values ?? [])])];
  const boxes = names.map((name, index) => {
    const id = `caller-${index}`;
    const box = element("input", { type: "checkbox", id, class: "caller", value: name, checked: values?.includes(name) ?? false, disabled: values === null });
    return element("span", { class: "field" }, box, " ", element("label", { for: id }, name.replace("cluster.local/ns/", "").replace("/sa/", " / ")));
  });
  any.addEventListener("change", () => form.querySelectorAll("input.caller").forEach((box) => { box.disabled = any.checked; }));
  return [element("span", { class: "field" }, any, " ", element("label", { for: "anybody" }, WORDS.anybody)), ...boxes];
}

function build() {
  const { values, locks } = now;
  const routes = element("div", { id: "routes" }, ...values.routes.map(routeCard));
  const fresh = () => ({ from: null, weights: now.weights.length ? Object.fromEntries(now.weights.map((n, i) => [n, i ? 0 : 100])) : { "": 100 } });
  const hosts = element("div", { id: "hosts" }, ...values.egress.map(egressRow));
  const unknown = now.unknown.map((path) => element("code", {}, path)).flatMap((code) => [" ", code]);
  form.replaceChildren(
    ...(unknown.length ? [element("p", { class: "note", id: "unknown" }, WORDS.unknown_fields, ...unknown)] : []),
    group(WORDS.routes, locks.routes, ...(values.routes.length ? [] : [element("p", { class: "note" }, WORDS.no_routes)]), routes,
      button(WORDS.add_route, () => { routes.append(routeCard(fresh())); touch(); number(); })),
    ...GROUPS.map(([name, part, fields]) => {
      const made = group(WORDS[name], locks[part], ...help(name), ...fields.map((f) => input(known(part, f), values[part][f])));
      made.dataset.part = part;
      return made;
    }),
    group(WORDS.callers, locks.callers, ...callerBoxes(values.callers)),
    group(`${WORDS.egress} (${namespaces.value})`, "", hosts, button(WORDS.add_host, () => { hosts.append(egressRow({ protocol: "HTTP" })); touch(); })),
    element("p", {}, button(WORDS.show_difference, look, { class: "main", id: "look" }), " ", button(WORDS.reset, () => { touched = false; planned.hidden = true; build(); })),
  );
  number();
  base = JSON.stringify(values);
  touched = false;
}

// -- values of the form --------------------------------------------------------------------------------------------------

function valueOf(box) {
  if (box.value === "") return null;
  return ["text", "choice"].includes(box.dataset.kind) ? box.value : Number(box.value);
}

const valuesOf = (where) => Object.fromEntries([...where.querySelectorAll("[name]:not([data-subset])")].map((box) => [box.name, valueOf(box)]));

function routeOf(card) {
  const weights = card.values.weights === null ? null : Object.fromEntries(
    [...card.querySelectorAll("[data-subset]")].map((box) => [box.dataset.subset, valueOf(box) ?? 0]).filter(([name, weight]) => weight || name in card.values.weights),
  );
  return { ...card.values, ...valuesOf(card), weights };
}

function asked() {
  const parts = Object.fromEntries(["destination", "rate", "mtls"].map((part) => [
    part, Object.assign({}, ...[...form.querySelectorAll(`[data-part=${part}]`)].map(valuesOf)),
  ]));
  const callers = document.getElementById("anybody").checked ? null : [...form.querySelectorAll("input.caller:checked")].map((box) => box.value);
  return {
    routes: [...form.querySelectorAll("fieldset.route")].map(routeOf), ...parts, callers,
    egress: [...form.querySelectorAll("#hosts .row")].map(valuesOf),
  };
}

// -- actions -------------------------------------------------------------------------------------------------------------

const place = () => ({ namespace: namespaces.value, service: services.value });

async function during(act) {
  if (busy) return;
  busy = true;
  document.querySelectorAll("main button").forEach((b) => { b.disabled = true; });
  try {
    await act();
  } catch (error) {
    say(error.message, true);
  } finally {
    busy = false;
    progress.hidden = true;
    document.querySelectorAll("main button").forEach((b) => { b.disabled = false; });
  }
}

function lines(text, where) {
  where.replaceChildren(...text.split(/(?<=\n)/).map((line) => {
    const kind = { "+": "added", "-": "removed", "@": "place" }[line[0]];
    return element("span", { class: /^(\+\+\+|---)/.test(line) ? "place" : kind }, line);
  }));
}

function look() {
  return during(async () => {
    planned.hidden = true;
    say(WORDS.trying);
    const values = asked();
    const preview = await ask(plan, { ...place(), values });
    say(preview.diff ? "" : WORDS.no_difference);
    if (!preview.diff) return;
    shown = { values, digest: preview.digest };
    lines(preview.diff, diff);
    warnings.replaceChildren(...preview.warnings.map((w) => element("p", { class: "note" }, w)));
    again.hidden = !now.entry;
    again.querySelector("span").textContent = `${WORDS.judge_again} ${now.entry}`;
    planned.hidden = false;
    applyButton.scrollIntoView({ block: "nearest" });
  });
}

// Waits until all proxies are in sync, and shows how many are.
async function propagated(number) {
  const started = Date.now();
  for (let tries = 0; tries < 60; tries += 1) {
    const { total, stale } = await ask(propagation, place());
    progress.hidden = false;
    Object.assign(progress, { max: total, value: total - stale.length });
    say(`${WORDS.change} ${number}: ${total - stale.length} / ${total} ${WORDS.in_sync} (${Math.round((Date.now() - started) / 1000)} s)`);
    if (!stale.length) return;
    await pause(500);
  }
  throw new Error(`${WORDS.change} ${number}: ${WORDS.not_in_sync}`);
}

async function changed(number) {
  touched = false;
  planned.hidden = true;
  await refresh(true);
  await propagated(number);
}

applyButton.addEventListener("click", () => during(async () => {
  const entry = judge.checked && now.entry;
  const { number: made } = await ask(apply, { ...place(), ...shown });
  await changed(made);
  const { state } = await (await fetch(stats)).json();
  // An active run restarts its verdict by itself.
  if (entry && !["running", "spawning"].includes(state)) await run(entry);
}));

function undoOne(item) {
  return during(async () => {
    const { number: made } = await ask(undo, { ...place(), number: item.number });
    await changed(made);
  });
}

function showHistory() {
  history.replaceChildren(...now.history.map((item) => {
    const text = element("pre", { class: "diff" });
    lines(item.diff, text);
    const title = item.undoes ? `${WORDS.undoes} ${item.undoes}` : WORDS.difference;
    const cell = element("td", {});
    if (item.open) cell.append(button(WORDS.undo, () => undoOne(item), { "aria-label": `${WORDS.undo} ${item.number}` }));
    return element("tr", { "data-change": item.number }, element("th", { scope: "row" }, `${item.number}`), element("td", {}, element("time", { datetime: item.when }, item.when.replace("T", " ").replace("Z", " UTC"))),
      element("td", {}, item.who), element("td", {}, item.service), element("td", {}, element("details", {}, element("summary", {}, title), text)), cell);
  }));
}

function showRules() {
  const open = new Set([...rules.querySelectorAll("details[open]")].map((d) => d.dataset.rule));
  rules.replaceChildren(...now.rules.map((rule) => {
    const name = `${rule.kind} ${rule.name}`;
    const details = element("details", { "data-rule": name, open: open.has(name) }, element("summary", {}, name), element("pre", {}, rule.manifest));
    return element("tr", {}, element("td", {}, details), element("td", {}, rule.owner));
  }));
}

async function refresh(rebuild) {
  const fetched = await ask(`${stateUrl}?${query({ namespace: namespaces.value, service: services.value || wanted })}`);
  const before = now;
  now = fetched;
  const names = fetched.services.map((name) => element("option", { selected: name === fetched.service }, name));
  if (!before || before.services.join() !== fetched.services.join() || services.value !== fetched.service) services.replaceChildren(...names);
  exported.href = `${exportUrl}?${query({ namespace: namespaces.value })}`;
  if (rebuild || (!touched && JSON.stringify(fetched.values) !== base)) build();
  else if (touched && JSON.stringify(fetched.values) !== base) say(WORDS.changed_meanwhile, true);
  if (!before || JSON.stringify(before.history) !== JSON.stringify(fetched.history)) showHistory();
  if (!before || JSON.stringify(before.rules) !== JSON.stringify(fetched.rules)) showRules();
}

async function fresh() {
  try {
    say("");
    planned.hidden = true;
    await refresh(true);
  } catch (error) {
    form.replaceChildren();
    say(error.message, true);
  }
}

form.addEventListener("input", touch);
form.addEventListener("submit", (event) => event.preventDefault());
namespaces.addEventListener("change", () => { services.replaceChildren(); now = null; fresh(); });
services.addEventListener("change", fresh);
fresh();
setInterval(() => { if (!document.hidden && !busy && now) refresh(false).catch((error) => say(error.message, true)); }, 3000);
