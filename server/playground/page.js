"use strict";
const element = (id) => document.getElementById(id);
const kPeriodMs = 1000;
const kHistory = 120;  // points of a curve
const state = { messages: [], abort: null, experts: [], previous: null, shares: null, curves: {} };

// Text reaches the page as text nodes only: what a model writes is never markup.
function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function headers() {
  const result = { "Content-Type": "application/json" };
  if (element("key").value) result.Authorization = `Bearer ${element("key").value}`;
  return result;
}

// Evenly spread hues; the golden angle keeps neighbours apart whatever their number.
const colourOf = (expert) => `hsl(${(expert * 137.5) % 360}, 70%, 78%)`;

// Tokens ----------------------------------------------------------------------------------------------------------

function paint(token) {
  const layer = element("colour").value;
  const chosen = layer === "none" || !token.experts ? null : token.experts[Number(layer)];
  token.node.classList.toggle("coloured", Boolean(chosen));
  token.node.style.background = chosen ? colourOf(chosen[0]) : "";
  token.node.title = chosen ? `layer ${layer}: experts ${chosen.join(", ")}` : "";
}

function showLegend() {
  const legend = element("legend");
  legend.replaceChildren();
  if (element("colour").value === "none" || !state.shares) return;
  state.shares[0].forEach((_, expert) => {
    const item = make("li", "", `expert ${expert}`);
    item.style.background = colourOf(expert);
    legend.append(item);
  });
}

function addMessage(role, text) {
  const message = make("div", `message ${role}`);
  message.append(make("b", "", role));
  const body = make("span", "", text);
  message.append(body);
  element("transcript").append(message);
  element("transcript").scrollTop = element("transcript").scrollHeight;
  return body;
}

// Generation ------------------------------------------------------------------------------------------------------

function requestBody(chat, text) {
  const body = { stream: true, stream_options: { include_usage: true }, return_expert_ids: true };
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "seed", "repetition_penalty"]) {
    const value = element(name).value;
    if (value !== "") body[name] = Number(value);
  }
  if (element("stop_string").value) body.stop = element("stop_string").value;
  if (!chat) return { ...body, prompt: text };
  const system = element("system").value;
  return { ...body, messages: [...(system ? [{ role: "system", content: system }] : []), ...state.messages] };
}

