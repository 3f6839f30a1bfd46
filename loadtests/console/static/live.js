// Shows the verdict with charts below Locust's own table while its tab is open, also after the run has ended.
const section = document.getElementById("istio-lab-live");
const { live, tab } = section.dataset;

async function look() {
  const open = new URLSearchParams(window.location.search).get("tab") === tab;
  section.hidden = !open;
  if (!open || document.hidden) return;
  const answer = await fetch(live);
  // The server has escaped everything that comes from the cluster.
  if (answer.ok) section.innerHTML = await answer.text();
}

const again = () => look().catch(() => {}).finally(() => { setTimeout(again, 1000); });
again();
