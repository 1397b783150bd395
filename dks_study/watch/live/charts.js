"use strict";
// Charts as SVG elements, in the colours of the page: lines and points over two axes.

const DASHES = {"-": "", "--": "6 3", "-.": "6 3 1.5 3", ":": "1.5 3"};
const WIDTH = 640, HEIGHT = 300, LEFT = 46, BOTTOM = 34, MARGIN = 10, FACTORS_FROM = 8;

const fill = (element, values, children) => {
  for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const make = (name, values = {}, ...children) => fill(document.createElement(name), values, children);
const draw = (name, values = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), values, children);

// Black would not be seen on a dark page.
const inked = (look) => (look.colour === "#000000" ? "currentColor" : look.colour);

// About five round numbers from low to high.
function ticks(low, high, whole) {
  const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const fitting = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const step = whole ? Math.max(1, Math.round(fitting)) : fitting;
  const first = Math.ceil(low / step), count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({length: Math.max(0, count)}, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

function range(values) {
  const low = Math.min(...values), high = Math.max(...values);
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

// From values to [0, 1], and the ticks: by factors where the largest is many times the smallest.
function scale(values) {
  const [low, high] = range(values);
  if (low <= 0 || high / low < FACTORS_FROM)
    return {place: (value) => (value - low) / (high - low), marks: ticks(low, high, false)};
  const powers = Array.from({length: 25}, (_, at) => 10 ** (at - 9)), marks = powers.flatMap((power) => [power, 2 * power, 5 * power]);
  return {
    place: (value) => Math.log(value / low) / Math.log(high / low),
    marks: marks.map((mark) => Number(mark.toPrecision(3))).filter((mark) => low <= mark && mark <= high),
  };
}

// lines: [{look, name, points: [[x, y]], faint, steps}], dots: [{look, name, x, y}]
function chart(label, xName, lines, dots) {
  const all = [...lines.flatMap((line) => line.points), ...dots.map((dot) => [dot.x, dot.y])];
  const [left, right] = range(all.map((point) => point[0])), {place, marks} = scale(all.map((point) => point[1]));
  const x = (value) => LEFT + ((value - left) / (right - left)) * (WIDTH - LEFT - MARGIN);
  const y = (value) => HEIGHT - BOTTOM - place(value) * (HEIGHT - BOTTOM - MARGIN);
  const picture = draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label});
  for (const value of marks) {
    picture.append(draw("line", {class: "grid", x1: LEFT, x2: WIDTH - MARGIN, y1: y(value), y2: y(value)}));
    picture.append(draw("text", {x: LEFT - 6, y: y(value) + 4, "text-anchor": "end"}, value.toLocaleString("en", {notation: value >= 1e4 ? "compact" : "standard"})));
  }
  for (const value of ticks(left, right, true))
    picture.append(draw("text", {x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle"}, String(value)));
  picture.append(draw("text", {x: (LEFT + WIDTH) / 2, y: HEIGHT - 3, "text-anchor": "middle"}, xName));
  for (const line of lines) picture.append(drawnLine(line, x, y));
  for (const dot of dots) picture.append(drawnDot(dot, x, y));
  return picture;
}

function drawnLine(line, x, y) {
  const corner = ([, after], at) => (at && line.steps ? [[after[0], line.points[at - 1][1]], after] : [after]);
  const points = line.points.flatMap((point, at) => corner([null, point], at));
  const path = points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
  const values = {points: path, stroke: inked(line.look), "stroke-dasharray": DASHES[line.look.line] ?? ""};
  const drawn = draw("polyline", {...values, class: line.faint ? "faint" : ""}, draw("title", {}, line.name));
  if (line.points.length > 1) return drawn;
  return drawnDot({look: line.look, name: line.name, x: line.points[0][0], y: line.points[0][1]}, x, y);
}

const drawnDot = (dot, x, y) =>
  draw("circle", {cx: x(dot.x), cy: y(dot.y), r: 3.2, fill: inked(dot.look)}, draw("title", {}, dot.name));
