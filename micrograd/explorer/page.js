// The page: two passes, which step we are at, and what of it is shown. A number that is not defined is null.
{
  const byId = (id) => document.getElementById(id);
  const decoded = (x) =>
    Array.isArray(x) ? x.map(decoded) : typeof x === "string" ? { inf: Infinity, "-inf": -Infinity, nan: NaN }[x] : x;
  const decodedAll = (object) => Object.fromEntries(Object.entries(object).map(([name, x]) => [name, decoded(x)]));
  const shown = (x) => (x === null ? "n/a" : format(x));
  const sign = (x) => (x === null || Number.isNaN(x) ? "missing" : x > 0 ? "positive" : x < 0 ? "negative" : "zero");

  const DATA = JSON.parse(byId("data").textContent);
  const NODES = DATA.nodes;
  const ROOT = NODES.length - 1;
  const FORWARD = DATA.forward.length;
  const STEPS = FORWARD + DATA.backward.length;
  for (const node of NODES) {
    node.data = decoded(node.data);
    node.constants = decodedAll(node.constants ?? {});
  }
  for (const rule of RULES) rule.constants = decodedAll(rule.constants);
  DATA.forward.forEach(([i, , formula]) => (NODES[i].formula = formula));

  // ---- both passes: the numbers that Python computed, or those that follow from other leaves

  function asPython() {
    const run = { data: NODES.map((node) => node.data), gradients: [], backward: [], problems: [] };
    for (const [i, value] of DATA.forward) run.data[i] = decoded(value);
    const grad = begin();
    for (const [node, operand, local, contribution, after, formula] of DATA.backward) {
      const parent = NODES[node].parents[operand];
      const step = { node, operand, parent, formula, upstream: grad[node], before: grad[parent] };
      Object.assign(step, { local: decoded(local), contribution: decoded(contribution), after: decoded(after) });
      grad[parent] = step.after;
      run.backward.push(step);
    }
    return run;
  }

  function computed(leaves) {
    const data = NODES.map((node, i) => (node.parents.length ? null : leaves[i]));
    const run = { data, backward: [], problems: [] };
    const attempt = (what, compute) => {
      try {
        return Number(compute());
      } catch (error) {
        run.problems.push(`${what()} is not defined: ${error.message}`);
        return null;
      }
    };
    for (const [i] of DATA.forward) {
      const { rule, constants, parents } = NODES[i];
      const operands = parents.map((parent) => data[parent]);
      if (operands.includes(null)) continue;
      data[i] = attempt(() => withNumbers(i, data), () => RULES[rule].value(constants, undefined, operands));
    }
    const grad = begin();
    for (const [node, operand, , , , formula, formulas] of DATA.backward) {
      const { rule, constants, parents } = NODES[node];
      const operands = parents.map((parent) => data[parent]);
      const parent = parents[operand];
      const step = { node, operand, parent, formula, upstream: grad[node], before: grad[parent] };
      step.local = step.contribution = step.after = null;
      if (data[node] !== null && step.upstream !== null) {
        const of = (functions) =>
          DATA.rules[rule].variadic
            ? functions[0](constants, data[node], operands)[operand]
            : functions[operand](constants, data[node], operands);
        const what = () => `∂${NODES[node].name}/∂${NODES[parent].name} of ${withNumbers(node, data)}`;
        const local = attempt(what, () => of(RULES[rule].local));
        if (local !== null) {
          step.local = applied(0, local, 1);
          if (formulas) step.formula = formulas[formulas.length > 1 ? of(RULES[rule].branch) : 0];
          step.contribution = applied(0, local, step.upstream);
          if (step.before !== null) step.after = applied(step.before, local, step.upstream);
        }
      }
      grad[parent] = step.after;
      run.backward.push(step);
    }
    return run;
  }

  function begin() {
    const grad = NODES.map(() => 0);
    grad[ROOT] = 1;
    return grad;
  }

  function applied(before, local, upstream) {
    const parent = { _grad: before };
    chainRule(parent, local, upstream);
    return parent._grad;
  }

  // The gradients after so many steps.
  function gradients(count) {
    const grad = begin();
    for (const step of run.backward.slice(0, count)) grad[step.parent] = step.after;
    return grad;
  }

  // An operation on its operands' names and numbers: log(x = -1), (a = 1) / (b = 0).
  function withNumbers(i, data) {
    const { op, parents } = NODES[i];
    const parts = parents.slice(0, 6).map((parent) => `${NODES[parent].name} = ${shown(data[parent])}`);
    if (parents.length > 6) parts.push("…");
    if (/^[\p{L}_][\p{L}\p{N}_]*$/u.test(op)) return `${op}(${parts.join(", ")})`;
    return parts.length === 1 ? `(${parts[0]})${op}` : parts.map((part) => `(${part})`).join(` ${op} `);
  }

  const original = NODES.map((node) => node.data);
  let leaves = [...original];
  let run = asPython();
  let at = 0;

  // ---- the drawing

  const svg = byId("drawing");
  const graph = svg.querySelector(".graph");
  const boxes = NODES.map((node, i) => {
    const group = byId(`n${i}`);
    const texts = [...group.querySelectorAll("text")];
    const lineOf = (word) => texts.findLast((text) => text.textContent.startsWith(`${word} `));
    const { x, y, width, height } = group.getBBox();
    const { e: dx, f: dy } = graph.transform.baseVal.consolidate().matrix;
    const place = { left: x + dx, right: x + dx + width, top: y + dy, bottom: y + dy + height };
    if (node.name.startsWith("%") && !node.parents.length) texts[0].textContent = node.name;
    group.classList.add(node.kind);
    group.setAttribute("role", node.parents.length ? "img" : "button");
    group.setAttribute("tabindex", i === 0 ? "0" : "-1");
    return { group, place, width, data: lineOf("data"), grad: lineOf("grad") };
  });
  const edges = new Map();
  NODES.forEach((node, i) =>
    node.parents.forEach((_, k) => {
      const group = byId(`e${i}_${k}`);
      const path = group.querySelector("path");
      const reach = path.cloneNode();
      reach.setAttribute("class", "reach"); // makes a thin line easy to point at
      group.append(reach);
      edges.set(`${i} ${k}`, { group, path, factor: group.querySelector("text") });
    }),
  );
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", `Graph of ${NODES.length} nodes; arrow up and down go from node to node`);

  function write(text, content, width) {
    if (text.textContent === content) return;
    text.textContent = content;
    text.removeAttribute("textLength");
    if (width && content.length * 5 > width && text.getComputedTextLength() > width - 8) {
      text.setAttribute("textLength", width - 8);
      text.setAttribute("lengthAdjust", "spacingAndGlyphs");
    }
  }

  function mark(group, ...classes) {
    for (const name of ["positive", "negative", "missing", "current", "plain"]) {
      group.classList.toggle(name, classes.includes(name));
    }
  }

  // What is known at this step: numbers, or undefined for what was not computed yet.
  function known() {
    const done = new Set(DATA.forward.slice(0, at).map(([i]) => i));
    return {
      data: run.data.map((x, i) => (NODES[i].parents.length && !done.has(i) ? undefined : x)),
      grad: at >= FORWARD ? gradients(at - FORWARD) : NODES.map(() => undefined),
    };
  }

  function render() {
    const { data, grad } = known();
    const step = at > FORWARD ? run.backward[at - FORWARD - 1] : null;
    const result = step ? step.node : at > 0 ? DATA.forward[at - 1][0] : null;
    boxes.forEach((box, i) => {
      for (const [word, x] of [["data", data[i]], ["grad", grad[i]]]) {
        write(box[word], `${word} ${x === undefined ? "·" : shown(x)}`, box.width);
        box[word].classList.toggle("pending", x === undefined);
      }
      const current = i === (step ? step.parent : result) ? "current" : "";
      const missing = data[i] === null || grad[i] === null;
      mark(box.group, missing ? "missing" : grad[i] === undefined ? "" : sign(grad[i]), current);
      box.group.setAttribute("aria-label", about(i, data[i], grad[i]).join(". "));
    });
    run.backward.forEach((one, place) => {
      const { group, factor } = edges.get(`${one.node} ${one.operand}`);
      const done = place < at - FORWARD;
      if (done) mark(group, sign(one.local), one === step ? "current" : "");
      else mark(group, "plain", !step && one.node === result ? "current" : "");
      write(factor, done ? `×${shown(one.local)}` : "");
    });
    byId("sentence").replaceChildren(...sentence(step, result));
    byId("problem").hidden = run.problems.length === 0;
    write(byId("problem"), problem());
    renderControls();
    for (const [i, { gradient }] of inputs) write(gradient, grad[i] === undefined ? "grad ·" : `grad ${shown(grad[i])}`);
    if (result !== null) bringIntoView([result, ...(step ? [step.parent] : [])]);
  }

  // ---- words

  function element(tag, className, ...content) {
    const made = document.createElement(tag);
    made.className = className;
    made.append(...content);
    return made;
  }

  const colored = (x) => element("span", `number ${sign(x)}`, shown(x));

  function sentence(step, result) {
    const paragraphs = (which, what, ...how) => [
      element("p", "which", which),
      element("p", "what", what),
      element("p", "how", ...how),
    ];
    const rootGrad = `${NODES[ROOT].name}.grad`;
    if (STEPS === 0) return paragraphs("No steps", `${NODES[ROOT].name} is a leaf`, `${rootGrad} = 1`);
    if (result === null) {
      const how = "→ takes a step: forward to the result, then backward to the gradients.";
      return paragraphs(`Step 0 of ${STEPS}`, "The leaves have their numbers; nothing is computed yet", how);
    }
    const { name, formula, parents } = NODES[result];
    if (!step) {
      const operands = [...new Set(parents)].slice(0, 6).map((i) => `${NODES[i].name} = ${shown(run.data[i])}`);
      if (new Set(parents).size > 6) operands.push("…");
      const begins = at === FORWARD ? `. The backward pass begins with ${rootGrad} = 1, all others 0` : "";
      const how = [`${operands.join(", ")}, so ${name} = `, element("span", "number", shown(run.data[result])), begins];
      return paragraphs(`Forward ${at} of ${FORWARD}`, `${name} = ${formula}`, ...how);
    }
    const parent = NODES[step.parent].name;
    const written = step.formula && step.formula !== shown(step.local) ? `${step.formula} = ` : "";
    return paragraphs(
      `Backward ${at - FORWARD} of ${STEPS - FORWARD}`,
      `${name} = ${formula} hands ${parent} its gradient`,
      `∂${name}/∂${parent} = ${written}`,
      colored(step.local),
      `; times upstream ${name}.grad ${shown(step.upstream)} = `,
      colored(step.contribution),
      `; ${parent}.grad: ${shown(step.before)} + ${shown(step.contribution)} = `,
      colored(step.after),
    );
  }

  function problem() {
    const [first, ...others] = run.problems;
    if (!first) return "";
    return others.length ? `${first} (and ${others.length} more)` : first;
  }

  // A node in words: its formula, its numbers, its rule.
  function about(i, data, grad) {
    const node = NODES[i];
    const numbers = `data ${data === undefined ? "not computed yet" : shown(data)}, grad ${
      grad === undefined ? "not computed yet" : shown(grad)
    }`;
    if (node.kind === "leaf") return [node.name, numbers, "A leaf: its number is given. Enter or click to change it"];
    if (node.kind === "constant") return [node.name, numbers, "A constant of the formula. Enter or click to change it"];
    const rule = DATA.rules[node.rule];
    const constants = Object.entries(node.constants)
      .filter(([, x]) => !Array.isArray(x))
      .map(([name, x]) => `, where ${name} = ${shown(x)}`);
    const names = rule.operands.split(",").map((name) => name.trim());
    const slopes = rule.local.map((local, k) => `∂out/∂${names[k].replace("*", "")} = ${local}`);
    return [
      `${node.name} = ${node.formula}`,
      numbers,
      `The rule ${node.op}: of ${names.join(" and ")} it makes out = ${rule.value}${constants.join("")}`,
      slopes.join("; "),
    ];
  }

  function aboutEdge(key) {
    const [i, k] = key.split(" ").map(Number);
    const place = run.backward.findIndex((step) => step.node === i && step.operand === k);
    const step = run.backward[place];
    const [node, parent] = [NODES[i].name, NODES[step.parent].name];
    const rule = DATA.rules[NODES[i].rule];
    const formula = step.formula && step.formula !== shown(step.local) ? `${step.formula} = ` : "";
    return [
      `∂${node}/∂${parent} = ${formula}${at > FORWARD + place ? shown(step.local) : "…"}`,
      `How much ${node} = ${NODES[i].formula} changes for a small change of ${parent}`,
      `In the rule ${NODES[i].op}: ${rule.local[rule.variadic ? 0 : k]}`,
    ];
  }

  // ---- steps

  let playing = 0;

  function go(step, fromLink = false) {
    at = Math.max(0, Math.min(STEPS, step));
    if (at === STEPS) pause();
    if (!fromLink) history.replaceState(null, "", `#step=${at}`);
    render();
  }

  function pause() {
    clearInterval(playing);
    playing = 0;
    renderControls();
  }

  function jump(step) {
    pause();
    go(step);
  }

  function play() {
    if (playing) return pause();
    go(at === STEPS ? 0 : at + 1);
    if (at < STEPS) playing = setInterval(() => go(at + 1), 900);
    return renderControls();
  }

  function renderControls() {
    const [play, slider] = [byId("play"), byId("slider")];
    play.classList.toggle("playing", playing !== 0);
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
    byId("sentence").setAttribute("aria-live", playing ? "off" : "polite"); // which would lag behind
    slider.value = at;
    const which = byId("sentence").querySelector(".which");
    slider.setAttribute("aria-valuetext", which ? which.textContent : "");
    for (const id of ["first", "back"]) byId(id).disabled = at === 0;
    for (const id of ["forth", "last"]) byId(id).disabled = at === STEPS;
    byId("forward-pass").classList.toggle("current", at > 0 && at <= FORWARD);
    byId("backward-pass").classList.toggle("current", at > FORWARD);
    write(byId("position"), `${at} / ${STEPS}`);
  }

  function fromLink() {
    const link = /^#step=(\d+)$/.exec(location.hash);
    go(link ? Number(link[1]) : 0, true);
  }

  byId("slider").max = STEPS;
  byId("forward-pass").style.flex = FORWARD || 0.001;
  byId("backward-pass").style.flex = STEPS - FORWARD || 0.001;
  byId("slider").addEventListener("input", (event) => jump(Number(event.target.value)));
  byId("first").addEventListener("click", () => jump(0));
  byId("back").addEventListener("click", () => jump(at - 1));
  byId("play").addEventListener("click", play);
  byId("forth").addEventListener("click", () => jump(at + 1));
  byId("last").addEventListener("click", () => jump(STEPS));
  window.addEventListener("hashchange", fromLink);

  // ---- leaves

  const inputs = new Map();
  NODES.forEach((node, i) => {
    if (node.parents.length) return;
    const input = element("input", "");
    Object.assign(input, { type: "text", inputMode: "decimal", autocomplete: "off", spellcheck: false, id: `leaf-${i}` });
    const gradient = element("span", "gradient");
    const name = element("span", "name", node.name);
    name.title = node.kind === "constant" ? `${node.name}, a constant` : node.name;
    const item = element("li", node.kind, element("label", "", name, input, gradient));
    inputs.set(i, { input, item, gradient });
    input.addEventListener("input", () => edit(i, false));
    input.addEventListener("change", () => edit(i, true));
    byId("leaves").append(item);
  });

  const written = (x) => (Number.isFinite(x) ? (Object.is(x, -0) ? "-0" : String(x)) : format(x));

  // The number that a text is, as Python's float() reads it; undefined if it is none.
  function parsed(text) {
    const word = /^([+-]?)(inf|infinity|nan)$/i.exec(text.trim());
    if (word) return word[2].toLowerCase() === "nan" ? NaN : word[1] === "-" ? -Infinity : Infinity;
    return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : undefined;
  }

  function edit(i, complete) {
    const { input } = inputs.get(i);
    const x = parsed(input.value);
    input.setAttribute("aria-invalid", String(x === undefined && complete));
    if (x === undefined) {
      if (complete) write(byId("source"), `${NODES[i].name}: “${input.value}” is not a number`);
      return;
    }
    if (Object.is(x, leaves[i])) return renderLeaves();
    leaves[i] = x;
    run = computed(leaves);
    renderLeaves();
    render();
  }

  function renderLeaves() {
    const edited = [...inputs.keys()].filter((i) => !Object.is(leaves[i], original[i]));
    for (const [i, { item }] of inputs) item.classList.toggle("edited", edited.includes(i));
    byId("reset").disabled = run.isOriginal;
    const names = edited.map((i) => NODES[i].name).join(", ");
    write(byId("source"), run.isOriginal ? "Change a number: both passes follow." : `Changed: ${names || "nothing any more"}`);
  }

  function reset() {
    leaves = [...original];
    run = asPython();
    run.isOriginal = true;
    for (const [i, { input }] of inputs) {
      input.value = written(leaves[i]);
      input.removeAttribute("aria-invalid");
    }
    renderLeaves();
  }
  byId("reset").addEventListener("click", () => (reset(), render()));

  // ---- pan and zoom

  const bounds = graph.getBBox();
  const shift = graph.transform.baseVal.consolidate().matrix;
  const whole = { x: bounds.x + shift.e - 14, y: bounds.y + shift.f - 14, width: bounds.width + 28, height: bounds.height + 28 };
  let view = { ...whole };
  let chosen = 1; // how many units of the drawing people want in a pixel

  const pixel = () => Math.max(view.width / svg.clientWidth, view.height / svg.clientHeight); // in units of the drawing

  function look(at) {
    view = at;
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
  }

  function zoom(factor, center = { x: view.x + view.width / 2, y: view.y + view.height / 2 }) {
    const unit = pixel() / factor;
    if (factor > 1 && unit < 0.15) return;
    if (factor < 1 && view.width > 3 * whole.width && view.height > 3 * whole.height) return;
    look({
      x: center.x - (center.x - view.x) / factor,
      y: center.y - (center.y - view.y) / factor,
      width: view.width / factor,
      height: view.height / factor,
    });
    chosen = pixel();
  }

  function fit() {
    look({ ...whole });
    chosen = pixel();
  }

  // All of the graph, if that can be read, else the leaves' end of it.
  function begins() {
    fit();
    const readable = 1 / 0.8;
    if (pixel() <= readable) {
      const slack = Math.min(1, pixel() / (1 / 1.6)); // not larger than 1.6 times
      if (slack < 1) zoom(slack);
      return;
    }
    const [width, height] = [svg.clientWidth * readable, svg.clientHeight * readable];
    const place = (start, all, part) => (part >= all ? start + (all - part) / 2 : start);
    look({ x: place(whole.x, whole.width, width), y: whole.y + (whole.height - height) / 2, width, height });
    chosen = pixel();
  }

  // Where nodes are out of sight, moves the view so that the middle of them is in the middle; and shows more of the
  // drawing than was chosen if they just don't fit; else only the last one.
  function bringIntoView(nodes) {
    const around = nodes.map((i) => boxes[i].place);
    const [left, top] = [Math.min(...around.map((box) => box.left)), Math.min(...around.map((box) => box.top))];
    const right = Math.max(...around.map((box) => box.right));
    const bottom = Math.max(...around.map((box) => box.bottom));
    const [frameWidth, frameHeight] = [svg.clientWidth, svg.clientHeight];
    const unit = Math.max(chosen, (right - left) / (frameWidth - 24), (bottom - top) / (frameHeight - 24));
    if (unit > 1.6 * chosen && nodes.length > 1) return bringIntoView(nodes.slice(-1)); // or nothing could be read
    const [width, height] = [frameWidth * pixel(), frameHeight * pixel()]; // of what is seen, view being its middle part
    const [x, y] = [view.x + view.width / 2, view.y + view.height / 2];
    const inside = left >= x - width / 2 && right <= x + width / 2 && top >= y - height / 2 && bottom <= y + height / 2;
    if (inside && Math.abs(unit / pixel() - 1) < 0.01) return;
    const [seenWidth, seenHeight] = [frameWidth * unit, frameHeight * unit];
    look({ x: (left + right - seenWidth) / 2, y: (top + bottom - seenHeight) / 2, width: seenWidth, height: seenHeight });
  }

  const point = (x, y) => new DOMPoint(x, y).matrixTransform(svg.getScreenCTM().inverse());

  svg.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), point(event.clientX, event.clientY));
    },
    { passive: false },
  );

  const fingers = new Map();
  let moved = 0;
  svg.addEventListener("pointerdown", (event) => {
    if (fingers.size === 0) moved = 0;
    fingers.set(event.pointerId, event);
  });
  window.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
    moved += Math.abs(dx) + Math.abs(dy);
    const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    fingers.set(event.pointerId, event);
    if (other) {
      const distance = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
      const center = point((event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
      zoom(distance(event) / Math.max(1, distance(last)), center);
    } else if (moved > 4) {
      svg.classList.add("dragged");
      const unit = pixel();
      look({ ...view, x: view.x - dx * unit, y: view.y - dy * unit });
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    window.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      svg.classList.remove("dragged");
    });
  }
  byId("zoom-in").addEventListener("click", () => zoom(1.3));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.3));
  byId("fit").addEventListener("click", fit);

  // ---- hover, focus and keys

  const tip = byId("tip");

  function showTip(lines, target) {
    tip.replaceChildren(...lines.map((line) => element("p", "", line)));
    tip.hidden = false;
    const box = target.getBoundingClientRect();
    const [width, height] = [tip.offsetWidth, tip.offsetHeight];
    const left = Math.min(Math.max(12, (box.left + box.right - width) / 2), innerWidth - width - 12);
    const below = box.bottom + 8 + height <= innerHeight;
    Object.assign(tip.style, { left: `${left}px`, top: `${below ? box.bottom + 8 : Math.max(8, box.top - height - 8)}px` });
  }

  const hideTip = () => (tip.hidden = true);

  function selectLeaf(i) {
    const entry = inputs.get(i);
    if (!entry) return;
    hideTip();
    entry.input.focus();
    entry.input.select();
  }

  boxes.forEach(({ group }, i) => {
    const show = () => {
      const { data, grad } = known();
      showTip(about(i, data[i], grad[i]), group);
    };
    group.addEventListener("pointerenter", show);
    group.addEventListener("pointerleave", hideTip);
    group.addEventListener("focus", () => {
      bringIntoView([i]);
      if (group.matches(":focus-visible")) show();
    });
    group.addEventListener("blur", hideTip);
    group.addEventListener("click", () => moved <= 4 && selectLeaf(i));
  });
  for (const [key, { group, path }] of edges) {
    group.addEventListener("pointerenter", () => showTip(aboutEdge(key), path));
    group.addEventListener("pointerleave", hideTip);
  }

  function focusNode(i) {
    for (const { group } of boxes) group.setAttribute("tabindex", "-1");
    boxes[i].group.setAttribute("tabindex", "0");
    boxes[i].group.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    const node = boxes.findIndex(({ group }) => group === event.target);
    const onButton = event.target.tagName === "BUTTON";
    const actions = {
      ArrowRight: () => jump(at + 1),
      ArrowLeft: () => jump(at - 1),
      Home: () => jump(0),
      End: () => jump(STEPS),
      "+": () => zoom(1.3),
      "-": () => zoom(1 / 1.3),
      0: fit,
      Escape: hideTip,
    };
    if (!onButton) actions[" "] = node >= 0 && inputs.has(node) ? () => selectLeaf(node) : play;
    if (node >= 0) {
      actions.ArrowDown = () => focusNode(Math.min(node + 1, NODES.length - 1));
      actions.ArrowUp = () => focusNode(Math.max(node - 1, 0));
      actions.Enter = () => selectLeaf(node);
    }
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });

  byId("summary").textContent =
    `${NODES.length} nodes, ${FORWARD} operations: ` +
    `${FORWARD} steps forward, ${STEPS - FORWARD} steps backward, one for each use of the chain rule`;
  begins();
  reset();
  fromLink();
}