// The events of a text/event-stream body, as parsed JSON; ends at [DONE].
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const events = buffer.split("\n\n");
    buffer = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function messageOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answered ${response.status}`;
  }
}

async function generate(event) {
  event.preventDefault();
  const text = element("input").value;
  if (!text || state.abort) return;
  const chat = document.querySelector('input[name="mode"]:checked').value === "chat";
  if (chat) {
    state.messages.push({ role: "user", content: text });
    addMessage("user", text);
    element("input").value = "";
  }
  const body = requestBody(chat, text);
  const output = addMessage(chat ? "assistant" : "completion", chat ? "" : text);
  state.abort = new AbortController();
  element("send").disabled = true;
  element("stop").disabled = false;
  const begin = performance.now();
  let first = 0;
  let tokens = 0;
  let answer = "";
  try {
    const response = await fetch(chat ? "/v1/chat/completions" : "/v1/completions",
      { method: "POST", headers: headers(), body: JSON.stringify(body), signal: state.abort.signal });
    if (!response.ok) throw new Error(await messageOf(response));
    for await (const chunk of eventsOf(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      if (chunk.usage) tokens = chunk.usage.completion_tokens;
      const choice = chunk.choices[0];
      if (!choice) continue;
      if (!first) first = performance.now();
      const piece = (chat ? choice.delta.content : choice.text) || "";
      answer += piece;
      if (!piece) continue;
      const token = { node: make("span", "token", piece), experts: choice.expert_ids?.[0] };
      output.append(token.node);
      paint(token);
      state.experts.push(token);
      element("transcript").scrollTop = element("transcript").scrollHeight;
    }
    if (chat) state.messages.push({ role: "assistant", content: answer });
  } catch (error) {
    if (error.name !== "AbortError") addMessage("error", error.message);
    if (chat) state.messages.push({ role: "assistant", content: answer });
  } finally {
    state.abort = null;
    element("send").disabled = false;
    element("stop").disabled = true;
    const end = performance.now();
    if (first) {
      const rate = tokens > 1 ? ` ${((tokens - 1) * 1000 / (end - first)).toFixed(1)} tokens/s` : "";
      element("timing").textContent = `first token ${Math.round(first - begin)} ms,${rate || " done"}`;
    }
    element("input").focus();
  }
}

function clearTranscript() {
  state.messages = [];
  state.experts = [];
  element("transcript").replaceChildren();
  element("timing").textContent = "";
}

// Statistics ------------------------------------------------------------------------------------------------------

// Counts since the last look where tokens came in between, else since start.
function sharesOf(tokens) {
  const before = state.previous;
  const recent = before && tokens.map((layer, l) => layer.map((count, e) => count - before[l][e]));
  const useRecent = recent && recent.flat().some((count) => count > 0);
  element("window").textContent = useRecent ? "in the last second" : "since start";
  state.previous = tokens;
  return (useRecent ? recent : tokens).map((layer) => {
    const total = layer.reduce((sum, count) => sum + count, 0);
    return layer.map((count) => (total ? count / total : 0));
  });
}

function showHeat(shares) {
  const table = element("heat");
  if (table.rows.length !== shares.length + 1) {
    table.replaceChildren();
    const head = table.createTHead().insertRow();
    head.append(make("th", "", "layer"), ...shares[0].map((_, expert) => make("th", "", `e${expert}`)));
    const body = table.createTBody();
    shares.forEach((layer, index) => {
      const row = body.insertRow();
      row.append(make("th", "", String(index)));
      layer.forEach(() => row.insertCell());
    });
  }
  shares.forEach((layer, index) => layer.forEach((share, expert) => {
    const cell = table.rows[index + 1].cells[expert + 1];
    cell.textContent = Math.round(share * 100);
    cell.style.background = `rgba(var(--heat), ${Math.min(1, share * 2).toFixed(2)})`;
  }));
}

// "rank 0: experts 0-3; rank 1: expert 4" and the tokens of each layer's experts -> the tokens of each rank.
function loadOfRanks(placement, tokens) {
  return placement.split("; ").map((text) => {
    const [, rank, list] = /^rank (\d+): (?:experts? )?(.*)$/.exec(text);
    const owned = list.split(", ").flatMap((range) => {
      const [first, last = first] = range.split("-").map(Number);
      return Number.isNaN(first) ? [] : Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
    const sum = tokens.reduce((all, layer) => all + owned.reduce((some, expert) => some + (layer[expert] || 0), 0), 0);
    return { rank: Number(rank), tokens: sum };
  });
}

function showRanks(ranks) {
  const total = ranks.reduce((sum, rank) => sum + rank.tokens, 0);
  element("ranks").replaceChildren(...ranks.map((rank) => {
    const item = make("li", "", "");
    const meter = make("meter");
    meter.max = 1;
    meter.value = total ? rank.tokens / total : 0;
    meter.setAttribute("aria-label", `share of rank ${rank.rank}`);
    item.append(make("span", "", `rank ${rank.rank}`), meter,
      make("span", "", total ? `${Math.round(100 * rank.tokens / total)}%` : "idle"));
    return item;
  }));
}

function showLayers(count) {
  const select = element("colour");
  if (select.options.length === count + 1) return;
  for (let layer = 0; layer < count; ++layer) {
    const option = make("option", "", `experts of layer ${layer}`);
    option.value = layer;
    select.append(option);
  }
}

// Sums the series of each metric in Prometheus' text format; names come without their prefix.
function parseMetrics(text) {
  const sums = {};
  for (const line of text.split("\n")) {
    const match = /^switchyard:([a-z_]+)(?:\{[^}]*\})? (\S+)/.exec(line);
    if (match && !match[1].endsWith("_bucket")) sums[match[1]] = (sums[match[1]] || 0) + Number(match[2]);
  }
  return sums;
}

function curve(name, unit, value) {
  let entry = state.curves[name];
  if (!entry) {
    const figure = make("figure");
    const caption = make("figcaption");
    const number = make("b", "", "");
    caption.append(make("span", "", name), number);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${kHistory - 1} 100`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    svg.append(line);
    figure.append(caption, svg);
    element("charts").append(figure);
    entry = state.curves[name] = { points: [], number, line };
  }
  entry.points.push(value);
  if (entry.points.length > kHistory) entry.points.shift();
  const top = Math.max(...entry.points, 1e-9);
  const offset = kHistory - entry.points.length;
  entry.line.setAttribute("points",
    entry.points.map((point, index) => `${offset + index},${98 - 94 * point / top}`).join(" "));
  entry.number.textContent = `${value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

let lastMetrics = null;
function showCurves(metrics, seconds) {
  if (lastMetrics) {
    const change = (name) => (metrics[name] || 0) - (lastMetrics[name] || 0);
    const mean = (name) => (change(`${name}_count`) > 0 ? 1000 * change(`${name}_sum`) / change(`${name}_count`) : 0);
    curve("generated", "tokens/s", change("generation_tokens_total") / seconds);
    curve("prompts", "tokens/s", change("prompt_tokens_total") / seconds);
    curve("first token", "ms", mean("time_to_first_token_seconds"));
    curve("between tokens", "ms", mean("inter_token_latency_seconds"));
    curve("running", "requests", metrics.num_requests_running || 0);
    curve("KV cache", "%", 100 * (metrics.kv_cache_usage_perc || 0));
  }
  lastMetrics = metrics;
}

let lastLook = 0;
async function look() {
  try {
    const now = performance.now();
    const [experts, metrics] = await Promise.all(["/v1/experts", "/metrics"].map(
      (path) => fetch(path, { headers: headers() })));
    if (!experts.ok) throw new Error(await messageOf(experts));
    if (!metrics.ok) throw new Error(await messageOf(metrics));
    const report = await experts.json();
    const tokens = report.layers.map((layer) => layer.expert_tokens);
    const ranks = loadOfRanks(report.placement, tokens);
    element("model").textContent =
      `${report.model}: ${tokens.length} layers, ${report.num_experts} experts, ${ranks.length} ranks`;
    showHeat(state.shares = sharesOf(tokens));
    showRanks(ranks);
    showLayers(tokens.length);
    showCurves(parseMetrics(await metrics.text()), (now - lastLook) / 1000);
    lastLook = now;
  } catch (error) {
    element("model").textContent = error.message;
  }
  setTimeout(look, document.hidden ? 10 * kPeriodMs : kPeriodMs);
}

// Wiring ----------------------------------------------------------------------------------------------------------

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  element("theme").setAttribute("aria-pressed", String(dark));
}
element("theme").addEventListener("click", () => setTheme(element("theme").getAttribute("aria-pressed") !== "true"));
element("theme").setAttribute("aria-pressed", String(matchMedia("(prefers-color-scheme: dark)").matches));
element("form").addEventListener("submit", generate);
element("stop").addEventListener("click", () => state.abort?.abort());
element("clear").addEventListener("click", clearTranscript);
element("colour").addEventListener("change", () => { state.experts.forEach(paint); showLegend(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") state.abort?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element("form").requestSubmit();
});
for (const radio of document.querySelectorAll('input[name="mode"]')) {
  radio.addEventListener("change", () => {
    document.querySelector('label[for="input"]').textContent = radio.value === "chat" ? "Message" : "Text to continue";
  });
}
element("key").value = sessionStorage.getItem("key") || "";
element("key").addEventListener("change", () => sessionStorage.setItem("key", element("key").value));
look();
