// Starts an entry: applies its rules, calls Locust's own start, and opens Locust's page with the verdict.
import { ask, run, say } from "./common.js";

const { entry, working } = document.body.dataset;
const buttons = [...document.querySelectorAll("button[data-start]")];

async function start(name) {
  buttons.forEach((button) => { button.disabled = true; });
  say(`${name}: ${working}`);
  try {
    await ask(entry, { entry: name });
    await run(name);
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
