"use strict";
// What attnseg embedded: facts as JSON, each volume as base64 of a gzipped NIfTI file. Label
// volumes hold ranks: 0 is the background, n the n-th label of the list.
const facts = JSON.parse(document.getElementById("facts").textContent);
const at = (id) => document.getElementById(id);
const viewer = new niivue.Niivue({
  backColor: [0, 0, 0, 1], crosshairColor: [0.35, 0.75, 1, 0.8], crosshairWidth: 0.25,
  crosshairWidthUnit: "percent", fontColor: [0.9, 0.9, 0.9, 1],
  show3Dcrosshair: true, isRadiologicalConvention: true, sagittalNoseLeft: true,
  isNearestInterpolation: facts.picture, isOrientationTextVisible: !facts.picture,
  multiplanarShowRender: niivue.SHOW_RENDER.NEVER, dragAndDropEnabled: false,
  loadingText: "", logLevel: "warn", isColorbar: false,
});
const types = { axial: viewer.sliceTypeAxial, coronal: viewer.sliceTypeCoronal,
  sagittal: viewer.sliceTypeSagittal, multi: viewer.sliceTypeMultiplanar,
  "3d": viewer.sliceTypeRender };
const presets = { "soft tissue": [-160, 240], lung: [-1350, 150], bone: [-500, 1300],
  brain: [0, 80] };
// The address after # is the state of the page, so that a link shows what its sender saw.
const state = { hide: new Set(), view: facts.picture ? "axial" : "multi" };
const layers = {};

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  state.hide = new Set((given.get("hide") || "").split(",").filter(Boolean).map(Number));
  if (given.get("view") in types) state.view = given.get("view");
}

function writeAddress() {
  const parts = [];
  if (state.hide.size) parts.push("hide=" + [...state.hide].sort((a, b) => a - b).join(","));
  if (!facts.picture) parts.push("view=" + state.view);
  history.replaceState(null, "", parts.length ? "#" + parts.join("&") : location.pathname);
}

function fill(select, names) {
  select.replaceChildren(...names.map((name, n) => new Option(name, n)));
}

function colourTable(colours, shown) {
  const parts = colours.map((code) => [1, 3, 5].map((n) => parseInt(code.slice(n, n + 2), 16)));
  const column = (n) => [0, ...parts.map((part) => part[n])];
  return { R: column(0), G: column(1), B: column(2), I: [0, ...colours.map((_, n) => n + 1)],
    A: [0, ...colours.map((_, n) => (shown(n) ? 255 : 0))] };
}

async function load(id, options) {
  const element = at(id);
  if (!element) return;
  layers[id] = await niivue.NVImage.loadFromBase64({ base64: element.textContent.trim(),
    name: id + ".nii.gz", ...options });
  element.remove(); // the text is as large as the scan
  viewer.addVolume(layers[id]);
}

// Which voxels of two masks agree, of the labels that are shown: 1 both, 2 only the first,
// 3 only the second, 4 both a label, but not the same.
function compareMasks() {
  const shown = (rank) => rank > 0 && !state.hide.has(facts.labels[rank - 1].value);
  const keep = [...Array(facts.labels.length + 1).keys()].map((rank) => (shown(rank) ? rank : 0));
  const [first, second, out] = [layers.mask.img, layers.compare.img, layers.difference.img];
  for (let n = 0; n < out.length; n++) {
    const a = keep[first[n]], b = keep[second[n]];
    out[n] = a === b ? (a ? 1 : 0) : !b ? 2 : !a ? 3 : 4;
  }
}

function paint() {
  const colours = facts.labels.map((label) => label.colour);
  const shown = (n) => !state.hide.has(facts.labels[n].value);
  for (const id of ["mask", "compare"]) {
    if (layers[id]) layers[id].setColormapLabel(colourTable(colours, shown));
  }
  if (layers.difference) {
    compareMasks();
    layers.difference.setColormapLabel(
      colourTable(facts.difference.map((each) => each.colour), () => true));
  }
  const active = layers.difference ? ["difference", "mask", "compare"][at("show").value] : "mask";
  for (const id of ["mask", "compare", "difference"]) {
    if (layers[id]) layers[id].opacity = id === active ? Number(at("opacity").value) : 0;
  }
  if (layers.attention) layers.attention.opacity = Number(at("attention-opacity").value);
  at("difference-key").hidden = active !== "difference";
  viewer.updateGLVolume();
}

