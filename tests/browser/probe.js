// What the checks ask of a page, about one explorer's root element. Each question answers with plain
// values; what is amiss comes as sentences.

window.probe = (() => {
  const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const NORMAL = 4.5, LARGE = 3; // WCAG 2.2, 1.4.3: contrast of text; large is 24 px, or bold 18.66
  const SLACK = 1; // px

  const seen = element => element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true });

  /** How a sentence names an element. */
  function named(element) {
    const words = element.name || element.textContent.trim().slice(0, 30) || element.className;
    return `<${element.localName}> '${words}'`;
  }

  // -- controls ------------------------------------------------------------------------------------

  /** What the keyboard must reach; of a group of radio buttons one stands for all. */
  function stops(root) {
    return [...root.querySelectorAll(CONTROLS)].filter(element => {
      if (element.matches(":disabled, [tabindex='-1']") || !seen(element)) return false;
      if (element.type !== "radio") return true;
      const group = [...root.querySelectorAll("input[type=radio]")].filter(each => each.name === element.name);
      return element === (group.find(each => each.checked) ?? group[0]);
    });
  }

  /** Which of the stops has the focus, or where else it is. */
  function focus(root) {
    const active = document.activeElement;
    const style = getComputedStyle(active);
    return {
      place: stops(root).indexOf(active),
      inside: root.contains(active),
      name: named(active),
      visible: style.outlineStyle !== "none" || style.boxShadow !== "none",
    };
  }

  function outOfBounds(root) {
    return [...root.querySelectorAll("input[type=range], input[type=number]")]
      .filter(input => !input.checkValidity() || Number.isNaN(input.valueAsNumber))
      .map(input => `${named(input)} holds ${JSON.stringify(input.value)}`);
  }

  // -- colours -------------------------------------------------------------------------------------

  const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  const known = new Map();

  /** A CSS colour as [red, green, blue, alpha], each from 0 to 1. */
  function rgba(colour) {
    if (!known.has(colour)) {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = colour;
      brush.fillRect(0, 0, 1, 1);
      known.set(colour, [...brush.getImageData(0, 0, 1, 1).data].map(each => each / 255));
    }
    return known.get(colour);
  }

  const over = ([r, g, b, a], ground) => [r, g, b].map((each, i) => a * each + (1 - a) * ground[i]);

  function ground(element) {
    if (!element) return [1, 1, 1];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
  }

  function opacity(element) {
    return element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
  }

  function luminance(colour) {
    const [r, g, b] = colour.map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function ratio(ink, paper) {
    const [dark, light] = [luminance(ink), luminance(paper)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  }

  /** What a text of an SVG stands on: the last shape before it that lies under its middle. */
  function under(text) {
    const box = text.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const svg = text.ownerSVGElement;
    const shapes = [...svg.querySelectorAll("rect, path, polygon, circle, ellipse")].filter(shape => {
      if (shape.closest("defs, pattern, marker, clipPath")) return false;
      if (!(shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) return false;
      const { left, right, top, bottom } = shape.getBoundingClientRect();
      return left <= x && x <= right && top <= y && y <= bottom && paint(shape, svg);
    });
    return shapes.length ? over(paint(shapes.at(-1), svg), ground(svg)) : ground(svg);
  }

  /** A shape's fill; of a pattern its ground; null where there is none. */
  function paint(shape, svg) {
    const { fill, fillOpacity } = getComputedStyle(shape);
    const pattern = fill.match(/^url\("?#([^")]+)"?\)/);
    if (pattern) {
      const tile = svg.querySelector(`#${CSS.escape(pattern[1])} > rect`);
      return tile && rgba(getComputedStyle(tile).fill);
    }
    if (fill === "none") return null;
    const [r, g, b, a] = rgba(fill);
    return a * fillOpacity ? [r, g, b, a * fillOpacity] : null;
  }

  /** Every piece of text that can be seen: [the words, the element, the style, its ink]. */
  function* texts(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode, element = node.parentElement;
      if (!node.data.trim() || !seen(element) || element.closest("title, desc, option, style")) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const clip = element.getBoundingClientRect();
      if (range.getBoundingClientRect().width <= SLACK || clip.width <= SLACK) continue;
      const style = getComputedStyle(element);
      yield [node.data.trim(), element, style, element.ownerSVGElement ? style.fill : style.color];
    }
    for (const field of root.querySelectorAll("select, input:not([type=range], [type=checkbox], [type=radio])")) {
      if (!seen(field)) continue;
      const style = getComputedStyle(field, field.value ? null : "::placeholder");
      const words = field.selectedOptions?.[0]?.textContent ?? (field.value || field.placeholder);
      if (words) yield [words, field, style, style.color];
    }
  }

  /** The texts with too little contrast; what is disabled needs none. */
  function faint(root) {
    const faults = new Set();
    for (const [words, element, style, ink] of texts(root)) {
      if (element.closest(":disabled")) continue;
      const paper = element.ownerSVGElement ? under(element) : ground(element);
      const [r, g, b, a] = rgba(ink);
      const found = ratio(over([r, g, b, a * opacity(element)], paper), paper);
      const size = parseFloat(style.fontSize);
      const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? LARGE : NORMAL;
      if (found < least) faults.add(`'${words.slice(0, 40)}' (${element.localName}.${element.getAttribute("class") ?? ""}): contrast ${found.toFixed(2)} < ${least}`);
    }
    return [...faults];
  }

  // -- layout --------------------------------------------------------------------------------------

  /** The box of an element together with the text that may stick out of it. */
  function box(element) {
    const own = element.getBoundingClientRect();
    if (!element.matches("span, output, button, summary")) return own;
    const range = document.createRange();
    range.selectNodeContents(element);
    const text = range.getBoundingClientRect();
    if (!text.width) return own;
    const [left, top] = [Math.min(own.left, text.left), Math.min(own.top, text.top)];
    const [right, bottom] = [Math.max(own.right, text.right), Math.max(own.bottom, text.bottom)];
    return { left, top, right, bottom };
  }

  const meet = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > SLACK &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > SLACK;

  function overlapping(root) {
    const parts = [...root.querySelectorAll(
      "input, select, button, summary, output, progress, label > span, .iosim-picture, .iosim-error",
    )].filter(element => seen(element) && element.textContent + element.localName !== "output");
    const boxes = parts.map(box);
    return parts.flatMap((one, i) => parts.slice(i + 1)
      .filter((other, j) => !one.contains(other) && meet(boxes[i], boxes[i + 1 + j]))
      .map(other => `${named(one)} and ${named(other)} overlap`));
  }

  /** Is it cut, or scrolled, by something between it and the root? */
  function kept(element, root) {
    for (let each = element.parentElement; each && each !== root; each = each.parentElement) {
      if (getComputedStyle(each).overflowX !== "visible") return true;
    }
    return false;
  }

  /** What makes a reader scroll sideways. */
  function wide(root) {
    const faults = [];
    const { left, right } = root.getBoundingClientRect();
    const room = root.closest(".jp-OutputArea-output") ?? document.documentElement;
    if (root.scrollWidth > root.clientWidth + SLACK) faults.push(`the explorer scrolls sideways: ${root.scrollWidth} px in ${root.clientWidth}`);
    if (room.scrollWidth > room.clientWidth + SLACK) faults.push(`the explorer is wider than its place: ${room.scrollWidth} px in ${room.clientWidth}`);
    for (const element of root.querySelectorAll(":not(svg *)")) {
      if (!seen(element) || kept(element, root)) continue;
      const edge = box(element);
      if (edge.right > right + SLACK || edge.left < left - SLACK) faults.push(`${named(element)} sticks out`);
    }
    return faults;
  }

  return { stops, focus, outOfBounds, faint, overlapping, wide };
})();
