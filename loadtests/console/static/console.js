// Starts an entry: its rules are put in force, then Locust's own start is called, and its page shows the verdict.
"use strict";
const { users, rate, host, entry, swarm, stats, index, working } = document.body.dataset;
const said = document.getElementById("said");
const buttons = [...document.querySelectorAll("button[data-start]")];

function say(text, wrong) {
  said.textContent = text;
  said.classList.toggle("error", wrong);
}

// Locust's page shows its tabs only if the run is under way when it is opened; that begins when the proxies hold the rules.
async function underWay() {
  for (let tries = 0; tries < 120; tries += 1) {
    const { state } = await (await fetch(stats)).json();
    if (state !== "ready") return;
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  }
  throw new Error("the run has not begun; see Locust's log");
}

async function start(name) {
  buttons.forEach((button) => { button.disabled = true; });
  say(`${name}: ${working}`, false);
  try {
    const put = await fetch(entry, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ entry: name }) });
    const told = await put.json();
    if (!put.ok) throw new Error(told.error);
    const form = new URLSearchParams({ user_count: users, spawn_rate: rate, host, entry: name });
    const begun = await (await fetch(swarm, { method: "POST", body: form })).json();
    if (!begun.success) throw new Error(begun.message);
    await underWay();
    window.location.assign(`${index}?tab=mesh-verdict`);
  } catch (error) {
    say(`${name}: ${error.message}`, true);
    buttons.forEach((button) => { button.disabled = false; });
  }
}

buttons.forEach((button) => button.addEventListener("click", () => start(button.dataset.start)));

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  const rows = [...document.querySelectorAll("tr[data-name]")];
  rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
  document.getElementById("shown").textContent = rows.filter((row) => !row.hidden).length;
});