function setView(view) {
  state.view = view;
  // In 3D the scan is a veil: whole, it would hide what lies inside.
  const inside = layers.mask || layers.attention;
  layers.scan.opacity = view === "3d" && inside ? 0.2 : 1;
  viewer.updateGLVolume();
  viewer.setSliceType(types[view]);
  for (const button of at("views").children) {
    button.setAttribute("aria-pressed", String(button.dataset.view === view));
  }
}

function showWindow() {
  at("low").value = Number(layers.scan.cal_min.toPrecision(6));
  at("high").value = Number(layers.scan.cal_max.toPrecision(6));
}

function setWindow(low, high) {
  if (!(low < high)) return;
  [layers.scan.cal_min, layers.scan.cal_max] = [low, high];
  showWindow();
  viewer.updateGLVolume();
}

function setChannel(n) {
  viewer.setFrame4D(layers.scan.id, n);
  setWindow(...facts.windows[n]);
}

function readout(place) {
  const [x, y, z] = place.mm;
  const voxel = facts.to_voxel.map((row) =>
    Math.round(row[0] * x + row[1] * y + row[2] * z + row[3]));
  const source = voxel.map((n, axis) => n * facts.steps[axis]); // in the file
  const parts = [facts.picture ? `pixel ${source[0]}, ${source[1]}`
    : `${x.toFixed(1)}, ${y.toFixed(1)}, ${z.toFixed(1)} mm (RAS)`];
  if (!facts.picture) parts.push(`voxel ${source.join(", ")}`);
  const [I, J, K] = facts.shape;
  const inside = voxel.every((n, axis) => n >= 0 && n < facts.shape[axis]);
  const value = (layer) => {
    const index = voxel[0] + I * (voxel[1] + J * (voxel[2] + K * (layer.frame4D || 0)));
    return layer.img[index] * (layer.hdr.scl_slope || 1) + (layer.hdr.scl_inter || 0);
  };
  if (inside) {
    if (facts.colour) {
      const start = 3 * (voxel[0] + I * voxel[1]);
      parts.push("RGB " + [0, 1, 2].map((n) => layers.scan.img[start + n]).join(", "));
    } else parts.push(`value ${Number(value(layers.scan).toPrecision(6))}`);
    for (const id of ["mask", "compare"]) {
      const rank = layers[id] ? value(layers[id]) : 0;
      if (rank) parts.push(facts.labels[rank - 1].name + (id === "compare" ? " (second)" : ""));
    }
    if (layers.attention) parts.push(`α ${value(layers.attention).toFixed(2)}`);
  }
  at("readout").replaceChildren(...parts.map((text) => {
    const part = document.createElement("b");
    part.textContent = text;
    return part;
  }));
}

function cell(row, content) {
  const made = row.insertCell();
  made.append(content);
  return made;
}

function swatch(colour) {
  const made = document.createElement("span");
  made.className = "swatch";
  made.style.background = colour;
  return made;
}

function heading(table, titles) {
  const row = table.createTHead().insertRow();
  for (const title of titles) {
    const made = document.createElement("th");
    made.scope = "col";
    made.textContent = title;
    row.append(made);
  }
}

