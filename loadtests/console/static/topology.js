// Draws the call graph, lists the same calls in a table, and refreshes both every few seconds.
import { ask, say } from "./common.js";

const { edges: url, none, blocked, mtls, plain } = document.body.dataset;
const [picture, table, chosen] = ["picture", "edges", "namespace"].map((id) => document.getElementById(id));
const NODE = { width: 160, height: 44, gapX: 180, gapY: 26 };
const percent = (value) => (value === null ? "" : `${(value * 100).toFixed(1)} %`);

function make(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  if (text !== undefined) element.textContent = text; // never as markup: names come from the cluster
  return element;
}

// A node's column is one more than that of its farthest caller; a cycle of calls is cut where it closes.
function columns(edges) {
  const column = {};
  const visit = (node, depth, path) => {
    if (path.includes(node) || (column[node] ?? -1) >= depth) return;
    column[node] = depth;
    edges.filter((e) => e.source === node).forEach((e) => visit(e.target, depth + 1, [...path, node]));
  };
  const called = new Set(edges.map((e) => e.target));
  edges.map((e) => e.source).filter((source) => !called.has(source)).forEach((source) => visit(source, 0, []));
  edges.forEach((e) => { if (!(e.source in column)) visit(e.source, 0, []); });
  return column;
}

function places(edges) {
  const column = columns(edges);
  const filled = {};
  const place = {};
  Object.keys(column).sort((a, b) => column[a] - column[b] || a.localeCompare(b)).forEach((node) => {
    const row = filled[column[node]] ?? 0;
    filled[column[node]] = row + 1;
    place[node] = { x: 10 + column[node] * (NODE.width + NODE.gapX), y: 14 + row * (NODE.height + NODE.gapY) };
  });
  return place;
}

function draw(edges) {
  const place = places(edges);
  const spots = Object.values(place);
  const width = Math.max(0, ...spots.map((p) => p.x)) + NODE.width + 20;
  const height = Math.max(0, ...spots.map((p) => p.y)) + NODE.height + 20;
  picture.replaceChildren();
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  // As wide as the page while labels stay readable; below that, it scrolls.
  picture.style.minWidth = `${width * 0.7}px`;
  picture.style.maxWidth = `${width}px`;
  const labels = edges.map((e) => {
    const [from, to] = [place[e.source], place[e.target]];
    const [x1, y1, x2, y2] = [from.x + NODE.width, from.y + NODE.height / 2, to.x, to.y + NODE.height / 2];
    const bad = e.blocked || e.errors > 0.01;
    const line = { d: `M${x1},${y1} C${x1 + 60},${y1} ${x2 - 60},${y2} ${x2},${y2}`, class: bad ? "edge bad" : "edge", "data-edge": `${e.source}>${e.target}` };
    picture.append(make("path", e.blocked ? { ...line, "stroke-dasharray": "6 5" } : line));
    const share = e.expected === null ? percent(e.share) : `${percent(e.share)} / ${percent(e.expected)}`;
    const words = e.blocked ? blocked : `${e.mtls ? "mTLS " : ""}${share} · ${e.rate.toFixed(1)}/s`;
    // Past the middle, where lines from one caller have separated.
    return make("text", { x: x1 + (x2 - x1) * 0.5, y: y1 + (y2 - y1) * 0.68 - 5, class: "label", "text-anchor": "middle" }, words);
  });
  picture.append(...labels); // over all lines
  Object.entries(place).forEach(([node, { x, y }]) => {
    picture.append(make("rect", { x, y, width: NODE.width, height: NODE.height, rx: 8, class: "node" }));
    picture.append(make("text", { x: x + NODE.width / 2, y: y + NODE.height / 2 + 5, "text-anchor": "middle" }, node));
  });
}

function list(edges) {
  table.replaceChildren(...edges.map((e) => {
    const row = document.createElement("tr");
    row.dataset.edge = `${e.source}>${e.target}`;
    const p99 = e.p99 === null ? "" : `${e.p99.toFixed(0)} ms`;
    const cells = [e.source, e.target, percent(e.expected), percent(e.share), `${e.rate.toFixed(1)} /s`, percent(e.errors), p99, e.blocked ? blocked : e.mtls ? mtls : plain];
    cells.forEach((text, index) => {
      const cell = document.createElement(index === 0 ? "th" : "td");
      if (index === 0) cell.scope = "row";
      if (index === 7 && e.blocked) cell.className = "FAIL";
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  }));
}

async function look() {
  try {
    const fetched = await ask(`${url}?namespace=${encodeURIComponent(chosen.value)}`);
    say(fetched.edges.length ? "" : none);
    draw(fetched.edges);
    list(fetched.edges);
  } catch (error) {
    say(error.message, true);
  }
}

chosen.addEventListener("change", look);
look();
setInterval(() => { if (!document.hidden) look(); }, 3000);
