// Shared by the console's pages: a status line, and the start of a run.
const status = document.getElementById("status");

export function say(text, wrong = false) {
  status.textContent = text; // never as markup: names come from the cluster
  status.classList.toggle("error", wrong);
}

export const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// A new element with attributes and children.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  });
  made.append(...children);
  return made;
}

// The JSON response of a URL; throws the server's own message if it refuses.
export async function ask(address, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(address, body === undefined ? {} : post);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

// Starts a run of an entry through Locust's own endpoint, and opens Locust's page. Locust shows the tabs only if the run has already
// begun, which happens once the proxies are in sync.
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
  throw new Error("the run did not begin; see Locust's log");
}
