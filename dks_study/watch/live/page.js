// Draws the page from its snapshot; asks a server for the next one, or says how old the file is.

const {live, alone, every} = document.body.dataset, LIVE = live === "true", ALONE = alone === "true", EVERY_S = Number(every);
const STALE_S = LIVE ? 30 : 150;
const [main, footer] = ["main", "footer"].map((name) => document.querySelector(name));
const STATES = {
  starting: "starting", running: "running", unseen: "on another machine", stopped: "not running",
  complete: "complete", unreadable: "cannot be read",
};
const PHASES = {search: "search", race: "race", confirm: "confirmation"};
const SEALED =
  "Sealed: test errors, effects and p-values, until the confirmation is complete. Who sees a table fill may stop it " +
  "when it looks good, and then its p-values are too small and its effects too large. What is shown above are " +
  "validation images, and single trials. ";
let data = JSON.parse(document.getElementById("data").textContent), failing = false;

const sum = (parts, key) => parts.reduce((total, part) => total + part[key], 0);
const ended = (parts) => sum(parts, "complete") + sum(parts, "stopped") + sum(parts, "lost");
const partsOf = (study, phase) => study.arms.flatMap((arm) => arm.parts).filter((part) => !phase || part.phase === phase);

function duration(seconds) {
  const [unit, length] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, of]) => seconds >= 2 * of) ?? ["s", 1];
  return `${Math.round(seconds / length)} ${unit}`;
}

function bar(parts, planned, label) {
  const shares = ["complete", "stopped", "lost", "running"].map((key) => [key, sum(parts, key)]);
  const pieces = shares.filter(([, count]) => count).map(([key, count]) => {
    const piece = make("i", {class: key, title: `${count} ${key}`});
    piece.style.width = `${(100 * count) / Math.max(planned, 1)}%`;
    return piece;
  });
  return make("span", {class: "bar", role: "img", "aria-label": label}, ...pieces);
}

function progress(study) {
  const parts = partsOf(study), running = sum(parts, "running"), lost = sum(parts, "lost");
  const words = [`${ended(parts)} of ${study.at_most ? "at most " : ""}${study.trials} trials`];
  if (running) words.push(`${running} running`);
  if (lost) words.push(`${lost} without a result`);
  if (study.seconds_left !== null) words.push(`about ${duration(study.seconds_left)} left`);
  const text = words.join(" · ");
  return [bar(parts, study.trials, text), make("p", {class: "count"}, text)];
}

const pill = (study) => make("span", {class: `pill ${study.state}`}, STATES[study.state]);
const swatch = (look) => {
  const mark = draw("line", {x1: 1, x2: 23, y1: 5, y2: 5, stroke: inked(look), "stroke-dasharray": DASHES[look.line] ?? ""});
  return draw("svg", {class: "swatch", viewBox: "0 0 24 10", "aria-hidden": "true"}, mark);
};
const row = (kind, cells) => make("tr", {}, ...cells.map((cell) => make(kind, {}, ...[cell].flat())));
function table(header, rows) {
  const content = make("table", {}, make("thead", {}, row("th", header)), make("tbody", {}, ...rows.map((cells) => row("td", cells))));
  return make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": header[0]}, content);
}

function armsTable(study) {
  const phases = Object.keys(PHASES).filter((phase) => partsOf(study, phase).length);
  const cell = (arm, phase) => {
    const parts = arm.parts.filter((part) => part.phase === phase);
    if (!parts.length) return "";
    const text = `${ended(parts)}/${sum(parts, "planned")}`;
    return [bar(parts, sum(parts, "planned"), text), make("span", {class: "number"}, text)];
  };
  const best = phases.includes("search");
  const rows = study.arms.map((arm) => [
    [swatch(arm.look), arm.name], ...phases.map((phase) => cell(arm, phase)),
    ...(best ? [arm.best === null ? "" : (100 - arm.best).toFixed(2)] : []),
  ]);
  return [table(["arm", ...phases.map((phase) => PHASES[phase]), ...(best ? ["lowest of the search (%)"] : [])], rows)];
}

function runningTable(study) {
  const rows = study.curves.filter((curve) => curve.wrote !== null).map((curve) => {
    const part = {complete: curve.done, stopped: 0, lost: 0, running: 0}, text = `${curve.done}/${curve.epochs}`;
    const last = curve.errors.at(-1), wrote = make("span", {"data-wrote": curve.wrote});
    const number = make("span", {class: "number"}, text);
    return [curve.trial, [bar([part], curve.epochs, text), number], last ? last[1].toFixed(2) : "", wrote];
  });
  const title = study.state === "stopped" ? "began and did not end" : "running";
  return rows.length ? [table([title, "epochs", "validation error (%)", "wrote"], rows)] : [];
}

function figure(title, caption, picture, key) {
  return [make("h2", {}, title), make("figure", {}, picture, make("figcaption", {}, ...key, make("p", {}, caption)))];
}
const keyOf = (study, arms) => study.arms.filter((arm) => arms.has(arm.name))
  .map((arm) => make("span", {class: "key"}, swatch(arm.look), arm.name));
const looksOf = (study) => Object.fromEntries(study.arms.map((arm) => [arm.name, arm.look]));

