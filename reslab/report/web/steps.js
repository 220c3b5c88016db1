// The steps of the block, and what happens in each: every sentence follows from the wiring's own facts.

const NOT_SPLIT = "The weight of x in y is no constant, so this part is not measured apart.";

// What follows from a wiring's skip: its weight of x, 0 where it is cut, null where it is no constant.
const bySkip = (skip, cut, unchanged, scaled, other) =>
  skip === null ? other : skip === 0 ? cut : skip === 1 ? unchanged : scaled;

function withoutBranch({ skip, has_identity }) {
  const start = has_identity ? "With the weights that it starts from, F = 0 gives y = x." : "";
  return bySkip(
    skip,
    "y is what the branch gives: if F is 0, so is y, whatever x was.",
    "If F is 0, y is x: the block can be idle.",
    `If F is 0, y is ${shown(skip)} x.`,
    start || "If F is 0, y need not be x.",
  );
}

// One step each: which way, which wires carry something, which sizes are in play, what happens in every wiring
// (says), and what in this one (of).
const BLOCK_STEPS = [
  {
    way: "forward",
    wires: ["in"],
    sizes: ["x"],
    says: "The stream x is what the sublayer gets.",
    of: () => "",
  },
  {
    way: "forward",
    wires: ["in", "skip", "up"],
    sizes: ["x"],
    says: "x splits into what the branch F reads and what goes past it.",
    of: ({ skip }) =>
      bySkip(
        skip,
        "Nothing goes past the branch: this wiring has no skip.",
        "x itself goes past the branch, on the skip.",
        `${shown(skip)} x goes past the branch, on the skip.`,
        "What goes past the branch is no constant times x: the equation tells what it is.",
      ),
  },
  {
    way: "forward",
    wires: ["up", "down"],
    box: true,
    sizes: ["raw", "f", "cos"],
    says: "The branch computes F. What is added may have passed a gain or another norm after that.",
    of: ({ skip }) =>
      bySkip(
        skip,
        "y − 0 x is y: all of it comes from the branch.",
        "What is added is measured as y − x.",
        `What is added is measured as y − ${shown(skip)} x.`,
        "Without a constant skip what is added can't be told from y; the branch alone is measured.",
      ),
  },
  {
    way: "forward",
    wires: ["skip", "down", "out"],
    sizes: ["x", "f", "y"],
    says: "The output y is made of the two.",
    of: withoutBranch,
  },
  {
    way: "backward",
    wires: ["out"],
    sizes: ["dy"],
    says: "Backward: dL/dy, the gradient of the loss, comes from the layers above.",
    of: () => "",
  },
  {
    way: "backward",
    wires: ["out", "skip"],
    sizes: ["dy", "skip"],
    says: "A part of the gradient goes past the branch, where there is a skip.",
    of: ({ skip }) =>
      bySkip(
        skip,
        "There is no skip, so dy/dx = dF/dx and nothing goes past the branch.",
        "dy/dx = 1 + dF/dx: the 1 sends dL/dy past every weight of the branch, unchanged.",
        `dy/dx = ${shown(skip)} + dF/dx: dL/dy goes past the branch times ${shown(skip)}.`,
        NOT_SPLIT,
      ),
  },
  {
    way: "backward",
    wires: ["out", "down", "up"],
    box: true,
    sizes: ["dy", "branch"],
    says: "A part goes through the branch, and comes out as dF/dx makes it.",
    of: ({ skip }) => (skip === null ? NOT_SPLIT : "How large it is depends on the weights of the branch."),
  },
  {
    way: "backward",
    wires: ["skip", "up", "in"],
    sizes: ["skip", "branch", "dx"],
    says: "Together they are dL/dx, the gradient for the layers below.",
    of: ({ skip }) =>
      skip === null
        ? "The whole of it is measured, its parts are not."
        : skip === 0
          ? "Only the part through the branch is there."
          : "They add as vectors: they may also cancel.",
  },
];
