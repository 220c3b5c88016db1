// Formulas, set by the browser (MathML).

// formula("d y = [over a b]"): a string is split into identifiers, numbers and signs; an array is an element with
// its children: ["mfrac", "dy", "dx"], ["msub", "J", "k"]. Several parts are a row.
function formula(...parts) {
  const root = mathElement("math", parts);
  root.setAttribute("display", "block");
  return root;
}

function mathElement(tag, parts) {
  const made = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
  const single = ["mrow", "math"].includes(tag) ? (part) => mathAtoms(part) : (part) => [mathRow(part)];
  made.append(...parts.flatMap(single));
  return made;
}

// One child, whatever it is made of.
function mathRow(part) {
  const atoms = mathAtoms(part);
  return atoms.length === 1 ? atoms[0] : mathElement("mrow", [part]);
}

function mathAtoms(part) {
  if (Array.isArray(part)) return [mathElement(part[0], part.slice(1))];
  return (part.match(/\p{L}+|\d+|\S/gu) ?? []).map((word) => {
    const tag = /\p{L}/u.test(word) ? "mi" : /\d/.test(word) ? "mn" : "mo";
    const made = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
    made.textContent = word;
    return made;
  });
}