function searchChart(study) {
  if (!study.searches.length) return [];
  const looks = looksOf(study);
  const name = (search, [index, value]) => `${search.arm}, search trial ${index}: ${value.toPrecision(4)}`;
  const lines = study.searches.map((search) => ({
    look: looks[search.arm], name: `${search.arm}, best so far`, steps: true,
    points: search.trials.map(([index, , best]) => [index, best]),
  }));
  const dots = study.searches.flatMap((search) => search.trials.map((trial) => (
    {look: looks[search.arm], name: name(search, trial), x: trial[0], y: trial[1]})));
  const caption = `By search trial: ${study.objective} of every one that completed; line: the best so far of each search.`;
  const arms = new Set(study.searches.map((search) => search.arm));
  return figure("Search history", caption, chart("Search history", "search trial", lines, dots), keyOf(study, arms));
}

function learningCurves(study) {
  const drawn = study.curves.filter((curve) => curve.errors.length), looks = looksOf(study);
  if (!drawn.length) return [];
  const lines = [...drawn].reverse().map((curve) => ({
    look: looks[curve.arm], name: `${curve.trial}, epoch ${curve.done}/${curve.epochs}`,
    points: curve.errors, faint: curve.wrote === null,
  }));
  const caption = "Validation error (%) by epoch, a line for each trial: strong those that have not ended, faint the latest that have.";
  const arms = new Set(drawn.map((curve) => curve.arm));
  return figure("Learning curves", caption, chart("Learning curves", "epoch", lines, []), keyOf(study, arms));
}

function lostTrials(study) {
  if (!study.lost.length) return [];
  const rows = [...study.lost].reverse();
  return [make("h2", {}, "Without a result"), table(["trial", "how it was lost"], rows)];
}

function sealed(study) {
  if (study.state === "complete") {
    const link = make("a", {href: "report.html"}, "The report");
    return [make("p", {class: "sealed"}, "The confirmation is complete. ", ...(LIVE ? [link, " has the answer."] : []))];
  }
  const confirm = partsOf(study, "confirm"), count = `${ended(confirm)} of ${sum(confirm, "planned")}`;
  return [make("p", {class: "sealed"}, `${SEALED}So far ${count} confirmation trials have ended.`)];
}

// Replaces a part of the page if what it shows has changed; a table stays scrolled as it is.
function part(id, shown, build) {
  const text = JSON.stringify(shown);
  const place = document.getElementById(id) ?? main.appendChild(make("section", {id}));
  if (place.shown === text) return;
  const tables = () => [...place.querySelectorAll(".scroll")], scrolled = tables().map((each) => each.scrollLeft);
  place.replaceChildren(...build());
  place.shown = text;
  tables().forEach((each, at) => (each.scrollLeft = scrolled[at] ?? 0));
}

function study(now) {
  const back = LIVE && !ALONE ? [make("a", {href: "/", class: "back"}, "all studies")] : [];
  part("head", [now.name, now.state, now.about, now.question], () => [
    ...back, make("h1", {}, now.name, " ", pill(now)), make("p", {class: "question"}, now.question), make("p", {class: "about"}, now.about),
  ]);
  if (!now.arms.length) return;
  const {arms, curves, searches, lost, state, trials, at_most: most, seconds_left: left} = now;
  const lines = curves.map((curve) => ({...curve, wrote: curve.wrote === null}));
  part("progress", [arms, trials, most, left], () => [...progress(now), ...armsTable(now)]);
  part("running", [state, curves], () => runningTable(now));
  part("search", searches, () => searchChart(now));
  part("curves", lines, () => learningCurves(now));
  part("lost", lost, () => lostTrials(now));
  part("sealed", [arms, state], () => sealed(now));
}

function card(now) {
  const link = make("a", {href: `study/${encodeURIComponent(now.name)}/`}, now.name);
  const rest = now.arms.length ? progress(now) : [make("p", {class: "about"}, now.about)];
  return make("article", {}, make("h2", {}, link, " ", pill(now)), make("p", {class: "question"}, now.question), ...rest);
}

function show() {
  if (!Array.isArray(data)) return study(data);
  const running = data.filter((each) => each.state === "running").length;
  part("head", [data.length, running], () => [make("h1", {}, `${data.length} ${data.length === 1 ? "study" : "studies"}, ${running} running`)]);
  part("studies", data.map((each) => ({...each, taken: 0})), () => [make("div", {class: "cards"}, ...data.map(card))]);
}

function tell() {
  const now = Date.now() / 1000, all = [data].flat();
  const taken = Math.max(...all.map((each) => each.taken)), age = Math.max(0, now - taken);  // what is complete is not read again
  for (const each of document.querySelectorAll("[data-wrote]"))
    each.textContent = `${duration(Math.max(0, now - each.dataset.wrote))} ago`;
  const done = all.every((each) => each.state === "complete"), stale = age > STALE_S && (failing || !done);
  const unread = failing ? "the server does not answer" : "the files cannot be read";
  const why = LIVE ? unread : "the study does not draw it any more (dks-study --status FOLDER says how it is)";
  footer.className = stale ? "stale" : "";
  footer.textContent = `As of ${new Date(taken * 1000).toLocaleTimeString()}${stale ? `, ${duration(age)} ago: ${why}` : ""}.`;
}

async function ask() {
  try {
    const answer = await fetch("data", {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.statusText);
    data = await answer.json();
    failing = false;
    show();
  } catch {
    failing = true;  // the footer says how old the numbers are
  }
  setTimeout(ask, EVERY_S * 1000);
}

show();
tell();
setInterval(tell, 1000);
if (LIVE) setTimeout(ask, EVERY_S * 1000);
