// What the console's pages share: a line that says what goes on, and the start of a run.
const said = document.getElementById("said");

export function say(text, wrong = false) {
  said.textContent = text; // never as markup: names come from the cluster
  said.classList.toggle("error", wrong);
}

export const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// An element with text, attributes and children.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  });
  made.append(...children);
  return made;
}

// The JSON that an address answers; its own words where it refuses.
export async function ask(address, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(address, body === undefined ? {} : post);
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

// Starts a run of an entry by Locust's own start, and opens Locust's page, which shows its tabs only if the run is under way by then;
// that begins when the proxies hold the rules.
export async function run(name) {
  const { users, rate, host, swarm, stats, index } = document.body.dataset;
  const form = new URLSearchParams({ user_count: users, spawn_rate: rate, host, entry: name });
  const begun = await (await fetch(swarm, { method: "POST", body: form })).json();
  if (!begun.success) throw new Error(begun.message);
  for (let tries = 0; tries < 120; tries += 1) {
    const { state } = await (await fetch(stats)).json();
    if (state !== "ready") {
      window.location.assign(`${index}?tab=mesh-verdict`);
      return;
    }
    await pause(500);
  }
  throw new Error("the run has not begun; see Locust's log");
}