function listLabels() {
  const table = at("labels"), unit = facts.picture ? "pixels" : "ml";
  heading(table, layers.compare ? ["Label", `1st ${unit}`, `2nd ${unit}`, "Dice"] : ["Label", unit]);
  const body = table.createTBody();
  for (const label of facts.labels) {
    const row = body.insertRow(), box = document.createElement("input");
    const line = document.createElement("label");
    box.type = "checkbox";
    box.value = label.value;
    box.checked = !state.hide.has(label.value);
    box.addEventListener("change", () => {
      state.hide[box.checked ? "delete" : "add"](label.value);
      writeAddress();
      paint();
    });
    line.append(box, swatch(label.colour), label.name);
    cell(row, line);
    for (const size of label.sizes) cell(row, size);
    if (!layers.compare) continue;
    cell(row, label.dice);
    row.className = "counted";
    const counts = body.insertRow();
    counts.className = "counts";
    cell(counts, label.counts).colSpan = 4;
  }
}

function connect() {
  at("views").addEventListener("click", (event) => {
    if (!event.target.dataset.view) return;
    setView(event.target.dataset.view);
    writeAddress();
  });
  for (const id of ["opacity", "attention-opacity"]) at(id).addEventListener("input", paint);
  at("show").addEventListener("change", paint);
  at("channel").addEventListener("change", () => setChannel(Number(at("channel").value)));
  at("preset").addEventListener("change", () =>
    setWindow(...Object.values(presets)[at("preset").value]));
  for (const id of ["low", "high"]) {
    at(id).addEventListener("change", () => setWindow(Number(at("low").value), Number(at("high").value)));
  }
  at("gate").addEventListener("change", () =>
    viewer.setFrame4D(layers.attention.id, Number(at("gate").value)));
  window.addEventListener("hashchange", () => {
    readAddress();
    for (const box of at("labels").querySelectorAll("input")) {
      box.checked = !state.hide.has(Number(box.value));
    }
    setView(state.view);
    paint();
  });
  viewer.onIntensityChange = showWindow;
  viewer.onLocationChange = readout;
}

function settle() {
  at("thinned").textContent = facts.thinned;
  at("views").hidden = facts.picture;
  at("channel-row").hidden = facts.windows.length < 2;
  fill(at("channel"), facts.windows.map((_, n) => String(n + 1)));
  at("preset-row").hidden = !facts.ct;
  fill(at("preset"), Object.keys(presets));
  at("scan-controls").hidden = facts.colour;
  at("label-controls").hidden = !layers.mask;
  at("show-row").hidden = !layers.compare;
  fill(at("show"), ["difference", "first: " + facts.masks[0], "second: " + facts.masks[1]]);
  at("opacity").value = 0.5;
  at("difference-key").replaceChildren(...facts.difference.map((each) => {
    const item = document.createElement("li");
    item.append(swatch(each.colour), each.name);
    return item;
  }));
  at("attention-controls").hidden = !layers.attention;
  at("attention-opacity").value = 0.5;
  at("gate-row").hidden = facts.gates < 2;
  fill(at("gate"), [...Array(facts.gates).keys()].map((n) => `${n + 1} of ${facts.gates}`));
}

// A texture that is too large is drawn as black, without a word.
function refuseLarger() {
  const most = viewer.uiData.max3D, longest = Math.max(...facts.shape);
  if (longest > most) {
    throw new Error(`the scan is ${longest} voxels long, and the graphics of this browser hold `
      + `${most}; open it on another computer, or view a part of the scan`);
  }
}

async function start() {
  readAddress();
  await viewer.attachToCanvas(at("canvas"));
  refuseLarger();
  const [low, high] = facts.windows[0] || [0, 255];
  await load("scan", { colormap: "gray", cal_min: low, cal_max: high });
  await load("attention", { colormap: "inferno", cal_min: 0, cal_max: 1, opacity: 0 });
  for (const id of ["mask", "compare", "difference"]) {
    await load(id, { cal_min: 0, cal_max: 255, opacity: 0 });
  }
  if (facts.windows.length) showWindow();
  settle();
  listLabels();
  connect();
  paint();
  setView(state.view);
  viewer.scene.crosshairPos = viewer.mm2frac(facts.focus, 0, true); // true: in mm of the world
  viewer.createOnLocationChange();
  viewer.drawScene();
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  at("readout").textContent = "This page cannot be drawn: " + error.message;
  document.body.dataset.ready = "no";
  throw error;
});
